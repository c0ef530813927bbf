"""What is kept back, and how much a per-cpu list holds: the numbers of real machines."""

from __future__ import annotations

import pytest

from scullvfs.mm.watermark import (
    Watermarks,
    min_free_kbytes,
    zone_batchsize,
    zone_highsize,
    zone_watermarks,
)

from .helpers import GIB, MIB, P


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
