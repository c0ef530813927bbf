"""Single frames, seen as the blocks that they would make.

One bit a frame.  Two neighbours of an order that are both free make one of the next order; for all
frames at once that is a shift and an AND of one large number:

    order 0    0 1 1 1  1 1 0 1        bit n: the block that begins at frame n is free
    order 1    0 . 1 .  1 . 0 .        bit n, n even: so are n and n + 1
    order 2    0 . . .  0 . . .

What it takes to answer is some ten passes over the bits: a millisecond or two for 8 GiB.
"""

from __future__ import annotations

from array import array
from typing import Final

from .buddy import MAX_PAGE_ORDER

__all__ = ["FreeMap"]


class FreeMap:
    """A set of frames below `end_pfn`."""

    def __init__(self, end_pfn: int) -> None:
        self._bits: Final = bytearray((end_pfn >> 3) + 1)
        self._counts: list[int] | None = [0] * (MAX_PAGE_ORDER + 1)
        """Blocks of each order; None if they are to be counted anew."""

    def add(self, frames: array[int]) -> None:
        """Put frames in, none of which is in it."""
        bits = self._bits
        for pfn in frames:
            bits[pfn >> 3] |= 1 << (pfn & 7)
        self._counts = None

    def discard(self, frames: array[int]) -> None:
        """Take frames out."""
        bits = self._bits
        for pfn in frames:
            bits[pfn >> 3] &= ~(1 << (pfn & 7))
        self._counts = None

    def blocks(self) -> list[int]:
        """How many blocks of each order they make, neighbours joined as far as can be."""
        if self._counts is None:
            self._counts = self._count()
        return self._counts

    def _count(self) -> list[int]:
        blocks = int.from_bytes(self._bits, "little")
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
        repeats = len(self._bits) // length + 1
        return int.from_bytes(pattern.to_bytes(length, "little") * repeats, "little")

    def frames(self) -> set[int]:
        """All of them.  Slow: for tests."""
        return {pfn for pfn in range(len(self._bits) * 8) if self._bits[pfn >> 3] >> (pfn & 7) & 1}
