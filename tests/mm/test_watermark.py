"""What is kept back: the numbers of real machines, and who is stopped by them."""

from __future__ import annotations

import pytest

from scullvfs.mm.gfp import __GFP_HIGH, __GFP_MEMALLOC, __GFP_NOMEMALLOC, GFP_ATOMIC, GFP_KERNEL
from scullvfs.mm.watermark import (
    Watermarks,
    min_free_kbytes,
    zone_batchsize,
    zone_highsize,
    zone_watermarks,
)

from .frames import bulk, new
from .helpers import GIB, MIB, P, take_the_last


@pytest.mark.parametrize(
    ("mem", "kbytes"),
    [(MIB, 128), (64 * MIB, 1024), (GIB, 4096), (16 * GIB, 16384), (4096 * GIB, 262144)],
)
def test_min_free_kbytes(mem: int, kbytes: int) -> None:
    """Four times the square root of the RAM in KiB, from 128 to 262,144."""
    assert min_free_kbytes(mem // P) == kbytes
    assert min_free_kbytes(8192 * GIB // P) == 262144


# Of the recorded machine, proc_zoneinfo.txt: managed, batch; high is its low watermark.
@pytest.mark.parametrize(
    ("managed", "low", "batch", "high"), [(179290, 10990, 63, 10990), (3840, 237, 1, 237)]
)
def test_recorded_per_cpu_list(managed: int, low: int, batch: int, high: int) -> None:
    """The batch follows from the zone's size, the high mark from its low watermark."""
    assert zone_batchsize(managed) == batch
    assert zone_highsize(Watermarks(0, low, 0), batch) == high
    assert zone_highsize(Watermarks(0, low, 0), batch, cpus=8) == max(low // 8, 4 * batch)


# Of the same machine: its `min` is what min_free_kbytes gives each zone, and the others follow.
@pytest.mark.parametrize(
    ("managed", "least", "low", "high"), [(179290, 8792, 10990, 13188), (3840, 190, 237, 284)]
)
def test_recorded_watermarks(
    monkeypatch: pytest.MonkeyPatch, managed: int, least: int, low: int, high: int
) -> None:
    """A quarter of `min` lies between the marks, of small zones and large ones."""
    lowmem = 179290 + 3840
    monkeypatch.setattr("scullvfs.mm.watermark.min_free_kbytes", lambda _: 8983 * 4)

    marks = zone_watermarks(managed, lowmem)

    assert abs(marks.min - least) <= 2
    assert marks.low - marks.min == marks.high - marks.low == marks.min // 4
    assert (abs(marks.low - low) <= 3, abs(marks.high - high) <= 3) == (True, True)


def test_a_large_zone_has_its_marks_further_apart() -> None:
    """A thousandth of it at the least."""
    marks = zone_watermarks(16 * GIB // P, 16 * GIB // P)
    assert marks == (4096, 4096 + 4194, 4096 + 2 * 4194)


@pytest.mark.parametrize(("managed", "least"), [(1000, 32), (100_000, 97), (1_000_000, 128)])
def test_high_memory_keeps_little_back(managed: int, least: int) -> None:
    """Nothing but vmalloc is served from it."""
    assert zone_watermarks(managed, 200_000, highmem=True).min == least


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
