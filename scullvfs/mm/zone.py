"""A zone: a range of page frames, with a buddy system and the per-cpu list in front of it.

Single frames come and go through the per-cpu list, which costs a slice of an array, and blocks of
up to 8 frames through one for each order; the buddy system below is asked for many at once.  The
last one freed is the next one given, and who finds the list empty fetches `batch` frames or more.

A frame moves like this (`pcp` is the per-cpu list):

        buddy --refill--> pcp.cold --alloc--> allocated --free--> pcp.hot --drain--> buddy
          |                                    ^  |  ^               |
          +------------alloc(order > 3)--------+  |  +----alloc------+
          ^                                       |
          +-------------free(order > 3)-----------+

`shuffle`: a machine that has been up for months hands out frames from all over RAM. With
it, a refill takes up to 64 random blocks of 4 MiB and deals their frames out in turns,
in a seeded random order (`Deck`); a quarter of the large blocks at most is broken up ahead.
Without it, frames come as the buddy system gives them on a freshly booted machine.

The calls alone decide which frames come.  Idle work gives the host's memory behind free frames
back and moves none of them, so whether and when it is done does not show:

    hot    | released |      not yet        |    the last one freed is on top
           0                            len(hot)

Confessed: there is one CPU's list, and freed single frames stay on it.  Linux gives those that have
been on it for longest back as soon as there are more than `high`; here that happens when a larger
block is asked for and there is none, so that freeing is quick.  What is told of free blocks
(/proc/buddyinfo) has them as the blocks that they make among themselves (`pcp_map`), while Linux
leaves the frames of the list out of it, and of MemFree.  In Linux `high` may grow up to an eighth
of the zone while frames come and go, and shrinks by the clock.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from random import Random
from typing import Final, NamedTuple, TypedDict

from .buddy import Buddy, BuddyState
from .deck import Deck
from .fragment import FragmentedBuddy
from .free_list import MIGRATE_MOVABLE, MIGRATE_TYPES
from .layout import PAGE_SHIFT, PAGE_SIZE
from .pcp import COSTLY_ORDER, PcpBlocks
from .pcp_map import PcpMap
from .ram import ZERO_PAGE, Ram
from .restoring import Claims, StateError
from .watermark import zone_batchsize, zone_highsize, zone_watermarks

__all__ = ["KEPT", "Listed", "Zone", "ZoneState", "ZoneStatistics"]

KEPT: Final = 8192
"""`idle_work()` leaves the host's memory behind this many freed frames as it is (32 MiB): those
that are to be given next, without a page fault of the host for each."""
BATCH_SCALE_MAX: Final = 5
"""A refill grows up to 2**5 times the batch (Linux: CONFIG_PCP_BATCH_SCALE_MAX)."""
DRAINED: Final = 1 << 13
"""Freed frames that go back at once where a larger block is wanted."""


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
    unevictable: int
    """Pages of a file that hold the free ones apart (`fragment`), not free themselves."""
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


class ZoneState(TypedDict):
    """Which frames come next."""

    name: str
    hot: list[int]
    cold: list[int]
    overwritten_cold: list[int]
    deck: tuple[list[int], list[int]]
    blocks: list[list[int]]
    alloc_factor: int
    buddy: BuddyState


class Listed(NamedTuple):
    """Frames from the per-cpu list, and what was there before."""

    frames: array[int]
    dirty: int
    """Of so many, the first ones, it is not known that they read as zeros."""
    hot: bool
    """Whether somebody had freed them."""
    released: int


class Zone:
    """A range of frames with its buddy system and per-cpu list (Linux: struct zone).

    Args:
        rng: gives the order under `shuffle`, None without it.
        lowmem_pages: frames of the machine that the linear mapping reaches.
        fragment: percent of the free frames that are in pieces from the start.
        fragment_rng: chooses where.
        keep: what is in free frames stays there, so that the next owner finds it; without, they may
            read as zeros at any time.
    """

    def __init__(
        self,
        name: str,
        start_pfn: int,
        end_pfn: int,
        ram: Ram,
        rng: Random | None,
        lowmem_pages: int,
        cpus: int,
        fragment: int = 0,
        fragment_rng: Random | None = None,
        keep: bool = False,
    ) -> None:
        self.name: Final = name
        self.managed: Final = end_pfn - start_pfn
        """Frames that can be handed out (Linux: zone_managed_pages())."""
        self.wmark: Final = zone_watermarks(self.managed, lowmem_pages, highmem=name == "HighMem")
        self.pcp_batch: Final = zone_batchsize(self.managed)
        """Frames that go to and from the per-cpu list at once."""
        self.pcp_high: Final = zone_highsize(self.wmark, self.pcp_batch, cpus)
        """Frames that the per-cpu list holds."""
        release = _stays if keep else ram.release
        self.buddy: Final = (
            FragmentedBuddy(start_pfn, end_pfn, release, fragment, fragment_rng)
            if fragment and fragment_rng
            else Buddy(start_pfn, end_pfn, release)
        )
        self._ram = ram
        self._keep: Final = keep
        self._clear_pages: Final = ram.clear_used_pages if keep else ram.clear_pages
        self._rng = rng
        self._deck = Deck([], 0, Random(0))
        self.hot = array("I")
        """Single frames that were freed, the last one on top."""
        self.released = 0
        """Of so many, from the bottom, the host holds no memory any more."""
        self.map: Final = PcpMap(end_pfn)
        """What they would be as blocks."""
        self.cold = array("I")
        """Frames straight from the buddy system: they read as zeros, if nothing is kept."""
        self.overwritten_cold: set[int] = set()
        """Those that are still to come from there, and do not read as zeros any more, since
        somebody has written where he has nothing."""
        self.blocks: Final = PcpBlocks()
        """Blocks of up to 8 frames on the list."""
        self.alloc_factor = 0
        """How often the batch is doubled: more when it is used up, less when a frame is freed."""

    # -- single frames ---------------------------------------------------------------------

    @property
    def nr_pcp(self) -> int:
        """Frames in front of the buddy system."""
        return len(self.hot) + len(self.cold) + len(self._deck) + self.blocks.nr_pages

    @property
    def nr_free(self) -> int:
        """Frames not handed out."""
        return self.nr_pcp + self.buddy.nr_free

    def alloc_bulk(self, nr_pages: int, zero: bool) -> array[int]:
        """Take up to `nr_pages` frames; freed ones first, the last one freed before the others.

        Linux: mm/page_alloc.c:rmqueue_pcplist()
        """
        hot = self.hot
        left = len(hot) - nr_pages
        if left < 0:
            return self._alloc_bulk_cold(nr_pages, zero)
        frames = hot[left:]
        del hot[left:]
        frames.reverse()
        clean = 0
        if left < self.released or left < self.map.mapped:
            clean = self._unsettle(left, frames)
        if zero:
            self._clear_pages(frames[: nr_pages - clean] if clean else frames)
        return frames

    @property
    def nr_listed(self) -> int:
        """Frames that `alloc_listed()` can give."""
        return len(self.hot) or (0 if self.overwritten_cold else len(self.cold))

    def alloc_listed(self, nr_pages: int) -> Listed:
        """Take frames that are on the per-cpu list, without filling them with zeros.

        They are what calls of `alloc_bulk()` would give.  Only where free frames keep nothing.
        """
        hot, released = bool(self.hot), self.released
        frames = self.alloc_bulk(nr_pages, zero=False)
        dirty = nr_pages - (released - self.released) if hot else 0
        return Listed(frames, dirty, hot, released)

    def put_listed(self, listed: Listed, first: int) -> None:
        """Have the frames from place `first` on as if they had never been taken.

        Nobody has taken or freed any since, or written to these.
        """
        frames = listed.frames[first:]
        frames.reverse()
        if listed.hot:
            self.hot += frames
            self.released = min(listed.released, len(self.hot))
        else:
            self.cold += frames

    def _unsettle(self, left: int, frames: array[int]) -> int:
        """All but the `left` lowest freed frames are taken; returns how many of them are clean.

        The clean ones are the last of `frames`.
        """
        clean = max(self.released - left, 0)
        self.released -= clean
        self.map.taken(frames, left)
        return clean

    def _alloc_bulk_cold(self, nr_pages: int, zero: bool) -> array[int]:
        frames, self.hot = self.hot, array("I")
        frames.reverse()
        clean = self._unsettle(0, frames)
        if zero:
            self._clear_pages(frames[: len(frames) - clean])
        wanted = nr_pages - len(frames)
        if len(self.cold) < wanted:
            self._refill(wanted - len(self.cold))
        cold = self.cold[: -wanted - 1 : -1]
        del self.cold[-wanted:]
        if zero and self._keep:
            self._clear_pages(cold)
        frames.extend(cold)
        if self.overwritten_cold:
            spoiled = self.overwritten_cold.intersection(frames)
            self.overwritten_cold -= spoiled
            if zero:
                self._ram.clear_pages(spoiled)
        return frames

    def _nr_alloc(self, order: int) -> int:
        """Blocks that a refill fetches at once (Linux: mm/page_alloc.c:nr_pcp_alloc())."""
        batch = self.pcp_batch
        if not order:
            most = max(self.pcp_high - self.blocks.nr_pages - batch, batch)
            batch <<= self.alloc_factor
            if batch <= most and self.alloc_factor < BATCH_SCALE_MAX:
                self.alloc_factor += 1
            batch = min(batch, most)
        return max(batch >> order, 2) if batch > 1 else batch

    def _refill(self, wanted: int) -> None:
        """Fetch batches until there are `wanted` frames or more, if the buddy system has them.

        Linux: mm/page_alloc.c:rmqueue_bulk()
        """
        count = 0
        while count < wanted:
            count += self._nr_alloc(0)
        fetched = array("I")
        while len(fetched) < count:
            frames = self._fetch(count - len(fetched))
            if not frames:
                if not self.blocks.nr_pages or len(fetched) >= wanted:
                    break
                self._drain_blocks(self.blocks.nr_pages)
            fetched.extend(frames)
        fetched.reverse()  # frames are taken from the end
        self.cold = fetched + self.cold

    def _fetch(self, count: int) -> array[int]:
        """Some frames, `count` or less but under `shuffle`; none if the buddy system has none."""
        if self._rng is None:
            block = self.buddy.alloc_smallest(count)
            return array("I", _block(*block)) if block else array("I")
        if not self._deck:
            self._deck = self.buddy.shuffled(self._rng)
        return self._deck.deal(count)

    # -- blocks ----------------------------------------------------------------------------

    def alloc_block(self, order: int, zero: bool) -> int | None:
        """Take a block of order 1 or more (Linux: mm/page_alloc.c:rmqueue())."""
        if order > COSTLY_ORDER:
            pfn = self.buddy.alloc(order, clean=zero)
            if zero and self._keep and pfn is not None:
                self._clear_pages(_block(pfn, order))
            return pfn
        taken = self.blocks.take(order) or self._fetch_blocks(order)
        if taken is None:
            return None
        pfn, clean = taken
        if zero and (self._keep or not clean):
            self._clear_pages(_block(pfn, order))
        return pfn

    def alloc_drained(self, order: int, zero: bool) -> int | None:
        """As `alloc_block()`, which found none, with what the per-cpu list gives back."""
        if not self.buddy.may_have(order):
            return None
        pfn = None
        while pfn is None and self.hot:
            self.drain_some()
            pfn = self.alloc_block(order, zero)
        if pfn is None:
            self.drain()
            pfn = self.alloc_block(order, zero)
        return pfn

    def _fetch_blocks(self, order: int) -> tuple[int, bool] | None:
        fetched = []
        for _ in range(self._nr_alloc(order)):
            pfn = self.buddy.alloc(order)
            if pfn is None:
                break
            fetched.append(pfn)
        self.blocks.fill(fetched, order)
        return self.blocks.take(order)

    def free_block(self, pfn: int, order: int) -> None:
        """Free a block of order 1 or more (Linux: mm/page_alloc.c:free_unref_page())."""
        if order > COSTLY_ORDER:
            self.buddy.free(pfn, order, dirty=True)
            return
        self.alloc_factor >>= 1
        self.blocks.free(pfn, order)
        if self.blocks.nr_pages >= self.pcp_high:
            self._drain_blocks(self.pcp_batch, order)

    def _drain_blocks(self, count: int, first: int = 1) -> None:
        """Give `count` frames' worth of the listed blocks back, and begin with an order."""
        for pfn, order, clean in self.blocks.drain(count, first):
            self.buddy.free(pfn, order, dirty=not clean)

    def is_free(self, pfn: int) -> bool:
        """Whether a frame is in the buddy system, or the first of a block on the per-cpu list."""
        return pfn in self.blocks or self.buddy.is_free(pfn)

    # -- draining --------------------------------------------------------------------------

    def drain_some(self) -> None:
        """Give those of the freed frames that have been on the list for longest back."""
        frames = self.hot[:DRAINED]
        del self.hot[:DRAINED]
        self.buddy.free_frames(frames, dirty=True)
        self.map.drained(frames)
        self.released = max(self.released - DRAINED, 0)

    def drain(self) -> None:
        """Give the frames of the per-cpu list back to the buddy system.

        All freed ones count as dirty, since those that are not must not go in another order.
        Linux: mm/page_alloc.c:drain_all_pages()
        """
        self.buddy.free_frames(self.hot, dirty=True)
        self._ram.clear_pages(self.overwritten_cold)
        self.overwritten_cold.clear()
        self.buddy.free_frames(self.cold + self._deck.deal(len(self._deck)), dirty=self._keep)
        self._drain_blocks(self.blocks.nr_pages)
        self.hot, self.cold = array("I"), array("I")
        self.released = 0
        self.map.clear()

    # -- what somebody has done to free frames ----------------------------------------------

    def overwritten(self, frames: range) -> set[int]:
        """Somebody has written to some frames; returns those that are free.

        They read as zeros no more, so who is to get zeros gets them cleared.
        """
        free = {pfn for part in self.buddy.overwritten(frames) for pfn in part}
        free.update(pfn for part in self.blocks.overwritten(frames) for pfn in part)
        cold = {pfn for pfn in (*self.cold, *self._deck.frames()) if pfn in frames}
        self.overwritten_cold |= cold
        hot = [at for at, pfn in enumerate(self.hot) if pfn in frames]
        self.released = min([self.released, *hot])
        return free | cold | {self.hot[at] for at in hot}

    # -- what goes back to the host --------------------------------------------------------

    @property
    def nr_surplus(self) -> int:
        """Freed frames that `settle()` has still to go over."""
        return 0 if self._keep else max(len(self.hot) - KEPT - self.released, 0)

    @property
    def nr_dirty(self) -> int:
        """Free frames that the host may hold memory for."""
        return len(self.hot) - self.released + self.blocks.nr_dirty + self.buddy.nr_dirty

    def settle(self, nr_pages: int) -> None:
        """Give the host's memory behind up to `nr_pages` freed frames back; none of them moves."""
        end = self.released + min(nr_pages, self.nr_surplus)
        for pfn, count in _runs(self.hot[self.released : end]):
            self._ram.release(pfn, count)
        self.released = end

    def release_free(self) -> None:
        """Give the host's memory behind all free frames back, unless it is kept; none moves."""
        if self._keep:
            return
        self._ram.clear_pages(self.overwritten_cold)  # which are few, and stay where they are
        for pfn, count in _runs(self.hot[self.released :]):
            self._ram.release(pfn, count)
        self.released = len(self.hot)
        self.blocks.release(self._ram.release)
        while self.buddy.nr_dirty:
            self.buddy.release_dirty(self.managed)

    # -- seen as blocks --------------------------------------------------------------------

    @property
    def pcp_count(self) -> int:
        """Frames on the per-cpu list, as Linux would have it: of the freed ones the last."""
        others = len(self.cold) + self.blocks.nr_pages
        return others + min(len(self.hot), max(self.pcp_high - others, 0))

    def map_surplus(self) -> None:
        """Frames were freed: put those above `high` into the map, if they are many."""
        self.map.freed(self.hot, len(self.hot) - self.pcp_high)

    def free_by_order(self) -> list[int]:
        """Free blocks of each order, as if the freed frames were given back.

        They are joined among themselves only; single ones that a refill has fetched are of order 0.
        Frames are counted as they are freed and taken, and in idle work, so that few are left.
        """
        counts = self.buddy.free_by_order()
        counts[0] += len(self.cold) + len(self._deck)
        for order, listed in enumerate(self.blocks.counts()):
            counts[order] += listed
        return [sum(pair) for pair in zip(counts, self.map.blocks(self.hot), strict=True)]

    def free_by_type(self) -> dict[str, list[int]]:
        """Migrate type -> free blocks of each order, which are `free_by_order()` in all.

        What was handed out once is unmovable, so the frames on the per-cpu list are.
        """
        movable = self.buddy.free_by_type()[MIGRATE_MOVABLE]
        pairs = zip(self.free_by_order(), movable, strict=True)
        return {"Unmovable": [every - some for every, some in pairs], "Movable": movable}

    def pageblocks_by_type(self) -> dict[str, int]:
        """Migrate type -> number of pageblocks (of 2 MiB)."""
        return dict(zip(MIGRATE_TYPES, self.buddy.pageblocks_by_type(), strict=True))

    # -- the books -------------------------------------------------------------------------

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
            unevictable=self.buddy.nr_unevictable,
            wmark_min=self.wmark.min,
            wmark_low=self.wmark.low,
            wmark_high=self.wmark.high,
            pcp_count=self.pcp_count,
            pcp_batch=self.pcp_batch,
            pcp_high=self.pcp_high,
        )

    def __repr__(self) -> str:
        return f"<Zone {self.name} free={self.nr_free} pcp={self.nr_pcp}>"

    def state(self) -> ZoneState:
        """What decides which frames come next, but for the random numbers; plain data."""
        return {
            "name": self.name,
            "hot": self.hot.tolist(),
            "cold": self.cold.tolist(),
            "overwritten_cold": sorted(self.overwritten_cold),
            "deck": self._deck.state(),
            "blocks": self.blocks.state(),
            "alloc_factor": self.alloc_factor,
            "buddy": self.buddy.state(),
        }

    def restore(self, state: ZoneState, claims: Claims) -> None:
        """Have these frames free; the host holds memory for none of them, if nothing is kept."""
        if state["name"] != self.name or not 0 <= state["alloc_factor"] <= BATCH_SCALE_MAX:
            raise StateError(f"no zone {self.name}")
        self.alloc_factor = state["alloc_factor"]
        self.hot, self.cold = array("I", state["hot"]), array("I", state["cold"])
        self._deck = Deck.of(*state["deck"])
        first, end = self.buddy.start_pfn, self.buddy.end_pfn
        for frames in (self.hot, self.cold, self._deck.frames()):
            if frames and not first <= min(frames) <= max(frames) < end:
                raise StateError(f"frames that are not in zone {self.name}")
            claims.take_each(frames)
        self.released = 0 if self._keep else len(self.hot)
        self.overwritten_cold = {*state["overwritten_cold"]}
        if not self.overwritten_cold <= {*self.cold, *self._deck.frames()}:
            raise StateError(f"other frames of zone {self.name} are overwritten than are to come")
        self.map.clear()
        self.map_surplus()
        self.blocks.restore(state["blocks"], claims)
        self.buddy.restore(state["buddy"], claims)

    def check(self) -> set[int]:
        """Assert the invariants; return all free frames.  Slow: for tests.

        - no frame is on the list twice, nor on the list and in the buddy system
        - a frame on `cold`, and a freed one that was released, reads as zeros, if nothing is kept,
          and but for those that somebody has overwritten
        - the map is in order (`PcpMap.check()`)
        """
        free = self.buddy.check()
        self.blocks.check()
        for frames in (self.hot, self.cold, self._deck.frames(), list(self.blocks.frames())):
            listed = set(frames)
            assert len(listed) == len(frames)
            assert not free & listed
            free |= listed
        assert 0 <= self.released <= len(self.hot)
        self.map.check(self.hot)
        pages = () if self._keep else {*self.hot[: self.released], *self.cold}
        for pfn in {*pages} - self.overwritten_cold:
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


def _stays(pfn: int, nr_pages: int) -> None:
    """In place of `Ram.release()`: the host's memory behind the frames stays as it is."""


def _block(pfn: int, order: int) -> range:
    return range(pfn, pfn + (1 << order))
