"""The scullv driver of *Linux Device Drivers*, 3rd edition, on an emulated machine.

File for file: `dev` is the heart of main.c, `module` its start-up, `parameters` what it can be
loaded with, `items` the list that a device is, `ioctl` the commands of scullv.h, `procmem` the
listing in /proc, `oops` the report of a page fault; `posix` has the rules of a regular file over
the same device.
Knows nothing of FUSE; the errno of a failed operation is its interface, as an `OSError`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from .ioctl import COMMANDS, scullv_ioctl
from .parameters import MAX_DEVS, MAX_ORDER, MAX_QSET

if TYPE_CHECKING:
    from .dev import ScullvDev
    from .module import Module
    from .procmem import ScullvProcmem

__all__ = [
    "COMMANDS",
    "MAX_DEVS",
    "MAX_ORDER",
    "MAX_QSET",
    "Module",
    "ScullvDev",
    "ScullvProcmem",
    "scullv_ioctl",
]

_HOMES: Final = {"Module": "module", "ScullvDev": "dev", "ScullvProcmem": "procmem"}
"""What needs the machine -> the module that it is imported from when it is first asked for.

Most commands of `scullvfs` only need to know the parameters or the numbers of the ioctls.
"""


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
