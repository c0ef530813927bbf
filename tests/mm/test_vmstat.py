"""Linux's two indices of fragmentation, of free blocks that are counted by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scullvfs.mm.vmstat import fill_contig_page_info, fragmentation_index, unusable_free_index

ORDERS = range(11)


def counts(*blocks: int) -> list[int]:
    """So many blocks of the lowest orders, and none above."""
    return [*blocks, *[0] * (11 - len(blocks))]


@pytest.mark.parametrize(
    ("blocks", "unusable", "extfrag"),
    [
        pytest.param(counts(), [1000] * 11, [0] * 11, id="no memory"),
        pytest.param(counts(*[0] * 10, 5), [0] * 11, [-1000] * 11, id="largest blocks only"),
        # 1000 - (1000 + 1000 >> order) / 1, and one page is too little for any of them
        pytest.param(
            counts(1),
            [0, *[1000] * 10],
            [-1000, -500, -250, -125, -62, -31, -15, -7, -3, -1, 0],
            id="one page",
        ),
        # 960 pages, of which 64, 192, 448 and then all are too small
        pytest.param(
            counts(64, 64, 64, 64),
            [0, 66, 200, 466, *[1000] * 7],
            [*[-1000] * 4, 762, 879, 938, 967, 982, 989, 993],
            id="one page of sixteen is taken, at random places",
        ),
        # 512 single pages: for an order that they would be enough for, it is nearly all their fault
        pytest.param(
            counts(512),
            [0, *[1000] * 10],
            [-1000, 499, 749, 874, 936, 967, 983, 991, 995, 997, 998],
            id="every other page",
        ),
    ],
)
def test_indices(blocks: list[int], unusable: list[int], extfrag: list[int]) -> None:
    """Each of them as Linux's formula has it, with what a division leaves cut off."""
    assert [unusable_free_index(blocks, order) for order in ORDERS] == unusable
    assert [fragmentation_index(blocks, order) for order in ORDERS] == extfrag


BLOCKS = st.lists(st.integers(0, 5000), min_size=11, max_size=11)


@given(BLOCKS)
def test_indices_of_any_blocks(blocks: list[int]) -> None:
    """A larger request finds no more; one that would not fail says so, others are below 1."""
    unusable = [unusable_free_index(blocks, order) for order in ORDERS]
    assert unusable == sorted(unusable)
    for order in ORDERS:
        info = fill_contig_page_info(blocks, order)
        assert info.free_pages == sum(n << at for at, n in enumerate(blocks))
        would_fail = not any(blocks[order:])
        assert would_fail == (not info.free_blocks_suitable)
        index = fragmentation_index(blocks, order)
        assert (index == -1000) == (not would_fail)
        assert would_fail <= (index < 1000)
