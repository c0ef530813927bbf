"""The buddy system: splitting, joining, clean and dirty blocks."""

from __future__ import annotations

from array import array
from random import Random

import pytest

from scullvfs.mm.buddy import MAX_PAGE_ORDER, Buddy
from scullvfs.mm.restoring import Claims, StateError

from .helpers import free_blocks, largest_blocks

ORDERS = range(MAX_PAGE_ORDER + 1)


class Released(list[tuple[int, int]]):
    """Notes what a buddy system gives back to the host."""

    def __call__(self, pfn: int, nr_pages: int) -> None:
        self.append((pfn, nr_pages))


def one_block() -> Buddy:
    """A zone of exactly one block of the largest order, frames 1024..2047."""
    return Buddy(1024, 2048, Released())


@pytest.mark.parametrize(
    ("start", "end"), [(0, 1024), (1, 1024), (1, 2), (1, 2561), (1000, 5003), (0x36FFE, 0x38000)]
)
def test_buddy_starts_with_every_frame_free_and_clean(start: int, end: int) -> None:
    """A fresh zone of any bounds is all free, all clean, in the largest blocks that fit."""
    buddy = Buddy(start, end, Released())

    assert buddy.check() == set(range(start, end))
    assert free_blocks(buddy) == largest_blocks(range(start, end))
    assert (buddy.nr_free, buddy.nr_dirty) == (end - start, 0)


# before:  |<--------------- order 10 --------------->|
#          1024     1026     1028         1536       2048
# alloc(1):|  mine  |   1    | 2 | 3 | ...|     9     |
def test_alloc_splits_the_block_and_keeps_its_first_half() -> None:
    """Expect a block of order 10, asked for order 1, to leave one block of each order 1..9."""
    buddy = one_block()

    pfn = buddy.alloc(1)

    assert pfn == 1024
    assert free_blocks(buddy) == {1024 + (1 << order): order for order in range(1, 10)}
    assert buddy.nr_free == 1024 - 2


@pytest.mark.parametrize("order", ORDERS)
def test_alloc_and_free_of_each_order_restore_the_zone(order: int) -> None:
    """All blocks of an order can be had, each aligned to its size; freed, they join to one."""
    buddy = one_block()

    blocks = [buddy.alloc(order) for _ in range(1024 >> order)]

    assert sorted(blocks) == list(range(1024, 2048, 1 << order))
    assert buddy.alloc(0) is None
    for pfn in blocks:
        buddy.free(pfn, order, dirty=False)
    assert free_blocks(buddy) == {1024: MAX_PAGE_ORDER}


# 1024   1025   1026   1027
#  |free 0|mine  |    mine     |  order 10 at 2048
def test_alloc_takes_from_the_smallest_order_first() -> None:
    """Expect the single free frame to be handed out, and the large block to stay whole."""
    buddy = Buddy(1024, 3072, Released())
    buddy.alloc(MAX_PAGE_ORDER)
    buddy.free(1024, 0, dirty=False)

    assert buddy.alloc(0) == 1024
    assert free_blocks(buddy) == {2048: MAX_PAGE_ORDER}


def test_alloc_returns_none_without_a_block_that_large() -> None:
    """Any number of free blocks of one order makes no block of the next."""
    buddy = one_block()
    blocks = [buddy.alloc(3) for _ in range(128)]
    for pfn in blocks[::2]:
        buddy.free(pfn, 3, dirty=False)

    assert buddy.alloc(4) is None
    assert buddy.nr_free == 512
    assert buddy.alloc(3) is not None


@pytest.mark.parametrize(
    ("nr_pages", "order"), [(1, 0), (2, 1), (3, 1), (1023, 9), (1024, 10), (5000, 10)]
)
def test_alloc_smallest_takes_no_more_than_asked_for(nr_pages: int, order: int) -> None:
    """From one large block, the largest power of two up to `nr_pages` is taken."""
    buddy = one_block()

    assert buddy.alloc_smallest(nr_pages) == (1024, order)
    assert buddy.nr_free == 1024 - (1 << order)


def test_alloc_smallest_prefers_the_smallest_block() -> None:
    """A single free frame is used up before a larger block is split, however many are wanted."""
    buddy = Buddy(1024, 3072, Released())
    buddy.alloc(MAX_PAGE_ORDER)
    buddy.free(1030, 1, dirty=False)

    assert buddy.alloc_smallest(512) == (1030, 1)
    assert buddy.alloc_smallest(512) == (2048, 9)


def test_alloc_smallest_returns_none_when_nothing_is_free() -> None:
    """An empty zone has no smallest block."""
    buddy = one_block()
    buddy.alloc(MAX_PAGE_ORDER)

    assert buddy.alloc_smallest(1) is None


# |<- 1024: free ->|<- 1025: mine ->|<- 1026..1027: free ->|
def test_free_does_not_join_what_is_no_buddy() -> None:
    """Expect neighbours that are not buddies, or not both free, to stay apart."""
    buddy = one_block()
    frames = [buddy.alloc(0) for _ in range(1024)]
    assert frames[0] == 1024

    for pfn in (1024, 1026, 1027):
        buddy.free(pfn, 0, dirty=False)

    assert free_blocks(buddy) == {1024: 0, 1026: 1}
    buddy.free(1025, 0, dirty=False)
    assert free_blocks(buddy) == {1024: 2}


@pytest.mark.parametrize("bounds", [(1, 1500), (1000, 3071), (0, 2048)])
def test_free_joins_to_the_largest_blocks_whatever_the_order(bounds: tuple[int, int]) -> None:
    """Seeded random takes and frees leave just the blocks that the free frames can form."""
    rng = Random(1)
    buddy = Buddy(*bounds, Released())
    free = set(range(*bounds))
    held: list[tuple[int, int]] = []
    for step in range(1500):
        if rng.random() < 0.55:
            order = rng.choice(ORDERS) if rng.random() < 0.2 else 0
            pfn = buddy.alloc(order)
            if pfn is not None:
                held.append((pfn, order))
                assert free.issuperset(range(pfn, pfn + (1 << order)))
                free.difference_update(range(pfn, pfn + (1 << order)))
        elif held:
            pfn, order = held.pop(rng.randrange(len(held)))
            buddy.free(pfn, order, dirty=rng.random() < 0.5)
            free.update(range(pfn, pfn + (1 << order)))
        if step % 100 == 0:
            assert buddy.check() == free
            assert free_blocks(buddy) == largest_blocks(free)
    for pfn, order in held:
        buddy.free(pfn, order, dirty=True)
    assert free_blocks(buddy) == largest_blocks(range(*bounds))


@pytest.mark.parametrize("seed", range(5))
def test_free_frames_equals_freeing_one_by_one(seed: int) -> None:
    """Frames given back in any order and in runs end as the same blocks as given back singly."""
    rng = Random(seed)
    buddy = Buddy(1, 3000, Released())
    while buddy.alloc(0) is not None:
        pass
    frames = sorted(rng.sample(range(1, 3000), 1200)) + list(range(1, 3000))[seed::3]
    frames = list(dict.fromkeys(frames))
    rng.shuffle(frames)

    buddy.free_frames(array("I", frames), dirty=True)

    assert free_blocks(buddy) == largest_blocks(frames)
    assert buddy.nr_dirty == len(frames)
    buddy.check()


def test_alloc_releases_a_dirty_block_and_no_clean_one() -> None:
    """What is handed out reads as zeros: a dirty block goes through the host, a clean one not."""
    released = Released()
    buddy = Buddy(1024, 3072, released)
    pfn = buddy.alloc(4)
    assert pfn == 1024
    assert released == []
    buddy.free(pfn, 4, dirty=True)
    assert buddy.nr_dirty == 1024, "a block joined with a dirty one is dirty"

    assert buddy.alloc(2) == 1024
    assert released == [(1024, 4)]
    assert buddy.nr_dirty == 1024 - 4


# |<- 1024: dirty ->|<- 1025: clean ->|       either way round
@pytest.mark.parametrize("dirty_first", [True, False])
def test_free_joins_clean_and_dirty_to_dirty(dirty_first: bool) -> None:
    """Expect one block that is dirty, whichever of the two came last."""
    buddy = Buddy(1024, 1026, Released())
    buddy.alloc(1)

    buddy.free(1024, 0, dirty=dirty_first)
    buddy.free(1025, 0, dirty=not dirty_first)

    assert free_blocks(buddy) == {1024: 1}
    assert buddy.nr_dirty == 2
    buddy.check()


def test_release_dirty_takes_large_blocks_first_and_cleans_them() -> None:
    """Each call gives about `nr_pages` back, the largest blocks first, until none is dirty."""
    released = Released()
    buddy = Buddy(1024, 4096, released)
    blocks = [buddy.alloc(MAX_PAGE_ORDER) for _ in range(3)]
    assert blocks == [1024, 2048, 3072]
    buddy.free(1024, 3, dirty=True)
    buddy.free(2048, MAX_PAGE_ORDER, dirty=True)
    buddy.free(3072, MAX_PAGE_ORDER, dirty=False)

    buddy.release_dirty(1024)
    assert released == [(2048, 1024)]
    assert buddy.nr_dirty == 8

    buddy.release_dirty(1024)
    assert released == [(2048, 1024), (1024, 8)]
    assert buddy.nr_dirty == 0
    buddy.check()


def test_release_dirty_finds_every_block_in_slices() -> None:
    """Slices smaller than the list of blocks, which changes in between, miss no dirty block."""
    rng = Random(2)
    buddy = Buddy(1, 4096, Released())
    frames = []
    while (pfn := buddy.alloc(0)) is not None:
        frames.append(pfn)
    for pfn in frames[::2]:
        buddy.free(pfn, 0, dirty=True)

    for _ in range(400):
        if not buddy.nr_dirty:
            break
        buddy.release_dirty(16)
        if rng.random() < 0.2:
            mine = buddy.alloc(0)
            assert mine is not None
            buddy.free(mine, 0, dirty=False)
    assert buddy.nr_dirty == 0
    buddy.check()


def test_alloc_random_takes_a_quarter_of_the_largest_blocks() -> None:
    """Of 16 large blocks 4 are given at most, so that large blocks remain."""
    buddy = Buddy(1024, 17 * 1024, Released())

    blocks, order = buddy.alloc_random(64, Random(3))

    assert order == MAX_PAGE_ORDER
    assert len(set(blocks)) == 4
    assert len(free_blocks(buddy)) == 12


def test_alloc_random_follows_the_seed() -> None:
    """The same seed gives the same blocks, another seed other ones."""
    first, again, other = (
        Buddy(1024, 65 * 1024, Released()).alloc_random(8, Random(seed))[0] for seed in (1, 1, 2)
    )

    assert first == again
    assert first != other


def test_alloc_random_uses_smaller_orders_up_to_the_last_frame() -> None:
    """Expect everything to be handed out in the end, and then no block at all."""
    buddy = Buddy(1, 2050, Released())
    rng, seen = Random(4), []
    while (taken := buddy.alloc_random(64, rng))[0]:
        blocks, order = taken
        seen += [pfn + i for pfn in blocks for i in range(1 << order)]

    assert sorted(seen) == list(range(1, 2050))
    assert buddy.nr_free == 0


def test_is_free_knows_each_frame() -> None:
    """A frame is free just when it lies in a free block, at whatever place in it."""
    buddy = one_block()
    mine = {1024, *range(1536, 1544)}
    buddy.alloc(0)
    for pfn in range(1025, 2048):
        assert buddy.is_free(pfn)
    while buddy.alloc(0) is not None:
        pass
    for pfn in set(range(1024, 2048)) - mine:
        buddy.free(pfn, 0, dirty=False)

    assert {pfn for pfn in range(1024, 2048) if not buddy.is_free(pfn)} == mine


def test_a_freed_block_is_the_next_one_given() -> None:
    """It comes to the head of its list."""
    buddy = Buddy(1024, 3072, Released())
    frames = [buddy.alloc(0) or 0 for _ in range(2048)]

    for pfn in (1400, 1100, 2000):  # none of their neighbours is free
        buddy.free(pfn, 0, dirty=False)

    assert [buddy.alloc(0) for _ in range(3)] == [2000, 1100, 1400]
    assert len(frames) == 2048


# 1024   1025 1026   1027
#  |   free   | mine | free |      when 1026 is freed as well, four are one
def test_a_block_that_may_soon_be_joined_comes_to_the_tail() -> None:
    """With the buddy one order up free, it is given after those that were freed before it."""
    buddy = Buddy(1024, 3072, Released())
    assert None not in [buddy.alloc(0) for _ in range(2048)]
    buddy.free(1024, 1, dirty=False)
    buddy.free(2001, 0, dirty=False)
    buddy.free(1027, 0, dirty=False)

    assert list(buddy.free_area[0].blocks(0)) == [2001, 1027]
    assert [buddy.alloc(0) for _ in range(2)] == [2001, 1027]


def test_the_halves_of_a_split_block_are_given_next() -> None:
    """What is left of it comes to the head, so a run of single frames is ascending."""
    buddy = Buddy(1024, 4096, Released())
    assert [buddy.alloc(0) for _ in range(5)] == list(range(1024, 1029))
    assert buddy.alloc(3) == 1032
    assert buddy.alloc(0) == 1029


def test_movable_blocks_are_claimed_largest_first() -> None:
    """A small movable block stays whole as long as there is a larger one."""
    buddy = Buddy(512, 3072, Released())
    assert free_blocks(buddy) == {512: 9, 1024: 10, 2048: 10}

    assert buddy.alloc(0) == 1024
    assert buddy.pageblocks_by_type() == [2, 3]
    assert buddy.alloc(10) == 2048
    assert buddy.alloc(9) == 1536
    assert buddy.alloc(9) == 512
    assert buddy.pageblocks_by_type() == [5, 0]
    buddy.check()


# |<- zone begins in a pageblock ->|<--- whole one --->|<- ends in one ->|
# 1                               512                 1024              1200
def test_a_pageblock_that_the_zone_has_in_part_stays_movable() -> None:
    """Frames of it are given when there are no others, and nothing but them is taken."""
    buddy = Buddy(1, 1200, Released())
    frames = [buddy.alloc(0) or 0 for _ in range(1199)]

    assert frames[:512] == list(range(512, 1024))
    assert sorted(frames) == list(range(1, 1200))
    assert buddy.pageblocks_by_type() == [1, 2]
    for pfn in frames:
        buddy.free(pfn, 0, dirty=False)
    assert buddy.free_by_type()[0] == [0] * 9 + [1, 0]
    buddy.check()


def test_a_claimed_pageblock_takes_its_free_blocks_along() -> None:
    """What is free in it and movable is unmovable from then on, whatever its order."""
    buddy = Buddy(512, 1024, Released())
    buddy._take(512, 9, 0, 1, clean=True)  # leaves a movable block of each order below 9
    assert sum(buddy.free_by_type()[1]) == 9

    assert buddy.alloc(0) == 513

    assert sum(buddy.free_by_type()[1]) == 0
    assert buddy.pageblocks_by_type() == [1, 0]
    buddy.check()


@pytest.mark.parametrize("migratetype", [-1, 2, 255, 256])
def test_no_state_has_a_pageblock_of_another_type(migratetype: int) -> None:
    """Nor one that is all taken, so that no free block shows it."""
    buddy = Buddy(512, 1024, Released())
    assert buddy.alloc(9) == 512
    state = buddy.state()
    assert state["pageblocks"] == [1, 0]
    state["pageblocks"][1] = migratetype
    with pytest.raises(StateError, match="a pageblock of a type that there is not"):
        buddy.restore(state, Claims(1024))


def test_alloc_without_clean_leaves_what_is_there() -> None:
    """A dirty block goes through the host only for who wants zeros."""
    released = Released()
    buddy = Buddy(1024, 2048, released)
    pfn = buddy.alloc(10)
    assert pfn is not None
    buddy.free(pfn, 10, dirty=True)

    assert buddy.alloc(4, clean=False) == 1024
    assert released == []
    assert buddy.alloc(4) == 1040
    assert released == [(1040, 16)]
