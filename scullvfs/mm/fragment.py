"""A zone whose free frames are in small pieces from the start: what `fragment=PERCENT` makes.

Blocks of 4 MiB, chosen at random, are *broken*: one page of every 16 in them is taken for good, so
that no block of 16 is left, however much is free.

    frames    |...x............|............x...|.x..............|  and so on, 64 of these 16
    pieces     2  1 4     8      8       4    1 2 1  2 4     8      sizes in frames

What takes them is one file in a ramfs: single pages that are neither movable nor ever given back
(Linux: fs/ramfs/inode.c:ramfs_get_inode(), GFP_HIGHUSER and mapping_set_unevictable()).  As there,
they count as Cached and Unevictable.  It is a 16th of what is broken.

The places are the same in all broken blocks, but for a mask: the frame at place p of block b is
b ^ mask ^ p.  So two numbers say all of a block, and its pieces are put on the lists of the buddy
system only when one of them is wanted.  Until then it is *folded*:

    folded --a piece is wanted--> on the lists            folded --a shuffled refill--> in a `Deck`

Single frames and blocks of up to 8 come from the pieces as long as there are any, shuffled or not.
Confessed: there is no such file, only its pages; nobody can read it.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from random import Random
from typing import Final

from .buddy import MAX_PAGE_ORDER, Broken, Buddy, BuddyState
from .deck import Deck
from .free_list import MIGRATE_MOVABLE, MIGRATE_UNMOVABLE
from .restoring import Claims, StateError

__all__ = ["UNBROKEN_ORDER", "FragmentedBuddy"]

UNBROKEN_ORDER: Final = 4
"""A broken block has no block of this order, nor of a higher one."""
GROUP: Final = 1 << UNBROKEN_ORDER
"""Frames of which one is taken."""
BLOCK: Final = 1 << MAX_PAGE_ORDER
NR_GROUPS: Final = BLOCK // GROUP
"""Taken frames of a broken block."""

DECK_FOLDED: Final = 8
"""Folded blocks that a shuffled refill deals from."""
DECK_PIECES: Final = 64
"""Pieces that it deals from when no block is folded any more."""
DECK_WHOLE: Final = 4
"""Whole blocks that it deals from when there is no piece."""
SAMPLED: Final = 256
"""A random piece is among so many at the most."""


class FragmentedBuddy(Buddy):
    """As `Buddy`, with `percent` of the free frames in pieces below UNBROKEN_ORDER, or nearly.

    Args:
        percent: 1 to 100.
        rng: chooses what is broken, and where.
    """

    def __init__(
        self,
        start_pfn: int,
        end_pfn: int,
        release: Callable[[int, int], None],
        percent: int,
        rng: Random,
    ) -> None:
        super().__init__(start_pfn, end_pfn, release)
        self._places: Final = [at + rng.randrange(GROUP) for at in range(0, BLOCK, GROUP)]
        """Of the taken frames in a broken block."""
        self._free_places: Final = sorted({*range(BLOCK)}.difference(self._places))
        self._masks: dict[int, int] = {}
        """Number of each block that was broken as a whole -> its mask."""
        self._folded: dict[int, int] = {}
        """Those of them that are folded; the last one is unfolded first."""
        self._groups_in_all: Final = max(end_pfn // GROUP - -(-start_pfn // GROUP), 0)
        """Groups of 16 frames that are all in the zone."""
        self._others: Final = array("I")
        """Taken frames of blocks that are broken in part."""
        self._break(self._nr_groups(percent), rng)
        self.nr_unevictable = NR_GROUPS * len(self._masks) + len(self._others)

    # -- breaking --------------------------------------------------------------------------

    def _nr_groups(self, percent: int) -> int:
        """How many groups of 16 frames to take one of, so that the index is `percent`.

        Of the zone's `nr_free` frames, `small` lie in no whole group.  The index of n groups is
        (small + 15 n) / (nr_free - n).  It is made half a thousandth more, as it is shown cut off,
        and what the boot takes comes from the pieces.
        """
        whole = self._groups_in_all
        small = self.nr_free - whole * GROUP
        aim = (percent + 0.05) / 100
        wanted = (aim * self.nr_free - small) / (GROUP - 1 + aim)
        return min(max(round(wanted), 0), whole)

    def _break(self, nr_groups: int, rng: Random) -> None:
        """Break whole blocks first, then one in part; the zone's ends come last."""
        whole = range(-(-self.start_pfn // BLOCK), self.end_pfn // BLOCK)
        count = min(nr_groups // NR_GROUPS, len(whole))
        order = rng.sample(whole, min(count + 1, len(whole)))
        for number, mask in zip(order, rng.choices(range(BLOCK), k=count), strict=False):
            self._fold(number, mask)
        left = nr_groups - count * NR_GROUPS
        ends = sorted({self.start_pfn // BLOCK, (self.end_pfn - 1) // BLOCK}.difference(whole))
        for number in (*order[count:], *ends):
            if left:
                left -= self._break_in_part(number, rng.randrange(BLOCK), left)

    def _fold(self, number: int, mask: int) -> None:
        """Break a block that is all free."""
        pfn = number * BLOCK
        self.free_area[MAX_PAGE_ORDER].take(pfn, MIGRATE_MOVABLE)
        self._make_unmovable(pfn, pfn + BLOCK)
        self._masks[number] = self._folded[number] = mask
        self.nr_free -= NR_GROUPS

    def _break_in_part(self, number: int, mask: int, most: int) -> int:
        """Break up to `most` groups of a block, of which the zone may have a part; how many."""
        start = max(number * BLOCK, self.start_pfn)
        end = min(number * BLOCK + BLOCK, self.end_pfn)
        taken = [number * BLOCK ^ mask ^ place for place in self._places]
        whole = range(-(-start // GROUP), end // GROUP)
        chosen = sorted(pfn for pfn in taken if pfn // GROUP in whole)[:most]
        if not chosen:
            return 0
        at = start
        while at < end:
            order = self._order_at(at)
            assert order is not None, "all of it is free"
            self.free_area[order].take(at, MIGRATE_MOVABLE)
            at += 1 << order
        self.nr_free -= end - start
        self._make_unmovable(start, end)
        self.free_frames(array("I", sorted({*range(start, end)}.difference(chosen))), dirty=False)
        self._others.extend(chosen)
        return len(chosen)

    # -- allocating ------------------------------------------------------------------------

    def alloc(self, order: int, clean: bool = True) -> int | None:
        """As `Buddy.alloc()`, with the pieces of folded blocks."""
        self._unfold_for(order)
        return super().alloc(order, clean)

    def alloc_smallest(self, nr_pages: int) -> tuple[int, int] | None:
        """As `Buddy.alloc_smallest()`, with the pieces of folded blocks."""
        self._unfold_for(0)
        return super().alloc_smallest(nr_pages)

    def _unfold_for(self, order: int) -> None:
        """Have a piece of `order` or more on a list, if a folded block has one."""
        pieces = self.free_area[order:UNBROKEN_ORDER]
        if self._folded and pieces and not any(area.nr_free[MIGRATE_UNMOVABLE] for area in pieces):
            number, mask = self._folded.popitem()
            for place in self._places:
                taken = number * BLOCK ^ mask ^ place
                for area in self.free_area[:UNBROKEN_ORDER]:  # its buddy of each order
                    pfn = (taken >> area.order ^ 1) << area.order
                    area.add(pfn, False, MIGRATE_UNMOVABLE, to_tail=True)

    def shuffled(self, rng: Random) -> Deck:
        """As `Buddy.shuffled()`: of pieces from all over RAM, and of whole blocks if there is none.

        A quarter of the folded blocks at the most, so that there are pieces of more than a frame.
        """
        if self._folded:
            count = min(DECK_FOLDED, (len(self._folded) + 3) // 4)
            blocks = [self._folded.popitem() for _ in range(count)]
            self.nr_free -= count * len(self._free_places)
            places = rng.sample(self._free_places, len(self._free_places))
            return Deck.of([number * BLOCK ^ mask for number, mask in blocks], places)
        for area in self.free_area[:UNBROKEN_ORDER]:
            if any(area.nr_free):
                return Deck(self.take_random(area, DECK_PIECES, SAMPLED, rng), area.order, rng)
        return Deck(*self.alloc_random(DECK_WHOLE, rng), rng)

    def may_have(self, order: int) -> bool:
        """As `Buddy.may_have()`: not if every group is broken."""
        return order < UNBROKEN_ORDER or self.nr_unevictable < self._groups_in_all

    # -- the books -------------------------------------------------------------------------

    def is_free(self, pfn: int) -> bool:
        """As `Buddy.is_free()`; of a folded block no frame can be freed."""
        return super().is_free(pfn) or pfn // BLOCK in self._folded

    def free_by_type(self) -> list[list[int]]:
        """As `Buddy.free_by_type()`, with the pieces of folded blocks."""
        types = super().free_by_type()
        for order in range(UNBROKEN_ORDER):
            types[MIGRATE_UNMOVABLE][order] += NR_GROUPS * len(self._folded)
        return types

    def unevictable(self) -> set[int]:
        """The taken frames.  Slow: for tests."""
        return {
            *self._others,
            *(
                number * BLOCK ^ mask ^ place
                for number, mask in self._masks.items()
                for place in self._places
            ),
        }

    def unlisted(self) -> set[int]:
        """The free frames of folded blocks."""
        return {
            number * BLOCK ^ mask ^ place
            for number, mask in self._folded.items()
            for place in self._free_places
        }

    def __repr__(self) -> str:
        return f"<FragmentedBuddy free={self.nr_free} taken={self.nr_unevictable}>"

    def state(self) -> BuddyState:
        """As `Buddy.state()`, and what is broken and folded."""
        return {**super().state(), "broken": self._broken()}

    def _broken(self) -> Broken:
        return {
            "places": list(self._places),
            "masks": [*self._masks.items()],
            "folded": list(self._folded),
            "others": self._others.tolist(),
        }

    def restore(self, state: BuddyState, claims: Claims) -> None:
        """As `Buddy.restore()`; what is broken was so from the start, and cannot be other."""
        super().restore(state, claims)
        broken = state["broken"]
        if broken is None or {**broken, "folded": []} != {**self._broken(), "folded": []}:
            raise StateError("other blocks are broken")
        self._folded.clear()
        self._folded.update((number, self._masks[number]) for number in broken["folded"])
        self.nr_free += len(self._folded) * len(self._free_places)
        claims.take_each(self._others)
        for number, mask in self._masks.items():
            if number in self._folded:
                claims.take(number * BLOCK, BLOCK)
            else:
                claims.take_each(number * BLOCK ^ mask ^ place for place in self._places)

    def check(self) -> set[int]:
        """As `Buddy.check()`, and no taken frame is free; as many are taken as counted."""
        free, taken = super().check(), self.unevictable()
        assert not free & taken
        assert len(taken) == self.nr_unevictable
        assert set(self._folded.items()) <= set(self._masks.items())
        return free
