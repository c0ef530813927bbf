"""What the file tests need beside Python's own calls."""

from __future__ import annotations

import ctypes
import errno
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

__all__ = [
    "COLLAPSE_RANGE",
    "DATA",
    "INSERT_RANGE",
    "KEEP_SIZE",
    "LAST",
    "OPTIONS",
    "PUNCH_HOLE",
    "QUANTUM",
    "ZERO_RANGE",
    "allocated",
    "fails",
    "fallocate",
]

QUANTUM = 8192
OPTIONS = "semantics=file,order=1,qset=3,mem=64M"
"""Two pages a quantum, so that tmpfs has another granularity, and few quanta an item."""

DATA = random.Random(1).randbytes(40 * QUANTUM + 77)
"""Spans quanta and items, and ends in the middle of a page."""

LAST = (1 << 63) - 1
"""The largest position of a file."""

KEEP_SIZE, PUNCH_HOLE, COLLAPSE_RANGE, ZERO_RANGE, INSERT_RANGE = 0x01, 0x02, 0x08, 0x10, 0x20
"""Modes of fallocate(2)."""

libc = ctypes.CDLL(None, use_errno=True)
libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]


def fallocate(fd: int, mode: int, pos: int, length: int) -> None:
    """fallocate(2), which Python has without modes only."""
    if libc.fallocate(fd, mode, pos, length):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


@contextmanager
def fails(number: int) -> Iterator[None]:
    """What is done here fails with this errno."""
    with pytest.raises(OSError) as info:  # noqa: PT011
        yield
    assert info.value.errno == number, f"{info.value} instead of {errno.errorcode[number]}"


def allocated(fd: int) -> int:
    """Bytes that the file takes, st_blocks * 512."""
    return os.fstat(fd).st_blocks * 512
