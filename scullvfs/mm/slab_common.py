"""What kmalloc, caches of one's own and runs of objects have in common: frames, made into slabs.

Linux: mm/slab_common.c
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from sys import byteorder
from typing import Final

from .errors import KernelBug, PageFault
from .gfp import __GFP_COMP as GFP_COMP
from .gfp import __GFP_DIRECT_RECLAIM as GFP_DIRECT_RECLAIM
from .gfp import __GFP_NOMEMALLOC as GFP_NOMEMALLOC
from .gfp import __GFP_NORETRY as GFP_NORETRY
from .gfp import __GFP_NOWARN as GFP_NOWARN
from .gfp import __GFP_RECLAIM as GFP_RECLAIM
from .gfp import __GFP_ZERO as GFP_ZERO
from .layout import PAGE_SHIFT, PAGE_SIZE, Layout
from .page_alloc import MAX_PAGE_ORDER, PageAllocator
from .printk import KERN_ERR, KernelLog
from .ram import Ram
from .slab_order import get_order
from .slub import BAD, USED, KmemCache, ObjectRun, SlabPage

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
        self._init_on_alloc: Final = page_alloc.init_on_alloc
        self._workqueue = page_alloc.workqueue
        self._page_offset = layout.page_offset
        self._layout = layout
        self._ram = ram
        self._log = log
        self._cpus = cpus
        self._caches = {
            size: KmemCache(
                name,
                size,
                size & -size,
                0,
                layout.pointer_size,
                cpus,
                layout.page_offset,
                usersize=size,
            )
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
        self._broken: dict[SlabPage, PageFault] = {}
        """Slab whose list of free objects is overwritten -> where following it leads."""

    def find_slab(self, pfn: int) -> SlabPage | None:
        """The slab that a frame is part of (Linux: virt_to_slab())."""
        return self._slabs.get(pfn)

    def find_large(self, pfn: int) -> tuple[int, int] | None:
        """First frame and order of the large object that a frame is part of."""
        for order in range(MAX_PAGE_ORDER + 1):
            first = pfn >> order << order
            if self._large.get(first, -1) >= order:
                return first, self._large[first]
        return None

    def find_run(self, pfn: int) -> ObjectRun | None:
        """The run of objects that a frame is part of."""
        for order in range(MAX_PAGE_ORDER + 1):
            run = self._runs.get(self._page_offset + (pfn >> order << order << PAGE_SHIFT))
            if run is not None and run.order >= order:
                return run
        return None

    def overwritten(self, start: int, end: int) -> None:
        """Somebody has written to physical addresses `start`..`end` - 1 who has nothing there.

        If what a free object has of its slab's list is among them, the list is broken: it shows
        when the object has been allocated, and the next one is asked for.
        """
        frames = range(start >> PAGE_SHIFT, (end - 1 >> PAGE_SHIFT) + 1)
        few = frames if len(frames) < len(self._slabs) else sorted(self._slabs)
        pages = dict.fromkeys(
            self._slabs[pfn] for pfn in few if pfn in frames and pfn in self._slabs
        )
        for page in pages:
            size, offset = page.cache.size, page.cache.offset
            base = (page.pfn << PAGE_SHIFT) + offset
            first = max(-(-(start - base - self._layout.pointer_size + 1) // size), 0)
            for index in range(first, min((end - 1 - base) // size + 1, page.objects)):
                if page.links[index] != USED:
                    page.links[index] = BAD
                    self._broken.setdefault(page, self._follow(page.cache, base + index * size))

    def _follow(self, cache: KmemCache, phys: int) -> PageFault:
        """What comes of following the pointer at a physical address.

        It is scrambled there (CONFIG_SLAB_FREELIST_HARDENED).
        Linux: mm/slub.c:freelist_ptr_decode(), get_freepointer()
        """
        nbytes = self._layout.pointer_size
        stored = int.from_bytes(self._ram.bytes[phys : phys + nbytes], byteorder)
        where = (phys + self._page_offset).to_bytes(nbytes, "little")
        secret = Random(cache.name).getrandbits(8 * nbytes)
        pointer = stored ^ secret ^ int.from_bytes(where, "big")
        address = pointer + cache.offset & (1 << 8 * nbytes) - 1
        return PageFault(address, False, "", ())

    def kmalloc_size_roundup(self, size: int) -> int:
        """The bytes that `kmalloc(size)` gives; `size` itself where it gives none.

        Linux: mm/slab_common.c:kmalloc_size_roundup()
        """
        if not 0 < size <= KMALLOC_MAX_SIZE:
            return size
        if size > KMALLOC_MAX_CACHE_SIZE:
            return PAGE_SIZE << get_order(size)
        return self._cache_of[(size + 7) >> 3].size

    def kmalloc_slab(self, size: int) -> KmemCache:
        """The cache of `kmalloc(size)`, of 1 to KMALLOC_MAX_CACHE_SIZE bytes.

        Linux: mm/slab.h:kmalloc_slab()
        """
        return self._cache_of[(size + 7) >> 3]

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
        pointer_size = self._layout.pointer_size
        cache = KmemCache(
            name, object_size, align, flags, pointer_size, self._cpus, self._page_offset
        )
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

    def kmem_cache_shrink(self, cache: KmemCache) -> None:
        """Free all empty slabs of a cache, and keep those apart that the cpu had.

        Linux: mm/slub.c:__kmem_cache_shrink()
        """
        if self._workqueue.pending:
            self._workqueue.flush()
        cache.flush(self._discard_slab)
        cache.free_partial(self._discard_slab)

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

    def compound_in(self, first: int, end: int) -> Iterator[tuple[int, int, bool]]:
        """(first frame, order, whether it is a slab) of all that has some of these frames.

        A run of objects is the slabs that it stands for.  However much there is else, it looks at
        about as many objects as there are frames from `first` to `end` - 1; some may lie elsewhere.
        """
        slabs, large, offset = self._slabs, self._large, self._page_offset
        for page in {*map(slabs.get, range(first, end))}:
            if page is not None:
                yield page.pfn, page.order, True
        few = end - first
        # A block begins at a multiple of its length.
        blocks = {first >> order << order for order in range(MAX_PAGE_ORDER + 1)}
        if max(len(large), len(self._runs)) > few:
            blocks.update(range(first, end))
        for pfn in large if len(large) <= few else blocks & large.keys():
            yield pfn, large[pfn], False
        addresses = [offset + (pfn << PAGE_SHIFT) for pfn in blocks]
        for address in self._runs if len(self._runs) <= few else addresses:
            run = self._runs.get(address)
            if run is not None:
                order = min(self._caches[run.size].order, run.order)
                pfn = self._pfn(address)
                for at in range(pfn, pfn + (1 << run.order), 1 << order):
                    yield at, order, True

    # -- slabs -----------------------------------------------------------------------------

    def _alloc_pages(self, order: int, gfp: int, whole: bool = False) -> int | None:
        """All frames of slabs and large objects come from here."""
        return self._page_alloc.alloc_pages(gfp, order, whole)

    def _free_pages(self, pfn: int, order: int) -> None:
        """All frames of slabs and large objects go back here, when nothing waits or may wait on."""
        self._page_alloc.put_block(pfn, order)

    def _new_slab(self, cache: KmemCache, gfp: int) -> bool:
        """Have a new slab as the cpu's (Linux: mm/slub.c:allocate_slab())."""
        if cache.destroyed:
            raise KernelBug(f"kmem_cache_alloc: {cache.name} was destroyed")
        gfp = gfp & ~GFP_ZERO | GFP_COMP
        order = cache.order
        first = gfp | GFP_NOWARN | GFP_NORETRY
        if gfp & GFP_DIRECT_RECLAIM and order > cache.min_order:
            first = (first | GFP_NOMEMALLOC) & ~GFP_RECLAIM
        pfn = self._alloc_pages(order, first)
        if pfn is None:  # not so large, or once more, so that it is reported
            order = cache.min_order
            pfn = self._alloc_pages(order, gfp)
        if pfn is None:
            return False
        self._add_slab(cache, pfn, order)
        return True

    def _add_slab(self, cache: KmemCache, pfn: int, order: int) -> None:
        page = SlabPage(cache, pfn, order)
        self._slabs[pfn] = page  # the same number as the slab's own, and not another object
        for frame in range(pfn + 1, pfn + (1 << order)):
            self._slabs[frame] = page
        self._nr_pages += 1 << order
        cache.add_slab(page)

    def grow_at(self, cache: KmemCache, pfn: int) -> tuple[SlabPage, int]:
        """Have a new slab as the cpu's, whose last one is full, in a frame of zeros.

        As an allocation does that finds no other slab, and gets this frame.  Returns what
        `shrink_to()` takes.
        """
        before = cache.cpu, len(cache.slabs)
        cache.next_slab()
        self._add_slab(cache, pfn, 0)
        return before

    def shrink_to(self, cache: KmemCache, before: tuple[SlabPage, int]) -> None:
        """Undo the last `grow_at()`: nothing of that slab is allocated any more."""
        del self._slabs[cache.cpu.pfn]
        self._nr_pages -= 1
        cache.remove_last_slab(*before)

    def _discard_slab(self, page: SlabPage) -> None:
        """Give an empty slab's frames back; it is on no list (Linux: mm/slub.c:discard_slab())."""
        self._broken.pop(page, None)
        for frame in range(page.pfn, page.pfn + (1 << page.order)):
            del self._slabs[frame]
        self._nr_pages -= 1 << page.order
        page.cache.remove_slab(page)
        self._free_pages(page.pfn, page.order)

    def _count(self, objects: int, nbytes: int, pages: int) -> None:
        """Large objects, or those of a run, have come, or have gone if the numbers are negative."""
        self._nr_other += objects
        self._nbytes += nbytes
        self._nr_pages += pages

    def _pfn(self, address: int) -> int:
        return (address - self._page_offset) >> PAGE_SHIFT
