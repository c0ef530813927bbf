"""Free ranges of addresses: joining and carving, and the search against a linear scan."""

from __future__ import annotations

from random import Random

import pytest

from scullvfs.mm import PAGE_SIZE
from scullvfs.mm.free_areas import FreeAreas

from .helpers import linear_scan

MANY = 100
"""Some hundred ranges are several levels of the tree."""


class Areas(FreeAreas):
    """Free areas that have something in reserve for the next split, as `VmapSpace` sees to."""

    def take(self, size: int, align: int) -> int | None:
        self.spare = 0
        return super().take(size, align)

    def take_at(self, start: int, size: int) -> bool:
        self.spare = 0
        return super().take_at(start, size)


def comb(teeth: int) -> FreeAreas:
    """Free ranges of 10 at 0, 20, 40, ..., each followed by 10 that are taken."""
    areas = Areas(0, teeth * 20)
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
    areas = Areas(1, 1000)

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
    areas = Areas(0, 100)

    assert areas.take(size, 1) == 0
    assert list(areas) == expected
    areas.check()


# free:  |<- 36 ->|    |<---- 64 ---->|
#        28       64                   take(64, align 64) fits only behind
def test_take_at_the_end_of_a_range() -> None:
    """An aligned range that ends where the free one ends leaves only what is before it."""
    areas = Areas(28, 128)

    assert areas.take(64, 64) == 64
    assert list(areas) == [(28, 36)]


def test_take_returns_none_when_nothing_fits() -> None:
    """As much as wanted is free, but not in one piece, or not aligned; and nothing changes."""
    areas = Areas(0, 100)
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
    areas = Areas(0, 100)
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
    areas = Areas(0, 100)
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
    areas = Areas(0, 100)
    areas.take(100, 1)
    areas.add(10, 10)
    areas.add(40, 10)

    with pytest.raises(ValueError, match="free already, or no part"):
        areas.add(start, size)
    assert list(areas) == [(10, 10), (40, 10)]
    areas.check()


# free:  | 10 | 10 | ... | 30 | ... | 10 | ... | 30 | ... | 10 |
def test_take_goes_left_first() -> None:
    """Expect the lowest range that is large enough, not the largest and not the nearest in size."""
    areas = comb(10 * MANY)
    low, high = 3 * MANY, 7 * MANY
    areas.add(high * 20 + 10, 10)
    areas.add(low * 20 + 10, 10)
    areas.check()

    assert areas.largest == 30
    assert areas.take(25, 1) == low * 20
    assert areas.take(25, 1) == high * 20
    assert areas.take(25, 1) is None
    assert areas.take(10, 1) == 0


def test_add_joins_all_over_the_tree() -> None:
    """Every gap is closed with its neighbours, wherever in the tree these are."""
    areas = comb(6 * MANY)
    for i in range(6 * MANY):
        areas.add(i * 20 + 10, 10)
        if i % 50 == 0:
            areas.check()

    assert list(areas) == [(0, 6 * MANY * 20)]
    areas.check()


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("live", [20, 700])
def test_take_equals_a_linear_scan(seed: int, live: int) -> None:
    """After random takes and adds, with alignments, each answer is what a linear scan finds."""
    rng = Random(seed)
    window = (0x1003, 0x1003 + live * 60)
    areas, taken = Areas(*window), {}
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


@pytest.mark.parametrize("seed", range(4))
def test_take_of_aligned_ranges(seed: int) -> None:
    """It lies in no higher range than the lowest one of size + align - 1 bytes, and it is free."""
    rng = Random(seed)
    page = 4096
    window = (7 * page, 3000 * page)
    areas, taken = Areas(*window, (1, 1 << 40)), dict[int, int]()
    lower = 0
    for step in range(1500):
        if rng.random() < 0.52 or not taken:
            size, align = page * rng.choice([1, 2, 3, 9, 17]), page << rng.choice([0, 1, 3, 5])
            given = areas.take(size, align)
            gaps = [(start, size) for start, size in _gaps(taken, window)]
            fits = [-(-at // align) * align for at, length in gaps if length >= size + align - 1]
            if align == page:
                assert given == linear_scan(taken.items(), window, size, align)
            elif fits:
                assert given is not None
                assert given <= fits[0]
                lower += given < fits[0]
            if given is not None:
                assert given % align == 0
                assert any(at <= given < given + size <= at + length for at, length in gaps)
                taken[given] = given + size
        else:
            start = rng.choice(list(taken))
            areas.add(start, taken.pop(start) - start)
        if step % 50 == 0:
            areas.check()
            assert list(areas) == _gaps(taken, window)
            assert areas.largest == max(length for _, length in areas)
    assert lower, "never one that lies well"


def _gaps(taken: dict[int, int], window: tuple[int, int]) -> list[tuple[int, int]]:
    """What is free of a window, as (start, size)."""
    gaps, at = [], window[0]
    for start, end in [*sorted(taken.items()), (window[1], 0)]:
        if at < start:
            gaps.append((at, start - at))
        at = end
    return gaps


# tree, in pages:    [2, 3)               Two pages at a multiple of four: that is six to be sure.
#                   /      \\              The root has none such on its left, goes right, and there
#              [0, 1)     [8, 64)          left again only if [4, 6) had six: it would do, and
#                         /                nobody looks at it.
#                     [4, 6)
def test_take_passes_by_what_lies_well() -> None:
    """A range that would do, in a subtree that promises nothing, is not found."""
    areas = Areas(0, 64 * PAGE_SIZE)
    for start, size in ((1, 1), (3, 1), (6, 2)):
        assert areas.take_at(start * PAGE_SIZE, size * PAGE_SIZE)
    assert [start // PAGE_SIZE for start, _, _ in areas.state()] == [2, 0, 8, 4]

    assert areas.take(2 * PAGE_SIZE, 4 * PAGE_SIZE) == 8 * PAGE_SIZE


def test_state_has_the_shape() -> None:
    """The same ranges in a tree of another shape are another state: they give other addresses."""
    one, other = (Areas(0, 1000) for _ in range(2))
    for areas, starts in ((one, range(0, 200, 20)), (other, range(180, -20, -20))):
        assert areas.take(1000, 1) == 0
        for start in starts:
            areas.add(start, 10)
        areas.check()
    assert list(one) == list(other)
    assert one.state() != other.state()
    assert sorted(one.state(), key=lambda row: row[0]) != one.state()
