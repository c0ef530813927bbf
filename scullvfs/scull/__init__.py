"""The scullv driver of *Linux Device Drivers*, 3rd edition, on an emulated machine.

File for file: `dev` is the heart of main.c, `module` its start-up, `parameters` what it can be
loaded with and is set to, `items` the list that a device is, `ioctl` the commands of scullv.h,
`procmem` the listing in /proc, `oops` the report of a page fault; `posix` has the rules of a
regular file over the same device.  A behaviour of the driver cites its source as
`scullv: main.c:scullv_read()`.

Called by `fs`, which makes files of the devices, and by `options`, `cli` and `mounts` for numbers
and ranges alone, so importing the package loads no machine.  Must import nothing but `mm`: no FUSE,
no option, no file.  The errno of a failed operation is its interface, as an `OSError`.

There is one thread, and a call is done when it returns, so no two mix.  What may take long comes as
steps (`mm.workqueue`); a step that finds its device trimmed meanwhile (`ScullvDev.trims`) ends.
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
