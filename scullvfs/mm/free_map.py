"""Single frames, seen as the blocks that they would make.

One byte a frame, as to set and to clear it is all that most calls do.  To count, it becomes one bit
a frame.  Two neighbours of an order that are both free make one of the next order; for many frames
at once that is a shift and an AND of one large number:

    order 0    0 1 1 1  1 1 0 1        a bit: the block that begins at that frame is free
    order 1    0 . 1 .  1 . 0 .        its neighbour, too
    order 2    0 . . .  0 . . .

That is done for a chunk of 32 MiB at a time, and only where its frames are others than when they
were last counted, which is quick to see, as there is a copy.  The chunks are looked at in turns,
some at each change and some in idle work, so that who asks finds few that are still to be counted:

    looked at since the last change  |  `pending`, to be looked at
                                  cursor

With 64 GiB there are 2048 chunks.  To look at one takes less than a microsecond, to count it anew
some twenty, or next to nothing if all of it is free, or none.
"""

from __future__ import annotations

from array import array
from typing import Final

from .buddy import MAX_PAGE_ORDER
from .ram import lazy_bytes

__all__ = ["FreeMap"]

CHUNK_SHIFT: Final = 13
"""A chunk is 2**13 frames: eight of the largest blocks."""
CHUNK_SIZE: Final = 1 << CHUNK_SHIFT
LOOKED_AT: Final = 64
"""Chunks that are looked at when frames were put in or taken out."""
RECOUNTED: Final = 4
"""Those that are counted anew then, at the most."""

_ORDERS: Final = range(1, MAX_PAGE_ORDER + 1)
_STARTS: Final = tuple(
    sum(1 << bit for bit in range(0, 1 << CHUNK_SHIFT, 1 << order)) for order in _ORDERS
)
"""For each order from 1 on, the lowest bits of the blocks that there may be."""
_NONE: Final = bytes(CHUNK_SIZE)
_ALL: Final = b"\1" * CHUNK_SIZE
_DIGITS: Final = bytes.maketrans(b"\0\1", b"01")


class FreeMap:
    """A set of frames below `end_pfn`."""

    def __init__(self, end_pfn: int) -> None:
        self._nr_chunks: Final = (end_pfn >> CHUNK_SHIFT) + 1
        self._is_free: Final = lazy_bytes(self._nr_chunks * CHUNK_SIZE)
        self._counted: Final = lazy_bytes(len(self._is_free))
        """The same when they were last counted."""
        nothing = (0,) * (MAX_PAGE_ORDER + 1)
        self._counts: Final = [nothing] * self._nr_chunks
        """Blocks of each order in each chunk."""
        self._total = list(nothing)
        self.pending = 0
        """Chunks that are still to be looked at."""
        self._cursor = 0

    def add(self, frames: array[int]) -> None:
        """Put frames in."""
        is_free = self._is_free
        for pfn in frames:
            is_free[pfn] = 1
        self._changed(len(frames))

    def discard(self, frames: array[int]) -> None:
        """Take frames out."""
        is_free = self._is_free
        for pfn in frames:
            is_free[pfn] = 0
        self._changed(len(frames))

    def _changed(self, nr_frames: int) -> None:
        if nr_frames:
            self.pending = self._nr_chunks
            self.recount(RECOUNTED, LOOKED_AT)

    def recount(self, nr_chunks: int, looks: int) -> None:
        """Look at up to `looks` chunks, until `nr_chunks` of them had to be counted anew."""
        end = max(self.pending - looks, 0)
        while self.pending > end and nr_chunks > 0:
            number = self._cursor
            at = number * CHUNK_SIZE
            frames = self._is_free[at : at + CHUNK_SIZE]
            if frames != self._counted[at : at + CHUNK_SIZE]:
                counts = _count(frames)
                pairs = zip(self._total, counts, self._counts[number], strict=True)
                self._total = [total + new - old for total, new, old in pairs]
                self._counts[number] = counts
                self._counted[at : at + CHUNK_SIZE] = frames
                nr_chunks -= 1
            self.pending -= 1
            self._cursor = (number + 1) % self._nr_chunks

    def blocks(self) -> list[int]:
        """How many blocks of each order they make, neighbours joined as far as can be."""
        self.recount(self._nr_chunks, self._nr_chunks)
        return list(self._total)

    def frames(self) -> set[int]:
        """All of them.  Slow: for tests."""
        return {pfn for pfn, is_free in enumerate(self._is_free[:]) if is_free}

    def __repr__(self) -> str:
        return f"<FreeMap chunks={self._nr_chunks} pending={self.pending}>"

    def check(self) -> None:
        """Assert that the counts are those of the frames that were counted.  Slow: for tests."""
        parts = range(0, len(self._is_free), CHUNK_SIZE)
        assert self._counts == [_count(self._counted[at : at + CHUNK_SIZE]) for at in parts]
        assert self._total == [sum(counts) for counts in zip(*self._counts, strict=True)]
        assert self.pending or self._counted[:] == self._is_free[:]


def _count(frames: bytes) -> tuple[int, ...]:
    """The blocks of each order in a chunk."""
    if frames in (_NONE, _ALL):
        return *(0,) * MAX_PAGE_ORDER, frames[0] and CHUNK_SIZE >> MAX_PAGE_ORDER
    blocks = int(frames.translate(_DIGITS), 2)  # the first frame is the highest bit
    counts = [blocks.bit_count()]
    for order, starts in zip(_ORDERS, _STARTS, strict=True):
        # Of the places that blocks may begin at, every second may begin one of twice the size.
        blocks &= blocks >> (1 << order >> 1)
        blocks &= starts
        joined = blocks.bit_count()
        counts[-1] -= 2 * joined
        counts.append(joined)
    return tuple(counts)
