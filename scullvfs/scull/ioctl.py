"""ioctl(2) on a device: the 13 commands of scullv.h, as data and one function.

The letters are LDD3's: Set through a pointer, Tell by value, Get through a pointer, Query by
return value, eXchange (set and get through a pointer), sHift (tell and query by value).

    0  RESET    order 4 and qset 500, whatever they were at load
    1  SORDER   2  TORDER   3  GORDER   4  QORDER   5  XORDER   6  HORDER
    7  SQSET    8  TQSET    9  GQSET   10  QQSET   11  XQSET   12  HQSET
"""

from __future__ import annotations

import errno
import os
import struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from scullvfs.mm import Layout

    from .dev import ScullvDev

__all__ = ["COMMANDS", "MAGIC", "scullv_ioctl"]

MAGIC: Final = ord("K")
INT: Final = struct.Struct("=i")
POINTER_SIZE: Final = struct.calcsize("P")
"""Bytes in a pointer of the host."""

# Linux: include/uapi/asm-generic/ioctl.h
_NONE, _WRITE, _READ = 0, 1, 2
_DIRECTION: Final = {
    "S": _WRITE,
    "T": _NONE,
    "G": _READ,
    "Q": _NONE,
    "X": _WRITE | _READ,
    "H": _NONE,
}


def _ioc(direction: int, nr: int, size: int) -> int:
    return direction << 30 | size << 16 | MAGIC << 8 | nr


COMMANDS: Final[dict[str, int]] = {"RESET": _ioc(_NONE, 0, 0)} | {
    letter + parameter: _ioc(direction, nr, INT.size if direction else 0)
    for first, parameter in ((1, "ORDER"), (7, "QSET"))
    for nr, (letter, direction) in enumerate(_DIRECTION.items(), start=first)
}
"""Name -> number, such as "SORDER" -> 0x40044b01."""

_LAST: Final = 12
"""The highest number of a command (scullv: scullv.h:SCULLV_IOC_MAXNR)."""

_NAMES: Final = {number: name for name, number in COMMANDS.items()}


def _task_size(layout: Layout) -> int:
    """Where the addresses of a caller end, behind which no pointer is followed.

    It is a process of the host.  Where its pointers are wider than the machine's, as a 64-bit
    process's are on an i386, most of them would lie behind the 3 GiB of one of the machine's own.
    """
    from scullvfs.mm import LAYOUTS  # here, as a command only wants the numbers above

    wider = layout.pointer_size < POINTER_SIZE
    return LAYOUTS["x86_64"].task_size if wider else layout.task_size


def scullv_ioctl(device: ScullvDev, cmd: int, arg: int, data: bytes) -> tuple[int, bytes]:
    """Carry out one command on an open device; the parameters are the whole module's.

    Args:
        cmd: the command's number.
        arg: the third argument of ioctl(2), of which an int is taken.
        data: what the kernel has fetched through it, for a command that reads through a pointer.

    Returns:
        The result of ioctl(2), and what is to be stored through the pointer.

    Raises:
        OSError: EFAULT, one of the driver's numbers with a pointer that is none of a process;
            ENOTTY, no such command; EINVAL, a value that the real driver would crash with
            (order outside 0..18, qset outside 1..524287, or an item that is more than an int with
            the other one), and nothing is changed.

    scullv: main.c:scullv_ioctl()
    """
    ours = cmd >> 8 & 0xFF == MAGIC and cmd & 0xFF <= _LAST
    end = arg + (cmd >> 16 & 0x3FFF)
    if ours and cmd >> 30 and end > _task_size(device.machine.layout):
        raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))
    name, parameters = _NAMES.get(cmd), device.parameters
    if name is None:
        raise OSError(errno.ENOTTY, os.strerror(errno.ENOTTY))
    if name == "RESET":
        parameters.reset()
        return 0, b""
    letter = name[0]
    parameter = "scullv_" + name[1:].lower()
    old: int = getattr(parameters, parameter)
    if letter not in "GQ":
        (value,) = INT.unpack(data if letter in "SX" else struct.pack("=I", arg & 0xFFFF_FFFF))
        parameters.store(parameter, value)
    return old if letter in "QH" else 0, INT.pack(old) if letter in "GX" else b""
