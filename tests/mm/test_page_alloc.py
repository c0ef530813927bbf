"""The page allocator: single frames and blocks, by frame and by address."""

from __future__ import annotations

from array import array
from itertools import pairwise

import pytest

from scullvfs.mm import KernelBug, Machine
from scullvfs.mm.gfp import __GFP_NOWARN, __GFP_ZERO, GFP_HIGHUSER, GFP_KERNEL
from scullvfs.mm.layout import LAYOUTS, PAGE_SHIFT
from scullvfs.mm.ram import ZERO_PAGE

from .frames import bulk, fill, new, page
from .helpers import GIB, MIB, P, books, fragment, take_the_last, texts


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


def test_alloc_pages_above_the_largest_order_is_none() -> None:
    """There is no block of 8 MiB, however much is free."""
    assert new()[0].alloc_pages(GFP_KERNEL, 11) is None


@pytest.mark.parametrize("order", [11, 18, 63])
def test_an_order_that_never_is_warns_once(lenient: Machine, order: int) -> None:
    """Whoever asks first has the one warning of a boot, with a trace; __GFP_NOWARN has none."""
    page_alloc, before = lenient.page_alloc, books(lenient)

    assert page_alloc.get_free_pages(GFP_KERNEL | __GFP_NOWARN, order) is None
    assert texts(lenient) == []
    assert page_alloc.get_free_pages(GFP_KERNEL, order) is None
    said = texts(lenient)
    assert said[0] == "------------[ cut here ]------------"
    assert said[1] == "WARNING: CPU: 0 PID: 0 at mm/page_alloc.c __alloc_pages_noprof"
    assert " __alloc_pages_noprof" in said
    assert page_alloc.alloc_pages(GFP_HIGHUSER, order) is None
    assert lenient.slab.kmalloc(P << order) is None
    assert texts(lenient) == said
    assert books(lenient) == before


def test_an_order_that_never_is_stops_a_machine_that_panics_on_warnings(machine: Machine) -> None:
    """It is a warning as any other."""
    with pytest.raises(KernelBug, match="__alloc_pages_noprof"):
        machine.page_alloc.get_free_pages(GFP_KERNEL, 11)


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
    """Without __GFP_ZERO a page may have what its last owner has left, with it zeros."""
    page_alloc, ram = new(init_on_alloc=False)
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


# 8 frames:  | p | p | p | p | p |   |   |   |       5 kept, 3 free again: blocks of 1 and 2
@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize(
    ("pages", "order"), [(1, 0), (2, 1), (3, 2), (5, 3), (8, 3), (9, 4), (17, 5), (1000, 10)]
)
def test_alloc_pages_exact_gives_the_tail_back(pages: int, order: int, shuffle: bool) -> None:
    """Expect as many frames to be gone as are needed, at the start of a block of that order."""
    page_alloc, ram = new(shuffle=shuffle)
    layout, total = LAYOUTS["x86_64"], page_alloc.totalram_pages

    for size in (pages * P, pages * P - P + 1):
        address = page_alloc.alloc_pages_exact(size, GFP_KERNEL | __GFP_ZERO)
        assert address is not None
        pfn = (address - layout.page_offset) >> PAGE_SHIFT
        assert pfn % (1 << order) == 0
        assert page_alloc.nr_free == total - pages
        assert all(page(ram, pfn + i) == ZERO_PAGE for i in range(pages))
        assert not {*range(pfn, pfn + pages)} & page_alloc.check()
        assert {*range(pfn + pages, pfn + (1 << order))} <= page_alloc.check()
        page_alloc.free_pages_exact(address, size)
        assert page_alloc.nr_free == total
        page_alloc.check()


def test_alloc_pages_exact_tail_goes_behind_others() -> None:
    """A block of its size that was free before is given before it."""
    page_alloc, _ = new(shuffle=False)
    (zone,) = page_alloc.zones
    blocks = [zone.buddy.alloc(4) for _ in range(3)]
    zone.buddy.free(blocks[1], 4, dirty=False)  # its buddy and the one after stay taken
    address = page_alloc.alloc_pages_exact(33 * P, GFP_KERNEL)
    assert address is not None
    pfn = (address - LAYOUTS["x86_64"].page_offset) >> PAGE_SHIFT
    assert zone.buddy.free_area[4].nr_free[0] > 1
    assert zone.buddy.alloc(4) not in range(pfn + 33, pfn + 64)


def test_alloc_pages_exact_needs_the_whole_block() -> None:
    """Three frames are none where no block of four is, and 1025 are beyond the largest."""
    page_alloc, _ = new(16 * MIB)
    held = fragment(page_alloc)

    assert page_alloc.alloc_pages_exact(3 * P, GFP_KERNEL) is None
    assert page_alloc.alloc_pages_exact(P, GFP_KERNEL) is not None
    page_alloc.free_frames(held)
    assert page_alloc.alloc_pages_exact(1025 * P, GFP_KERNEL) is None


def test_free_pages_exact_takes_part_by_part() -> None:
    """A part may be freed before the rest, twice is a bug, and NULL is nothing."""
    page_alloc, _ = new()
    address = page_alloc.alloc_pages_exact(5 * P, GFP_KERNEL)
    assert address is not None
    page_alloc.free_pages_exact(address + 3 * P, 2 * P)
    page_alloc.free_pages_exact(address, 3 * P)
    page_alloc.free_pages_exact(None, 3 * P)
    assert page_alloc.nr_free == page_alloc.totalram_pages
    for zone in page_alloc.zones:
        zone.drain()
    with pytest.raises(KernelBug, match="Bad page state"):
        page_alloc.free_pages_exact(address, P)


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
