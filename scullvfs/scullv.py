"""The driver scullv, by its public names: `from scullvfs.scullv import COMMANDS, Module`.

They live in `scullvfs.scull`, the room of the whole family; here they stay where programs and the
documentation have them.
"""

from typing import TYPE_CHECKING, Any

from scullvfs import scull
from scullvfs.scull import COMMANDS, MAX_DEVS, MAX_ORDER, MAX_QSET, scullv_ioctl

if TYPE_CHECKING:
    from scullvfs.scull import Module, ScullvDev, ScullvProcmem

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


def __getattr__(name: str) -> Any:
    """What needs the machine comes when it is first asked for."""
    return getattr(scull, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
