"""kmalloc: small objects in the linear mapping, packed into slabs; and caches of one's own.

Requests up to 8 KiB come from the kmalloc caches (`slub`), one for each size.  Larger ones get
their own block of frames.  An address is PAGE_OFFSET + the physical address, so nothing here
writes a page-table entry: the counters of `pgtable` show it.

`alloc_runs()` is what Linux has not: it takes objects by the page, so that a million of them cost a
handful of steps.

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
from .gfp import __GFP_NOWARN as GFP_NOWARN
from .gfp import __GFP_ZERO as GFP_ZERO
from .gfp import GFP_KERNEL
from .layout import PAGE_SHIFT, PAGE_SIZE, Layout
from .page_alloc import MAX_PAGE_ORDER, PageAllocator
from .printk import KERN_ERR, KernelLog
from .ram import Ram
from .slub import (
    END,
    NO_SLAB,
    SLAB_HWCACHE_ALIGN,
    USED,
    CacheStatistics,
    KmemCache,
    SlabPage,
    get_order,
)

__all__ = [
    "KMALLOC_MAX_CACHE_SIZE",
    "KMALLOC_MAX_SIZE",
    "SLAB_HWCACHE_ALIGN",
    "ZERO_SIZE_PTR",
    "CacheStatistics",
    "KmemCache",
    "ObjectRun",
    "Slab",
    "SlabStatistics",
]

KMALLOC_NAMES: Final = {
    96: "kmalloc-96",
    192: "kmalloc-192",
    8: "kmalloc-8",
    16: "kmalloc-16",
    32: "kmalloc-32",
    64: "kmalloc-64",
    128: "kmalloc-128",
    256: "kmalloc-256",
    512: "kmalloc-512",
    1024: "kmalloc-1k",
    2048: "kmalloc-2k",
    4096: "kmalloc-4k",
    8192: "kmalloc-8k",
}
"""Object size -> name of each kmalloc cache, in the order in which they are made.

Linux: mm/slab_common.c:kmalloc_info, create_kmalloc_caches()
"""
KMALLOC_SIZES: Final = tuple(sorted(KMALLOC_NAMES))
KMALLOC_MAX_CACHE_SIZE: Final = KMALLOC_SIZES[-1]
KMALLOC_MAX_SIZE: Final = PAGE_SIZE << MAX_PAGE_ORDER
"""4 MiB: more than that kmalloc never gives."""
ZERO_SIZE_PTR: Final = 16
"""What kmalloc(0) gives: no memory is there, and kfree() takes it."""


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
    """The books of all caches and large objects."""

    pages: int
    """Frames taken for slabs and large objects."""
    objects: int
    """Objects allocated and not freed."""
    nbytes: int
    """The bytes of those objects, each rounded up to its cache's object size."""


class Slab:
    """kmalloc, kfree and the caches of one machine.

    Args:
        log: where it says what a caller did wrong.
        cpus: how many there are; more of them make larger slabs.
    """

    def __init__(
        self,
        page_alloc: PageAllocator,
        ram: Ram,
        layout: Layout,
        log: KernelLog | None = None,
        cpus: int = 1,
    ) -> None:
        self._page_alloc = page_alloc
        self._workqueue = page_alloc.workqueue
        self._page_offset = layout.page_offset
        self._pointer_size = layout.pointer_size
        self._ram = ram
        self._log = KernelLog() if log is None else log
        self._cpus = cpus
        self._caches = {
            size: KmemCache(name, size, size & -size, 0, layout.pointer_size, cpus)
            for size, name in KMALLOC_NAMES.items()
        }
        self._all = list(self._caches.values())
        self._cache_of = [
            self._caches[next(size for size in KMALLOC_SIZES if size >= words * 8)]
            for words in range(KMALLOC_MAX_CACHE_SIZE // 8 + 1)
        ]
        self._slabs: dict[int, SlabPage] = {}
        """Frame -> the slab that it is part of, for every frame of every slab."""
        self._large: dict[int, int] = {}
        """First frame of a large object -> its order."""
        self._runs: dict[int, ObjectRun] = {}
        """First address -> run of `alloc_runs()`."""
        self._nr_pages = 0
        """Frames taken, for whatever."""
        self._nr_other = 0
        """Large objects, and those of runs."""
        self._nbytes = 0
        """Their bytes."""

    # -- kmalloc ---------------------------------------------------------------------------

    def kmalloc_size_roundup(self, size: int) -> int:
        """The bytes that `kmalloc(size)` gives; `size` itself where it gives none.

        Linux: mm/slab_common.c:kmalloc_size_roundup()
        """
        if not 0 < size <= KMALLOC_MAX_SIZE:
            return size
        if size > KMALLOC_MAX_CACHE_SIZE:
            return PAGE_SIZE << get_order(size)
        return self._cache_of[(size + 7) >> 3].size

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

    def kmem_cache_create(
        self, name: str, object_size: int, align: int = 0, flags: int = 0
    ) -> KmemCache | None:
        """A cache of objects of one size.

        Args:
            name: shown in /proc/slabinfo.
            object_size: bytes of an object, 1 to KMALLOC_MAX_SIZE.
            align: objects begin at multiples of this power of two; 0 for that of a pointer.
            flags: SLAB_HWCACHE_ALIGN, or 0.

        Returns None when there is no name or no such size.
        Linux: mm/slab_common.c:__kmem_cache_create_args()
        """
        if not name or not 0 < object_size <= KMALLOC_MAX_SIZE:
            return None
        cache = KmemCache(name, object_size, align, flags, self._pointer_size, self._cpus)
        self._all.append(cache)
        return cache

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

    def kmem_cache_destroy(self, cache: KmemCache | None) -> None:
        """Take a cache away; None is fine.

        It is in the listing no more.  With objects left the log tells which, and their slabs stay.

        Raises:
            KernelBug: it was destroyed before, or it is one of kmalloc's.

        Linux: mm/slab_common.c:kmem_cache_destroy()
        """
        if cache is None:
            return
        if cache.destroyed or cache in self._caches.values():
            raise KernelBug(f"kmem_cache_destroy: no cache to destroy: {cache.name}")
        if self._workqueue.pending:
            self._workqueue.flush()
        cache.flush(self._discard_slab)
        for page in cache.free_partial(self._discard_slab):
            self._list_slab_objects(page)
        cache.destroyed = True
        if not cache.nr_slabs:
            self._all.remove(cache)
        else:
            self._log.warn(
                f"kmem_cache_destroy {cache.name}: Slab cache still has objects",
                "kmem_cache_destroy",
            )

    def _list_slab_objects(self, page: SlabPage) -> None:
        """Linux: mm/slub.c:list_slab_objects(), slab_bug()"""
        name, line = page.cache.name, "=" * 77
        self._log.printk(
            KERN_ERR,
            f"{line}\nBUG {name} (Not tainted): Objects remaining in {name} on "
            f"__kmem_cache_shutdown()\n{line.replace('=', '-')}\n",
        )
        digits = 2 * self._pointer_size
        for address in page.allocated():
            self._log.printk(
                KERN_ERR, f"Object 0x{address:0{digits}x} @offset={address - page.address}"
            )

    def caches(self) -> list[KmemCache]:
        """All caches, the last one made first, as /proc/slabinfo has them."""
        return [cache for cache in reversed(self._all) if not cache.destroyed]

    # -- slabs -----------------------------------------------------------------------------

    def _alloc_pages(self, order: int, gfp: int) -> int | None:
        """All frames of slabs and large objects come from here; they are zeros."""
        if order > MAX_PAGE_ORDER:
            if not gfp & GFP_NOWARN:
                self._log.warn_once("", "__alloc_pages")
            return None
        return self._page_alloc.alloc_pages(gfp | GFP_ZERO, order)

    def _free_pages(self, pfn: int, order: int) -> None:
        """All frames of slabs and large objects go back here."""
        self._page_alloc.free_unref_page(pfn, order)

    def _new_slab(self, cache: KmemCache, gfp: int) -> bool:
        """Have a new slab as the cpu's (Linux: mm/slub.c:allocate_slab())."""
        if cache.destroyed:
            raise KernelBug(f"kmem_cache_alloc: {cache.name} was destroyed")
        gfp &= ~GFP_ZERO
        order = cache.order
        pfn = self._alloc_pages(order, gfp | GFP_NOWARN)
        if pfn is None and cache.min_order < order:
            order = cache.min_order
            pfn = self._alloc_pages(order, gfp)
        if pfn is None:
            return False
        page = SlabPage(cache, self._page_offset + (pfn << PAGE_SHIFT), pfn, order)
        self._slabs[pfn] = page  # the same number as the slab's own, and not another object
        for frame in range(pfn + 1, pfn + (1 << order)):
            self._slabs[frame] = page
        self._nr_pages += 1 << order
        cache.nr_objects += page.objects
        cache.nr_slabs += 1
        cache.cpu = page
        return True

    def _discard_slab(self, page: SlabPage) -> None:
        """Give an empty slab's frames back; it is on no list (Linux: mm/slub.c:discard_slab())."""
        for frame in range(page.pfn, page.pfn + (1 << page.order)):
            del self._slabs[frame]
        self._nr_pages -= 1 << page.order
        page.cache.nr_objects -= page.objects
        page.cache.nr_slabs -= 1
        self._free_pages(page.pfn, page.order)

    # -- runs ------------------------------------------------------------------------------

    def alloc_runs(self, size: int, count: int) -> list[ObjectRun] | None:
        """Allocate at least `count` objects of `size` bytes (1 to PAGE_SIZE), as whole pages.

        However many they are, it takes a handful of steps: the pages come as the largest
        blocks there are, and nobody touches them.  None, and nothing is allocated, when
        there is not enough memory.  Linux has no such function.
        """
        if self._workqueue.pending:
            self._workqueue.flush()
        size = self.kmalloc_size_roundup(size)
        left = -(-count // (PAGE_SIZE // size))
        if left > self._page_alloc.nr_available(GFP_KERNEL):
            return None
        runs: list[ObjectRun] = []
        order = MAX_PAGE_ORDER
        while left:
            order = min(order, left.bit_length() - 1)
            pfn = self._alloc_pages(order, GFP_KERNEL | GFP_NOWARN)
            if pfn is not None:
                runs.append(ObjectRun(self._page_offset + (pfn << PAGE_SHIFT), order, size))
                left -= 1 << order
            elif order:
                order -= 1
            else:
                self._free_run_pages(runs)
                return None
        self._runs.update((run.address, run) for run in runs)
        for run in runs:
            self._count_run(run, 1)
        return runs

    def free_runs(self, runs: list[ObjectRun]) -> None:
        """Free what `alloc_runs()` gave.

        Raises:
            KernelBug: it did not give one of them, or it is freed already.
        """
        if self._workqueue.pending:
            self._workqueue.flush()
        for run in runs:
            if self._runs.get(run.address) != run:
                raise KernelBug(f"free_runs: not an allocated run: {run.address:#x}")
        for run in runs:
            del self._runs[run.address]
            self._count_run(run, -1)
        self._free_run_pages(runs)

    def _count_run(self, run: ObjectRun, sign: int) -> None:
        """A run has come, or with a `sign` of -1 gone; it counts for its cache's slabs."""
        cache, objects = self._caches[run.size], sign * run.nr_objects
        cache.run_objects += objects
        cache.run_slabs += sign << max(run.order - cache.order, 0)
        self._count(objects, objects * run.size, sign << run.order)

    def _count(self, objects: int, nbytes: int, pages: int) -> None:
        """Large objects, or those of a run, have come, or have gone if the numbers are negative."""
        self._nr_other += objects
        self._nbytes += nbytes
        self._nr_pages += pages

    def _free_run_pages(self, runs: list[ObjectRun]) -> None:
        for run in runs:
            self._free_pages(self._pfn(run.address), run.order)

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

    def _pfn(self, address: int) -> int:
        return (address - self._page_offset) >> PAGE_SHIFT
