"""The per-cpu list: what was freed comes first, and what goes back, and when."""

from __future__ import annotations

import pytest

from scullvfs.mm.gfp import GFP_KERNEL
from scullvfs.mm.machine import Machine

from .frames import bulk, new
from .helpers import GIB, MIB, take_the_last


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


def test_alloc_pages_drains_the_per_cpu_list_for_a_large_block() -> None:
    """When all that is free waits on the per-cpu list, a large block is joined from it."""
    page_alloc, _ = new(shuffle=False)
    page_alloc.free_frames(take_the_last(page_alloc))
    assert not page_alloc.zones[0].buddy.nr_free

    assert page_alloc.alloc_pages(GFP_KERNEL, 10) is not None


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
