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

Each area has a struct vmap_area, an object of the cache of that name, from when it is taken until
it is free; and so has each range of free addresses, with one more in reserve for when a range is
split.  When ranges are joined there is one too many, and it is freed.  Here it is a number (`va`)
that goes along with the addresses.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, TypedDict

from .areas import BusyAreas, BusyState
from .errors import KernelBug, PageFault
from .free_areas import FreeAreas, NoSpareError
from .gfp import __GFP_NOWARN as NOWARN
from .gfp import GFP_KERNEL, GFP_NOWAIT, GFP_RECLAIM_MASK
from .layout import PAGE_SHIFT, PAGE_SIZE, Layout
from .object_numbers import ObjectNumbers
from .printk import KERN_WARNING, KernelLog
from .restoring import StateError
from .vm_struct import VA_MASK, VmKind

__all__ = ["MAX_VA_SIZE_PAGES", "VmapSpace", "VmapState", "VmapStatistics"]

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
    vmap_areas: int
    """Objects that all of these addresses take, free ones too: those of the cache `vmap_area`."""


class VmapState(TypedDict):
    """All ranges of addresses."""

    busy: BusyState
    free: list[list[int]]
    lazy: list[tuple[int, int, int]]
    pools: list[tuple[int, list[tuple[int, int]]]]
    vas: list[int]
    purges: int


class VmapSpace:
    """The vmalloc window of one machine.

    Args:
        cpus: 1 or more; sets `lazy_max_pages`, and with 2 or more, and 64 bits, there are pools.
        vmap_areas: where each range's struct vmap_area comes from.
        log: told when there are no addresses.
        flush: called at each purge, where Linux flushes the TLBs.
        schedule_work: has a purge done before the next call that allocates or frees anything; if
            nobody does it by then, the next one that is for addresses does.

    Raises:
        KernelBug: there is no memory for the first struct vmap_area.
    """

    def __init__(
        self,
        layout: Layout,
        cpus: int,
        vmap_areas: ObjectNumbers,
        log: KernelLog,
        flush: Callable[[], None],
        schedule_work: Callable[[Callable[[], None]], None] = lambda work: None,
    ) -> None:
        self.lazy_max_pages: Final = cpus.bit_length() * LAZY_BYTES_PER_CPU_BIT // PAGE_SIZE
        """fls(cpus) * 32 MiB (Linux: mm/vmalloc.c:lazy_max_pages())."""
        self.busy: Final = BusyAreas()
        """The areas in use."""
        self.lazy: list[tuple[int, int, int]] = []
        """(start, end, va) of what is freed and not yet purged."""
        self.nr_lazy_pages = 0
        """Pages of addresses in `lazy`."""
        self.purges = 0
        """How often a purge happened."""
        self.vmap_areas: Final = vmap_areas
        """The struct vmap_areas, by number."""
        first = vmap_areas.alloc(GFP_NOWAIT)
        if not first:
            raise KernelBug("Kernel panic - not syncing: no memory for vmap_init_free_space()")
        limits = (1, (1 << layout.pointer_size * 8) - 1)
        self.free_areas: Final = FreeAreas(layout.vmalloc_start, layout.vmalloc_end, limits, first)
        """The ranges that are free."""
        self._log = log
        self._range: Final = f"{layout.vmalloc_start:#x} - {layout.vmalloc_limit:#x}"
        self._total_pages: Final = layout.vmalloc_pages
        has_pools = cpus > 1 and layout.pointer_size == 8
        self.pools: Final[dict[int, list[tuple[int, int]]] | None] = {} if has_pools else None
        """Size in bytes -> (start, va) of purged areas of that size; the last one is used next.

        Linux: mm/vmalloc.c:vmap_init_nodes()
        """
        self._flush = flush
        self._schedule_work = schedule_work
        self._drain_pending = False
        """Whether a purge is scheduled."""
        self.purge_fragmented_blocks: Callable[[], None] = lambda: None
        """Called where nothing else is free, to free what `vm_map_ram()` could give back."""

    def alloc_vmap_area(
        self, size: int, align: int = PAGE_SIZE, gfp: int = GFP_KERNEL
    ) -> tuple[int, int] | None:
        """Take `size` bytes of addresses, whole pages, at a multiple of `align`, a power of two.

        The lowest address that fits, or an area from the pool of that size; whoever takes it puts
        it into `busy`.  With an `align` above PAGE_SIZE it is the lowest one in a range that is
        large enough however it lies, and only without such a range in one that lies well.

        Returns:
            Where it starts, and its va; or None without memory for that, and, with a line in the
            log, when even a purge leaves nothing that fits.

        Raises:
            PageFault: somebody has overwritten the list of free objects that it goes by.

        Linux: mm/vmalloc.c:alloc_vmap_area()
        """
        if self._drain_pending:
            self.drain_vmap_area_work()
        if self.pools:
            area = self._from_pool(size, align)
            if area is not None:
                return area
        gfp &= GFP_RECLAIM_MASK
        va = self.vmap_areas.alloc(gfp)
        if not va:
            return None
        free = self.free_areas
        try:
            start = self._take(size, align, gfp) if free.spare is None else free.take(size, align)
            if start is None:
                start = self._overflow(size, align, gfp)
        except PageFault:  # somebody has overwritten what the cache goes by
            self.vmap_areas.free(va)
            raise
        if free.freed:
            self._free_vas()
        if start is None:
            self.vmap_areas.free(va)
            return None
        return start, va

    def next_run(self, size: int) -> tuple[int, int]:
        """`FreeAreas.next_run()`, where `alloc_vmap_area()` would take those and nothing else."""
        free = self.free_areas
        if self._drain_pending or free.spare is None or (self.pools and self.pools.get(size)):
            return 0, 0
        return free.next_run(size)

    def _take(self, size: int, align: int, gfp: int) -> int | None:
        """Take addresses out of a free range, with something in reserve if that can be had.

        Linux: mm/vmalloc.c:preload_this_cpu_lock(), va_alloc(), va_clip()
        """
        free = self.free_areas
        if free.spare is None:
            free.spare = self.vmap_areas.alloc(gfp) or None
        try:
            return free.take(size, align)
        except NoSpareError:
            free.spare = self.vmap_areas.alloc(GFP_NOWAIT) or None
        if free.spare is not None:
            return free.take(size, align)
        self._log.warn_once("", "va_alloc")
        return None

    def _overflow(self, size: int, align: int, gfp: int) -> int | None:
        """There are no such addresses: try again after a purge of all that there is."""
        self.purge_fragmented_blocks()
        self.purge_vmap_area_lazy(full_pool_decay=True)
        start = self._take(size, align, gfp)
        if start is None and not gfp & NOWARN:
            self._log.printk(
                KERN_WARNING,
                f"vmalloc_node_range for size {size} failed: "
                f"Address range restricted to {self._range}",
            )
        return start

    def _free_vas(self) -> None:
        """Free the struct vmap_areas of ranges that are no more."""
        freed, self.free_areas.freed = self.free_areas.freed, []
        self.vmap_areas.free_bulk(freed)

    def alloc_highest(self, size: int, align: int) -> tuple[int, int] | None:
        """Take `size` bytes, whole pages, at the highest multiple of `align` that is free.

        Returns:
            As `alloc_vmap_area()`; nothing is said in the log.

        Linux: mm/vmalloc.c:pcpu_get_vm_areas()
        """
        for purged in (False, True):
            for start, length in reversed([*self.free_areas]):
                at = ((start + length) & -align) - size
                if at >= start:
                    try:
                        return at, self._take_at(at, size)
                    except KernelBug:  # no memory for a struct vmap_area
                        return None
            if not purged:
                self.purge_vmap_area_lazy()
        return None

    def reserve(self, start: int, end: int) -> None:
        """Have the addresses `start`..`end` - 1 in use, without anything that is mapped there.

        So a machine can begin with the address space of another one.  As in every area the last
        page is the guard page, and `Vmalloc.vunmap()` frees it.

        Raises:
            ValueError: they are no whole pages of the window, or some of them are not free.
            KernelBug: there is no memory for its struct vmap_area.

        Linux: mm/vmalloc.c:vm_area_add_early()
        """
        size = end - start
        if size <= 0 or start % PAGE_SIZE or size % PAGE_SIZE:
            raise ValueError(f"{start:#x}-{end:#x} are no whole pages")
        self.busy.add(start, VmKind(size), 0, self._take_at(start, size))

    def _take_at(self, start: int, size: int) -> int:
        """Take addresses that have to be free; returns the va that goes with them."""
        va, free = self.vmap_areas.alloc(GFP_NOWAIT), self.free_areas
        free.spare = free.spare or self.vmap_areas.alloc(GFP_NOWAIT) or None
        try:
            if not va:
                raise NoSpareError
            if not free.take_at(start, size):
                end = start + size
                raise ValueError(f"{start:#x}-{end:#x} is not free, or no part of the window")
        except (NoSpareError, ValueError) as error:
            if va:
                self.vmap_areas.free(va)
            if isinstance(error, ValueError):
                raise
            raise KernelBug("no memory for a struct vmap_area") from None
        self._free_vas()
        return va

    def _from_pool(self, size: int, align: int) -> tuple[int, int] | None:
        """Linux: mm/vmalloc.c:node_pool_del_va()"""
        pool = self.pools and self.pools.get(size)
        if not pool:
            return None
        area = pool.pop()
        if area[0] % align:  # it is the last to come again
            pool.insert(0, area)
            return None
        return area

    def free_vmap_area_noflush(self, start: int, size: int, va: int) -> None:
        """Free addresses lazily: no area any more, and their pages unmapped already.

        Linux: mm/vmalloc.c:free_vmap_area_noflush()
        """
        if self._drain_pending:
            self.drain_vmap_area_work()
        self.lazy.append((start, start + size, va))
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
        if self.pools is not None:
            self._give_back(self._decay_pools(full_pool_decay), highest_first=False)
            given_back: list[tuple[int, int, int]] = []
            for area in sorted(areas):
                start, end, va = area
                if end - start <= MAX_VA_SIZE_PAGES << PAGE_SHIFT and not full_pool_decay:
                    self.pools.setdefault(end - start, []).append((start, va))
                else:
                    given_back.append(area)
            areas = given_back
        self._give_back(areas)

    def _decay_pools(self, full: bool) -> list[tuple[int, int, int]]:
        """Take a quarter out of each pool, or all that is there; where it has less than four, too.

        Linux: mm/vmalloc.c:decay_va_pool_node()
        """
        given_back: list[tuple[int, int, int]] = []
        assert self.pools is not None
        for size, pool in self.pools.items():
            keep = 0 if full or len(pool) < 4 else len(pool) - len(pool) // 4
            given_back += [(start, start + size, va) for start, va in pool[keep:]]
            del pool[keep:]
        return given_back

    def _give_back(self, areas: list[tuple[int, int, int]], highest_first: bool = True) -> None:
        """Put areas among the free ones, the highest first if not told, as Linux does.

        Of those that follow each other the highest one finds its place, and the others are joined
        to it, which is the same for all of them at once as for one after the other.
        Linux: mm/vmalloc.c:reclaim_list_global()
        """
        areas.sort()
        runs = _runs(areas)
        for first, last in reversed(runs) if highest_first else runs:
            (start, _, _), (start_of_last, end, va) = areas[first], areas[last]
            others = [other for _, _, other in areas[first:last]]
            others.reverse()
            if not highest_first:  # joined with each other beforehand
                self.free_areas.add(start, end - start, [va, *others])
                continue
            self.free_areas.add(start_of_last, end - start_of_last, (va,))
            if others:
                self.free_areas.add(start, start_of_last - start, others)
        self._free_vas()

    @property
    def nr_busy_pages(self) -> int:
        """Pages of addresses in use, guard pages included."""
        return self.busy.nbytes >> PAGE_SHIFT

    @property
    def largest_free(self) -> int:
        """Size in bytes of the largest range that is free without a purge."""
        return self.free_areas.largest

    def statistics(self) -> VmapStatistics:
        """The books as they stand now."""
        return VmapStatistics(
            areas=len(self.busy),
            busy_pages=self.nr_busy_pages,
            lazy_pages=self.nr_lazy_pages,
            total_pages=self._total_pages,
            largest_free=self.largest_free,
            purges=self.purges,
            vmap_areas=self.vmap_areas.cache.nr_used - self.vmap_areas.cache.nr_lost,
        )

    def __repr__(self) -> str:
        return (
            f"<VmapSpace areas={len(self.busy)} busy={self.nr_busy_pages} "
            f"lazy={self.nr_lazy_pages} pages>"
        )

    def state(self) -> VmapState:
        """All of its ranges, as plain data."""
        return {
            "busy": self.busy.state(),
            "free": self.free_areas.state(),
            "lazy": list(self.lazy),
            "pools": [(size, list(pool)) for size, pool in (self.pools or {}).items()],
            "vas": self.free_areas.vas(),
            "purges": self.purges,
        }

    def restore(self, state: VmapState) -> None:
        """Have these ranges; their struct vmap_areas are there already."""
        self.busy.restore(state["busy"])
        self.free_areas.restore(state["free"], state["vas"])
        self.lazy = list(state["lazy"])
        self.nr_lazy_pages = sum(end - start for start, end, _ in self.lazy) >> PAGE_SHIFT
        self._drain_pending = self.nr_lazy_pages > self.lazy_max_pages
        if self._drain_pending:
            self._schedule_work(self.drain_vmap_area_work)
        if self.pools is None and state["pools"]:
            raise StateError("pools of addresses, where there are none")
        if self.pools is not None:
            self.pools.clear()
            self.pools.update((size, list(pool)) for size, pool in state["pools"])
        self.purges = state["purges"]
        self.check()

    def check(self) -> None:
        """Assert the invariants.  Slow: for tests.

        - busy, free, lazily freed and pooled areas cover the window and do not overlap
        - the count of lazily freed pages is what it says, and above the limit when they are to be
          purged next, and only then
        - each of them, each free range and the spare one has a struct vmap_area of its own, and
          there are no others
        """
        self.free_areas.check()
        self.busy.check()
        ranges = [(area.va_start, area.va_end) for area in self.busy.values()]
        ranges += [(start, end) for start, end, _ in self.lazy]
        pools = (self.pools or {}).items()
        ranges += [(start, start + size) for size, pool in pools for start, _ in pool]
        ranges += [(start, start + size) for start, size in self.free_areas]
        end = self.free_areas.start
        for range_start, range_end in sorted(ranges):
            assert range_start == end, f"gap or overlap at {end:#x}"
            end = range_end
        assert end == self.free_areas.end
        lazy = sum(end - start for start, end, _ in self.lazy)
        assert self.nr_lazy_pages << PAGE_SHIFT == lazy
        assert self._drain_pending == (self.nr_lazy_pages > self.lazy_max_pages)
        vas = [objects & VA_MASK for objects in self.busy.objects()]
        vas += [va for _, _, va in self.lazy] + self.free_areas.vas()
        vas += [va for _, pool in pools for _, va in pool]
        assert all(map(self.vmap_areas.is_allocated, vas))
        assert len(vas) == len(set(vas)) == self.statistics().vmap_areas
        assert not self.free_areas.freed


def _runs(areas: list[tuple[int, int, int]]) -> list[tuple[int, int]]:
    """Places of the first and the last one of areas in order that touch."""
    runs: list[tuple[int, int]] = []
    first = end = 0
    for place, (start, stop, _) in enumerate(areas):
        if start != end:
            if end:
                runs.append((first, place - 1))
            first = place
        end = stop
    if end:
        runs.append((first, len(areas) - 1))
    return runs
