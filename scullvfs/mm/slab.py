"""kmalloc: small objects in the linear mapping, packed into slabs.

A slab is 2**order contiguous frames cut into objects of one size.  Larger requests
(above 8 KiB) get their own block of frames.  An address is PAGE_OFFSET + the physical
address, so nothing here writes a page-table entry: the counters of `pgtable` show it.

Confessed: a slab's free objects are bits of one number beside it, not a list threaded
through the objects; which slab an object comes from follows SLUB's rule of thumb (the one
last allocated from or freed to first), not its per-cpu machinery.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from .errors import KernelBug
from .gfp import __GFP_ZERO, GFP_KERNEL
from .layout import PAGE_SHIFT, PAGE_SIZE, Layout
from .page_alloc import MAX_PAGE_ORDER, PageAllocator
from .ram import Ram

__all__ = ["KMALLOC_MAX_CACHE_SIZE", "KMALLOC_MAX_SIZE", "ObjectRun", "Slab", "SlabStatistics"]

KMALLOC_SIZES: Final = (8, 16, 32, 64, 96, 128, 192, 256, 512, 1024, 2048, 4096, 8192)
"""Object sizes of the kmalloc caches (Linux: mm/slab_common.c:kmalloc_info)."""
KMALLOC_MAX_CACHE_SIZE: Final = KMALLOC_SIZES[-1]
KMALLOC_MAX_SIZE: Final = PAGE_SIZE << MAX_PAGE_ORDER
"""4 MiB: more than that kmalloc never gives."""

_GFP_ZERO: Final = __GFP_ZERO
"""Under a name that a class may use."""
_MIN_OBJECTS: Final = 8
_SLUB_MAX_ORDER: Final = 3


def get_order(size: int) -> int:
    """The smallest order whose block holds `size` bytes (Linux: get_order())."""
    return max((size - 1) >> PAGE_SHIFT, 0).bit_length()


class ObjectRun(NamedTuple):
    """Objects of one cache that fill 2**`order` contiguous frames."""

    address: int
    """Of the first object, at the start of a page."""
    order: int
    size: int
    """Of an object, in bytes; none crosses a page boundary."""

    @property
    def nr_objects(self) -> int:
        """How many objects there are."""
        return PAGE_SIZE // self.size << self.order

    def object(self, index: int) -> int:
        """The address of one of them."""
        page, place = divmod(index, PAGE_SIZE // self.size)
        return self.address + (page << PAGE_SHIFT) + place * self.size


class SlabStatistics(NamedTuple):
    """kmalloc's books."""

    pages: int
    """Frames taken for slabs and large objects."""
    objects: int
    """Objects allocated and not freed."""
    nbytes: int
    """The bytes of those objects, each rounded up to its cache's object size."""


class _Page:
    """One slab."""

    __slots__ = ("cache", "free", "nr_free", "objects", "order", "pfn")

    def __init__(self, cache: _Cache, pfn: int, order: int) -> None:
        self.cache = cache
        self.pfn = pfn
        self.order = order
        self.objects = (PAGE_SIZE << order) // cache.size
        self.free = (1 << self.objects) - 1
        """Bit n is set when object n is free."""
        self.nr_free = self.objects


class _Cache:
    """A kmalloc cache (Linux: struct kmem_cache)."""

    def __init__(self, size: int) -> None:
        self.size: Final = size
        # Linux: mm/slub.c:calculate_order(), for one CPU
        self.order: Final = min(get_order(size * _MIN_OBJECTS), _SLUB_MAX_ORDER)
        self.min_order: Final = get_order(size)
        self.partial: dict[int, _Page] = {}
        """Slabs with a free object, by frame; the last one is allocated from."""
        self.nr_objects = 0
        """That its slabs have room for."""

    @property
    def nr_used(self) -> int:
        """Objects allocated and not freed; found out from the slabs that have a free one."""
        return self.nr_objects - sum([page.nr_free for page in self.partial.values()])


class Slab:
    """kmalloc and kfree of one machine."""

    def __init__(self, page_alloc: PageAllocator, ram: Ram, layout: Layout) -> None:
        self._page_alloc = page_alloc
        self._workqueue = page_alloc.workqueue
        self._page_offset = layout.page_offset
        self._ram = ram
        self._caches = [_Cache(size) for size in KMALLOC_SIZES]
        self._cache_of = [
            next(cache for cache in self._caches if cache.size >= max(words * 8, 1))
            for words in range(KMALLOC_MAX_CACHE_SIZE // 8 + 1)
        ]
        self._slabs: dict[int, _Page] = {}
        """Frame -> the slab that it is part of, for every frame of every slab."""
        self._large: dict[int, int] = {}
        """First frame of a large object -> its order."""
        self._runs: dict[int, ObjectRun] = {}
        """First address -> run of `kmem_cache_alloc_bulk()`."""
        self._nr_pages = 0
        """Frames taken, for whatever."""
        self._nr_other = 0
        """Large objects, and those of runs."""
        self._nbytes = 0
        """Their bytes."""

    def kmalloc_size_roundup(self, size: int) -> int:
        """The bytes that `kmalloc(size)` gives, KMALLOC_MAX_CACHE_SIZE at the most.

        Linux: mm/slab_common.c:kmalloc_size_roundup()
        """
        return self._cache_of[(size + 7) >> 3].size

    def kmalloc(self, size: int) -> int | None:
        """Allocate `size` bytes, physically contiguous; what is in them is left as it was.

        Returns the address in the linear mapping, or None when no memory of that size
        can be had, or `size` is above KMALLOC_MAX_SIZE.  (Linux returns ZERO_SIZE_PTR for
        0 bytes; here that is an object of the smallest size.)
        Linux: mm/slub.c:__kmalloc_noprof()
        """
        if self._workqueue.pending:
            self._workqueue.flush()
        if size > KMALLOC_MAX_CACHE_SIZE:
            return self._kmalloc_large(size, GFP_KERNEL)
        cache = self._cache_of[(size + 7) >> 3]
        if cache.partial:
            page = next(reversed(cache.partial.values()))
        else:
            fresh = self._new_slab(cache)
            if fresh is None:
                return None
            page = fresh
        bit = page.free & -page.free
        page.free ^= bit
        page.nr_free -= 1
        if not page.nr_free:
            del cache.partial[page.pfn]
        return self._page_offset + (page.pfn << PAGE_SHIFT) + (bit.bit_length() - 1) * cache.size

    def kzalloc(self, size: int) -> int | None:
        """As `kmalloc()`, filled with zeros."""
        if size > KMALLOC_MAX_CACHE_SIZE:
            return self._kmalloc_large(size, GFP_KERNEL | _GFP_ZERO)
        address = self.kmalloc(size)
        if address is not None:
            phys = address - self._page_offset
            self._ram.bytes[phys : phys + size] = bytes(size)
        return address

    def _new_slab(self, cache: _Cache) -> _Page | None:
        order = cache.order
        pfn = self._page_alloc.alloc_pages(GFP_KERNEL, order)
        if pfn is None:  # Linux: mm/slub.c:allocate_slab() makes do with less, too
            order = cache.min_order
            pfn = self._page_alloc.alloc_pages(GFP_KERNEL, order)
        if pfn is None:
            return None
        page = _Page(cache, pfn, order)
        for frame in range(pfn, pfn + (1 << order)):
            self._slabs[frame] = page
        self._nr_pages += 1 << order
        cache.nr_objects += page.objects
        cache.partial[pfn] = page
        return page

    def _kmalloc_large(self, size: int, gfp: int) -> int | None:
        if size > KMALLOC_MAX_SIZE:
            return None
        order = get_order(size)
        pfn = self._page_alloc.alloc_pages(gfp, order)
        if pfn is None:
            return None
        self._large[pfn] = order
        self._count(1, PAGE_SIZE << order, 1 << order)
        return self._page_offset + (pfn << PAGE_SHIFT)

    def kfree(self, address: int | None) -> None:
        """Free what `kmalloc()` gave; None is fine.

        Raises:
            KernelBug: a double free, or an address that kmalloc() did not give.
        """
        if address is None:
            return
        if self._workqueue.pending:
            self._workqueue.flush()
        phys = address - self._page_offset
        pfn = phys >> PAGE_SHIFT
        page = self._slabs.get(pfn)
        if page is None:
            order = None if phys % PAGE_SIZE else self._large.pop(pfn, None)
            if order is None:
                raise KernelBug(f"kfree: not an allocated object: {address:#x}")
            self._page_alloc.free_unref_page(pfn, order)
            self._count(-1, -PAGE_SIZE << order, -1 << order)
            return
        cache = page.cache
        index, rest = divmod(phys - (page.pfn << PAGE_SHIFT), cache.size)
        bit = 1 << index
        if rest or page.free & bit or index >= page.objects:
            raise KernelBug(f"kmalloc-{cache.size}: Object {address:#x} already free")
        page.free |= bit
        page.nr_free += 1
        if page.nr_free == 1:
            cache.partial[page.pfn] = page
        if page.nr_free == page.objects and len(cache.partial) > 1:
            # One empty slab stays, for the next kmalloc (SLUB's min_partial).
            self._free_slab(page)

    def _free_slab(self, page: _Page) -> None:
        del page.cache.partial[page.pfn]
        for frame in range(page.pfn, page.pfn + (1 << page.order)):
            del self._slabs[frame]
        self._nr_pages -= 1 << page.order
        page.cache.nr_objects -= page.objects
        self._page_alloc.free_unref_page(page.pfn, page.order)

    def kmem_cache_alloc_bulk(self, size: int, count: int) -> list[ObjectRun] | None:
        """Allocate at least `count` objects of `size` bytes (a page at most), as whole pages.

        However many they are, it takes a handful of steps: the pages come as the largest
        blocks there are, and nobody touches them.  None, and nothing is allocated, when
        there is not enough memory.  Linux: mm/slub.c:kmem_cache_alloc_bulk_noprof()
        """
        if self._workqueue.pending:
            self._workqueue.flush()
        size = self._cache_of[(size + 7) >> 3].size
        left = -(-count // (PAGE_SIZE // size))
        if left > self._page_alloc.nr_free:
            return None
        runs: list[ObjectRun] = []
        order = MAX_PAGE_ORDER
        while left:
            order = min(order, left.bit_length() - 1)
            pfn = self._page_alloc.alloc_pages(GFP_KERNEL, order)
            if pfn is not None:
                runs.append(ObjectRun(self._page_offset + (pfn << PAGE_SHIFT), order, size))
                left -= 1 << order
            elif order:
                order -= 1
            else:
                self._free_runs(runs)
                return None
        self._runs.update((run.address, run) for run in runs)
        for run in runs:
            self._count(run.nr_objects, run.nr_objects * run.size, 1 << run.order)
        return runs

    def kmem_cache_free_bulk(self, runs: list[ObjectRun]) -> None:
        """Free what `kmem_cache_alloc_bulk()` gave.

        Raises:
            KernelBug: it did not give one of them, or it is freed already.
        """
        if self._workqueue.pending:
            self._workqueue.flush()
        for run in runs:
            if self._runs.get(run.address) != run:
                raise KernelBug(f"kmem_cache_free_bulk: not an allocated run: {run.address:#x}")
        for run in runs:
            del self._runs[run.address]
            self._count(-run.nr_objects, -run.nr_objects * run.size, -1 << run.order)
        self._free_runs(runs)

    def _count(self, objects: int, nbytes: int, pages: int) -> None:
        """Large objects, or those of a run, have come, or have gone if the numbers are negative."""
        self._nr_other += objects
        self._nbytes += nbytes
        self._nr_pages += pages

    def _free_runs(self, runs: list[ObjectRun]) -> None:
        for run in runs:
            self._page_alloc.free_unref_page(self._pfn(run.address), run.order)

    def statistics(self) -> SlabStatistics:
        """The books as they stand now."""
        return SlabStatistics(
            pages=self._nr_pages,
            objects=self._nr_other + sum(cache.nr_used for cache in self._caches),
            nbytes=self._nbytes + sum(cache.nr_used * cache.size for cache in self._caches),
        )

    def __repr__(self) -> str:
        pages, objects, nbytes = self.statistics()
        return f"<Slab objects={objects} bytes={nbytes} pages={pages}>"

    def state(self) -> dict[str, Any]:
        """What decides which object comes next, as plain data."""
        slabs = dict.fromkeys(self._slabs.values())
        return {
            "slabs": [[page.cache.size, page.pfn, page.order, page.free] for page in slabs],
            "partial": [list(cache.partial) for cache in self._caches],
            "large": [[pfn, order] for pfn, order in self._large.items()],
            "runs": [list(run) for run in self._runs.values()],
        }

    def check(self) -> set[int]:
        """Assert the invariants; return all frames in use.  Slow: for tests.

        - no two slabs, large objects or runs share a frame
        - a slab is on its cache's partial list just when it has a free object
        - `nr_free` is the number of free objects
        - the books are what is there
        """
        frames: set[int] = set()
        blocks = [(page.pfn, page.order) for page in set(self._slabs.values())]
        blocks += self._large.items()
        blocks += [(self._pfn(run.address), run.order) for run in self._runs.values()]
        for pfn, order in blocks:
            block = set(range(pfn, pfn + (1 << order)))
            assert not frames & block
            frames |= block
        for frame, page in self._slabs.items():
            assert page.pfn <= frame < page.pfn + (1 << page.order)
            assert page.nr_free == page.free.bit_count() <= page.objects
            assert page.free < 1 << page.objects
            assert (page.pfn in page.cache.partial) == (page.nr_free > 0)
        assert self._nr_pages == len(frames)
        used = dict.fromkeys(self._caches, 0)
        for page in set(self._slabs.values()):
            used[page.cache] += page.objects - page.nr_free
        assert used == {cache: cache.nr_used for cache in self._caches}
        runs = self._runs.values()
        assert self._nr_other == len(self._large) + sum(run.nr_objects for run in runs)
        large = sum(PAGE_SIZE << order for order in self._large.values())
        assert self._nbytes == large + sum(run.nr_objects * run.size for run in runs)
        return frames

    def _pfn(self, address: int) -> int:
        return (address - self._page_offset) >> PAGE_SHIFT
