"""ioctl(2) on a device: the commands of the drivers' headers, as data and one function.

The letters are LDD3's: Set through a pointer, Tell by value, Get through a pointer, Query by
return value, eXchange (set and get through a pointer), sHift (tell and query by value).

scullv, scullp; scullc with QUANTUM in place of ORDER (magic 'K'):

    0  RESET    what the two were by default, whatever they were at load
    1  SORDER   2  TORDER   3  GORDER   4  QORDER   5  XORDER   6  HORDER
    7  SQSET    8  TQSET    9  GQSET   10  QQSET   11  XQSET   12  HQSET

scull (magic 'k'), where S, T, X and H take CAP_SYS_ADMIN:

    0  RESET     1  SQUANTUM   2  SQSET   3  TQUANTUM   4  TQSET   ...   12  HQSET
   13  TP_SIZE  14  QP_SIZE    of scullpipe's buffer
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from .family import SCULLV

if TYPE_CHECKING:
    from scullvfs.mm import Layout

    from .driver import Driver
    from .quanta import Quanta

__all__ = ["COMMANDS", "commands", "scull_ioctl"]

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
_P_SIZE: Final = "P_SIZE"


def _ioc(direction: int, magic: str, nr: int, size: int) -> int:
    return direction << 30 | size << 16 | ord(magic) << 8 | nr


def commands(driver: Driver) -> dict[str, int]:
    """Name -> number of a driver's commands, such as "SORDER" -> 0x40044b01."""
    rows = driver.commands
    found = {}
    for name, nr in rows.numbers.items():
        direction = _NONE if name == "RESET" else _DIRECTION[name[0]]
        found[name] = _ioc(direction, rows.magic, nr, INT.size if direction else 0)
    return found


COMMANDS: Final = commands(SCULLV)
"""scullv's: name -> number."""

_NAMES: Final[dict[str, dict[int, str]]] = {}
"""Driver -> number of a command -> its name; of those that were asked."""


def _name(driver: Driver, cmd: int) -> str | None:
    names = _NAMES.get(driver.name)
    if names is None:
        names = _NAMES[driver.name] = {nr: name for name, nr in commands(driver).items()}
    return names.get(cmd)


def _task_size(layout: Layout) -> int:
    """Where the addresses of a caller end, behind which no pointer is followed.

    It is a process of the host.  Where its pointers are wider than the machine's, as a 64-bit
    process's are on an i386, most of them would lie behind the 3 GiB of one of the machine's own.
    """
    from scullvfs.mm import LAYOUTS  # here, as a command only wants the numbers above

    wider = layout.pointer_size < POINTER_SIZE
    return LAYOUTS["x86_64"].task_size if wider else layout.task_size


def scull_ioctl(
    device: Quanta, cmd: int, arg: int, data: bytes, capable: Callable[[], bool]
) -> tuple[int, bytes]:
    """Carry out one command on an open device; the parameters are the whole module's.

    Args:
        cmd: the command's number.
        arg: the third argument of ioctl(2), of which an int is taken.
        data: what the kernel has fetched through it, for a command that reads through a pointer.
        capable: asked whether the caller has CAP_SYS_ADMIN, where that matters.

    Returns:
        The result of ioctl(2), and what is to be stored through the pointer.

    Raises:
        OSError: EFAULT, one of the driver's numbers with a pointer that is none of a process;
            ENOTTY, no such command; EPERM, the caller may not; EINVAL, a value that the real
            driver would crash with, and nothing is changed.

    scullv: main.c:scullv_ioctl(); scull: main.c:scull_ioctl()
    """
    driver = device.driver
    ours = cmd >> 8 & 0xFF == ord(driver.commands.magic) and cmd & 0xFF <= driver.commands.last
    end = arg + (cmd >> 16 & 0x3FFF)
    if ours and cmd >> 30 and end > _task_size(device.machine.layout):
        raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))
    name, parameters = _name(driver, cmd), device.parameters
    if name is None:
        raise OSError(errno.ENOTTY, os.strerror(errno.ENOTTY))
    if name == "RESET":
        parameters.reset()
        return 0, b""
    letter, word = name[0], name[1:]
    value = INT.unpack(data if letter in "SX" else struct.pack("=I", arg & 0xFFFF_FFFF))[0]
    if word == _P_SIZE:
        old = parameters.p_buffer
        parameters.p_buffer = value if letter == "T" else old
        return _result(old) if letter == "Q" else 0, b""
    if letter in driver.commands.privileged and not capable():
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))
    parameter = driver.qset.name if word == "QSET" else driver.measure.name
    old = parameters[parameter]
    if letter not in "GQ":
        parameters.store(parameter, value)
    return old if letter in "QH" else 0, INT.pack(old) if letter in "GX" else b""


def _result(value: int) -> int:
    """What ioctl(2) gives for a value: -4095 to -1 are an errno.

    The driver's -5 is EIO to the caller (Linux: include/linux/err.h:IS_ERR_VALUE()).

    Raises:
        OSError: that errno.
    """
    if -4095 <= value < 0:
        raise OSError(-value, os.strerror(-value))
    return value
