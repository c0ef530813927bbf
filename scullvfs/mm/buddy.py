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

Each order has a list of free blocks for each migrate type (`FreeArea`), and the head of a list is
taken first.  A block is of the type of its pageblock, 512 frames.  All are movable at first, and
nothing here is: who allocates takes from the unmovable blocks, the smallest that will do, and when
there is none the largest movable block and the pageblock around it become unmovable.

A free block is *clean* when the host holds no memory for it (it was never handed out,
or `release` has given it back), and *dirty* when it may.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from itertools import islice
from random import Random
from typing import Final

from .ram import lazy_array

__all__ = ["MAX_PAGE_ORDER", "MIGRATE_TYPES", "PAGEBLOCK_ORDER", "Buddy", "FreeArea"]

MAX_PAGE_ORDER: Final = 10
"""The largest block is 2**10 frames, 4 MiB (Linux: include/linux/mmzone.h)."""
PAGEBLOCK_ORDER: Final = 9
"""A pageblock is 2**9 frames (Linux: include/linux/pageblock-flags.h, with huge pages of 2 MiB)."""
MIGRATE_UNMOVABLE: Final = 0
MIGRATE_MOVABLE: Final = 1
MIGRATE_TYPES: Final = ("Unmovable", "Movable")
"""Those that there are blocks of (Linux: enum migratetype)."""

_SAMPLED: Final = 4096
"""A random one is among so many, but of the largest order, at the most."""
_SCANNED: Final = 8
"""To see whether a block is dirty takes so much less time than to release a frame."""


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

    def __repr__(self) -> str:
        return f"<FreeArea order={self.order} free={self.nr_free}>"


class Buddy:
    """The free blocks of the frames `start_pfn`..`end_pfn` - 1, all free and clean at first.

    Args:
        release: called with (pfn, number of frames) to give frames back to the host.
    """

    def __init__(self, start_pfn: int, end_pfn: int, release: Callable[[int, int], None]) -> None:
        self.start_pfn: Final = start_pfn
        self.end_pfn: Final = end_pfn
        self._release = release
        self.nr_free = end_pfn - start_pfn
        """Free frames."""
        self.free_area: Final = [FreeArea(order, end_pfn) for order in range(MAX_PAGE_ORDER + 1)]
        nr_pageblocks = ((end_pfn - 1) >> PAGEBLOCK_ORDER) + 1
        self._movable = bytearray([MIGRATE_MOVABLE]) * nr_pageblocks
        """The type of each pageblock."""
        # From the lowest frame on, each at the tail (Linux: mm/memblock.c:__free_pages_memory()).
        pfn = start_pfn
        while pfn < end_pfn:
            order = min((pfn & -pfn).bit_length() - 1, MAX_PAGE_ORDER) if pfn else MAX_PAGE_ORDER
            while pfn + (1 << order) > end_pfn:
                order -= 1
            self.free_area[order].add(pfn, False, MIGRATE_MOVABLE, to_tail=True)
            pfn += 1 << order

    @property
    def nr_dirty(self) -> int:
        """Free frames that the host may still hold memory for."""
        return sum(area.dirty_blocks << area.order for area in self.free_area)

    def free_by_type(self) -> list[list[int]]:
        """For each of MIGRATE_TYPES the free blocks of each order."""
        types = range(len(MIGRATE_TYPES))
        return [[area.nr_free[each] for area in self.free_area] for each in types]

    def pageblocks_by_type(self) -> list[int]:
        """For each of MIGRATE_TYPES the number of pageblocks that begin in the zone.

        Linux: mm/vmstat.c:pagetypeinfo_showblockcount_print()
        """
        first = self.start_pfn >> PAGEBLOCK_ORDER
        return [self._movable.count(each, first) for each in range(len(MIGRATE_TYPES))]

    # -- allocating ------------------------------------------------------------------------

    def alloc(self, order: int, clean: bool = True) -> int | None:
        """Take a block, the smallest that will do, splitting it as needed.

        With `clean` it reads as zeros, otherwise what is in it is left as it was.
        Linux: mm/page_alloc.c:__rmqueue()
        """
        for area in self.free_area[order:]:
            if area.nr_free[MIGRATE_UNMOVABLE]:
                pfn = area.first(MIGRATE_UNMOVABLE)
                return self._take(pfn, area.order, order, MIGRATE_UNMOVABLE, clean)
        return self._alloc_fallback(order, clean)

    def alloc_smallest(self, nr_pages: int) -> tuple[int, int] | None:
        """Take the first frames, `nr_pages` at the most, of the block that `alloc(0)` would split.

        Returns the first frame and the order of what was taken, which is clean.
        """
        for area in self.free_area:
            if area.nr_free[MIGRATE_UNMOVABLE]:
                order = min(area.order, nr_pages.bit_length() - 1)
                pfn = area.first(MIGRATE_UNMOVABLE)
                return self._take(pfn, area.order, order, MIGRATE_UNMOVABLE, True), order
        for area in reversed(self.free_area):
            if area.nr_free[MIGRATE_MOVABLE]:
                pfn = area.first(MIGRATE_MOVABLE)
                if self._claim(pfn, area.order):
                    return self.alloc_smallest(nr_pages)
                order = min(area.order, nr_pages.bit_length() - 1)
                return self._take(pfn, area.order, order, MIGRATE_MOVABLE, clean=True), order
        return None

    def _alloc_fallback(self, order: int, clean: bool) -> int | None:
        """Take from the largest movable block, and claim the pageblock around it.

        Linux: mm/page_alloc.c:__rmqueue_fallback(), steal_suitable_fallback()
        """
        for area in reversed(self.free_area[order:]):
            if area.nr_free[MIGRATE_MOVABLE]:
                pfn, high = area.first(MIGRATE_MOVABLE), area.order
                if self._claim(pfn, high):
                    return self.alloc(order, clean)
                return self._take(pfn, high, order, MIGRATE_MOVABLE, clean)
        return None

    def _claim(self, pfn: int, order: int) -> bool:
        """Make the pageblocks of a movable block unmovable, with all that is free in them.

        Returns False, and nothing has changed, where the zone has not all of the pageblock.
        Linux: mm/page_alloc.c:change_pageblock_range(), move_freepages_block()
        """
        start = pfn >> PAGEBLOCK_ORDER << PAGEBLOCK_ORDER
        end = max(start + (1 << PAGEBLOCK_ORDER), pfn + (1 << order))
        if start < self.start_pfn or end > self.end_pfn:
            return False
        at = start
        while at < end:
            found = self._order_at(at)
            if found is None:
                at += 1
                continue
            area = self.free_area[found]
            area.add(at, area.take(at, MIGRATE_MOVABLE), MIGRATE_UNMOVABLE, to_tail=True)
            at += 1 << found
        for number in range(start >> PAGEBLOCK_ORDER, end >> PAGEBLOCK_ORDER):
            self._movable[number] = MIGRATE_UNMOVABLE
        return True

    def _order_at(self, pfn: int) -> int | None:
        """The order of the free block that begins at a frame."""
        for area in self.free_area:
            if pfn & ((1 << area.order) - 1):
                return None
            if area.preceding[pfn >> area.order]:
                return area.order
        return None

    def _take(self, pfn: int, high: int, low: int, migratetype: int, clean: bool) -> int:
        """Take the block at `pfn` of order `high`, keep its first 2**`low` frames, free the rest.

        Linux: mm/page_alloc.c:expand()
        """
        dirty = self.free_area[high].take(pfn, migratetype)
        self.nr_free -= 1 << low
        while high > low:
            high -= 1
            self.free_area[high].add(pfn + (1 << high), dirty, migratetype)
        if dirty and clean:
            self._release(pfn, 1 << low)
        return pfn

    def alloc_random(self, count: int, rng: Random) -> tuple[list[int], int]:
        """Take up to `count` random blocks of the largest order that has any; they are clean.

        It takes a quarter of them at most, so that large blocks remain.  Returns the blocks'
        first frames, in random order, and their order; no blocks when nothing is free.
        """
        for area in reversed(self.free_area):
            nr_free = sum(area.nr_free)
            if nr_free:
                most = None if area.order == MAX_PAGE_ORDER else _SAMPLED
                blocks = [
                    pfn
                    for migratetype in range(len(MIGRATE_TYPES))
                    for pfn in islice(area.blocks(migratetype), most)
                ]
                blocks.reverse()
                count = min(count, (nr_free + 3) // 4, len(blocks))
                return [
                    self._take_whole(pfn, area) for pfn in rng.sample(blocks, count)
                ], area.order
        return [], 0

    def _take_whole(self, pfn: int, area: FreeArea) -> int:
        if self._movable[pfn >> PAGEBLOCK_ORDER]:
            self._claim(pfn, area.order)
        migratetype = self._movable[pfn >> PAGEBLOCK_ORDER]
        return self._take(pfn, area.order, area.order, migratetype, clean=True)

    # -- freeing ---------------------------------------------------------------------------

    def free(self, pfn: int, order: int, dirty: bool) -> None:
        """Give a block back, joining it with its buddy as often as that is free.

        It comes to the head of its list, or to the tail if it may soon be joined again, as the
        block one order up has a free buddy.
        Linux: mm/page_alloc.c:__free_one_page(), buddy_merge_likely()
        """
        areas, movable = self.free_area, self._movable
        migratetype = movable[pfn >> PAGEBLOCK_ORDER]
        self.nr_free += 1 << order
        while order < MAX_PAGE_ORDER:
            area = areas[order]
            buddy = pfn ^ (1 << order)
            if not area.preceding[buddy >> order]:
                break
            if order < PAGEBLOCK_ORDER:
                dirty |= area.take(buddy, migratetype)
            else:
                dirty |= area.take(buddy, movable[buddy >> PAGEBLOCK_ORDER])
                movable[buddy >> PAGEBLOCK_ORDER] = migratetype
            pfn &= buddy
            order += 1
        to_tail = False
        if order < MAX_PAGE_ORDER - 1:
            uncle = (pfn >> order + 1) ^ 1
            to_tail = areas[order + 1].preceding[uncle] > 0
        areas[order].add(pfn, dirty, migratetype, to_tail)

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
                for pfn in area.some_dirty(_SCANNED * nr_pages):
                    self._release(pfn, 1 << area.order)
                    area.clean(pfn)
                    nr_pages -= 1 << area.order
                if nr_pages <= 0:
                    return

    # -- the books -------------------------------------------------------------------------

    def is_free(self, pfn: int) -> bool:
        """Whether frame `pfn` lies in a free block."""
        return any(area.preceding[pfn >> area.order] for area in self.free_area)

    def __repr__(self) -> str:
        return f"<Buddy frames={self.start_pfn}..{self.end_pfn - 1} free={self.nr_free}>"

    def state(self) -> dict[str, list[list[int]] | list[int]]:
        """The free blocks of each list, and which pageblocks are movable, as plain data.

        Which blocks are dirty is the host's.
        """
        lists: dict[str, list[list[int]] | list[int]] = {
            name: [list(area.blocks(each)) for area in self.free_area]
            for each, name in enumerate(MIGRATE_TYPES)
        }
        return {**lists, "pageblocks": list(self._movable)}

    def check(self) -> set[int]:
        """Assert the invariants; return all free frames.  Slow: for tests.

        - a block lies in the zone and starts at a multiple of its length
        - no two free blocks overlap, and no two buddies are both free
        - each list's links agree in both directions, and it has `nr_free` blocks
        - a block is on the list of its pageblocks' type
        - `dirty_blocks` is the number of dirty blocks
        """
        free: set[int] = set()
        for area in self.free_area:
            order = area.order
            blocks = [list(area.blocks(each)) for each in range(len(MIGRATE_TYPES))]
            assert [len(each) for each in blocks] == area.nr_free
            assert area.dirty_blocks == sum(area.is_dirty(pfn) for each in blocks for pfn in each)
            for migratetype, pfns in enumerate(blocks):
                for pfn in pfns:
                    assert self.start_pfn <= pfn <= self.end_pfn - (1 << order)
                    assert pfn % (1 << order) == 0
                    before = (area.preceding[pfn >> order] >> 1) - 1
                    assert area.following[before] == pfn >> order
                    buddy = pfn ^ (1 << order)
                    assert order == MAX_PAGE_ORDER or not area.preceding[buddy >> order]
                    for at in range(pfn, pfn + (1 << order), 1 << PAGEBLOCK_ORDER):
                        assert self._movable[at >> PAGEBLOCK_ORDER] == migratetype
                    block = set(range(pfn, pfn + (1 << order)))
                    assert not free & block
                    free |= block
        assert len(free) == self.nr_free
        return free
