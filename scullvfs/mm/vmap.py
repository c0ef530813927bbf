"""The vmalloc address space: which addresses are in use, free, or lazily freed.

An area of addresses moves like this:

    free --alloc_vmap_area--> busy --free_vmap_area_noflush--> lazy --purge--> free
      ^                        ^                                        |
      |                        +------alloc_vmap_area---- pool <--------+ (small ones,
      +-----------------------decay---------------------------+            several CPUs)

Freed addresses are not used again at once: another CPU may still have their translation
in its TLB, and flushing all TLBs is expensive.  So they wait, and are purged together when
more than `lazy_max_pages` of them wait or when nothing else is free.

Confessed: Linux purges in a kernel thread, here it happens inside the free that passes
the limit; and Linux has a pool for each of its "vmap nodes", here there is one node.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from .free_areas import FreeAreas
from .layout import PAGE_SHIFT, PAGE_SIZE, Layout

if TYPE_CHECKING:
    from .vmalloc import VmStruct

__all__ = ["MAX_VA_SIZE_PAGES", "VmapArea", "VmapSpace"]

MAX_VA_SIZE_PAGES: Final = 256
"""Larger areas are not kept in a pool (Linux: mm/vmalloc.c)."""
LAZY_BYTES_PER_CPU_BIT: Final = 32 << 20


class VmapArea:
    """A range of addresses in use (Linux: struct vmap_area)."""

    __slots__ = ("va_end", "va_start", "vm")

    def __init__(self, va_start: int, va_end: int) -> None:
        self.va_start = va_start
        self.va_end = va_end
        """The first address behind it; the guard page is inside."""
        self.vm: VmStruct | None = None
        """What lives there."""

    @property
    def nr_pages(self) -> int:
        """Its size in pages."""
        return (self.va_end - self.va_start) >> PAGE_SHIFT


class VmapSpace:
    """The vmalloc window of one machine.

    Args:
        cpus: 1 or more; sets `lazy_max_pages`, and with 2 or more there are pools.
        flush: called at each purge, where Linux flushes the TLBs.
    """

    def __init__(self, layout: Layout, cpus: int, flush: Callable[[], None]) -> None:
        self.lazy_max_pages: Final = cpus.bit_length() * LAZY_BYTES_PER_CPU_BIT // PAGE_SIZE
        """fls(cpus) * 32 MiB (Linux: mm/vmalloc.c:lazy_max_pages())."""
        self.busy: Final[dict[int, VmapArea]] = {}
        """va_start -> area in use."""
        self.lazy: list[VmapArea] = []
        """Freed and not yet purged."""
        self.nr_lazy_pages = 0
        """Pages of addresses in `lazy`."""
        self.purges = 0
        """How often a purge happened."""
        self._free = FreeAreas(layout.vmalloc_start, layout.vmalloc_end)
        self._pools: Final[dict[int, list[VmapArea]] | None] = {} if cpus > 1 else None
        """Size in pages -> purged areas of that size, ready to be used again."""
        self._flush = flush

    def alloc_vmap_area(self, size: int, align: int = PAGE_SIZE) -> VmapArea | None:
        """Take `size` bytes of addresses, whole pages, at a multiple of `align`, a power of two.

        The lowest address that fits, or an area from the pool of that size.  None when
        even a purge leaves nothing that fits.  Linux: mm/vmalloc.c:alloc_vmap_area()
        """
        area = self._from_pool(size, align) if self._pools else None
        if area is None:
            start = self._free.take(size, align)
            if start is None:
                self.purge_vmap_area_lazy(full_pool_decay=True)
                start = self._free.take(size, align)
                if start is None:
                    return None
            area = VmapArea(start, start + size)
        self.busy[area.va_start] = area
        return area

    def _from_pool(self, size: int, align: int) -> VmapArea | None:
        """Linux: mm/vmalloc.c:node_pool_del_va()"""
        pool = self._pools and self._pools.get(size >> PAGE_SHIFT)
        if not pool or pool[-1].va_start % align:
            return None
        area = pool.pop()
        area.vm = None
        return area

    def find_vmap_area(self, address: int) -> VmapArea | None:
        """The busy area that `address` lies in, or None (Linux: mm/vmalloc.c:find_vmap_area())."""
        area = self.busy.get(address)
        if area is None:
            # Nobody asks for the middle of an area but by mistake, so this may take its time.
            for other in self.busy.values():
                if other.va_start <= address < other.va_end:
                    return other
        return area

    def free_vmap_area_noflush(self, area: VmapArea) -> None:
        """Free an area lazily, its pages being unmapped already.

        Linux: mm/vmalloc.c:free_vmap_area_noflush()
        """
        del self.busy[area.va_start]
        self.lazy.append(area)
        self.nr_lazy_pages += (area.va_end - area.va_start) >> PAGE_SHIFT
        if self.nr_lazy_pages > self.lazy_max_pages:
            self.purge_vmap_area_lazy()

    def purge_vmap_area_lazy(self, full_pool_decay: bool = False) -> None:
        """Make lazily freed addresses usable again.

        With `full_pool_decay` the pools are emptied too; without, they give a quarter back.
        Linux: mm/vmalloc.c:__purge_vmap_area_lazy()
        """
        self.purges += 1
        self._flush()
        areas, self.lazy = self.lazy, []
        self.nr_lazy_pages = 0
        if self._pools is not None:
            given_back = self._decay_pools(full_pool_decay)
            for area in areas:
                if area.nr_pages <= MAX_VA_SIZE_PAGES and not full_pool_decay:
                    self._pools.setdefault(area.nr_pages, []).append(area)
                else:
                    given_back.append(area)
            areas = given_back
        self._give_back(areas)

    def _decay_pools(self, full: bool) -> list[VmapArea]:
        """Linux: mm/vmalloc.c:decay_va_pool_node()"""
        given_back: list[VmapArea] = []
        assert self._pools is not None
        for pool in self._pools.values():
            keep = 0 if full else len(pool) - len(pool) // 4
            given_back += pool[keep:]
            del pool[keep:]
        return given_back

    def _give_back(self, areas: list[VmapArea]) -> None:
        """Put areas among the free ones, neighbours joined beforehand."""
        start = end = 0
        for area in sorted(areas, key=lambda area: area.va_start):
            if area.va_start != end:
                if end:
                    self._free.add(start, end - start)
                start = area.va_start
            end = area.va_end
        if end:
            self._free.add(start, end - start)

    @property
    def nr_busy_pages(self) -> int:
        """Pages of addresses in use, guard pages included."""
        return sum(area.nr_pages for area in self.busy.values())

    @property
    def largest_free(self) -> int:
        """Size in bytes of the largest range that is free without a purge."""
        return self._free.largest

    def check(self) -> None:
        """Assert the invariants.  Slow: for tests.

        - busy, free, lazily freed and pooled areas cover the window and do not overlap
        - the count of lazily freed pages is what it says, and not above the limit
        """
        self._free.check()
        waiting = [*self.lazy, *(area for pool in (self._pools or {}).values() for area in pool)]
        ranges = [(area.va_start, area.va_end) for area in [*self.busy.values(), *waiting]]
        ranges += [(start, start + size) for start, size in self._free]
        end = self._free.start
        for range_start, range_end in sorted(ranges):
            assert range_start == end, f"gap or overlap at {end:#x}"
            end = range_end
        assert end == self._free.end
        assert self.nr_lazy_pages == sum(area.nr_pages for area in self.lazy) <= self.lazy_max_pages
        assert all(start == area.va_start for start, area in self.busy.items())
