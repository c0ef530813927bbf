"""What several tests of `mm` need: a machine's books, slow oracles, shortages made on purpose."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from typing import NamedTuple

from scullvfs.mm.buddy import MAX_PAGE_ORDER, Buddy
from scullvfs.mm.free_list import MIGRATE_TYPES
from scullvfs.mm.gfp import __GFP_MEMALLOC, GFP_HIGHUSER
from scullvfs.mm.layout import LAYOUTS, PAGE_SIZE, Layout
from scullvfs.mm.machine import Machine
from scullvfs.mm.page_alloc import PageAllocator
from scullvfs.mm.slab import SlabStatistics

Buffer = bytes | bytearray | memoryview

P = PAGE_SIZE
KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30

ARCHS = ["x86_64", "i386", "arm64"]


class Books(NamedTuple):
    """Everything that a call which fails, or which is undone, has to leave as it was."""

    frames_free_or_in_slabs: int
    objects: int
    """But for the struct vmap_areas: there is one more as soon as an area has been asked for."""
    tables: int
    vmalloc_pages: int
    areas: list[tuple[int, int]]
    mappings: dict[int, int]


def books(machine: Machine) -> Books:
    """The machine's books, after a purge (lazily freed addresses and empty tables count as free).

    kmalloc may keep an empty slab, so the frames of slabs are counted with the free ones.
    """
    machine.vmap_space.purge_vmap_area_lazy(full_pool_decay=True)
    return Books(
        frames_free_or_in_slabs=machine.page_alloc.nr_free + machine.slab.statistics().pages,
        objects=other_slabs(machine).objects,
        tables=machine.pgtable.statistics().tables,
        vmalloc_pages=machine.vm.nr_vmalloc_pages,
        areas=sorted((a.va_start, a.va_end) for a in machine.vmap_space.busy.values()),
        mappings=dict(machine.pgtable.mappings()),
    )


def other_slabs(machine: Machine) -> SlabStatistics:
    """The books of slabs without the struct vmap_areas, which free addresses have, too."""
    pages, objects, nbytes = machine.slab.statistics()
    (cache,) = [cache for cache in machine.slab.caches() if cache.name == "vmap_area"]
    return SlabStatistics(
        pages - cache.nr_slabs, objects - cache.nr_used, nbytes - cache.nr_used * cache.size
    )


def texts(machine: Machine) -> list[str]:
    """The lines of the kernel log that are warnings or worse."""
    return [record.text for record in machine.log.records() if record.level <= 4]


def difference(found: Buffer, expected: Buffer) -> int | None:
    """Where two runs of bytes begin to differ, None if they do not.

    pytest would explain a difference of megabytes line by line, and take minutes for it.
    """
    if found == expected:
        return None
    unequal = (i for i, (a, b) in enumerate(zip(found, expected, strict=False)) if a != b)
    return next(unequal, min(len(found), len(expected)))


def linear_scan(
    taken: Iterable[tuple[int, int]], window: tuple[int, int], size: int, align: int
) -> int | None:
    """The lowest multiple of `align` with `size` untaken addresses: an oracle, reads everything.

    `taken` are disjoint (start, end), in any order.
    """
    at, end = window
    for taken_start, taken_end in [*sorted(taken), (end, end)]:
        fit = -(-at // align) * align
        if fit + size <= taken_start:
            return fit
        at = max(at, taken_end)
    return None


def lowest_match(
    taken: Iterable[tuple[int, int]], window: tuple[int, int], size: int, align: int
) -> int | None:
    """The highest address where the vmalloc space may find `size` bytes: reads everything.

    That is in the lowest gap into which they go wherever it lies; None if there is no such gap.
    """
    taken = list(taken)
    at, end = window
    for taken_start, taken_end in [*sorted(taken), (end, end)]:
        if taken_start - at >= size + (align - 1 if align > PAGE_SIZE else 0):
            return -(-at // align) * align
        at = max(at, taken_end)
    return None


def free_blocks(buddy: Buddy) -> dict[int, int]:
    """First frame -> order of every free block."""
    types = range(len(MIGRATE_TYPES))
    return {pfn: area.order for area in buddy.free_area for t in types for pfn in area.blocks(t)}


def largest_blocks(frames: Iterable[int]) -> dict[int, int]:
    """The blocks that a set of free frames has to be joined into: an oracle for coalescing."""
    left, blocks = set(frames), {}
    for order in range(MAX_PAGE_ORDER, -1, -1):
        for pfn in sorted(left):
            block = range(pfn, pfn + (1 << order))
            if pfn % (1 << order) == 0 and left.issuperset(block):
                left.difference_update(block)
                blocks[pfn] = order
    return blocks


def take_all(page_alloc: PageAllocator, leave: int = 0) -> array[int]:
    """Take every frame that can be had but `leave` of them, singly; ascending.

    The caller frees them.  The last ones of each zone stay free, and can't be had by others.
    """
    frames = page_alloc.alloc_pages_bulk(
        GFP_HIGHUSER, page_alloc.nr_available(GFP_HIGHUSER) - leave
    )
    assert frames is not None
    return array("I", sorted(frames))


def take_the_last(page_alloc: PageAllocator) -> array[int]:
    """Take every free frame, as who may go below the watermarks."""
    frames = page_alloc.alloc_pages_bulk(GFP_HIGHUSER | __GFP_MEMALLOC, page_alloc.nr_free)
    assert frames is not None
    return array("I", sorted(frames))


def fragment(page_alloc: PageAllocator) -> array[int]:
    """Take every other frame, so that no two that follow each other are free."""
    frames = take_the_last(page_alloc)
    page_alloc.free_frames(frames[::2])
    return frames[1::2]


def small_i386(lowmem: int) -> Layout:
    """i386 whose linear mapping ends early, so that a small machine has high memory."""
    return LAYOUTS["i386"]._replace(lowmem=lowmem)
