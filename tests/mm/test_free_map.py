"""What is told of free blocks: as if all that was freed had gone back, and at any time."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from random import Random

import pytest

from scullvfs.mm import free_map
from scullvfs.mm.free_map import FreeMap
from scullvfs.mm.gfp import GFP_KERNEL
from scullvfs.mm.pcp_map import LAG, MAPPED, RECOUNTED

from .frames import bulk, new
from .helpers import GIB, MIB, largest_blocks, take_the_last


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
    page_alloc, _ = new(512 * MIB)
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
    assert max(gone_over) <= MAPPED + 1024
    page_alloc.free_by_order()
    assert max(gone_over) <= LAG + 1024
    gone_over.clear()
    for _ in range(0, len(frames), 16):
        bulk(page_alloc, 8)
    assert max(gone_over) <= MAPPED + 1024
    page_alloc.free_by_order()
    assert max(gone_over) <= MAPPED + 1024
    assert sum(gone_over) > len(frames) // 4


def counted(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The chunks of a map that are counted from now on."""
    chunks: list[bytes] = []

    def noted(bits: bytes) -> tuple[int, ...]:
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
    zone = page_alloc.zones[0]
    zone.map.check(zone.hot)


@pytest.mark.long
def test_idle_work_counts_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """After it there is nothing to count but for the frames that are not in the map yet."""
    page_alloc, _ = new(1 * GIB)
    zone = page_alloc.zones[0]
    frames = take_the_last(page_alloc)
    Random(1).shuffle(frames)
    page_alloc.free_frames(frames)
    chunks = counted(monkeypatch)
    assert not zone.map.is_counted
    while not zone.map.is_counted:
        before = len(chunks)
        assert page_alloc.idle_work()
        assert len(chunks) - before <= RECOUNTED
    assert len(chunks) >= 16
    zone.map.check(zone.hot)
