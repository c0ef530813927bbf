"""What kmalloc, caches of one's own and runs of objects have in common: frames, made into slabs.

Linux: mm/slab_common.c
"""

from __future__ import annotations

from typing import Final

from .errors import KernelBug
from .gfp import __GFP_NOWARN as GFP_NOWARN
from .gfp import __GFP_ZERO as GFP_ZERO
from .layout import PAGE_SHIFT, PAGE_SIZE, Layout
from .page_alloc import MAX_PAGE_ORDER, PageAllocator
from .printk import KERN_ERR, KernelLog
from .ram import Ram
from .slub import KmemCache, ObjectRun, SlabPage, get_order

__all__ = [
    "KMALLOC_MAX_CACHE_SIZE",
    "KMALLOC_MAX_SIZE",
    "KMALLOC_SIZES",
    "SlabCommon",
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


class SlabCommon:
    """The caches of one machine, and the frames of their slabs.

    Args:
        log: where it says what a caller did wrong.
        cpus: how many there are; more of them make larger slabs.
    """

    def __init__(
        self,
        page_alloc: PageAllocator,
        ram: Ram,
        layout: Layout,
        log: KernelLog,
        cpus: int,
    ) -> None:
        self._page_alloc = page_alloc
        self._workqueue = page_alloc.workqueue
        self._page_offset = layout.page_offset
        self._layout = layout
        self._ram = ram
        self._log = log
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

    def kmalloc_size_roundup(self, size: int) -> int:
        """The bytes that `kmalloc(size)` gives; `size` itself where it gives none.

        Linux: mm/slab_common.c:kmalloc_size_roundup()
        """
        if not 0 < size <= KMALLOC_MAX_SIZE:
            return size
        if size > KMALLOC_MAX_CACHE_SIZE:
            return PAGE_SIZE << get_order(size)
        return self._cache_of[(size + 7) >> 3].size

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
        cache = KmemCache(name, object_size, align, flags, self._layout.pointer_size, self._cpus)
        self._all.append(cache)
        return cache

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
        for address in page.allocated():
            where = self._layout.pointer(address)
            self._log.printk(KERN_ERR, f"Object 0x{where} @offset={address - page.address}")

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

    def _count(self, objects: int, nbytes: int, pages: int) -> None:
        """Large objects, or those of a run, have come, or have gone if the numbers are negative."""
        self._nr_other += objects
        self._nbytes += nbytes
        self._nr_pages += pages

    def _pfn(self, address: int) -> int:
        return (address - self._page_offset) >> PAGE_SHIFT
