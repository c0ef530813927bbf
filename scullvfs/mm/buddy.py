"""The buddy system of one zone: free blocks of 2**order page frames, orders 0..10.

A block of order n starts at a multiple of 2**n frames.  Splitting halves it; freeing
joins it with its buddy, the other half of the block one order up, whenever that is
free too.  In the picture `b` is 2**order frames long:

      pfn              pfn + b
       |<---- block ---->|<---- buddy ---->|      b * 2 divides pfn
       |<------------ order + 1 ---------->|

      pfn - b           pfn
       |<---- buddy ---->|<---- block ---->|      b * 2 does not
       |<------------ order + 1 ---------->|

There is no Python object for a frame or a block.  `FreeArea.heads` is an array of the
free blocks' first frames, and `slots` says where in it a block stands, so that any
block can be taken out in constant time; the part of `slots` that nobody has written to
costs no memory.

A free block is *clean* when the host holds no memory for it (it was never handed out,
or `release` has given it back), and *dirty* when it may.  What is handed out is clean,
so it reads as zeros.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from random import Random
from typing import Final

from .ram import lazy_array

__all__ = ["MAX_PAGE_ORDER", "Buddy", "FreeArea"]

MAX_PAGE_ORDER: Final = 10
"""The largest block is 2**10 frames, 4 MiB (Linux: include/linux/mmzone.h)."""


class FreeArea:
    """The free blocks of one order (Linux: struct free_area)."""

    __slots__ = ("_cursor", "dirty_blocks", "heads", "order", "slots")

    def __init__(self, order: int, end_pfn: int) -> None:
        self.order = order
        self.heads = array("I")
        """First frame of each free block, in no order."""
        self.slots = lazy_array((end_pfn >> order) + 2)
        """Block number -> (index in `heads` + 1) * 2 + dirty, or 0 if it is not free."""
        self.dirty_blocks = 0
        self._cursor = 0

    def add(self, pfn: int, dirty: bool) -> None:
        """Put a block in."""
        self.heads.append(pfn)
        self.slots[pfn >> self.order] = len(self.heads) * 2 + dirty
        self.dirty_blocks += dirty

    def take(self, pfn: int) -> bool:
        """Take a free block out.  Returns whether it was dirty."""
        slots, order, heads = self.slots, self.order, self.heads
        slot = slots[pfn >> order]
        slots[pfn >> order] = 0
        last = heads.pop()
        if last != pfn:
            heads[(slot >> 1) - 1] = last
            slots[last >> order] = (slot & ~1) | (slots[last >> order] & 1)
        self.dirty_blocks -= slot & 1
        return bool(slot & 1)

    def is_dirty(self, pfn: int) -> bool:
        """Whether the host may hold memory for a free block."""
        return bool(self.slots[pfn >> self.order] & 1)

    def some_dirty(self, window: int) -> Iterator[int]:
        """The dirty ones among the next `window` blocks; each call looks on from the last.

        A block that is handed out may be marked clean, but not taken, before the next one.
        """
        for _ in range(min(window, len(self.heads))):
            if self._cursor >= len(self.heads):
                self._cursor = 0
            pfn = self.heads[self._cursor]
            self._cursor += 1
            if self.is_dirty(pfn):
                yield pfn

    def clean(self, pfn: int) -> None:
        """Mark a free block as clean."""
        self.dirty_blocks -= self.slots[pfn >> self.order] & 1
        self.slots[pfn >> self.order] &= ~1


class Buddy:
    """The free blocks of the frames `start_pfn`..`end_pfn` - 1, all free and clean at first.

    Args:
        release: called with (pfn, number of frames) to give frames back to the host.
    """

    def __init__(self, start_pfn: int, end_pfn: int, release: Callable[[int, int], None]) -> None:
        self.start_pfn: Final = start_pfn
        self.end_pfn: Final = end_pfn
        self._release = release
        self.free_area: Final = [FreeArea(order, end_pfn) for order in range(MAX_PAGE_ORDER + 1)]
        # Downwards, so that pop() hands out the lowest block first.
        pfn = end_pfn
        while pfn > start_pfn:
            order = min((pfn & -pfn).bit_length() - 1, MAX_PAGE_ORDER)
            while pfn - (1 << order) < start_pfn:
                order -= 1
            pfn -= 1 << order
            self.free_area[order].add(pfn, dirty=False)

    @property
    def nr_free(self) -> int:
        """Free frames."""
        return sum(len(area.heads) << area.order for area in self.free_area)

    @property
    def nr_dirty(self) -> int:
        """Free frames that the host may still hold memory for."""
        return sum(area.dirty_blocks << area.order for area in self.free_area)

    def alloc(self, order: int) -> int | None:
        """Take a block from the smallest order that has one, splitting it as needed.

        Linux: mm/page_alloc.c:__rmqueue_smallest()
        """
        for area in self.free_area[order:]:
            if area.heads:
                return self._take(area.heads[-1], area.order, order)
        return None

    def alloc_smallest(self, nr_pages: int) -> tuple[int, int] | None:
        """Take the smallest free block there is, or of it the first frames up to `nr_pages`.

        Returns the first frame and the order of what was taken.
        """
        for area in self.free_area:
            if area.heads:
                order = min(area.order, nr_pages.bit_length() - 1)
                return self._take(area.heads[-1], area.order, order), order
        return None

    def _take(self, pfn: int, high: int, low: int) -> int:
        """Take the block at `pfn` of order `high`, keep its first 2**`low` frames, free the rest.

        Linux: mm/page_alloc.c:expand()
        """
        dirty = self.free_area[high].take(pfn)
        while high > low:
            high -= 1
            self.free_area[high].add(pfn + (1 << high), dirty)
        if dirty:
            self._release(pfn, 1 << low)
        return pfn

    def alloc_random(self, count: int, rng: Random) -> tuple[list[int], int]:
        """Take up to `count` random blocks of the largest order that has any.

        It takes a quarter of them at most, so that large blocks remain.  Returns the blocks'
        first frames, in random order, and their order; no blocks when nothing is free.
        """
        for area in reversed(self.free_area):
            if area.heads:
                count = min(count, (len(area.heads) + 3) // 4)
                blocks = rng.sample(area.heads, count)
                return [self._take(pfn, area.order, area.order) for pfn in blocks], area.order
        return [], 0

    def free(self, pfn: int, order: int, dirty: bool) -> None:
        """Give a block back, joining it with its buddy as often as that is free.

        Linux: mm/page_alloc.c:__free_one_page()
        """
        areas = self.free_area
        while order < MAX_PAGE_ORDER:
            area = areas[order]
            buddy = pfn ^ (1 << order)
            if not area.slots[buddy >> order]:
                break
            dirty |= area.take(buddy)
            pfn &= buddy
            order += 1
        areas[order].add(pfn, dirty)

    def free_frames(self, frames: array[int], dirty: bool) -> None:
        """Give single frames back.  Runs among them go as whole blocks, which is faster."""
        pfns = sorted(frames)
        i, end = 0, len(pfns)
        while i < end:
            pfn = pfns[i]
            order = min((pfn & -pfn).bit_length() - 1, MAX_PAGE_ORDER) if pfn else MAX_PAGE_ORDER
            while order and (
                i + (1 << order) > end or pfns[i + (1 << order) - 1] != pfn + (1 << order) - 1
            ):
                order -= 1
            self.free(pfn, order, dirty)
            i += 1 << order

    def release_dirty(self, nr_pages: int) -> None:
        """Give some `nr_pages` frames of dirty free blocks back to the host, large blocks first."""
        for area in reversed(self.free_area):
            if area.dirty_blocks:
                for pfn in area.some_dirty(nr_pages):
                    self._release(pfn, 1 << area.order)
                    area.clean(pfn)
                    nr_pages -= 1 << area.order
                    if nr_pages <= 0:
                        return

    def is_free(self, pfn: int) -> bool:
        """Whether frame `pfn` lies in a free block."""
        return any(area.slots[pfn >> area.order] for area in self.free_area)

    def __repr__(self) -> str:
        return f"<Buddy frames={self.start_pfn}..{self.end_pfn - 1} free={self.nr_free}>"

    def state(self) -> list[list[int]]:
        """The first frames of each order's free blocks; which of them are dirty is the host's."""
        return [area.heads.tolist() for area in self.free_area]

    def check(self) -> set[int]:
        """Assert the invariants; return all free frames.  Slow: for tests.

        - a block lies in the zone and starts at a multiple of its length
        - no two free blocks overlap, and no two buddies are both free
        - `slots` and `heads` agree, `dirty_blocks` is the number of dirty blocks
        """
        free: set[int] = set()
        for area in self.free_area:
            order = area.order
            assert area.dirty_blocks == sum(map(area.is_dirty, area.heads))
            for index, pfn in enumerate(area.heads):
                assert self.start_pfn <= pfn <= self.end_pfn - (1 << order)
                assert pfn % (1 << order) == 0
                assert area.slots[pfn >> order] >> 1 == index + 1
                buddy = pfn ^ (1 << order)
                assert order == MAX_PAGE_ORDER or not area.slots[buddy >> order]
                block = set(range(pfn, pfn + (1 << order)))
                assert not free & block
                free |= block
        return free
