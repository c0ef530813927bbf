"""The drivers' commands from outside: how a name of the header is spelled, and the call itself.

SCULLV_IOCSORDER is set-order here, as `scullvfs ioctl` and `scullvfs.testing` have it.  Numbers
differ from driver to driver.
"""

from __future__ import annotations

import fcntl
from typing import TYPE_CHECKING, Final

from .ioctl import INT, commands

if TYPE_CHECKING:
    from .driver import Driver

__all__ = ["WORDS", "gives_value", "issue", "spell", "spelled", "takes_value"]

WORDS: Final = {
    "S": ("set", "set it, through a pointer"),
    "T": ("tell", "set it, by value"),
    "G": ("get", "print it, through a pointer"),
    "Q": ("query", "print it, by return value"),
    "X": ("exchange", "set it and print the old one, through a pointer"),
    "H": ("shift", "set it and print the old one, by value"),
}
"""First letter of a command -> its word, and what it does."""


def spell(name: str) -> str:
    """How a command is written: SORDER is set-order."""
    letter, rest = name[0], name[1:].lower().replace("_", "-")
    return "reset" if name == "RESET" else f"{WORDS[letter][0]}-{rest}"


def spelled(driver: Driver) -> dict[str, str]:
    """A driver's commands: word -> name."""
    return {spell(name): name for name in commands(driver)}


def takes_value(name: str) -> bool:
    """Whether a command takes a value."""
    return name != "RESET" and name[0] not in "GQ"


def gives_value(name: str) -> bool:
    """Whether a command gives a value."""
    return name[0] in "GXQH"


def issue(fd: int, driver: Driver, name: str, value: int = 0) -> int:
    """ioctl(2) with one of the driver's commands, in the way that it passes its value.

    Returns what the command gives; of one that gives nothing, nothing of interest.

    Raises:
        OSError: the driver's errno.
        struct.error: the value is no int of C.
    """
    cmd, cell = commands(driver)[name], bytearray(INT.pack(value))
    if name[0] not in "GSX":
        return fcntl.ioctl(fd, cmd, value)
    fcntl.ioctl(fd, cmd, cell)
    return int(INT.unpack(cell)[0])
