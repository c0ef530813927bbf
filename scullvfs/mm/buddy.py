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
from typing import Final, TypedDict

from .deck import Deck
from .free_list import MIGRATE_MOVABLE, MIGRATE_TYPES, MIGRATE_UNMOVABLE, FreeArea
from .restoring import Claims, StateError

__all__ = [
    "MAX_PAGE_ORDER",
    "PAGEBLOCK_ORDER",
    "Broken",
    "Buddy",
    "BuddyState",
]

MAX_PAGE_ORDER: Final = 10
"""The largest block is 2**10 frames, 4 MiB (Linux: include/linux/mmzone.h)."""
PAGEBLOCK_ORDER: Final = 9
"""A pageblock is 2**9 frames (Linux: include/linux/pageblock-flags.h, with huge pages of 2 MiB)."""

DECK_BLOCKS: Final = 64
"""Blocks that `Buddy.shuffled()` deals from."""
_SAMPLED: Final = 4096
"""A random one is among so many, but of the largest order, at the most."""
_SCANNED: Final = 8
"""To see whether a block is dirty takes so much less time than to release a frame."""


class Broken(TypedDict):
    """What is in pieces from the start (`fragment`)."""

    places: list[int]
    masks: list[tuple[int, int]]
    """Number and mask of each block."""
    folded: list[int]
    others: list[int]


class BuddyState(TypedDict):
    """The free blocks, and the pageblocks."""

    blocks: list[list[list[int]]]
    """For each of MIGRATE_TYPES and each order the first frames, from the head of the list on."""
    pageblocks: list[int]
    """The type of each."""
    broken: Broken | None


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
        self.nr_unevictable = 0
        """Frames that were never free, as they hold the others apart (`fragment`)."""
        self.free_area: Final = [FreeArea(order, end_pfn) for order in range(MAX_PAGE_ORDER + 1)]
        nr_pageblocks = ((end_pfn - 1) >> PAGEBLOCK_ORDER) + 1
        self._pageblock_types: Final = bytearray([MIGRATE_MOVABLE]) * nr_pageblocks
        """The migrate type of each pageblock."""
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

    def free_by_order(self) -> list[int]:
        """Free blocks of each order, of whatever type."""
        return [sum(counts) for counts in zip(*self.free_by_type(), strict=True)]

    def pageblocks_by_type(self) -> list[int]:
        """For each of MIGRATE_TYPES the number of pageblocks that begin in the zone.

        Linux: mm/vmstat.c:pagetypeinfo_showblockcount_print()
        """
        first = self.start_pfn >> PAGEBLOCK_ORDER
        return [self._pageblock_types.count(each, first) for each in range(len(MIGRATE_TYPES))]

    def free_in(self, first: int, end: int) -> Iterator[tuple[int, int]]:
        """(first frame, order) of the free blocks that have some of the frames `first`..`end` - 1.

        It goes over the numbers of these frames, whatever else there is.
        """
        first, end = max(first, self.start_pfn), min(end, self.end_pfn)
        if first < end:
            for area in self.free_area:
                if any(area.nr_free):
                    yield from ((pfn, area.order) for pfn in area.free_in(first, end))

    def pageblock_type(self, pfn: int) -> str:
        """The migrate type of the pageblock that a frame lies in."""
        return MIGRATE_TYPES[self._pageblock_types[pfn >> PAGEBLOCK_ORDER]]

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
        Linux: mm/page_alloc.c:move_freepages_block()
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
        self._make_unmovable(start, end)
        return True

    def _make_unmovable(self, start: int, end: int) -> None:
        """Have the pageblocks of some frames be unmovable, where all that is free in them is.

        Linux: mm/page_alloc.c:change_pageblock_range()
        """
        for number in range(start >> PAGEBLOCK_ORDER, (end - 1 >> PAGEBLOCK_ORDER) + 1):
            self._pageblock_types[number] = MIGRATE_UNMOVABLE

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

    def may_have(self, order: int) -> bool:
        """Whether there is a block of `order` if all frames are free that can be."""
        return True

    def shuffled(self, rng: Random) -> Deck:
        """Take some blocks from all over the zone; a deck of their frames, empty if there is none.

        They are clean.
        """
        return Deck(*self.alloc_random(DECK_BLOCKS, rng), rng)

    def alloc_random(self, count: int, rng: Random) -> tuple[list[int], int]:
        """Take up to `count` random blocks of the largest order that has any; they are clean.

        It takes a quarter of them at most, so that large blocks remain.  Returns the blocks'
        first frames, in random order, and their order; no blocks when nothing is free.
        """
        for area in reversed(self.free_area):
            nr_free = sum(area.nr_free)
            if nr_free:
                most = None if area.order == MAX_PAGE_ORDER else _SAMPLED
                count = min(count, (nr_free + 3) // 4)
                return self.take_random(area, count, most, rng), area.order
        return [], 0

    def take_random(self, area: FreeArea, count: int, most: int | None, rng: Random) -> list[int]:
        """Take up to `count` random blocks among the first `most` of each list; they are clean."""
        blocks = [
            pfn
            for migratetype in range(len(MIGRATE_TYPES))
            for pfn in islice(area.blocks(migratetype), most)
        ]
        blocks.reverse()
        chosen = rng.sample(blocks, min(count, len(blocks)))
        return [self._take_whole(pfn, area) for pfn in chosen]

    def _take_whole(self, pfn: int, area: FreeArea) -> int:
        if self._pageblock_types[pfn >> PAGEBLOCK_ORDER] == MIGRATE_MOVABLE:
            self._claim(pfn, area.order)
        migratetype = self._pageblock_types[pfn >> PAGEBLOCK_ORDER]
        return self._take(pfn, area.order, area.order, migratetype, clean=True)

    # -- freeing ---------------------------------------------------------------------------

    def free(self, pfn: int, order: int, dirty: bool, to_tail: bool = False) -> None:
        """Give a block back, joining it with its buddy as often as that is free.

        It comes to the head of its list, or to the tail if it may soon be joined again, as the
        block one order up has a free buddy; with `to_tail` always (Linux: FPI_TO_TAIL).
        Linux: mm/page_alloc.c:__free_one_page(), buddy_merge_likely()
        """
        areas, types = self.free_area, self._pageblock_types
        migratetype = types[pfn >> PAGEBLOCK_ORDER]
        self.nr_free += 1 << order
        while order < MAX_PAGE_ORDER:
            area = areas[order]
            buddy = pfn ^ (1 << order)
            if not area.preceding[buddy >> order]:
                break
            if order < PAGEBLOCK_ORDER:
                dirty |= area.take(buddy, migratetype)
            else:
                dirty |= area.take(buddy, types[buddy >> PAGEBLOCK_ORDER])
                types[buddy >> PAGEBLOCK_ORDER] = migratetype
            pfn &= buddy
            order += 1
        if not to_tail and order < MAX_PAGE_ORDER - 1:
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

    def overwritten(self, frames: range) -> list[range]:
        """Somebody has written to some frames; returns those that are free: they are dirty now."""
        return [found for area in self.free_area for found in area.overwritten(frames)]

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

    def unevictable(self) -> set[int]:
        """The frames of `nr_unevictable`.  Slow: for tests."""
        return set()

    def unlisted(self) -> set[int]:
        """Free frames that are on no list.  Slow: for tests."""
        return set()

    def __repr__(self) -> str:
        return f"<Buddy frames={self.start_pfn}..{self.end_pfn - 1} free={self.nr_free}>"

    def state(self) -> BuddyState:
        """The free blocks of each list, and which pageblocks are movable, as plain data.

        Which blocks are dirty is the host's.
        """
        types = range(len(MIGRATE_TYPES))
        return {
            "blocks": [[list(area.blocks(each)) for area in self.free_area] for each in types],
            "pageblocks": list(self._pageblock_types),
            "broken": None,
        }

    def restore(self, state: BuddyState, claims: Claims) -> None:
        """Have these blocks free, all of them clean."""
        if len(state["pageblocks"]) != len(self._pageblock_types):
            raise StateError("pageblocks of another zone")
        types = range(len(MIGRATE_TYPES))
        if not {*state["pageblocks"]} <= {*types}:
            raise StateError("a pageblock of a type that there is not")
        self._pageblock_types[:] = bytes(state["pageblocks"])
        self.nr_free = 0
        for area in self.free_area:
            for each in types:
                for pfn in [*area.blocks(each)]:
                    area.take(pfn, each)
        for each, lists in zip(types, state["blocks"], strict=True):
            for area, blocks in zip(self.free_area, lists, strict=True):
                self._restore_blocks(area, blocks, each, claims)

    def _restore_blocks(
        self, area: FreeArea, blocks: list[int], migratetype: int, claims: Claims
    ) -> None:
        order, size = area.order, 1 << area.order
        for pfn in blocks:
            if pfn % size or not self.start_pfn <= pfn <= self.end_pfn - size:
                raise StateError(f"no block of order {order} at frame {pfn}")
            claims.take(pfn, size)
            pageblocks = range(pfn >> PAGEBLOCK_ORDER, (pfn + size - 1 >> PAGEBLOCK_ORDER) + 1)
            if any(self._pageblock_types[number] != migratetype for number in pageblocks):
                raise StateError(f"frame {pfn} is on another type's list")
            if order < MAX_PAGE_ORDER and area.preceding[(pfn ^ size) >> order]:
                raise StateError(f"frame {pfn} and its buddy are both free")
            area.add(pfn, False, migratetype, to_tail=True)
            self.nr_free += size

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
                        assert self._pageblock_types[at >> PAGEBLOCK_ORDER] == migratetype
                    block = set(range(pfn, pfn + (1 << order)))
                    assert not free & block
                    free |= block
        assert not free & self.unlisted()
        free |= self.unlisted()
        assert len(free) == self.nr_free
        return free
