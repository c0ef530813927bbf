"""Free ranges of addresses: joining and carving, and the search against a linear scan."""

from __future__ import annotations

from random import Random

import pytest

from scullvfs.mm.free_areas import CHUNK, FreeAreas

from .helpers import linear_scan


def comb(teeth: int) -> FreeAreas:
    """Free ranges of 10 at 0, 20, 40, ..., each followed by 10 that are taken."""
    areas = FreeAreas(0, teeth * 20)
    assert areas.take(teeth * 20, 1) == 0
    for i in range(teeth):
        areas.add(i * 20, 10)
    areas.check()
    return areas


# free:    0         100                                  1000
#          |<------------------- 1000 -------------------->|
# take(30, align 64):
#          |<-- 64 -->|<- 30 ->|<--------- 906 ----------->|
def test_take_leaves_both_sides_of_an_aligned_range() -> None:
    """Expect the range at the first multiple, with what lies before and behind it free."""
    areas = FreeAreas(1, 1000)

    assert areas.take(30, 64) == 64
    assert list(areas) == [(1, 63), (94, 906)]
    areas.check()


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        # |<------ taken ------>|
        (100, []),
        # |<- taken ->|  free   |
        (99, [(99, 1)]),
        (1, [(1, 99)]),
    ],
)
def test_take_at_the_start_of_a_range(size: int, expected: list[tuple[int, int]]) -> None:
    """What remains of a range is its tail, and nothing when it fits exactly."""
    areas = FreeAreas(0, 100)

    assert areas.take(size, 1) == 0
    assert list(areas) == expected
    areas.check()


# free:  |<- 36 ->|    |<---- 64 ---->|
#        28       64                   take(64, align 64) fits only behind
def test_take_at_the_end_of_a_range() -> None:
    """An aligned range that ends where the free one ends leaves only what is before it."""
    areas = FreeAreas(28, 128)

    assert areas.take(64, 64) == 64
    assert list(areas) == [(28, 36)]


def test_take_returns_none_when_nothing_fits() -> None:
    """As much as wanted is free, but not in one piece, or not aligned; and nothing changes."""
    areas = FreeAreas(0, 100)
    areas.take(100, 1)
    areas.add(10, 40)
    areas.add(60, 40)
    before = list(areas)

    assert areas.take(41, 1) is None
    assert areas.take(40, 32) is None
    assert list(areas) == before
    areas.check()


def test_take_from_nothing_is_none() -> None:
    """A window that is used up has no range, and takes one back."""
    areas = FreeAreas(0, 100)
    areas.take(100, 1)
    assert list(areas) == []
    assert areas.largest == 0
    assert areas.take(1, 1) is None
    areas.check()

    areas.add(40, 20)

    assert list(areas) == [(40, 20)]
    assert areas.take(20, 1) == 40


@pytest.mark.parametrize(
    ("start", "size", "expected"),
    [
        # free:       |<- 10..19 ->|          |<- 40..49 ->|
        (25, 5, [(10, 10), (25, 5), (40, 10)]),  # |<- between ->|
        (20, 5, [(10, 15), (40, 10)]),  # joined with the one before
        (35, 5, [(10, 10), (35, 15)]),  # joined with the one behind
        (20, 20, [(10, 40)]),  # joined with both
        (0, 10, [(0, 20), (40, 10)]),  # from the window's start
        (0, 5, [(0, 5), (10, 10), (40, 10)]),
        (50, 50, [(10, 10), (40, 60)]),  # to the window's end
    ],
)
def test_add_joins_with_its_neighbours(
    start: int, size: int, expected: list[tuple[int, int]]
) -> None:
    """A range that is given back becomes one with the free ranges that it touches."""
    areas = FreeAreas(0, 100)
    areas.take(100, 1)
    areas.add(40, 10)
    areas.add(10, 10)

    areas.add(start, size)

    assert list(areas) == expected
    assert areas.largest == max(size for _, size in expected)
    areas.check()


@pytest.mark.parametrize(
    ("start", "size"), [(10, 10), (15, 1), (5, 6), (19, 2), (35, 20), (-1, 5), (95, 6), (0, 100)]
)
def test_add_of_what_is_free_is_refused(start: int, size: int) -> None:
    """Giving back what is free already, or no part of the window, changes nothing."""
    areas = FreeAreas(0, 100)
    areas.take(100, 1)
    areas.add(10, 10)
    areas.add(40, 10)

    with pytest.raises(ValueError, match="free already, or no part"):
        areas.add(start, size)
    assert list(areas) == [(10, 10), (40, 10)]
    areas.check()


# chunk 0: | 10 | 10 | ... | 10 |   chunk 1: | 10 | ... | 25 |   chunk 2: | 10 | ... | 40 |
def test_take_goes_left_first_over_many_chunks() -> None:
    """Expect the lowest range that is large enough, not the largest and not the nearest in size."""
    areas = comb(10 * CHUNK)
    low, high = 3 * CHUNK, 7 * CHUNK
    areas.add(high * 20 + 10, 10)
    areas.add(low * 20 + 10, 10)
    areas.check()

    assert areas.largest == 30
    assert areas.take(25, 1) == low * 20
    assert areas.take(25, 1) == high * 20
    assert areas.take(25, 1) is None
    assert areas.take(10, 1) == 0


def test_add_joins_across_chunks() -> None:
    """A gap at a chunk's edge is closed with the neighbours in both chunks."""
    areas = comb(6 * CHUNK)
    for i in range(6 * CHUNK):
        areas.add(i * 20 + 10, 10)
        if i % 50 == 0:
            areas.check()

    assert list(areas) == [(0, 6 * CHUNK * 20)]
    areas.check()


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("live", [20, 700])
def test_take_equals_a_linear_scan(seed: int, live: int) -> None:
    """After random takes and adds, with alignments, each answer is what a linear scan finds."""
    rng = Random(seed)
    window = (0x1003, 0x1003 + live * 60)
    areas, taken = FreeAreas(*window), {}
    for step in range(1500):
        if rng.random() < 0.55 or not taken:
            size = rng.choice([1, 2, 3, 7, 20, 64, 100])
            align = 1 << rng.choice([0, 0, 0, 1, 4, 6, 8])
            expected = linear_scan(taken.items(), window, size, align)
            assert areas.take(size, align) == expected
            if expected is not None:
                taken[expected] = expected + size
        else:
            start = rng.choice(list(taken))
            areas.add(start, taken.pop(start) - start)
        if step % 50 == 0:
            areas.check()
    for start, end in taken.items():
        areas.add(start, end - start)
    assert list(areas) == [(window[0], window[1] - window[0])]
