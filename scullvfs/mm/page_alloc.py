"""The page allocator: zones of page frames, and the per-cpu list in front of each.

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
from collections.abc import Callable, Iterator
from random import Random
from typing import Any, Final, NamedTuple

from .buddy import MAX_PAGE_ORDER, Buddy
from .errors import KernelBug
from .free_map import FreeMap
from .layout import PAGE_SHIFT, PAGE_SIZE, Layout
from .ram import ZERO_PAGE, Ram
from .workqueue import Workqueue

__all__ = ["MAX_PAGE_ORDER", "PageAllocator", "PageStatistics", "Zone", "ZoneStatistics"]

BATCH: Final = 512
"""Frames of a refill, at least."""
PCP_HIGH: Final = 4096
"""`idle_work()` leaves the host's memory behind this many freed frames as it is (16 MiB)."""
DECK_BLOCKS: Final = 64
"""Blocks that a shuffled refill deals from."""


class ZoneStatistics(NamedTuple):
    """A zone's books, in frames."""

    name: str
    total: int
    """Frames that can be handed out."""
    free: int
    """Frames not handed out, those on the per-cpu list included."""
    dirty: int
    """Free frames that the host may hold memory for."""


class PageStatistics(NamedTuple):
    """The page allocator's books, in frames."""

    total: int
    """Frames that can be handed out."""
    free: int
    """Frames not handed out, those on the per-cpu lists included."""
    dirty: int
    """Free frames that the host may hold memory for."""
    zones: tuple[ZoneStatistics, ...]
    """Lowest first."""


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
    """A range of frames with its buddy system and per-cpu list (Linux: struct zone)."""

    def __init__(
        self, name: str, start_pfn: int, end_pfn: int, ram: Ram, rng: Random | None
    ) -> None:
        self.name: Final = name
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
        """Give the host's memory behind up to `nr_pages` freed frames back; none of them moves."""
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
        total = self.buddy.end_pfn - self.buddy.start_pfn
        return ZoneStatistics(self.name, total, self.nr_free, self.nr_dirty)

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


class PageAllocator:
    """The page frames of a machine.  Frame 0 is never handed out.

    Args:
        seed: of the random order under `shuffle`.
        workqueue: what is done before anything is allocated or freed.
    """

    def __init__(
        self,
        ram: Ram,
        layout: Layout,
        shuffle: bool,
        seed: int,
        workqueue: Workqueue | None = None,
    ) -> None:
        self.workqueue: Final = Workqueue() if workqueue is None else workqueue
        self._page_offset = layout.page_offset
        rng = self._rng = Random(seed) if shuffle else None
        lowmem = min(ram.nr_pages, layout.lowmem >> PAGE_SHIFT)
        self._lowmem = Zone("Normal", 1, lowmem, ram, rng)
        self.zones: Final = [self._lowmem]
        """Lowest first.  The linear mapping reaches only the first one."""
        if ram.nr_pages > lowmem:
            self.zones.append(Zone("HighMem", lowmem, ram.nr_pages, ram, rng))
        self._highest = self.zones[-1]
        self.on_surplus: Callable[[], None] = lambda: None
        """Called when there may be work for `idle_work()` (Linux: wakeup_kswapd())."""
        self.totalram_pages: Final = ram.nr_pages - 1
        """Frames that can be handed out (Linux: totalram_pages())."""
        self.high_memory: Final = layout.page_offset + (lowmem << PAGE_SHIFT)
        """The first address behind the linear mapping."""

    def pfn_valid(self, pfn: int) -> bool:
        """Whether there is a page frame of that number (Linux: pfn_valid())."""
        return 0 <= pfn <= self.totalram_pages

    def alloc_pages_bulk(self, nr_pages: int, zero: bool = False) -> array[int] | None:
        """Allocate `nr_pages` single frames (1 or more), from high memory first.

        With `zero` they are filled with zeros (__GFP_ZERO).  None, and nothing is
        allocated, when fewer are free.  Linux: mm/page_alloc.c:alloc_pages_bulk_noprof()
        """
        if self.workqueue.pending:
            self.workqueue.flush()
        if nr_pages > len(self._highest.hot) and nr_pages > self.nr_free:
            return None  # before the last large block is broken up for nothing
        frames = self._highest.alloc_bulk(nr_pages, zero)
        if len(frames) < nr_pages and self._highest is not self._lowmem:
            frames.extend(self._lowmem.alloc_bulk(nr_pages - len(frames), zero))
        return frames

    def free_pages_bulk(self, frames: array[int]) -> None:
        """Free single frames, given in the order of `alloc_pages_bulk()`."""
        if self.workqueue.pending:
            self.workqueue.flush()
        if self._highest is self._lowmem:
            zone = self._lowmem
            zone.hot.extend(frames)
            if len(zone.hot) - zone.released > PCP_HIGH:
                self.on_surplus()
            return
        end = self._lowmem.buddy.end_pfn
        for pfn in frames:
            (self._lowmem if pfn < end else self._highest).hot.append(pfn)
        self.on_surplus()

    def alloc_pages(self, order: int) -> int | None:
        """Allocate 2**`order` contiguous frames that the linear mapping reaches, zeroed.

        Returns the first frame, or None.  Linux: mm/page_alloc.c:alloc_pages_noprof()
        """
        if order > MAX_PAGE_ORDER:
            return None
        if self.workqueue.pending:
            self.workqueue.flush()
        if not order:
            frames = self._lowmem.alloc_bulk(1, zero=True)
            return frames[0] if frames else None
        pfn = self._lowmem.buddy.alloc(order)
        if pfn is None and self._lowmem.nr_pcp:
            self._lowmem.drain()
            self.on_surplus()
            pfn = self._lowmem.buddy.alloc(order)
        return pfn

    def free_pages(self, pfn: int, order: int) -> None:
        """Free what `alloc_pages()` gave (Linux: mm/page_alloc.c:__free_pages()).

        Raises:
            KernelBug: there is no frame of that number, or it is free already (a frame that
                is still on the per-cpu list goes unnoticed; `check()` finds it).
        """
        if self.workqueue.pending:
            self.workqueue.flush()
        zone = self._lowmem
        if not zone.buddy.start_pfn <= pfn < zone.buddy.end_pfn or zone.buddy.is_free(pfn):
            raise KernelBug(f"BUG: Bad page state  pfn:{pfn:05x}")
        if order:
            zone.buddy.free(pfn, order, dirty=True)
        else:
            zone.hot.append(pfn)
        if order or len(zone.hot) - zone.released > PCP_HIGH:
            self.on_surplus()

    def get_free_pages(self, order: int) -> int | None:
        """As `alloc_pages()`, but the address in the linear mapping.

        Linux: mm/page_alloc.c:get_free_pages_noprof(), with __GFP_ZERO
        """
        pfn = self.alloc_pages(order)
        return None if pfn is None else self._page_offset + (pfn << PAGE_SHIFT)

    def free_get_pages(self, address: int, order: int) -> None:
        """Free what `get_free_pages()` gave (Linux: mm/page_alloc.c:free_pages())."""
        self.free_pages((address - self._page_offset) >> PAGE_SHIFT, order)

    def idle_work(self, nr_pages: int = 256) -> bool:
        """Do a slice of what can wait: give the host's memory behind free frames back.

        Goes over some `nr_pages` frames, which takes less than a millisecond.  No frame moves, so
        it does not show in which frames come next.  Returns whether there may be more to do.
        """
        for zone in self.zones:
            if zone.nr_surplus:
                zone.settle(nr_pages)
                return True
            if zone.buddy.nr_dirty:
                zone.buddy.release_dirty(nr_pages)
                return True
        return False

    @property
    def nr_free(self) -> int:
        """Frames not handed out."""
        return sum(zone.nr_free for zone in self.zones)

    def statistics(self) -> PageStatistics:
        """The books as they stand now."""
        return PageStatistics(
            total=self.totalram_pages,
            free=self.nr_free,
            dirty=sum(zone.nr_dirty for zone in self.zones),
            zones=tuple(zone.statistics() for zone in self.zones),
        )

    def free_by_order(self) -> dict[str, list[int]]:
        """Zone name -> free blocks of each order; see `Zone.free_by_order()` for what it takes."""
        return {zone.name: zone.free_by_order() for zone in self.zones}

    def __repr__(self) -> str:
        return f"<PageAllocator free={self.nr_free} of {self.totalram_pages} frames>"

    def state(self) -> dict[str, Any]:
        """What decides which frames come next, as plain data."""
        version, numbers, gauss = self._rng.getstate() if self._rng else (0, (), None)
        return {
            "random": [version, list(numbers), gauss],
            "zones": [zone.state() for zone in self.zones],
        }

    def check(self) -> set[int]:
        """Assert the invariants of all zones; return all free frames.  Slow: for tests."""
        free: set[int] = set()
        for zone in self.zones:
            free |= zone.check()
        assert len(free) == self.nr_free
        return free
