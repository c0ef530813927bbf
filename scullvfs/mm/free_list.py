"""The free blocks of one order, a list for each migrate type (Linux: struct free_area)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from .ram import lazy_array

__all__ = ["MIGRATE_MOVABLE", "MIGRATE_TYPES", "MIGRATE_UNMOVABLE", "FreeArea"]

MIGRATE_UNMOVABLE: Final = 0
MIGRATE_MOVABLE: Final = 1
MIGRATE_TYPES: Final = ("Unmovable", "Movable")
"""Those that there are blocks of (Linux: enum migratetype)."""


class FreeArea:
    """The free blocks of one order (Linux: struct free_area).

    There is no Python object for a block.  A list is a ring: `following[n]` is the block after
    block n, `preceding[n]` the one before it, and a number behind the last block is that of the
    list itself.  So any block can be taken out in constant time, and the parts of the arrays that
    nobody has written to cost no memory.
    """

    __slots__ = ("_cursor", "_rings", "dirty_blocks", "following", "nr_free", "order", "preceding")

    def __init__(self, order: int, end_pfn: int) -> None:
        self.order = order
        nr_blocks = (end_pfn >> order) + 2
        self._rings = tuple(range(nr_blocks, nr_blocks + len(MIGRATE_TYPES)))
        self.following = lazy_array(nr_blocks + len(MIGRATE_TYPES))
        self.preceding = lazy_array(nr_blocks + len(MIGRATE_TYPES))
        """(Block before it + 1) * 2 + dirty, or 0 if it is not free."""
        for ring in self._rings:
            self.following[ring] = ring
            self.preceding[ring] = (ring + 1) * 2
        self.nr_free = [0] * len(MIGRATE_TYPES)
        """Free blocks of each type."""
        self.dirty_blocks = 0
        self._cursor = 0

    def add(self, pfn: int, dirty: bool, migratetype: int, to_tail: bool = False) -> None:
        """Put a block in, at the head of a list if not told otherwise.

        Linux: mm/page_alloc.c:__add_to_free_list()
        """
        block, following, preceding = pfn >> self.order, self.following, self.preceding
        after = self._rings[migratetype]
        before = (preceding[after] >> 1) - 1
        if not to_tail:
            after, before = following[after], after
        following[before] = block
        following[block] = after
        preceding[block] = (before + 1) * 2 | dirty
        preceding[after] = (block + 1) * 2 | preceding[after] & 1
        self.nr_free[migratetype] += 1
        self.dirty_blocks += dirty

    def take(self, pfn: int, migratetype: int) -> bool:
        """Take a free block out.  Returns whether it was dirty."""
        block, following, preceding = pfn >> self.order, self.following, self.preceding
        link = preceding[block]
        after = following[block]
        following[(link >> 1) - 1] = after
        preceding[after] = link & ~1 | preceding[after] & 1
        preceding[block] = 0
        self.nr_free[migratetype] -= 1
        self.dirty_blocks -= link & 1
        return bool(link & 1)

    def first(self, migratetype: int) -> int:
        """The block at the head of a list that is not empty."""
        return self.following[self._rings[migratetype]] << self.order

    def blocks(self, migratetype: int) -> Iterator[int]:
        """The first frames of a list's blocks, from its head on."""
        ring = self._rings[migratetype]
        block = self.following[ring]
        while block != ring:
            yield block << self.order
            block = self.following[block]

    def is_dirty(self, pfn: int) -> bool:
        """Whether the host may hold memory for a free block."""
        return bool(self.preceding[pfn >> self.order] & 1)

    def overwritten(self, frames: range) -> Iterator[range]:
        """Somebody has written to some frames; gives those that are free, and marks them dirty."""
        first, size = frames.start >> self.order, 1 << self.order
        end = min((frames.stop - 1 >> self.order) + 1, self._rings[0])
        for block, link in enumerate(self.preceding[first:end].tolist(), first):
            if link:
                self.preceding[block] = link | 1
                self.dirty_blocks += not link & 1
                pfn = block << self.order
                yield range(max(pfn, frames.start), min(pfn + size, frames.stop))

    def some_dirty(self, window: int) -> list[int]:
        """The dirty ones of the next `window` blocks; each call looks on from the last."""
        end = self._rings[0]
        start = self._cursor if self._cursor < end else 0
        self._cursor = start + window
        links = self.preceding[start : min(start + window, end)].tolist()
        return [block << self.order for block, link in enumerate(links, start) if link & 1]

    def clean(self, pfn: int) -> None:
        """Mark a free block as clean."""
        self.dirty_blocks -= self.preceding[pfn >> self.order] & 1
        self.preceding[pfn >> self.order] &= ~1

    def free_in(self, first: int, end: int) -> list[int]:
        """The first frames of the free blocks that have some of the frames `first`..`end` - 1."""
        block = first >> self.order
        links = self.preceding[block : (end - 1 >> self.order) + 1].tolist()
        if links.count(0) == len(links):
            return []
        return [at << self.order for at, link in enumerate(links, block) if link]

    def __repr__(self) -> str:
        return f"<FreeArea order={self.order} free={self.nr_free}>"
