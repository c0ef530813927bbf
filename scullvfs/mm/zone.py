"""A zone: a range of page frames, with a buddy system and the per-cpu list in front of it.

Single frames come and go through the per-cpu list, which costs a slice of an array;
the buddy system below it is asked for many frames at once.

A frame moves like this (`pcp` is the per-cpu list):

        buddy --refill--> pcp.cold --alloc--> allocated --free--> pcp.hot --drain--> buddy
          |                                    ^  |  ^               |
          +------------alloc(order > 0)--------+  |  +----alloc------+
          ^                                       |
          +-------------free(order > 0)-----------+

`shuffle`: a machine that has been up for months hands out frames from all over RAM. With
it, a refill takes up to 64 random blocks of 4 MiB and deals their frames out in turns,
in a seeded random order (`_Deck`); a quarter of the large blocks at most is broken up ahead.
Without it, frames come as the buddy system gives them on a freshly booted machine.

The calls alone decide which frames come.  Idle work gives the host's memory behind free frames
back and moves none of them, so whether and when it is done does not show:

    hot    | released, mapped | mapped |  not yet   |     the last one freed is on top
           0             released  _mapped    len(hot)

Confessed: there is one CPU's list, and it has no end; Linux drains its list as soon as it is longer
than `high`, here that happens when a larger block is asked for and there is none, so that freeing
is quick.  What is told of free blocks (/proc/buddyinfo) is what there would be if the freed frames
went back (`FreeMap`).  Linux's MemFree leaves the list's frames out.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from random import Random
from typing import Any, Final, NamedTuple

from .buddy import Buddy
from .free_map import FreeMap
from .layout import PAGE_SHIFT, PAGE_SIZE
from .ram import ZERO_PAGE, Ram
from .watermark import zone_batchsize, zone_highsize, zone_watermarks

__all__ = ["PCP_HIGH", "Zone", "ZoneStatistics"]

BATCH: Final = 512
"""Frames of a refill, at least."""
PCP_HIGH: Final = 4096
"""`idle_work()` leaves the host's memory behind this many freed frames as it is (16 MiB)."""
FORGOTTEN: Final = 8
"""To forget so many frames takes as long as to release one."""
DRAINED: Final = 1 << 13
"""Freed frames that go back at once where a larger block is wanted."""
DECK_BLOCKS: Final = 64
"""Blocks that a shuffled refill deals from."""


class ZoneStatistics(NamedTuple):
    """A zone's books, in frames."""

    name: str
    start_pfn: int
    """The first frame."""
    spanned: int
    """From the first frame to the last, holes included; there are none."""
    present: int
    """Those that there are."""
    managed: int
    """Those that can be handed out."""
    free: int
    """Not handed out, with those on the per-cpu list, which Linux's NR_FREE_PAGES leaves out."""
    dirty: int
    """Free frames that the host may hold memory for."""
    wmark_min: int
    """Below so many free frames an allocation fails."""
    wmark_low: int
    wmark_high: int
    pcp_count: int
    """On the per-cpu list, `pcp_high` at the most."""
    pcp_batch: int
    """Frames that go to and from the per-cpu list at once."""
    pcp_high: int
    """Frames that the per-cpu list holds."""


class _Deck:
    """Clean frames of some random blocks, dealt one from each block in turn."""

    def __init__(self, blocks: list[int], order: int, rng: Random) -> None:
        size = 1 << order
        # A block starts at a multiple of its size: XOR with an offset below the size walks
        # through its frames, and with a random one first, differently in each block.
        self._blocks = [pfn ^ rng.randrange(size) for pfn in blocks]
        self._offsets = rng.sample(range(size), size) if blocks else []

    def __len__(self) -> int:
        return len(self._blocks) * len(self._offsets)

    def deal(self, count: int) -> array[int]:
        """At least `count` frames, unless fewer are left."""
        frames = array("I")
        while self._offsets and len(frames) < count:
            offset = self._offsets.pop()
            frames.extend([pfn ^ offset for pfn in self._blocks])
        return frames

    def state(self) -> list[list[int]]:
        """The blocks, and the offsets in them that are still to come."""
        return [list(self._blocks), list(self._offsets)]

    def frames(self) -> list[int]:
        """What is still to be dealt."""
        return [pfn ^ offset for offset in self._offsets for pfn in self._blocks]


class Zone:
    """A range of frames with its buddy system and per-cpu list (Linux: struct zone).

    Args:
        rng: gives the order under `shuffle`, None without it.
        lowmem_pages: frames of the machine that the linear mapping reaches.
    """

    def __init__(
        self,
        name: str,
        start_pfn: int,
        end_pfn: int,
        ram: Ram,
        rng: Random | None,
        lowmem_pages: int,
    ) -> None:
        self.name: Final = name
        self.managed: Final = end_pfn - start_pfn
        """Frames that can be handed out (Linux: zone_managed_pages())."""
        self.wmark: Final = zone_watermarks(self.managed, lowmem_pages, highmem=name == "HighMem")
        self.pcp_batch: Final = zone_batchsize(self.managed)
        """Frames that go to and from the per-cpu list at once."""
        self.pcp_high: Final = zone_highsize(self.wmark, self.pcp_batch)
        """Frames that the per-cpu list holds."""
        self.buddy: Final = Buddy(start_pfn, end_pfn, ram.release)
        self._ram = ram
        self._rng = rng
        self._deck = _Deck([], 0, Random(0))
        self.hot = array("I")
        """Frames that were freed, the last one on top."""
        self.released = 0
        """Of so many, from the bottom, the host holds no memory any more."""
        self._mapped = 0
        """So many, from the bottom, are in the map; at least those that are released."""
        self._map = FreeMap(end_pfn)
        self._unmapped = array("I")
        """Frames that are in the map, and were taken since."""
        self.cold = array("I")
        """Frames straight from the buddy system: they read as zeros."""

    @property
    def nr_pcp(self) -> int:
        """Frames on the per-cpu list."""
        return len(self.hot) + len(self.cold) + len(self._deck)

    @property
    def nr_free(self) -> int:
        """Frames not handed out."""
        return self.nr_pcp + self.buddy.nr_free

    def alloc_bulk(self, nr_pages: int, zero: bool) -> array[int]:
        """Take up to `nr_pages` frames; freed ones first, as they are still in the caches."""
        hot = self.hot
        left = len(hot) - nr_pages
        if left < 0:
            return self._alloc_bulk_cold(nr_pages, zero)
        frames = hot[left:]
        del hot[left:]
        clean = self._unsettle(left, frames) if left < self._mapped else 0
        if zero:
            self._clear(frames[clean:] if clean else frames)
        return frames

    def _unsettle(self, left: int, frames: array[int]) -> int:
        """All but the `left` lowest freed frames are taken; returns how many of them are clean."""
        clean = max(self.released - left, 0)
        self.released = min(self.released, left)
        self._unmapped.extend(frames[: max(self._mapped - left, 0)])
        self._mapped = min(self._mapped, left)
        return clean

    def _alloc_bulk_cold(self, nr_pages: int, zero: bool) -> array[int]:
        frames, self.hot = self.hot, array("I")
        clean = self._unsettle(0, frames)
        if zero:
            self._clear(frames[clean:])
        wanted = nr_pages - len(frames)
        if len(self.cold) < wanted:
            self._refill(wanted - len(self.cold))
        frames.extend(self.cold[: -wanted - 1 : -1])
        del self.cold[-wanted:]
        return frames

    def _refill(self, wanted: int) -> None:
        """Fetch `wanted` frames or more from the buddy system, if it has them."""
        wanted = max(wanted, BATCH)
        fetched = array("I")
        while len(fetched) < wanted:
            if self._rng is not None:
                if not self._deck:
                    self._deck = _Deck(*self.buddy.alloc_random(DECK_BLOCKS, self._rng), self._rng)
                frames = self._deck.deal(wanted - len(fetched))
            else:
                block = self.buddy.alloc_smallest(wanted - len(fetched))
                frames = array("I", _block(*block)) if block else array("I")
            if not frames:
                break
            fetched.extend(frames)
        fetched.reverse()  # frames are taken from the end
        self.cold = fetched + self.cold

    def _clear(self, frames: array[int]) -> None:
        view = self._ram.bytes
        for pfn in frames:
            phys = pfn << PAGE_SHIFT
            view[phys : phys + PAGE_SIZE] = ZERO_PAGE

    def drain_some(self) -> None:
        """Give those of the freed frames that have been on the list for longest back."""
        frames = self.hot[:DRAINED]
        del self.hot[:DRAINED]
        self.buddy.free_frames(frames, dirty=True)
        self._unmapped.extend(frames[: self._mapped])
        self.released = max(self.released - DRAINED, 0)
        self._mapped = max(self._mapped - DRAINED, 0)

    def drain(self) -> None:
        """Give the frames of the per-cpu list back to the buddy system.

        All freed ones count as dirty, since those that are not must not go in another order.
        Linux: mm/page_alloc.c:drain_all_pages()
        """
        self.buddy.free_frames(self.hot, dirty=True)
        self.buddy.free_frames(self.cold + self._deck.deal(len(self._deck)), dirty=False)
        self.hot, self.cold = array("I"), array("I")
        self.released = self._mapped = 0
        self._map, self._unmapped = FreeMap(self.buddy.end_pfn), array("I")

    @property
    def nr_surplus(self) -> int:
        """Freed frames that `settle()` has still to go over."""
        return max(len(self.hot) - PCP_HIGH - self.released, 0)

    @property
    def nr_dirty(self) -> int:
        """Free frames that the host may hold memory for."""
        return len(self.hot) - self.released + self.buddy.nr_dirty

    def settle(self, nr_pages: int) -> None:
        """Give the host's memory behind up to `nr_pages` freed frames back; none of them moves.

        Before that the map has to forget frames that were taken, some more of them at a time.
        """
        if self._unmapped:
            self._map.discard(self._unmapped[-FORGOTTEN * nr_pages :])
            del self._unmapped[-FORGOTTEN * nr_pages :]
            return
        end = self.released + min(nr_pages, self.nr_surplus)
        if self._mapped < end:
            self._map_to(end)
        for pfn, count in _runs(self.hot[self.released : end]):
            self._ram.release(pfn, count)
        self.released = end

    def _map_to(self, end: int) -> None:
        """Have the `end` lowest freed frames in the map, and none that was taken."""
        if self._unmapped:
            self._map.discard(self._unmapped)
            self._unmapped = array("I")
        self._map.add(self.hot[self._mapped : end])
        self._mapped = end

    def free_by_order(self) -> list[int]:
        """Free blocks of each order, as if the freed frames were given back.

        They are joined among themselves only.  It takes some milliseconds, and 0.1 us for each
        that was freed since idle work was done.
        """
        if self._unmapped or self._mapped < len(self.hot):
            self._map_to(len(self.hot))
        counts = [len(area.heads) for area in self.buddy.free_area]
        counts[0] += len(self.cold) + len(self._deck)
        return [sum(pair) for pair in zip(counts, self._map.blocks(), strict=True)]

    def statistics(self) -> ZoneStatistics:
        """The books as they stand now."""
        return ZoneStatistics(
            name=self.name,
            start_pfn=self.buddy.start_pfn,
            spanned=self.managed,
            present=self.managed,
            managed=self.managed,
            free=self.nr_free,
            dirty=self.nr_dirty,
            wmark_min=self.wmark.min,
            wmark_low=self.wmark.low,
            wmark_high=self.wmark.high,
            pcp_count=min(self.nr_pcp, self.pcp_high),
            pcp_batch=self.pcp_batch,
            pcp_high=self.pcp_high,
        )

    def __repr__(self) -> str:
        return f"<Zone {self.name} free={self.nr_free} pcp={self.nr_pcp}>"

    def state(self) -> dict[str, Any]:
        """What decides which frames come next, but for the random numbers; plain data."""
        return {
            "name": self.name,
            "hot": self.hot.tolist(),
            "cold": self.cold.tolist(),
            "deck": self._deck.state(),
            "buddy": self.buddy.state(),
        }

    def check(self) -> set[int]:
        """Assert the invariants; return all free frames.  Slow: for tests.

        - no frame is on the list twice, nor on the list and in the buddy system
        - a frame on `cold`, and a freed one that was released, reads as zeros
        - in the map are the freed frames that it says, and those taken since
        """
        free = self.buddy.check()
        for frames in (self.hot, self.cold, self._deck.frames()):
            listed = set(frames)
            assert len(listed) == len(frames)
            assert not free & listed
            free |= listed
        assert 0 <= self.released <= self._mapped <= len(self.hot)
        assert self._map.frames() == {*self.hot[: self._mapped], *self._unmapped}
        for pfn in self.hot[: self.released] + self.cold:
            # A copy: to compare a memoryview takes longer by far.
            assert bytes(self._ram.bytes[pfn << PAGE_SHIFT :][:PAGE_SIZE]) == ZERO_PAGE
        return free


def _runs(frames: array[int]) -> Iterator[tuple[int, int]]:
    """(first, how many) of the frames that follow each other, in ascending order."""
    first, end = -1, -1
    for pfn in sorted(frames):
        if pfn != end:
            if first >= 0:
                yield first, end - first
            first = pfn
        end = pfn + 1
    if first >= 0:
        yield first, end - first


def _block(pfn: int, order: int) -> range:
    return range(pfn, pfn + (1 << order))
