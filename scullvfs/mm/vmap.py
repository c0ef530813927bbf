"""The vmalloc address space: which addresses are in use, free, or lazily freed.

An area of addresses moves like this:

    free --alloc_vmap_area--> busy --free_vmap_area_noflush--> lazy --purge--> free
      ^                        ^                                        |
      |                        +------alloc_vmap_area---- pool <--------+ (small ones,
      +-----------------------decay---------------------------+            several CPUs)

Freed addresses are not used again at once: another CPU may still have their translation
in its TLB, and flushing all TLBs is expensive.  So they wait, and are purged together when
more than `lazy_max_pages` of them wait or when nothing else is free.  The first of these is work
for another thread in Linux; here it is scheduled, and done before anything else that allocates or
frees.  (On one CPU that is when it is done there, too: in a trim of 482 areas at a time.)

Linux has a pool for each of its "vmap nodes"; as one CPU runs all that is called here, it uses one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from .areas import BusyAreas
from .free_areas import FreeAreas
from .layout import PAGE_SHIFT, PAGE_SIZE, Layout
from .vm_struct import VmKind

__all__ = ["MAX_VA_SIZE_PAGES", "VmapSpace", "VmapStatistics"]

MAX_VA_SIZE_PAGES: Final = 256
"""Larger areas are not kept in a pool (Linux: mm/vmalloc.c)."""
LAZY_BYTES_PER_CPU_BIT: Final = 32 << 20


class VmapStatistics(NamedTuple):
    """The books of the vmalloc address space."""

    areas: int
    """Areas in use."""
    busy_pages: int
    """Pages of addresses in use, guard pages included."""
    lazy_pages: int
    """Pages of addresses freed and not yet purged."""
    total_pages: int
    """Pages of the window."""
    largest_free: int
    """Size in bytes of the largest range that is free without a purge."""
    purges: int
    """How often a purge happened."""


class VmapSpace:
    """The vmalloc window of one machine.

    Args:
        cpus: 1 or more; sets `lazy_max_pages`, and with 2 or more, and 64 bits, there are pools.
        flush: called at each purge, where Linux flushes the TLBs.
        schedule_work: has a purge done before the next call that allocates or frees anything; if
            nobody does it by then, the next one that is for addresses does.
    """

    def __init__(
        self,
        layout: Layout,
        cpus: int,
        flush: Callable[[], None],
        schedule_work: Callable[[Callable[[], None]], None] = lambda work: None,
    ) -> None:
        self.lazy_max_pages: Final = cpus.bit_length() * LAZY_BYTES_PER_CPU_BIT // PAGE_SIZE
        """fls(cpus) * 32 MiB (Linux: mm/vmalloc.c:lazy_max_pages())."""
        self.busy: Final = BusyAreas()
        """The areas in use."""
        self.lazy: list[tuple[int, int]] = []
        """(start, end) of what is freed and not yet purged."""
        self.nr_lazy_pages = 0
        """Pages of addresses in `lazy`."""
        self.purges = 0
        """How often a purge happened."""
        self._free = FreeAreas(
            layout.vmalloc_start, layout.vmalloc_end, (1, (1 << layout.pointer_size * 8) - 1)
        )
        self._total_pages: Final = layout.vmalloc_pages
        has_pools = cpus > 1 and layout.pointer_size == 8
        self._pools: Final[dict[int, list[int]] | None] = {} if has_pools else None
        """Size in bytes -> starts of purged areas of that size; the last one is used next.

        Linux: mm/vmalloc.c:vmap_init_nodes()
        """
        self._flush = flush
        self._schedule_work = schedule_work
        self._drain_pending = False
        """Whether a purge is scheduled."""
        self.purge_fragmented_blocks: Callable[[], None] = lambda: None
        """Called where nothing else is free, to free what `vm_map_ram()` could give back."""

    def alloc_vmap_area(self, size: int, align: int = PAGE_SIZE) -> int | None:
        """Take `size` bytes of addresses, whole pages, at a multiple of `align`, a power of two.

        The lowest address that fits, or an area from the pool of that size; whoever takes it puts
        it into `busy`.  With an `align` above PAGE_SIZE it is the lowest one in a range that is
        large enough however it lies, and only without such a range in one that lies well.  None
        when even a purge leaves nothing that fits.
        Linux: mm/vmalloc.c:alloc_vmap_area()
        """
        if self._drain_pending:
            self.drain_vmap_area_work()
        start = self._from_pool(size, align) if self._pools else None
        if start is None:
            start = self._free.take(size, align)
            if start is None:
                self.purge_fragmented_blocks()
                self.purge_vmap_area_lazy(full_pool_decay=True)
                start = self._free.take(size, align)
        return start

    def reserve(self, start: int, end: int) -> None:
        """Have the addresses `start`..`end` - 1 in use, without anything that is mapped there.

        So a machine can begin with the address space of another one.  As in every area the last
        page is the guard page, and `Vmalloc.vunmap()` frees it.

        Raises:
            ValueError: they are no whole pages of the window, or some of them are not free.

        Linux: mm/vmalloc.c:vm_area_add_early()
        """
        size = end - start
        if size <= 0 or start % PAGE_SIZE or size % PAGE_SIZE:
            raise ValueError(f"{start:#x}-{end:#x} are no whole pages")
        if not self._free.take_at(start, size):
            raise ValueError(f"{start:#x}-{end:#x} is not free, or no part of the window")
        self.busy.add(start, VmKind(size), 0)

    def _from_pool(self, size: int, align: int) -> int | None:
        """Linux: mm/vmalloc.c:node_pool_del_va()"""
        pool = self._pools and self._pools.get(size)
        if not pool:
            return None
        start = pool.pop()
        if start % align:  # it is the last to come again
            pool.insert(0, start)
            return None
        return start

    def free_vmap_area_noflush(self, start: int, size: int) -> None:
        """Free addresses lazily: no area any more, and their pages unmapped already.

        Linux: mm/vmalloc.c:free_vmap_area_noflush()
        """
        if self._drain_pending:
            self.drain_vmap_area_work()
        self.lazy.append((start, start + size))
        self.nr_lazy_pages += size >> PAGE_SHIFT
        if self.nr_lazy_pages > self.lazy_max_pages:
            self._drain_pending = True
            self._schedule_work(self.drain_vmap_area_work)

    def drain_vmap_area_work(self) -> None:
        """Do the purge that is scheduled, if any (Linux: mm/vmalloc.c:drain_vmap_area_work())."""
        if self._drain_pending:
            self.purge_vmap_area_lazy()

    def purge_vmap_area_lazy(self, full_pool_decay: bool = False) -> None:
        """Make lazily freed addresses usable again.

        With `full_pool_decay` the pools are emptied too; without, they give a quarter back.
        Linux: mm/vmalloc.c:__purge_vmap_area_lazy()
        """
        self._drain_pending = False
        self.purges += 1
        self._flush()
        areas, self.lazy = self.lazy, []
        self.nr_lazy_pages = 0
        if self._pools is not None:
            self._give_back(self._decay_pools(full_pool_decay), highest_first=False)
            given_back: list[tuple[int, int]] = []
            for start, end in sorted(areas):
                if end - start <= MAX_VA_SIZE_PAGES << PAGE_SHIFT and not full_pool_decay:
                    self._pools.setdefault(end - start, []).append(start)
                else:
                    given_back.append((start, end))
            areas = given_back
        self._give_back(areas)

    def _decay_pools(self, full: bool) -> list[tuple[int, int]]:
        """Take a quarter out of each pool, or all that is there; where it has less than four, too.

        Linux: mm/vmalloc.c:decay_va_pool_node()
        """
        given_back: list[tuple[int, int]] = []
        assert self._pools is not None
        for size, pool in self._pools.items():
            keep = 0 if full or len(pool) < 4 else len(pool) - len(pool) // 4
            given_back += [(start, start + size) for start in pool[keep:]]
            del pool[keep:]
        return given_back

    def _give_back(self, areas: list[tuple[int, int]], highest_first: bool = True) -> None:
        """Put areas among the free ones, the highest first if not told, as Linux does.

        Of those that follow each other the highest one finds its place, and the others are joined
        to it, which is the same for all of them at once as for one after the other.
        Linux: mm/vmalloc.c:reclaim_list_global()
        """
        runs = _runs(sorted(areas))
        if not highest_first:  # joined with each other beforehand
            for start, _, end in runs:
                self._free.add(start, end - start)
            return
        for start, last, end in reversed(runs):
            self._free.add(last, end - last)
            if start < last:
                self._free.add(start, last - start)

    @property
    def nr_busy_pages(self) -> int:
        """Pages of addresses in use, guard pages included."""
        return self.busy.nbytes >> PAGE_SHIFT

    @property
    def largest_free(self) -> int:
        """Size in bytes of the largest range that is free without a purge."""
        return self._free.largest

    def statistics(self) -> VmapStatistics:
        """The books as they stand now."""
        return VmapStatistics(
            areas=len(self.busy),
            busy_pages=self.nr_busy_pages,
            lazy_pages=self.nr_lazy_pages,
            total_pages=self._total_pages,
            largest_free=self.largest_free,
            purges=self.purges,
        )

    def __repr__(self) -> str:
        return (
            f"<VmapSpace areas={len(self.busy)} busy={self.nr_busy_pages} "
            f"lazy={self.nr_lazy_pages} pages>"
        )

    def state(self) -> dict[str, Any]:
        """All of its ranges, as plain data."""
        return {
            "busy": self.busy.state(),
            "free": self._free.state(),
            "lazy": [list(area) for area in self.lazy],
            "pools": [[size, list(starts)] for size, starts in (self._pools or {}).items()],
            "purges": self.purges,
        }

    def check(self) -> None:
        """Assert the invariants.  Slow: for tests.

        - busy, free, lazily freed and pooled areas cover the window and do not overlap
        - the count of lazily freed pages is what it says, and above the limit when they are to be
          purged next, and only then
        """
        self._free.check()
        self.busy.check()
        ranges = [(area.va_start, area.va_end) for area in self.busy.values()]
        ranges += self.lazy
        for size, pool in (self._pools or {}).items():
            ranges += [(start, start + size) for start in pool]
        ranges += [(start, start + size) for start, size in self._free]
        end = self._free.start
        for range_start, range_end in sorted(ranges):
            assert range_start == end, f"gap or overlap at {end:#x}"
            end = range_end
        assert end == self._free.end
        lazy = sum(end - start for start, end in self.lazy)
        assert self.nr_lazy_pages << PAGE_SHIFT == lazy
        assert self._drain_pending == (self.nr_lazy_pages > self.lazy_max_pages)


def _runs(areas: list[tuple[int, int]]) -> list[tuple[int, int, int]]:
    """Areas in order, those in one that touch: (start, start of the last one, end)."""
    runs: list[tuple[int, int, int]] = []
    first = last = end = 0
    for start, stop in areas:
        if start != end:
            if end:
                runs.append((first, last, end))
            first = start
        last, end = start, stop
    if end:
        runs.append((first, last, end))
    return runs
