"""Which block sizes are measured, and how much data of each."""

import pytest

from scullvfs.bench.plan import (
    DEFAULT_SIZES,
    MIN_BLOCKS,
    Plan,
    blocks_for,
    parse_sizes,
    trial_blocks,
)
from scullvfs.errors import ScullvfsError, UsageError

KIB = 1 << 10
MIB = 1 << 20


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("4096", [4 * KIB]),
        ("64K,4k", [4 * KIB, 64 * KIB]),
        ("1K-8K", [KIB, 2 * KIB, 4 * KIB, 8 * KIB]),
        ("1k-5K", [KIB, 2 * KIB, 4 * KIB]),
        ("1K-16Kx4", [KIB, 4 * KIB, 16 * KIB]),
        ("1K-16Kx2", [KIB, 2 * KIB, 4 * KIB, 8 * KIB, 16 * KIB]),
        ("512-1K,4K,4K-4K", [512, KIB, 4 * KIB]),
        ("3000", [3000]),
        (DEFAULT_SIZES, [512 << n for n in range(14)]),
    ],
)
def test_parse_sizes(text: str, sizes: list[int]) -> None:
    """Lists and ranges, together and alone; every size once, ascending."""
    assert parse_sizes(text) == tuple(sizes)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "write a list like"),
        ("4K,", "write a list like"),
        ("4K-", "write a list like"),
        ("4K-8Kx3", "write a list like"),
        ("4KiB", "write a list like"),
        ("-4K", "write a list like"),
        ("٤K", "write a list like"),
        ("511", "--sizes 511 is not possible; a block is 512 to 64M"),
        ("65M", "a block is 512 to 64M"),
        ("1-1K", "--sizes 1 is not possible"),
        ("8K-4K", "the smaller size comes first"),
    ],
)
def test_parse_sizes_wrong(text: str, words: str) -> None:
    """What is wrong is said, and what would be right."""
    with pytest.raises(UsageError) as caught:
        parse_sizes(text)
    assert words in str(caught.value)


def test_blocks_follow_the_slowest_target() -> None:
    """0.1 s at 20 us a block are 5,000 blocks: 4,096, as a power of two."""
    plan = Plan(sizes=(4 * KIB,), seconds=0.1)
    assert blocks_for(plan, 4 * KIB, [1e-6, 20e-6, 2e-6], 1 << 30) == 4096


def test_blocks_within_the_limit() -> None:
    """A fast target does not move more than --bytes."""
    plan = Plan(sizes=(4 * KIB,), seconds=60, limit=MIB)
    assert blocks_for(plan, 4 * KIB, [1e-6], 1 << 30) == 256


def test_blocks_within_the_room() -> None:
    """Nor more than there is room for."""
    plan = Plan(sizes=(4 * KIB,), seconds=60)
    assert blocks_for(plan, 4 * KIB, [1e-6], 100 * 4 * KIB) == 64


def test_blocks_are_never_too_few() -> None:
    """Large blocks go beyond the limit and the time: a rewrite needs more than one."""
    plan = Plan(sizes=(4 * MIB,), seconds=0.001, limit=MIB)
    assert blocks_for(plan, 4 * MIB, [0.5], 1 << 30) == MIN_BLOCKS


def test_no_room() -> None:
    """Found before the first run."""
    with pytest.raises(
        ScullvfsError, match=r"^blocks of 4M need room for 16M, and there is only 8M"
    ):
        trial_blocks(4 * MIB, 8 * MIB)


@pytest.mark.parametrize(
    ("size", "room", "blocks"), [(512, 1 << 30, 512), (512, 5000, 8), (MIB, 1 << 30, MIN_BLOCKS)]
)
def test_trial(size: int, room: int, blocks: int) -> None:
    """The first run is short at every block size, and fits."""
    assert trial_blocks(size, room) == blocks
