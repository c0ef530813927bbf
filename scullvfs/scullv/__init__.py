"""The scullv driver of *Linux Device Drivers*, 3rd edition, on an emulated machine.

File for file: `dev` is the heart of main.c, `module` its parameters and start-up, `items` the
list that a device is, `ioctl` the commands of scullv.h, `procmem` the listing in /proc;
`posix` has the rules of a regular file over the same device.
Knows nothing of FUSE; the errno of a failed operation is its interface, as an `OSError`.
"""

from .dev import ScullvDev
from .ioctl import COMMANDS, scullv_ioctl
from .module import MAX_DEVS, MAX_ORDER, MAX_QSET, Module
from .procmem import scullv_read_procmem

__all__ = [
    "COMMANDS",
    "MAX_DEVS",
    "MAX_ORDER",
    "MAX_QSET",
    "Module",
    "ScullvDev",
    "scullv_ioctl",
    "scullv_read_procmem",
]
