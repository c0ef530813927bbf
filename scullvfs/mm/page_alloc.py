"""The page allocator: what gives page frames of all zones.

Single frames come and go through the per-cpu list in front of each zone, which costs a slice of an
array; larger blocks are the buddy system's.  Which frames come is the zones' matter (`zone`).
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from random import Random
from typing import Final, NamedTuple, TypedDict

from .buddy import MAX_PAGE_ORDER
from .errors import KernelBug
from .gfp import (
    __GFP_DIRECT_RECLAIM,
    __GFP_HIGH,
    __GFP_HIGHMEM,
    __GFP_MEMALLOC,
    __GFP_NOMEMALLOC,
    __GFP_ZERO,
)
from .layout import PAGE_SHIFT, PAGE_SIZE, Layout
from .pcp_map import MAPPED
from .ram import Ram
from .restoring import Claims, random_state, restore_random
from .workqueue import Workqueue
from .zone import Listed, Zone, ZoneState, ZoneStatistics

__all__ = ["MAX_PAGE_ORDER", "PageAllocState", "PageAllocator", "PageStatistics"]

# Python renames what begins with two underscores inside of a class.
_HIGHMEM: Final = __GFP_HIGHMEM
_ZERO: Final = __GFP_ZERO
_RESERVES: Final = __GFP_HIGH | __GFP_MEMALLOC
"""Who has one of these may go below the lowest watermark."""


def _mark(zone: Zone, gfp: int) -> int:
    """Frames that have to remain free in a zone (Linux: mm/page_alloc.c:__zone_watermark_ok())."""
    mark = zone.wmark.min
    if gfp & _RESERVES:
        if gfp & __GFP_MEMALLOC and not gfp & __GFP_NOMEMALLOC:
            return 0
        if gfp & __GFP_HIGH:
            mark -= mark // 2
            if not gfp & (__GFP_DIRECT_RECLAIM | __GFP_NOMEMALLOC):
                mark -= mark // 4
    return mark


FEW: Final = 8
"""New slabs and page tables that one call may take."""


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


class PageAllocState(TypedDict):
    """Which frames come next."""

    random: list[int]
    zones: list[ZoneState]


class PageAllocator:
    """The page frames of a machine.  Frame 0 is never handed out.

    Args:
        seed: of the random order under `shuffle`.
        workqueue: what is done before anything is allocated or freed.
        cpus: how many there are; they share what the per-cpu lists hold.
        fragment: percent of the free frames that are in small pieces from the start; of the seed,
            whether they are shuffled or not.
        init_on_alloc: fill with zeros what is allocated, whoever asks; without, what was freed
            stays in free frames until somebody writes there.
    """

    def __init__(
        self,
        ram: Ram,
        layout: Layout,
        shuffle: bool,
        seed: int,
        workqueue: Workqueue | None = None,
        cpus: int = 1,
        fragment: int = 0,
        init_on_alloc: bool = True,
    ) -> None:
        self.workqueue: Final = Workqueue() if workqueue is None else workqueue
        self._page_offset = layout.page_offset
        rng = self._rng = Random(seed) if shuffle else None
        lowmem = min(ram.nr_pages, layout.lowmem >> PAGE_SHIFT)
        self.init_on_alloc: Final = init_on_alloc
        """Whether all that is allocated is filled with zeros (Linux: want_init_on_alloc())."""
        more = (fragment, Random(f"fragment {seed}"), not init_on_alloc)
        self._lowmem = Zone("Normal", 1, lowmem, ram, rng, lowmem - 1, cpus, *more)
        self.zones: Final = [self._lowmem]
        """Lowest first.  The linear mapping reaches only the first one."""
        if ram.nr_pages > lowmem:
            high = Zone("HighMem", lowmem, ram.nr_pages, ram, rng, lowmem - 1, cpus, *more)
            self.zones.append(high)
        self._highest = self.zones[-1]
        self.on_surplus: Callable[[], None] = lambda: None
        """Called when there may be work for `idle_work()` (Linux: wakeup_kswapd())."""
        self.on_failure: Callable[[int, int], None] = lambda gfp, order: None
        """Called with the flags and the order of a block where there is none, or can be none."""
        self.nr_populated = 0
        """Frames that there would have been for the bulk allocation that has failed last."""
        self.totalram_pages: Final = ram.nr_pages - 1
        """Frames that can be handed out (Linux: totalram_pages())."""
        self.high_memory: Final = layout.page_offset + (lowmem << PAGE_SHIFT)
        """The first address behind the linear mapping."""

    def pfn_valid(self, pfn: int) -> bool:
        """Whether there is a page frame of that number (Linux: pfn_valid())."""
        return 0 <= pfn <= self.totalram_pages

    # -- single frames ---------------------------------------------------------------------

    def alloc_pages_bulk(self, gfp: int, nr_pages: int, whole: bool = False) -> array[int] | None:
        """Allocate `nr_pages` single frames (1 or more), from high memory first if `gfp` allows it.

        With __GFP_ZERO or `init_on_alloc` they are filled with zeros, otherwise what is in them is
        left as it was.  Who fills them as a `whole`, at once, needs no zeros of `init_on_alloc`.
        None, and nothing is allocated, when fewer can be had, with all that waits to be freed;
        Linux would give as many as it can.  Linux: mm/page_alloc.c:alloc_pages_bulk_noprof()
        """
        if self.workqueue.pending:
            self.workqueue.flush()
        zone = self._highest if gfp & _HIGHMEM else self._lowmem
        zero = gfp & _ZERO > 0 or (self.init_on_alloc and not whole)
        if nr_pages + zone.wmark.min <= len(zone.hot) + zone.buddy.nr_free:  # which is quick to see
            return zone.alloc_bulk(nr_pages, zero)
        while nr_pages > self.nr_available(gfp):
            if not self.workqueue.step():
                self.nr_populated = self.nr_available(gfp)
                return None  # before the last large block is broken up for nothing
        if zone is self._lowmem:
            return zone.alloc_bulk(nr_pages, zero)
        most = max(zone.nr_free - _mark(zone, gfp), 0)
        frames = zone.alloc_bulk(min(nr_pages, most), zero) if most else array("I")
        if len(frames) < nr_pages:
            frames.extend(self._lowmem.alloc_bulk(nr_pages - len(frames), zero))
        return frames

    @property
    def nr_listed(self) -> int:
        """Frames that `alloc_listed()` can give."""
        zone = self._highest
        return min(zone.nr_listed, len(zone.hot) + zone.buddy.nr_free - zone.wmark.min)

    @property
    def has_single_frames(self) -> bool:
        """Whether a frame for each of some slabs can be had, whatever is allocated meanwhile."""
        zone = self._lowmem
        return zone.buddy.nr_free > zone.wmark.min + FEW

    @property
    def shares_list(self) -> bool:
        """Whether frames for slabs come from the same list, one after the other, for a while."""
        return self._highest is self._lowmem and self.has_single_frames

    def alloc_listed(self, nr_pages: int) -> Listed:
        """What calls of `alloc_pages_bulk()` with GFP_HIGHUSER would give, without zeros."""
        return self._highest.alloc_listed(nr_pages)

    def put_listed(self, listed: Listed, first: int) -> None:
        """Have some of them as if they had never been taken; see `Zone.put_listed()`."""
        self._highest.put_listed(listed, first)

    def nr_available(self, gfp: int) -> int:
        """Frames that `alloc_pages_bulk()` can give; the last ones of a zone are kept back.

        Who has __GFP_HIGH or __GFP_MEMALLOC gets more of them than others.
        """
        zones = self.zones if gfp & _HIGHMEM else self.zones[:1]
        return sum([max(zone.nr_free - _mark(zone, gfp), 0) for zone in zones])

    def free_frames(self, frames: array[int]) -> None:
        """Free single frames, the first one first.  (Linux has no function that does just this.)"""
        if self.workqueue.pending:
            self.workqueue.flush()
        self.put_frames(frames)

    def put_frames(self, frames: array[int]) -> None:
        """As `free_frames()`, for a part that has finished what waits."""
        if self._highest is self._lowmem:
            self._put(self._lowmem, frames)
            return
        end = self._lowmem.buddy.end_pfn
        self._put(self._lowmem, array("I", [pfn for pfn in frames if pfn < end]))
        self._put(self._highest, array("I", [pfn for pfn in frames if pfn >= end]))

    def _put(self, zone: Zone, frames: array[int]) -> None:
        zone.hot.extend(frames)
        zone.alloc_factor >>= len(frames)
        if len(zone.hot) - zone.released > MAPPED:
            zone.map_surplus()
            self.on_surplus()

    # -- blocks ----------------------------------------------------------------------------

    def alloc_pages(self, gfp: int, order: int, whole: bool = False) -> int | None:
        """Allocate 2**`order` contiguous frames, from high memory first if `gfp` allows it.

        Zeros are in them, or what was, as for `alloc_pages_bulk()`.
        Returns the first frame, or None: without such a block, if too few frames would remain free,
        and above MAX_PAGE_ORDER always.
        Linux: mm/page_alloc.c:__alloc_pages_noprof()
        """
        if order > MAX_PAGE_ORDER:
            self.on_failure(gfp, order)
            return None
        if self.workqueue.pending:
            self.workqueue.flush()
        pfn, zero = None, gfp & _ZERO > 0 or (self.init_on_alloc and not whole)
        if gfp & _HIGHMEM and self._highest is not self._lowmem:
            pfn = self._alloc_from(self._highest, gfp, order, zero)
        if pfn is None:
            pfn = self._alloc_from(self._lowmem, gfp, order, zero)
            if pfn is None:
                self.on_failure(gfp, order)
        return pfn

    def _alloc_from(self, zone: Zone, gfp: int, order: int, zero: bool) -> int | None:
        left = zone.buddy.nr_free - (1 << order)
        if left < zone.wmark.min and left + zone.nr_pcp < _mark(zone, gfp):
            return None
        if not order:
            frames = zone.alloc_bulk(1, zero)
            return frames[0] if frames else None
        pfn = zone.alloc_block(order, zero)
        if pfn is None and zone.nr_pcp:
            pfn = zone.alloc_drained(order, zero)
            self.on_surplus()
        return pfn

    def split_page(self, page: int, order: int) -> None:
        """Have the frames of a block freed one by one (Linux: mm/page_alloc.c:split_page())."""

    def free_unref_page(self, page: int, order: int) -> None:
        """Free the block of frames that `alloc_pages()` gave, by its first frame.

        It is what Linux's `__free_pages()` comes to for a page that nobody else refers to, which
        goes for all of them here.  That name works, too, except inside of a class, where Python
        makes another one of it.  Linux: mm/page_alloc.c:free_unref_page()

        Raises:
            KernelBug: there is no frame of that number, or it is free already (a frame that
                is still on the per-cpu list goes unnoticed; `check()` finds it).
        """
        if self.workqueue.pending:
            self.workqueue.flush()
        self.put_block(page, order)

    def put_block(self, page: int, order: int) -> None:
        """As `free_unref_page()`, for a part that has finished what waits."""
        zone = self._lowmem if page < self._lowmem.buddy.end_pfn else self._highest
        if not zone.buddy.start_pfn <= page < zone.buddy.end_pfn or zone.is_free(page):
            raise KernelBug(f"BUG: Bad page state  pfn:{page:05x}")
        if order:
            zone.free_block(page, order)
            self.on_surplus()
        else:
            self._put(zone, array("I", [page]))

    def get_free_pages(self, gfp: int, order: int, whole: bool = False) -> int | None:
        """As `alloc_pages()`, but the address in the linear mapping, so never of high memory.

        Linux: mm/page_alloc.c:get_free_pages_noprof(), which callers know as __get_free_pages()
        """
        pfn = self.alloc_pages(gfp & ~_HIGHMEM, order, whole)
        return None if pfn is None else self._page_offset + (pfn << PAGE_SHIFT)

    def get_zeroed_page(self, gfp: int) -> int | None:
        """The address of one page of zeros (Linux: mm/page_alloc.c:get_zeroed_page_noprof())."""
        return self.get_free_pages(gfp | _ZERO, 0)

    def free_pages(self, addr: int | None, order: int) -> None:
        """Free what `get_free_pages()` gave, by its address; None is fine.

        Raises:
            KernelBug: the linear mapping has no such address, or as `free_unref_page()`.

        Linux: mm/page_alloc.c:free_pages()
        """
        if addr is None:
            return
        if not self._page_offset <= addr < self.high_memory:
            raise KernelBug(f"kernel BUG at mm/page_alloc.c: free_pages({addr:#x})")
        self.free_unref_page((addr - self._page_offset) >> PAGE_SHIFT, order)

    # -- pages that are no power of two -----------------------------------------------------

    def alloc_pages_exact(self, size: int, gfp: int) -> int | None:
        """As `get_free_pages()` for `size` bytes: of the block that holds them the rest goes back.

        None as there, though only so many frames are kept in the end: the block has to be there.
        The rest goes past the per-cpu list, to the tails of the buddy system's.

            size = 5 pages, order 3:   | p | p | p | p | p | free | free | free |

        Linux: mm/page_alloc.c:alloc_pages_exact_noprof(), make_alloc_exact()
        """
        order = max((size - 1) >> PAGE_SHIFT, 0).bit_length()
        pfn = self.alloc_pages(gfp & ~_HIGHMEM, order)
        if pfn is None:
            return None
        for tail in range(pfn + (size + PAGE_SIZE - 1 >> PAGE_SHIFT), pfn + (1 << order)):
            self._lowmem.buddy.free(tail, 0, dirty=True, to_tail=True)
            self.on_surplus()
        return self._page_offset + (pfn << PAGE_SHIFT)

    def free_pages_exact(self, virt: int | None, size: int) -> None:
        """Free what `alloc_pages_exact()` gave, page by page; None is fine.

        Raises:
            KernelBug: as `free_pages()`.

        Linux: mm/page_alloc.c:free_pages_exact()
        """
        if virt is not None:
            for addr in range(virt, virt + size, PAGE_SIZE):
                self.free_pages(addr, 0)

    def overwritten(self, frames: range) -> set[int]:
        """Somebody has written to frames that he has not got; returns those that are free."""
        return {pfn for zone in self.zones for pfn in zone.overwritten(frames)}

    # -- the books -------------------------------------------------------------------------

    def idle_work(self, nr_pages: int = 256) -> bool:
        """Do a slice of what can wait: give the host's memory behind free frames back.

        Goes over some `nr_pages` frames, which takes less than a millisecond.  No frame moves, so
        it does not show in which frames come next.  Without `init_on_alloc` that memory stays, as
        who gets a frame sees what is there.  Before that, free frames are counted as blocks, for
        who will ask.  Returns whether there may be more to do.
        """
        for zone in self.zones:
            if not zone.map.is_counted:
                zone.map.recount()
                return True
            if zone.nr_surplus:
                zone.settle(nr_pages)
                return True
            if self.init_on_alloc and zone.buddy.nr_dirty:
                zone.buddy.release_dirty(nr_pages)
                return True
        return False

    def release_free(self) -> None:
        """Do all of `idle_work()` at once, for the last frames freed, too."""
        for zone in self.zones:
            zone.release_free()

    @property
    def nr_surplus(self) -> int:
        """Freed frames whose memory `idle_work()` gives back to the host."""
        return sum(zone.nr_surplus for zone in self.zones)

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

    def unevictable(self) -> set[int]:
        """The frames that hold the free ones apart, which are nobody else's.  Slow: for tests."""
        return {pfn for zone in self.zones for pfn in zone.buddy.unevictable()}

    def free_by_order(self) -> dict[str, list[int]]:
        """Zone name -> free blocks of each order; see `Zone.free_by_order()`."""
        return {zone.name: zone.free_by_order() for zone in self.zones}

    def __repr__(self) -> str:
        return f"<PageAllocator free={self.nr_free} of {self.totalram_pages} frames>"

    def state(self) -> PageAllocState:
        """What decides which frames come next, as plain data."""
        return {
            "random": random_state(self._rng),
            "zones": [zone.state() for zone in self.zones],
        }

    def restore(self, state: PageAllocState, claims: Claims) -> None:
        """Have the same frames come next; which is not what their holders are told."""
        restore_random(self._rng, state["random"])
        for zone, of_zone in zip(self.zones, state["zones"], strict=True):
            zone.restore(of_zone, claims)

    def check(self) -> set[int]:
        """Assert the invariants of all zones; return all free frames.  Slow: for tests."""
        free: set[int] = set()
        for zone in self.zones:
            free |= zone.check()
        assert len(free) == self.nr_free
        return free


# Outside of a class the name stays what it is.
PageAllocator.__free_pages = PageAllocator.free_unref_page  # type: ignore[attr-defined]
