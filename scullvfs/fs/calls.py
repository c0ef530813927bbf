"""What calls cost: counters for each device, and for each kind of call.

All of them lie in one table of numbers, so that the extension can count, too, where a call of
Python's would cost more than what it counts:

    row 0       read    write   ioctl  ...      every file that is no device
    row 1       read    write   ioctl  ...      scullv0
    row 2       read    write   ioctl  ...      scullv1
                |
                calls | bytes | errors | nanoseconds

A file handle bears the row of its file in its lowest bits (`open_files`).  The extension counts
reads, writes, ioctl, lseek and fallocate (fuse/lowlevel/handlers.c:counted()); `fuse.operations`
counts open and truncate, and, where the extension is missing, reads and writes.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from time import monotonic_ns
from typing import Final

__all__ = [
    "MAX_ROWS",
    "ROW_BITS",
    "UNCOUNTED",
    "Calls",
    "CallTable",
    "Counting",
    "Kind",
    "Statistics",
]

ROW_BITS: Final = 16
"""Bits of a file handle that are a row."""
MAX_ROWS: Final = 1 << ROW_BITS

FIELDS: Final = ("calls", "bytes", "errors", "nanoseconds")

Statistics = dict[str, dict[str, int]]
"""Kind of call -> `calls`; `bytes` moved by those that did not fail; `errors`, how many did;
`nanoseconds` in the handler, and up to the answer where that comes later."""


class Kind(IntEnum):
    """The kinds of call (fuse/lowlevel/handlers.c has the same order)."""

    READ = 0
    """The page cache's reads included."""
    WRITE = 1
    IOCTL = 2
    LSEEK = 3
    """With SEEK_DATA and SEEK_HOLE; the kernel does the others."""
    FALLOCATE = 4
    OPEN = 5
    TRUNCATE = 6


class CallTable:
    """The counters of a tree.

    Args:
        names: of the devices, in the order of their rows, at most MAX_ROWS - 1.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names: Final = tuple(names)
        size = (1 + len(names)) * len(Kind) * len(FIELDS)
        self.numbers: Final = array("Q", bytes(8 * size))

    def row(self, number: int) -> Calls:
        """The counters of one row."""
        return Calls(self, number)

    def rows(self) -> list[Statistics]:
        """What was asked of files that are no devices, and then of each device."""
        return [self.row(at).statistics() for at in range(1 + len(self.names))]

    def statistics(self) -> dict[str, Statistics]:
        """Name of each device that was called -> what was asked of it."""
        width = len(Kind) * len(FIELDS)
        return {
            name: self.row(at).statistics()
            for at, name in enumerate(self.names, start=1)
            if any(self.numbers[at * width : (at + 1) * width : len(FIELDS)])
        }


@dataclass(slots=True)
class Counting:
    """A call while it is made."""

    bytes: int = 0
    """To be set by a call that moves some."""


class Calls:
    """The counters of one file."""

    def __init__(self, table: CallTable, row: int) -> None:
        self.row: Final = row
        self._numbers: Final = table.numbers

    def _place(self, kind: Kind) -> int:
        return (self.row * len(Kind) + kind) * len(FIELDS)

    @contextmanager
    def counting(self, kind: Kind) -> Iterator[Counting]:
        """Count a call, which fails with an exception."""
        call, began, errors = Counting(), monotonic_ns(), 1
        try:
            yield call
            errors = 0
        finally:
            numbers, at = self._numbers, self._place(kind)
            for value in (1, 0 if errors else call.bytes, errors, monotonic_ns() - began):
                numbers[at] += value
                at += 1

    def statistics(self) -> Statistics:
        """Every kind of call and its numbers since the mount."""
        return {
            kind.name.lower(): dict(zip(FIELDS, self._numbers[at : at + len(FIELDS)], strict=True))
            for kind in Kind
            for at in (self._place(kind),)
        }


UNCOUNTED: Final = CallTable(()).row(0)
"""For files that are in no tree."""
