"""The drivers of *Linux Device Drivers*, 3rd edition, on an emulated machine: one family.

scull, scullp, scullc and scullv are one device in four kinds of memory.  `family` has a row of data
for each (`driver` says of what), and a module of its name what it does with memory.  The rest is
for all of them: `dev` is the heart of main.c, on the list of quantum sets in `quanta` and `items`,
with `checked` where an access may lead elsewhere; `module` the start-up, `parameters` what it can
be loaded with and is set to, `ioctl` the commands of the headers and `ioctl_words` how a shell
spells and issues them, `procmem` the listing in /proc, `oops` the report of what a driver has died
of, `garbage` what a device was given while its pointers may be overwritten; `trace_events` what can
be traced and `tracepoints` where; `faults` what can be made to fail; `posix` has the rules of a
regular file over the same device.  A behaviour of a driver cites its source as
`scullv: main.c:scullv_read()`; what is in all of them, as `LDD3: main.c`.

Called by `fs`, which makes files of the devices, and by `options`, `cli`, `view` and their like for
names, numbers and ranges alone, so importing the package loads no machine.  Must import nothing but
`mm`: no FUSE, no option, no file.  The errno of a failed operation is its interface, as an
`OSError`.

There is one thread, and a call is done when it returns, so no two mix.  What may take long comes as
steps (`mm.workqueue`); a step that finds its device trimmed meanwhile (`ScullDev.trims`) ends.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from .driver import Driver
from .family import DRIVERS, MAX_DEVS, MAX_ORDER, MAX_QSET
from .ioctl import COMMANDS, scull_ioctl

if TYPE_CHECKING:
    from .dev import ScullDev
    from .module import Module
    from .procmem import ScullProcmem

__all__ = [
    "COMMANDS",
    "DRIVERS",
    "MAX_DEVS",
    "MAX_ORDER",
    "MAX_QSET",
    "Driver",
    "Module",
    "ScullDev",
    "ScullProcmem",
    "scull_ioctl",
]

_HOMES: Final = {"Module": "module", "ScullDev": "dev", "ScullProcmem": "procmem"}
"""What needs the machine -> the module that it is imported from when it is first asked for.

Most commands of `scullvfs` only need to know the parameters or the numbers of the ioctls.
"""


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
