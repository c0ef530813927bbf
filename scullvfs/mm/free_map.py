"""Single frames, seen as the blocks that they would make.

One byte a frame, which is quick to set.  To answer, each becomes a bit of one large number.  Two
neighbours of an order that are both free make one of the next order; for all frames at once that
is a shift and an AND:

    order 0    0 1 1 1  1 1 0 1        bit n: the block that begins at frame n is free
    order 1    0 . 1 .  1 . 0 .        bit n, n even: so are n and n + 1
    order 2    0 . . .  0 . . .

The bits are those of the frames in falling order, which are as well aligned, as their number is a
multiple of that of the largest block.  It takes a millisecond for each GiB of RAM.
"""

from __future__ import annotations

from array import array
from typing import Final

from .buddy import MAX_PAGE_ORDER

__all__ = ["FreeMap"]

_DIGITS: Final = bytes([ord("0"), ord("1")]) + bytes(254)


class FreeMap:
    """A set of frames below `end_pfn`."""

    def __init__(self, end_pfn: int) -> None:
        nr_blocks = (end_pfn >> MAX_PAGE_ORDER) + 1
        self._flags: Final = bytearray(nr_blocks << MAX_PAGE_ORDER)
        self._counts: list[int] | None = [0] * (MAX_PAGE_ORDER + 1)
        """Blocks of each order; None if they are to be counted anew."""

    def add(self, frames: array[int]) -> None:
        """Put frames in."""
        flags = self._flags
        for pfn in frames:
            flags[pfn] = 1
        self._counts = None

    def discard(self, frames: array[int]) -> None:
        """Take frames out."""
        flags = self._flags
        for pfn in frames:
            flags[pfn] = 0
        self._counts = None

    def blocks(self) -> list[int]:
        """How many blocks of each order they make, neighbours joined as far as can be."""
        if self._counts is None:
            self._counts = self._count()
        return self._counts

    def _count(self) -> list[int]:
        blocks = int(self._flags.translate(_DIGITS), 2)
        counts = [blocks.bit_count()]
        for order in range(1, MAX_PAGE_ORDER + 1):
            size = 1 << order
            # Of the places that blocks may begin at, every second may begin one of twice the size.
            blocks &= blocks >> (size >> 1)
            blocks &= self._starts(size)
            joined = blocks.bit_count()
            counts[-1] -= 2 * joined
            counts.append(joined)
        return counts

    def _starts(self, size: int) -> int:
        """A number in which every `size`-th bit is set, from the lowest on."""
        pattern = sum(1 << bit for bit in range(0, 1 << MAX_PAGE_ORDER, size))
        length = (1 << MAX_PAGE_ORDER) >> 3
        repeats = len(self._flags) >> MAX_PAGE_ORDER
        return int.from_bytes(pattern.to_bytes(length, "little") * repeats, "little")

    def frames(self) -> set[int]:
        """All of them.  Slow: for tests."""
        return {pfn for pfn, flag in enumerate(self._flags) if flag}
