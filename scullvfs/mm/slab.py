"""kmalloc: small objects in the linear mapping, packed into slabs; and caches of one's own.

Requests up to 8 KiB come from the kmalloc caches (`slub`), one for each size.  Larger ones get
their own block of frames.  An address is PAGE_OFFSET + the physical address, so nothing here
writes a page-table entry: the counters of `pgtable` show it.

Confessed: where there is no memory the log tells of the block of frames, and not of the cache
(mm/slub.c:slab_out_of_memory()).  The structures of a cache itself (kmem_cache, kmem_cache_node)
take no memory.  Linux has other kmalloc caches for some flags (kmalloc-cg, kmalloc-rcl,
dma-kmalloc); here all flags share one set.
"""

from __future__ import annotations

from typing import Final, NamedTuple, TypedDict

from .errors import KernelBug, PageFault
from .gfp import __GFP_COMP as GFP_COMP
from .gfp import __GFP_ZERO as GFP_ZERO
from .gfp import GFP_KERNEL
from .layout import PAGE_SHIFT, PAGE_SIZE
from .object_numbers import ObjectNumbers
from .object_runs import ObjectRuns
from .page_alloc import MAX_PAGE_ORDER
from .restoring import Claims, StateError
from .slab_common import KMALLOC_MAX_CACHE_SIZE
from .slab_order import get_order
from .slub import (
    BAD,
    NO_SLAB,
    USED,
    CacheState,
    KmemCache,
    ObjectRun,
    SlabPage,
)

__all__ = ["ZERO_SIZE_PTR", "AllSlabsState", "Slab", "SlabStatistics"]

ZERO_SIZE_PTR: Final = 16
"""What kmalloc(0) gives: no memory is there, and kfree() takes it."""


class SlabStatistics(NamedTuple):
    """The books of all caches and large objects."""

    pages: int
    """Frames taken for slabs and large objects."""
    objects: int
    """Objects allocated and not freed."""
    nbytes: int
    """The bytes of those objects, each rounded up to its cache's object size."""


class AllSlabsState(TypedDict):
    """Which object comes next."""

    caches: list[CacheState]
    large: list[tuple[int, int]]
    """First frame and order of each."""
    runs: list[ObjectRun]
    broken: list[tuple[int, int]]
    """First frame of a slab whose list is overwritten, and where following it leads."""
    random: list[int]
    """The caches' random numbers (`unwiped_slab`): what decides which come next,"""
    randoms: list[tuple[int, int]]
    """and those that there are: place in `caches`, number."""


class Slab(ObjectRuns):
    """kmalloc, kfree and the caches of one machine."""

    # -- kmalloc ---------------------------------------------------------------------------

    def kmalloc(self, size: int, gfp: int = GFP_KERNEL, whole: bool = False) -> int | None:
        """Allocate `size` bytes (0 or more), physically contiguous.

        They are zeros with __GFP_ZERO or `init_on_alloc`, and what was there otherwise.  Who fills
        all of them as a `whole`, at once, needs no zeros of `init_on_alloc`.  Returns the address
        in the linear mapping, or ZERO_SIZE_PTR for 0 bytes, or None when no memory of that size can
        be had.  More than KMALLOC_MAX_SIZE is None, too, with a warning (the first time, and not
        with __GFP_NOWARN).
        Linux: mm/slub.c:__kmalloc_noprof()
        """
        if not 0 < size <= KMALLOC_MAX_CACHE_SIZE:
            return self._kmalloc_large(size, gfp, whole) if size else ZERO_SIZE_PTR
        cache = self._cache_of[(size + 7) >> 3]
        if not whole:
            return self.kmem_cache_alloc(cache, gfp)
        return self._without_rest(self.kmem_cache_alloc(cache, gfp, whole), size, cache.size)

    def kzalloc(self, size: int, gfp: int = GFP_KERNEL) -> int | None:
        """As `kmalloc()`, filled with zeros."""
        return self.kmalloc(size, gfp | GFP_ZERO)

    def _without_rest(self, address: int | None, size: int, given: int) -> int | None:
        """Have nothing behind the `size` bytes, which the caller fills, of those it has got."""
        if address is not None and size < given and self._init_on_alloc:
            at = address - self._page_offset
            self._ram.bytes[at + size : at + given] = bytes(given - size)
        return address

    def _kmalloc_large(self, size: int, gfp: int, whole: bool) -> int | None:
        """Linux: mm/slub.c:___kmalloc_large_node()"""
        order = get_order(size)
        pfn = self._alloc_pages(order, gfp | GFP_COMP, whole)
        if pfn is None:
            return None
        self._large[pfn] = order
        self._count(1, PAGE_SIZE << order, 1 << order)
        address = self._page_offset + (pfn << PAGE_SHIFT)
        return self._without_rest(address, size, PAGE_SIZE << order) if whole else address

    def kfree(self, address: int | None) -> None:
        """Free what `kmalloc()` or `kmem_cache_alloc()` gave; None and ZERO_SIZE_PTR are fine.

        Raises:
            KernelBug: a double free, or an address that none of them gave.

        Linux: mm/slub.c:kfree()
        """
        if address is None:
            return
        if self._workqueue.pending:
            self._workqueue.flush()
        self.put(address)

    def put(self, address: int) -> None:
        """As `kfree()`, for a part that has finished what waits."""
        phys = address - self._page_offset
        page = self._slabs.get(phys >> PAGE_SHIFT)
        if page is None:
            if address != ZERO_SIZE_PTR:
                self._kfree_large(address)
            return
        cache = page.cache
        offset, size = phys - (page.pfn << PAGE_SHIFT), cache.size
        index = offset // size
        if index * size != offset or index >= page.objects or page.links[index] != USED:
            raise KernelBug(f"{cache.name}: Object {address:#x} already free")
        if page is not cache.cpu:
            cache.slab_free(page, index, self._discard_slab)
            return
        page.links[index] = page.head
        page.head = index
        page.inuse -= 1

    def _kfree_large(self, address: int) -> None:
        phys = address - self._page_offset
        order = None if phys % PAGE_SIZE else self._large.pop(phys >> PAGE_SHIFT, None)
        if order is None:
            raise KernelBug(f"kfree: not an allocated object: {address:#x}")
        self._free_pages(phys >> PAGE_SHIFT, order)
        self._count(-1, -PAGE_SIZE << order, -1 << order)

    def ksize(self, address: int | None) -> int:
        """The bytes of an object that may be used; 0 of None and ZERO_SIZE_PTR.

        Raises:
            KernelBug: it is no object that is allocated.

        Linux: mm/slab_common.c:ksize()
        """
        if address is None or address == ZERO_SIZE_PTR:
            return 0
        pfn, offset = divmod(address - self._page_offset, PAGE_SIZE)
        page = self._slabs.get(pfn)
        if page is not None:
            index, rest = divmod(address - page.address, page.cache.size)
            if not rest and index < page.objects and page.links[index] == USED:
                return page.cache.size
        elif pfn in self._large and not offset:
            return PAGE_SIZE << self._large[pfn]
        raise KernelBug(f"ksize: not an allocated object: {address:#x}")

    def krealloc(self, address: int | None, size: int, gfp: int = GFP_KERNEL) -> int | None:
        """Have `size` bytes for an object, with what was in it.

        An object stays where it is as long as its `ksize()` is enough, and gets no smaller.  None
        for an address allocates, a size of 0 frees.  Returns the address; None when there is no
        memory, and then the object is as it was.  With __GFP_ZERO or `init_on_alloc` what is behind
        `size` in an object that stays is filled with zeros.

        Raises:
            KernelBug: it is no object that is allocated.

        Linux: mm/slab_common.c:krealloc_noprof()
        """
        if not size:
            self.kfree(address)
            return ZERO_SIZE_PTR
        before = self.ksize(address)
        if address is not None and size <= before:
            if gfp & GFP_ZERO or self._init_on_alloc:
                at = address - self._page_offset
                self._ram.bytes[at + size : at + before] = bytes(before - size)
            return address
        fresh = self.kmalloc(size, gfp)
        if fresh is not None and before and address is not None:
            old, new = address - self._page_offset, fresh - self._page_offset
            self._ram.bytes[new : new + before] = self._ram.bytes[old : old + before]
            self.kfree(address)
        return fresh

    # -- caches ----------------------------------------------------------------------------

    def kmem_cache_alloc(
        self, cache: KmemCache, gfp: int = GFP_KERNEL, whole: bool = False
    ) -> int | None:
        """Allocate an object; None when there is no memory.

        What is in it, and what `whole` is, is as for `kmalloc()`.

        Raises:
            KernelBug: the cache was destroyed.
            PageFault: somebody has overwritten the list of its free objects.

        Linux: mm/slub.c:kmem_cache_alloc_noprof()
        """
        if self._workqueue.pending:
            self._workqueue.flush()
        page = cache.cpu
        index = page.head
        if index >= BAD:  # or END
            if not self._next_slab(cache, gfp):
                return None
            page = cache.cpu
            index = page.head
        links = page.links
        page.head = links[index]
        links[index] = USED
        page.inuse += 1
        address = cache.cpu_address + index * cache.size
        if gfp & GFP_ZERO or (self._init_on_alloc and not whole):
            phys = address - self._page_offset
            self._ram.bytes[phys : phys + cache.object_size] = cache.zeros
        return address

    def _next_slab(self, cache: KmemCache, gfp: int) -> bool:
        """Have a slab with a free object as the cpu's; False without memory.

        One whose list is broken is given up, and the next call has another one.
        """
        page = cache.cpu
        if page.head == BAD:
            fault = self._broken.pop(page)
            page.lose_free()
            caches = self._caches.values()
            function = "__kmalloc_noprof" if cache in caches else "kmem_cache_alloc_noprof"
            raise PageFault(fault.address, False, "", (), (function,))
        return cache.next_slab() or self._new_slab(cache, gfp)

    def numbers(self, cache: KmemCache) -> ObjectNumbers:
        """A cache's objects by number, for a part of the kernel itself."""
        return ObjectNumbers(cache, self._next_slab, self._discard_slab)

    def kmem_cache_zalloc(self, cache: KmemCache, gfp: int = GFP_KERNEL) -> int | None:
        """As `kmem_cache_alloc()`, filled with zeros."""
        return self.kmem_cache_alloc(cache, gfp | GFP_ZERO)

    def kmem_cache_free(self, cache: KmemCache, address: int) -> None:
        """Free an object.  One of another cache goes back there, with a warning in the log.

        Raises:
            KernelBug: a double free, or an address that no cache gave.

        Linux: mm/slub.c:kmem_cache_free(), cache_from_obj()
        """
        page = self._slabs.get((address - self._page_offset) >> PAGE_SHIFT)
        if page is not None and page.cache is not cache:
            self._log.warn(
                f"cache_from_obj: Wrong slab cache. {cache.name} but object is from "
                f"{page.cache.name}",
                "cache_from_obj",
            )
        self.kfree(address)

    # -- books -----------------------------------------------------------------------------

    def statistics(self) -> SlabStatistics:
        """The books as they stand now."""
        used = [(cache.nr_used, cache.size) for cache in self._all]
        return SlabStatistics(
            pages=self._nr_pages,
            objects=self._nr_other + sum([objects for objects, _ in used]),
            nbytes=self._nbytes + sum([objects * size for objects, size in used]),
        )

    def __repr__(self) -> str:
        pages, objects, nbytes = self.statistics()
        return f"<Slab objects={objects} bytes={nbytes} pages={pages}>"

    def state(self) -> AllSlabsState:
        """What decides which object comes next, as plain data."""
        return {
            "caches": [cache.state() for cache in self._all],
            "large": [*self._large.items()],
            "runs": [*self._runs.values()],
            "broken": [(page.pfn, fault.address) for page, fault in self._broken.items()],
            "random": [],
            "randoms": [],
        }

    def restore(self, state: AllSlabsState, claims: Claims) -> None:
        """Have these caches, and what was allocated of them and else."""
        self._slabs.clear()
        self._large.clear()
        self._runs.clear()
        self._broken.clear()
        self._nr_pages = self._nr_other = self._nbytes = 0
        if len(state["caches"]) < len(self._all):
            raise StateError("a cache is missing")
        for place, of_cache in enumerate(state["caches"]):
            self._restore_cache(place, of_cache, claims)
        for pfn, order in state["large"]:
            if not 0 <= order <= MAX_PAGE_ORDER:
                raise StateError(f"an object of order {order}")
            claims.take(pfn, 1 << order)
            self._large[pfn] = order
            self._count(1, PAGE_SIZE << order, 1 << order)
        for run in state["runs"]:
            if not 0 <= run.order <= MAX_PAGE_ORDER or run.address % PAGE_SIZE:
                raise StateError(f"a run of order {run.order} at {run.address:#x}")
            claims.take(self._pfn(run.address), 1 << run.order)
            self._runs[run.address] = run
            self._count_run(run, 1)
        for pfn, address in state["broken"]:
            self._broken[self._slabs[pfn]] = PageFault(address, False, "", ())

    def _restore_cache(self, place: int, state: CacheState, claims: Claims) -> None:
        if place == len(self._all):  # not one of those that there are from the start
            what = (state["name"], state["object_size"], state["align"], state["flags"])
            if self.kmem_cache_create(*what) is None:
                raise StateError(f"no cache of {state['object_size']} bytes")
        for page in self._all[place].restore(state):
            frames = range(page.pfn, page.pfn + (1 << page.order))
            claims.take(page.pfn, len(frames))
            self._slabs.update(dict.fromkeys(frames, page))
            self._nr_pages += len(frames)

    def check(self) -> set[int]:
        """Assert the invariants; return all frames in use.  Slow: for tests.

        - no two slabs, large objects or runs share a frame
        - each cache's lists are in order (`KmemCache.check()`), and each slab has a cache
        - the books are what is there
        """
        frames: set[int] = set()
        slabs = dict.fromkeys(self._slabs.values())
        blocks = [(page.pfn, page.order) for page in slabs]
        blocks += self._large.items()
        blocks += [(self._pfn(run.address), run.order) for run in self._runs.values()]
        for pfn, order in blocks:
            block = set(range(pfn, pfn + (1 << order)))
            assert not frames & block
            frames |= block
        for frame, page in self._slabs.items():
            assert page.pfn <= frame < page.pfn + (1 << page.order)
        of_cache: dict[KmemCache, list[SlabPage]] = {cache: [] for cache in self._all}
        for page in slabs:
            of_cache[page.cache].append(page)
        for cache, pages in of_cache.items():
            cache.check(pages)
        assert not NO_SLAB.inuse
        assert self._nr_pages == len(frames)
        runs = self._runs.values()
        assert self._nr_other == len(self._large) + sum(run.nr_objects for run in runs)
        large = sum(PAGE_SIZE << order for order in self._large.values())
        assert self._nbytes == large + sum(run.nr_objects * run.size for run in runs)
        assert sum(cache.run_objects for cache in self._all) == sum(r.nr_objects for r in runs)
        return frames
