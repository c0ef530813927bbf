"""kmalloc: small objects in the linear mapping, packed into slabs; and caches of one's own.

Requests up to 8 KiB come from the kmalloc caches (`slub`), one for each size.  Larger ones get
their own block of frames.  An address is PAGE_OFFSET + the physical address, so nothing here
writes a page-table entry: the counters of `pgtable` show it.

Confessed: the log tells of no memory where Linux would try for a smaller slab, or for a large
object, but not where the first slab is the smallest; nor does it tell of the cache
(mm/slub.c:slab_out_of_memory()).  The structures of a cache itself (kmem_cache, kmem_cache_node)
take no memory.  Linux has other kmalloc caches for some flags (kmalloc-cg, kmalloc-rcl,
dma-kmalloc); here all flags share one set.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from .errors import KernelBug
from .gfp import __GFP_COMP as GFP_COMP
from .gfp import __GFP_ZERO as GFP_ZERO
from .gfp import GFP_KERNEL
from .layout import PAGE_SHIFT, PAGE_SIZE
from .object_runs import ObjectRuns
from .slab_common import KMALLOC_MAX_CACHE_SIZE
from .slub import END, NO_SLAB, USED, KmemCache, SlabPage, get_order

__all__ = ["ZERO_SIZE_PTR", "Slab", "SlabStatistics"]

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


class Slab(ObjectRuns):
    """kmalloc, kfree and the caches of one machine."""

    # -- kmalloc ---------------------------------------------------------------------------

    def kmalloc(self, size: int, gfp: int = GFP_KERNEL) -> int | None:
        """Allocate `size` bytes (0 or more), physically contiguous.

        What is in them is left as it was, but with __GFP_ZERO.  Returns the address in the linear
        mapping, or ZERO_SIZE_PTR for 0 bytes, or None when no memory of that size can be had.  More
        than KMALLOC_MAX_SIZE is None, too, with a warning (the first time, and not with
        __GFP_NOWARN).
        Linux: mm/slub.c:__kmalloc_noprof()
        """
        if not 0 < size <= KMALLOC_MAX_CACHE_SIZE:
            return self._kmalloc_large(size, gfp) if size else ZERO_SIZE_PTR
        return self.kmem_cache_alloc(self._cache_of[(size + 7) >> 3], gfp)

    def kzalloc(self, size: int, gfp: int = GFP_KERNEL) -> int | None:
        """As `kmalloc()`, filled with zeros."""
        return self.kmalloc(size, gfp | GFP_ZERO)

    def _kmalloc_large(self, size: int, gfp: int) -> int | None:
        """Linux: mm/slub.c:___kmalloc_large_node()"""
        order = get_order(size)
        pfn = self._alloc_pages(order, gfp | GFP_COMP)  # they come as zeros
        if pfn is None:
            return None
        self._large[pfn] = order
        self._count(1, PAGE_SIZE << order, 1 << order)
        return self._page_offset + (pfn << PAGE_SHIFT)

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
        page = self._slabs.get((address - self._page_offset) >> PAGE_SHIFT)
        if page is None:
            if address != ZERO_SIZE_PTR:
                self._kfree_large(address)
            return
        cache = page.cache
        index, rest = divmod(address - page.address, cache.size)
        if rest or index >= page.objects or page.links[index] != USED:
            raise KernelBug(f"{cache.name}: Object {address:#x} already free")
        page.links[index] = page.head
        page.head = index
        page.inuse -= 1
        if page is not cache.cpu:
            cache.object_freed(page, self._discard_slab)

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
        memory, and then the object is as it was.  With __GFP_ZERO what is behind `size` in an
        object that stays is filled with zeros.

        Raises:
            KernelBug: it is no object that is allocated.

        Linux: mm/slab_common.c:krealloc_noprof()
        """
        if not size:
            self.kfree(address)
            return ZERO_SIZE_PTR
        before = self.ksize(address)
        if address is not None and size <= before:
            if gfp & GFP_ZERO:
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

    def kmem_cache_alloc(self, cache: KmemCache, gfp: int = GFP_KERNEL) -> int | None:
        """Allocate an object; None when there is no memory.

        Raises:
            KernelBug: the cache was destroyed.

        Linux: mm/slub.c:kmem_cache_alloc_noprof()
        """
        if self._workqueue.pending:
            self._workqueue.flush()
        page = cache.cpu
        index = page.head
        if index == END:
            if not cache.next_slab() and not self._new_slab(cache, gfp):
                return None
            page = cache.cpu
            index = page.head
        links = page.links
        page.head = links[index]
        links[index] = USED
        page.inuse += 1
        address = page.address + index * cache.size
        if gfp & GFP_ZERO:
            phys = address - self._page_offset
            self._ram.bytes[phys : phys + cache.object_size] = bytes(cache.object_size)
        return address

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

    def state(self) -> dict[str, Any]:
        """What decides which object comes next, as plain data."""
        slabs = dict.fromkeys(self._slabs.values())
        return {
            "caches": [cache.state() for cache in self._all],
            "slabs": [page.state() for page in slabs],
            "large": [[pfn, order] for pfn, order in self._large.items()],
            "runs": [list(run) for run in self._runs.values()],
        }

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
