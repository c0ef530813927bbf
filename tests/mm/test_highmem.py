"""High memory: who gets frames of it, and who never does."""

from __future__ import annotations

from array import array

import pytest

from scullvfs.mm.gfp import __GFP_HIGHMEM, GFP_HIGHUSER, GFP_KERNEL
from scullvfs.mm.machine import Machine

from .frames import bulk
from .helpers import GIB, MIB, P


# physical:  |<------ lowmem: 12 MiB less 2 pages ------>|<------ HighMem: 20 MiB ------>|
def test_highmem_serves_vmalloc_first(highmem: Machine) -> None:
    """Expect vmalloc's frames from high memory, until there is none of it left."""
    end = highmem.page_alloc.zones[0].buddy.end_pfn
    assert end == 12 * MIB // P - 2
    frames = bulk(highmem.page_alloc, 5000)
    assert all(pfn >= end for pfn in frames)

    more = bulk(highmem.page_alloc, 200)

    assert {pfn < end for pfn in more} == {True, False}
    highmem.page_alloc.free_frames(frames + more)
    assert [zone.nr_free for zone in highmem.page_alloc.zones] == [
        end - 1 - highmem.pgtable.statistics().tables - highmem.slab.statistics().pages,
        20 * MIB // P + 2,
    ]


def test_highmem_never_serves_the_linear_mapping(highmem: Machine) -> None:
    """kmalloc, get_free_pages and page tables get lowmem or nothing."""
    end = highmem.page_alloc.high_memory
    blocks = []
    while (address := highmem.page_alloc.get_free_pages(GFP_KERNEL, 0)) is not None:
        blocks.append(address)

    assert all(highmem.layout.page_offset < address < end for address in blocks)
    low, high = highmem.page_alloc.zones
    assert (low.nr_free, high.nr_free) == (low.wmark.min, 20 * MIB // P + 2)
    assert highmem.slab.kmalloc(64) is None
    assert highmem.pgtable.map_pages(highmem.layout.vmalloc_start, array("I", [0x1063])) is False
    assert highmem.vm.vmalloc(P) is None
    for address in blocks:
        highmem.page_alloc.free_pages(address, 0)


@pytest.mark.parametrize("order", [0, 3])
def test_highmem_comes_as_blocks_too(highmem: Machine, order: int) -> None:
    """With __GFP_HIGHMEM a block lies there; an address in the linear mapping it never has."""
    page_alloc, end = highmem.page_alloc, highmem.page_alloc.zones[0].buddy.end_pfn
    before = page_alloc.nr_free

    pfn = page_alloc.alloc_pages(GFP_KERNEL | __GFP_HIGHMEM, order)
    address = page_alloc.get_free_pages(GFP_KERNEL | __GFP_HIGHMEM, order)

    assert pfn is not None
    assert pfn >= end
    assert address is not None
    assert address < page_alloc.high_memory
    page_alloc.free_unref_page(pfn, order)
    page_alloc.free_pages(address, order)
    assert page_alloc.nr_free == before


def test_highmem_is_not_asked_without_its_flag(highmem: Machine) -> None:
    """Many frames without __GFP_HIGHMEM are low memory's, or none."""
    page_alloc = highmem.page_alloc
    low = page_alloc.nr_available(GFP_KERNEL)

    assert page_alloc.alloc_pages_bulk(GFP_KERNEL, low + 1) is None
    frames = page_alloc.alloc_pages_bulk(GFP_KERNEL, low)

    assert frames is not None
    assert max(frames) < page_alloc.zones[0].buddy.end_pfn
    page_alloc.free_frames(frames)


def test_highmem_short_of_both_zones_takes_nothing(highmem: Machine) -> None:
    """One frame more than both zones have is None, and the books stay."""
    before = highmem.page_alloc.statistics()

    assert highmem.page_alloc.alloc_pages_bulk(GFP_HIGHUSER, before.free + 1) is None

    assert highmem.page_alloc.statistics() == before


@pytest.mark.parametrize(
    ("mem", "zones"),
    [
        (512 * MIB, {"Normal": 512 * MIB}),
        (0x36FF_E000, {"Normal": 0x36FF_E000}),
        (0x36FF_F000, {"Normal": 0x36FF_E000, "HighMem": P}),
        (4 * GIB, {"Normal": 0x36FF_E000, "HighMem": 4 * GIB - 0x36FF_E000}),
    ],
)
def test_i386_has_high_memory_above_lowmem(mem: int, zones: dict[str, int]) -> None:
    """The real i386: what the linear mapping does not reach is a zone of its own."""
    machine = Machine(mem=mem, arch="i386")

    found = {zone.name: (zone.buddy.end_pfn - zone.buddy.start_pfn) * P
             for zone in machine.page_alloc.zones}  # fmt: skip

    assert found == {**zones, "Normal": zones["Normal"] - P}
    assert sum(found.values()) == machine.page_alloc.totalram_pages * P
