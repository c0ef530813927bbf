"""The page allocator: per-cpu list, shuffling, high memory, and what goes back to the host."""

from __future__ import annotations

import subprocess
import sys
from array import array
from collections.abc import Callable
from itertools import pairwise
from random import Random

import pytest

from scullvfs.mm import KernelBug, free_map
from scullvfs.mm.free_map import FreeMap
from scullvfs.mm.gfp import (
    __GFP_HIGH,
    __GFP_HIGHMEM,
    __GFP_MEMALLOC,
    __GFP_NOMEMALLOC,
    __GFP_ZERO,
    GFP_ATOMIC,
    GFP_HIGHUSER,
    GFP_KERNEL,
)
from scullvfs.mm.layout import LAYOUTS, PAGE_SHIFT
from scullvfs.mm.machine import Machine
from scullvfs.mm.page_alloc import PageAllocator
from scullvfs.mm.ram import ZERO_PAGE, Ram
from scullvfs.mm.zone import KEPT, MAPPED, RECOUNTED

from .helpers import GIB, MIB, P, fragment, largest_blocks, take_the_last


def new(mem: int = 64 * MIB, shuffle: bool = True, seed: int = 0) -> tuple[PageAllocator, Ram]:
    """A page allocator of x86_64 with nothing taken."""
    ram = Ram(mem, 8)
    return PageAllocator(ram, LAYOUTS["x86_64"], shuffle, seed), ram


def bulk(page_alloc: PageAllocator, nr_pages: int, zero: bool = False) -> array[int]:
    """As `alloc_pages_bulk()`, which must succeed and may take the last frames."""
    gfp = GFP_HIGHUSER | __GFP_MEMALLOC | (__GFP_ZERO if zero else 0)
    frames = page_alloc.alloc_pages_bulk(gfp, nr_pages)
    assert frames is not None
    return frames


def page(ram: Ram, pfn: int) -> bytes:
    """What is in a frame."""
    return bytes(ram.bytes[pfn << PAGE_SHIFT : (pfn + 1) << PAGE_SHIFT])


def fill(ram: Ram, frames: array[int]) -> None:
    """Write something into frames."""
    for pfn in frames:
        ram.bytes[pfn << PAGE_SHIFT : (pfn << PAGE_SHIFT) + 8] = b"leftover"


def idle(page_alloc: PageAllocator) -> int:
    """Do idle work until there is nothing to do; returns the number of slices."""
    for slices in range(100_000):
        if not page_alloc.idle_work():
            return slices
    pytest.fail("idle_work() never finds that there is nothing to do")


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("mem", [MIB, 4 * MIB, 4 * MIB + P, 9 * MIB + 3 * P, 64 * MIB])
def test_alloc_pages_bulk_gives_every_frame_once(mem: int, shuffle: bool) -> None:
    """Whatever the size of RAM, each frame but frame 0 can be had, once, and then none is left."""
    page_alloc, ram = new(mem, shuffle)

    frames = take_the_last(page_alloc)

    assert list(frames) == list(range(1, ram.nr_pages))
    assert page_alloc.alloc_pages_bulk(GFP_HIGHUSER, 1) is None
    assert page_alloc.alloc_pages(GFP_KERNEL, 0) is None
    assert page_alloc.check() == set()


def test_alloc_pages_bulk_follows_the_seed() -> None:
    """The same seed gives the same frames in the same order, another seed other ones."""
    first, again, other = (list(bulk(new(seed=seed)[0], 700)) for seed in (1, 1, 2))

    assert first == again
    assert first != other
    assert set(first) != set(other)


def test_alloc_pages_bulk_unshuffled_ignores_the_seed() -> None:
    """Without shuffling there is nothing random."""
    first, other = (list(bulk(new(shuffle=False, seed=seed)[0], 700)) for seed in (1, 2))

    assert first == other


def test_alloc_pages_bulk_unshuffled_is_ascending() -> None:
    """A freshly booted machine gives frames in ascending order, from one call to the next.

    They begin with the lowest of the largest blocks: all are movable at first, and of those the
    largest are broken up before the smaller ones.
    """
    page_alloc, _ = new(shuffle=False)

    frames = [*bulk(page_alloc, 3), *bulk(page_alloc, 16), *bulk(page_alloc, 2000)]

    assert frames == list(range(1024, 1024 + 2019))


# |<------------------------- 1 GiB of RAM, in 16 parts ------------------------->|
# | *  * | *  * | *  * |   ...   a few thousand frames, some in every part  | *  * |
def test_alloc_pages_bulk_shuffled_is_scattered_over_all_ram() -> None:
    """Expect frames from each part of RAM, and almost none beside the one before."""
    page_alloc, ram = new(GIB)

    frames = [pfn for _ in range(256) for pfn in bulk(page_alloc, 16)]

    assert {pfn * 16 // ram.nr_pages for pfn in frames} == set(range(16))
    neighbours = sum(abs(b - a) == 1 for a, b in pairwise(frames))
    assert neighbours < len(frames) // 50


def test_alloc_pages_bulk_takes_freed_frames_first() -> None:
    """The frame that was freed last is the first one given, and so on."""
    page_alloc, _ = new()
    bulk(page_alloc, 100)
    first, second = bulk(page_alloc, 16), bulk(page_alloc, 16)
    page_alloc.free_frames(first)
    page_alloc.free_frames(second)

    assert bulk(page_alloc, 20).tolist() == [*reversed(second), *reversed(first[12:])]
    assert bulk(page_alloc, 12).tolist() == [*reversed(first[:12])]


@pytest.mark.parametrize("order", [1, 2, 3])
def test_alloc_pages_takes_freed_blocks_first(order: int) -> None:
    """Blocks of up to 8 frames are on a list of their order, which is last in, first out, too."""
    page_alloc, _ = new()
    blocks = [page_alloc.alloc_pages(GFP_KERNEL, order) for _ in range(6)]
    other = page_alloc.alloc_pages(GFP_KERNEL, order % 3 + 1)
    for pfn in blocks:
        assert pfn is not None
        page_alloc.free_unref_page(pfn, order)
    assert other is not None
    page_alloc.free_unref_page(other, order % 3 + 1)

    again = [page_alloc.alloc_pages(GFP_KERNEL, order) for _ in range(6)]

    assert again == blocks[::-1]
    page_alloc.check()


def test_blocks_above_high_go_back_the_first_one_freed_first() -> None:
    """The list of blocks holds `pcp_high` frames; then a batch goes back to the buddy system."""
    page_alloc, _ = new()
    zone = page_alloc.zones[0]
    blocks = [page_alloc.alloc_pages(GFP_KERNEL, 3) or 0 for _ in range(200)]
    for pfn in blocks:
        page_alloc.free_unref_page(pfn, 3)
        assert zone.blocks.nr_pages < zone.pcp_high

    assert blocks[0] not in zone.blocks
    assert zone.buddy.is_free(blocks[0])
    assert blocks[-1] in zone.blocks
    page_alloc.check()


def test_a_refill_doubles_while_nothing_is_freed() -> None:
    """It fetches a batch, then two and so on, and fewer again after frames were freed."""
    page_alloc, _ = new(GIB, shuffle=False)
    zone = page_alloc.zones[0]
    assert (zone.pcp_batch, zone.pcp_high) == (63, zone.wmark.low)
    fetched = []
    for _ in range(3):
        bulk(page_alloc, len(zone.cold) + 1)
        fetched.append(len(zone.cold) + 1)

    assert fetched == [63, 126, 252]
    page_alloc.free_frames(bulk(page_alloc, 10))
    bulk(page_alloc, len(zone.hot) + len(zone.cold) + 1)
    assert len(zone.cold) + 1 == 63


def test_the_last_single_frames_come_from_the_lists_of_blocks() -> None:
    """Frames that wait in freed blocks are free for all, as single ones, too."""
    page_alloc, _ = new(4 * MIB)
    pfn = page_alloc.alloc_pages(GFP_KERNEL, 3)
    assert pfn is not None
    page_alloc.free_unref_page(pfn, 3)

    assert list(take_the_last(page_alloc)) == list(range(1, 1024))


def test_alloc_pages_bulk_mixes_freed_and_fresh_frames() -> None:
    """With too few freed frames the rest comes from the buddy system, none of them twice."""
    page_alloc, _ = new()
    page_alloc.free_frames(bulk(page_alloc, 10))

    frames = bulk(page_alloc, 5000)

    assert len(set(frames)) == 5000
    assert page_alloc.nr_free == page_alloc.totalram_pages - 5000
    assert not page_alloc.check() & set(frames)


@pytest.mark.parametrize("hot", [0, 7, 3000])
def test_alloc_pages_bulk_zero_clears_freed_frames(hot: int) -> None:
    """With __GFP_ZERO every frame reads as zeros, freed ones that had content and fresh ones."""
    page_alloc, ram = new(16 * MIB)
    used = bulk(page_alloc, 3000)
    fill(ram, used)
    page_alloc.free_frames(used[:hot])

    frames = bulk(page_alloc, hot + 500, zero=True)

    assert len(frames) == hot + 500
    assert all(page(ram, pfn) == ZERO_PAGE for pfn in frames)


@pytest.mark.parametrize("shuffle", [True, False])
def test_alloc_pages_bulk_beyond_what_is_free_takes_nothing(shuffle: bool) -> None:
    """A request for one frame too many is None, breaks up no block, and dirties nothing."""
    page_alloc, _ = new(shuffle=shuffle)
    held = bulk(page_alloc, 1000)
    before = page_alloc.statistics()

    assert page_alloc.alloc_pages_bulk(GFP_HIGHUSER, before.free + 1) is None

    assert page_alloc.statistics() == before
    page_alloc.free_frames(held)
    assert len(bulk(page_alloc, page_alloc.totalram_pages)) == page_alloc.totalram_pages


@pytest.mark.parametrize("order", range(11))
def test_alloc_pages_gives_aligned_zeroed_blocks(order: int) -> None:
    """A block of each order is aligned to its size and all zeros, used before or not."""
    page_alloc, ram = new(shuffle=False)
    used = bulk(page_alloc, 9000)
    fill(ram, used)
    page_alloc.free_frames(used)

    pfn = page_alloc.alloc_pages(GFP_KERNEL | __GFP_ZERO, order)

    assert pfn is not None
    assert pfn % (1 << order) == 0
    assert all(page(ram, pfn + i) == ZERO_PAGE for i in range(1 << order))
    page_alloc.free_unref_page(pfn, order)
    assert page_alloc.nr_free == page_alloc.totalram_pages


MARKS = {
    "GFP_KERNEL": (GFP_KERNEL, 1023),
    "__GFP_HIGH": (GFP_KERNEL | __GFP_HIGH, 512),
    "GFP_ATOMIC": (GFP_ATOMIC, 384),
    "__GFP_MEMALLOC": (GFP_KERNEL | __GFP_MEMALLOC, 0),
    "__GFP_NOMEMALLOC": (GFP_KERNEL | __GFP_MEMALLOC | __GFP_NOMEMALLOC, 1023),
}
"""Flags, and how many frames of a machine of 1 GiB remain free."""


@pytest.mark.parametrize("name", MARKS)
@pytest.mark.parametrize("order", [0, 3])
def test_an_allocation_fails_at_the_lowest_watermark(name: str, order: int) -> None:
    """Who has no flag for it leaves `min` frames free, whatever the order."""
    page_alloc, _ = new(GIB, shuffle=False)
    gfp, mark = MARKS[name]
    bulk(page_alloc, page_alloc.nr_free - 1100)

    while page_alloc.alloc_pages(gfp, order) is not None:
        pass

    assert mark <= page_alloc.nr_free < mark + (2 << order)  # four frames are no block of eight
    assert page_alloc.nr_available(gfp) == page_alloc.nr_free - mark


def test_alloc_pages_bulk_is_all_or_nothing_at_the_watermark() -> None:
    """Just what is above it can be had."""
    page_alloc, _ = new()
    available = page_alloc.nr_available(GFP_KERNEL)
    assert available == page_alloc.nr_free - page_alloc.zones[0].wmark.min

    assert page_alloc.alloc_pages_bulk(GFP_KERNEL, available + 1) is None
    assert page_alloc.alloc_pages_bulk(GFP_KERNEL, available) is not None
    assert page_alloc.alloc_pages_bulk(GFP_KERNEL, 1) is None
    assert page_alloc.nr_free == page_alloc.zones[0].wmark.min


def test_freed_frames_count_before_the_watermark() -> None:
    """What waits on the per-cpu list is free, and not to be had below the watermark."""
    page_alloc, _ = new()
    frames = take_the_last(page_alloc)
    page_alloc.free_frames(frames[: page_alloc.zones[0].wmark.min])

    assert page_alloc.alloc_pages_bulk(GFP_KERNEL, 1) is None
    page_alloc.free_frames(frames[page_alloc.zones[0].wmark.min :][:5])
    assert page_alloc.alloc_pages_bulk(GFP_KERNEL, 6) is None
    assert page_alloc.alloc_pages_bulk(GFP_KERNEL, 5) is not None


def test_alloc_pages_above_the_largest_order_is_none() -> None:
    """There is no block of 8 MiB, however much is free."""
    assert new()[0].alloc_pages(GFP_KERNEL, 11) is None


def test_alloc_pages_drains_the_per_cpu_list_for_a_large_block() -> None:
    """When all that is free waits on the per-cpu list, a large block is joined from it."""
    page_alloc, _ = new(shuffle=False)
    page_alloc.free_frames(take_the_last(page_alloc))
    assert not page_alloc.zones[0].buddy.nr_free

    assert page_alloc.alloc_pages(GFP_KERNEL, 10) is not None


def test_alloc_pages_shuffled_still_finds_large_blocks() -> None:
    """Handing out scattered frames breaks up a quarter of the large blocks ahead at most."""
    page_alloc, _ = new(256 * MIB)
    bulk(page_alloc, 16)

    assert page_alloc.free_by_order()["Normal"][10] >= 63 * 3 // 4


# frames:  |f|m|f|m|f|m|f|m| ...      f free, m taken: a block of two does not exist
def test_alloc_pages_fails_on_fragmented_ram() -> None:
    """Expect order 0 to succeed and order 1 to fail, with half of RAM free."""
    page_alloc, _ = new(16 * MIB)
    held = fragment(page_alloc)

    assert page_alloc.nr_free >= page_alloc.totalram_pages // 2
    assert page_alloc.alloc_pages(GFP_KERNEL, 1) is None
    assert page_alloc.alloc_pages(GFP_KERNEL, 0) is not None
    page_alloc.free_frames(held)
    assert page_alloc.alloc_pages(GFP_KERNEL, 1) is not None


@pytest.mark.parametrize("order", [1, 3, 5, 10])
def test_free_pages_twice_is_a_bug(order: int) -> None:
    """Freeing a block twice, joined with its buddy in between or not, is found."""
    page_alloc, _ = new()
    pfn = page_alloc.alloc_pages(GFP_KERNEL, order)
    assert pfn is not None
    page_alloc.free_unref_page(pfn, order)

    with pytest.raises(KernelBug, match=f"Bad page state  pfn:{pfn:05x}"):
        page_alloc.free_unref_page(pfn, order)
    page_alloc.check()


def test_free_pages_twice_of_a_drained_frame_is_a_bug() -> None:
    """A single frame that has gone back to the buddy system cannot be freed again."""
    page_alloc, _ = new()
    pfn = page_alloc.alloc_pages(GFP_KERNEL, 0)
    assert pfn is not None
    page_alloc.free_unref_page(pfn, 0)
    assert page_alloc.alloc_pages(GFP_KERNEL, 10) is not None
    for zone in page_alloc.zones:
        zone.drain()

    with pytest.raises(KernelBug, match="Bad page state"):
        page_alloc.free_unref_page(pfn, 0)


@pytest.mark.parametrize("pfn", [0, 64 * MIB // P, 1 << 40, -1])
def test_free_pages_of_no_such_frame_is_a_bug(pfn: int) -> None:
    """Frame 0 and what lies behind RAM were never handed out."""
    with pytest.raises(KernelBug, match="Bad page state"):
        new()[0].free_unref_page(pfn, 0)


def test_get_free_pages_lies_in_the_linear_mapping() -> None:
    """The address is PAGE_OFFSET plus the physical one, and frees the same block."""
    page_alloc, ram = new()
    layout = LAYOUTS["x86_64"]

    address = page_alloc.get_free_pages(GFP_KERNEL, 3)

    assert address is not None
    phys = address - layout.page_offset
    assert phys % (8 * P) == 0
    assert 0 < phys < ram.size
    assert page_alloc.nr_free == page_alloc.totalram_pages - 8
    page_alloc.free_pages(address, 3)
    assert page_alloc.nr_free == page_alloc.totalram_pages
    assert page_alloc.get_free_pages(GFP_KERNEL, 11) is None


def test_get_zeroed_page_is_zeros_whatever_was_there() -> None:
    """Without __GFP_ZERO a page has what its last owner has left, with it zeros."""
    page_alloc, ram = new()
    address = page_alloc.get_free_pages(GFP_KERNEL, 0)
    assert address is not None
    fill(ram, array("I", [(address - LAYOUTS["x86_64"].page_offset) >> PAGE_SHIFT]))
    page_alloc.free_pages(address, 0)

    assert page_alloc.get_free_pages(GFP_KERNEL, 0) == address
    assert ram.bytes[address - LAYOUTS["x86_64"].page_offset :][:8] == b"leftover"
    page_alloc.free_pages(address, 0)
    assert page_alloc.get_zeroed_page(GFP_KERNEL) == address
    assert page(ram, (address - LAYOUTS["x86_64"].page_offset) >> PAGE_SHIFT) == ZERO_PAGE


@pytest.mark.parametrize("offset", [-P, 64 * MIB])
def test_free_pages_outside_of_the_linear_mapping_is_a_bug(offset: int) -> None:
    """An address that maps no frame is none of these."""
    with pytest.raises(KernelBug, match="free_pages"):
        new()[0].free_pages(LAYOUTS["x86_64"].page_offset + offset, 0)


def test_free_pages_of_null_does_nothing() -> None:
    """As kfree() of NULL."""
    page_alloc, _ = new()
    page_alloc.free_pages(None, 3)
    assert page_alloc.nr_free == page_alloc.totalram_pages


def test_linux_s_own_name_frees_a_block() -> None:
    """`__free_pages()` takes what `alloc_pages()` gave."""
    page_alloc, _ = new()
    pfn = page_alloc.alloc_pages(GFP_KERNEL, 4)

    page_alloc.__free_pages(pfn, 4)

    assert page_alloc.nr_free == page_alloc.totalram_pages


@pytest.mark.parametrize("shuffle", [True, False])
def test_free_by_order_adds_up_at_every_step(shuffle: bool) -> None:
    """The counts of the orders make the number of free frames, through random work."""
    page_alloc, _ = new(16 * MIB, shuffle)
    rng, singles, blocks = Random(5), [], []
    for _ in range(400):
        match rng.randrange(5):
            case 0:
                singles.append(bulk(page_alloc, rng.randrange(1, 20)))
            case 1 if singles:
                page_alloc.free_frames(singles.pop(rng.randrange(len(singles))))
            case 2:
                order = rng.randrange(6)
                blocks.append((page_alloc.alloc_pages(GFP_KERNEL, order), order))
                assert blocks[-1][0] is not None
            case 3 if blocks:
                page_alloc.free_unref_page(*blocks.pop(rng.randrange(len(blocks))))
            case _:
                page_alloc.idle_work(64)
        books = page_alloc.statistics()
        held = sum(map(len, singles)) + sum(1 << order for _, order in blocks)
        assert books.free == books.total - held
        counts = page_alloc.free_by_order()["Normal"]
        assert sum(count << order for order, count in enumerate(counts)) == books.free
    free = page_alloc.check()
    held_frames = {pfn for frames in singles for pfn in frames}
    held_frames |= {pfn + i for pfn, order in blocks for i in range(1 << order)}
    assert free | held_frames == set(range(1, 4096))
    assert not free & held_frames


@pytest.mark.parametrize("shuffle", [True, False])
def test_idle_work_gives_freed_ram_back_to_the_host(shuffle: bool) -> None:
    """After it finds nothing to do, few free frames are dirty; the others read as zeros."""
    page_alloc, ram = new(shuffle=shuffle)
    frames = take_the_last(page_alloc)
    fill(ram, frames)
    page_alloc.free_frames(frames)
    assert page_alloc.statistics().dirty == len(frames)

    assert idle(page_alloc) > 1

    assert page_alloc.statistics().dirty <= 4096
    assert page_alloc.nr_free == page_alloc.totalram_pages
    leftover = sum(page(ram, pfn) != ZERO_PAGE for pfn in frames)
    assert leftover == page_alloc.statistics().dirty
    page_alloc.check()


def test_idle_work_has_nothing_to_do_on_a_fresh_machine() -> None:
    """Nothing was freed, so nothing waits."""
    assert new()[0].idle_work() is False


def test_idle_work_is_done_in_slices() -> None:
    """One call goes over about as many frames as it was told, not over all that wait."""
    page_alloc, ram = new()
    frames = take_the_last(page_alloc)
    fill(ram, frames)
    page_alloc.free_frames(frames)
    dirty = page_alloc.statistics().dirty

    assert page_alloc.idle_work(100) is True

    assert page_alloc.statistics().dirty == dirty - 100


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
        end - 1 - highmem.pgtable.statistics().tables,
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


RESIDENT = """
import psutil
from scullvfs.mm import Machine
machine = Machine(mem=16 << 30, shuffle={shuffle})
address = machine.vm.vmalloc(64 << 10)
machine.memory.write(address, bytes(64 << 10))
print(psutil.Process().memory_info().rss, machine.page_alloc.totalram_pages)
"""


@pytest.mark.parametrize("shuffle", [True, False])
def test_machine_of_16_gib_is_small_on_the_host(shuffle: bool) -> None:
    """A machine of 16 GiB that has begun to work keeps less than 100 MB of the host's memory."""
    command = [sys.executable, "-c", RESIDENT.format(shuffle=shuffle)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout

    resident, total = map(int, output.split())
    assert total == 16 * GIB // P - 1
    assert resident < 100_000_000


def test_idle_work_of_a_machine_reaches_the_end(make_machine: Callable[..., Machine]) -> None:
    """After a trim of most of its RAM a machine comes to rest, with little dirty memory."""
    machine = make_machine()
    areas = [machine.vm.vmalloc(MIB) for _ in range(50)]
    for address in areas:
        assert address is not None
        machine.memory.memset(address, 0xAA, MIB)
        machine.vm.vfree(address)

    for _ in range(100_000):
        if not machine.idle_work():
            break
    assert machine.idle_work() is False
    zone = machine.page_alloc.zones[0]
    assert machine.page_alloc.statistics().dirty <= KEPT + zone.pcp_high


@pytest.mark.parametrize("shuffle", [True, False])
def test_free_by_order_joins_freed_frames(shuffle: bool) -> None:
    """They count as the blocks they make, on the per-cpu list or not; it holds the last of them."""
    page_alloc, _ = new(64 * MIB, shuffle)
    zone = page_alloc.zones[0]
    rng, held = Random(7), [take_the_last(page_alloc)]
    for _ in range(60):
        frames = held.pop(rng.randrange(len(held)))
        cut = rng.randrange(len(frames) + 1)
        page_alloc.free_frames(frames[:cut])
        held.append(frames[cut:])
        if rng.random() < 0.6 and page_alloc.nr_free:
            held.append(bulk(page_alloc, rng.randrange(1, page_alloc.nr_free + 1)))
        if rng.random() < 0.5:
            page_alloc.idle_work()
        assert zone.statistics().pcp_count == min(len(zone.hot), zone.pcp_high)
        orders = list(largest_blocks(zone.hot).values())
        assert zone.free_by_order() == [orders.count(order) for order in range(11)]
    page_alloc.check()


def test_free_by_order_leaves_little_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """The frames are gone over as they are freed and taken, some thousands at a time."""
    page_alloc, _ = new(128 * MIB)
    frames = take_the_last(page_alloc)
    gone_over: list[int] = []
    for name in ("add", "discard"):
        does = getattr(FreeMap, name)

        def noted(free_map: FreeMap, some: array[int], does: Callable[..., None] = does) -> None:
            gone_over.append(len(some))
            does(free_map, some)

        monkeypatch.setattr(FreeMap, name, noted)
    for at in range(0, len(frames), 16):
        page_alloc.free_frames(frames[at : at + 16])
    page_alloc.free_by_order()
    for _ in range(0, len(frames), 16):
        bulk(page_alloc, 8)
    page_alloc.free_by_order()

    assert sum(gone_over) > len(frames)
    assert max(gone_over) <= MAPPED + 1024


def counted(monkeypatch: pytest.MonkeyPatch) -> list[bytearray]:
    """The chunks of a map that are counted from now on."""
    chunks: list[bytearray] = []

    def noted(bits: bytearray) -> tuple[int, ...]:
        chunks.append(bits)
        return count(bits)

    count = free_map._count
    monkeypatch.setattr(free_map, "_count", noted)
    return chunks


def test_free_by_order_finds_most_of_a_trim_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks are counted as frames are freed, some at a time; asking again counts none."""
    page_alloc, _ = new(1 * GIB)
    frames = take_the_last(page_alloc)
    chunks = counted(monkeypatch)
    for at in range(0, len(frames), 512):
        before = len(chunks)
        page_alloc.free_frames(frames[at : at + 512])
        assert len(chunks) - before <= free_map.RECOUNTED
    chunks.clear()
    first = page_alloc.free_by_order()
    assert len(chunks) <= 16  # of 32
    chunks.clear()
    assert page_alloc.free_by_order() == first
    assert not chunks
    page_alloc.zones[0]._map.check()


def test_idle_work_counts_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """After it there is nothing to count but for the frames that are not in the map yet."""
    page_alloc, _ = new(1 * GIB)
    zone = page_alloc.zones[0]
    frames = take_the_last(page_alloc)
    Random(1).shuffle(frames)
    page_alloc.free_frames(frames)
    chunks = counted(monkeypatch)
    assert not zone.is_counted
    while not zone.is_counted:
        before = len(chunks)
        assert page_alloc.idle_work()
        assert len(chunks) - before <= RECOUNTED
    assert len(chunks) >= 16
    zone._map.check()


def test_pages_come_from_blocks_that_become_unmovable() -> None:
    """All is movable at first; what is broken up is claimed with its pageblocks, and stays so."""
    page_alloc, _ = new(64 * MIB, shuffle=False)
    zone = page_alloc.zones[0]
    assert zone.pageblocks_by_type() == {"Unmovable": 0, "Movable": 32}
    assert zone.free_by_type()["Unmovable"] == [0] * 11

    frames = bulk(page_alloc, 5)
    block = page_alloc.alloc_pages(GFP_KERNEL, 9)

    assert block == 1024 + 512
    assert zone.pageblocks_by_type() == {"Unmovable": 2, "Movable": 30}
    page_alloc.free_frames(frames)
    page_alloc.free_unref_page(block, 9)
    zone.drain()
    assert zone.pageblocks_by_type() == {"Unmovable": 2, "Movable": 30}
    types = zone.free_by_type()
    assert types["Unmovable"] == [0] * 10 + [1]
    assert [sum(pair) for pair in zip(*types.values(), strict=True)] == zone.free_by_order()


def test_a_block_takes_no_more_of_the_list_than_it_needs() -> None:
    """Of the freed frames some thousands go back at a time, those that were freed first."""
    pages = Machine(128 * MIB).page_alloc
    zone = pages.zones[0]
    frames = take_the_last(pages)
    pages.free_frames(frames)
    assert len(zone.hot) == len(frames)
    pfn = pages.alloc_pages(GFP_KERNEL, 3)
    assert pfn is not None
    assert pfn < min(frames) + 8192
    assert len(zone.hot) == len(frames) - 8192
    pages.free_unref_page(pfn, 3)
    pages.check()
