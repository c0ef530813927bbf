"""`fragment=PERCENT`: a machine whose free frames are in small pieces from the start."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from scullvfs.mm import KernelBug, Machine
from scullvfs.mm.fragment import FragmentedBuddy
from scullvfs.mm.gfp import __GFP_NOWARN as NOWARN
from scullvfs.mm.gfp import GFP_HIGHUSER, GFP_KERNEL
from scullvfs.mm.vmstat import unusable_free_index

from .helpers import ARCHS, GIB, MIB, P, largest_blocks, take_the_last, texts

PERCENT = [1, 10, 37, 50, 90, 99, 100]


def index(machine: Machine, order: int, zone: str = "Normal") -> int:
    """Thousandths of a zone's free memory that are in smaller blocks."""
    return unusable_free_index(machine.page_alloc.free_by_order()[zone], order)


def buddy_of(machine: Machine) -> FragmentedBuddy:
    """The buddy system of the lowest zone."""
    buddy = machine.page_alloc.zones[0].buddy
    assert isinstance(buddy, FragmentedBuddy)
    return buddy


@pytest.mark.parametrize("percent", PERCENT)
@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("mem", [64 * MIB, 256 * MIB + 37 * P, GIB])
def test_index_is_the_percent(mem: int, shuffle: bool, percent: int) -> None:
    """To a thousandth; of all orders from 4 on, but for what RAM is not a multiple of."""
    machine = Machine(mem, shuffle=shuffle, fragment=percent)
    assert abs(index(machine, 4) - 10 * percent) <= 1
    assert index(machine, 3) < index(machine, 4)
    largest = 2 * 1024 * 1000 // machine.page_alloc.nr_free
    assert 10 * percent <= index(machine, 10) + 1 <= 10 * percent + largest + 2


@pytest.mark.parametrize("percent", PERCENT)
@pytest.mark.parametrize("arch", ARCHS)
def test_index_of_the_smallest_mount(arch: str, percent: int) -> None:
    """On 4 MiB a page that is taken more or less is one and a half percent."""
    machine = Machine(4 * MIB, arch, fragment=percent)
    assert abs(index(machine, 4) - 10 * percent) <= 15
    machine.check()


def test_index_stays_while_single_frames_come_and_go(make_machine: Callable[..., Machine]) -> None:
    """They come from the pieces and go back there, and so do objects."""
    machine = make_machine(256 * MIB, fragment=50)
    areas = [machine.vm.vmalloc(64 << 10) for _ in range(500)]
    objects = [machine.slab.kmalloc(8192) for _ in range(100)]
    assert machine.page_alloc.free_by_order()["Normal"][10] >= 28
    machine.vm.vfree_bulk(area for area in areas if area is not None)
    for address in objects:
        machine.slab.kfree(address)
    machine.check()
    assert abs(index(machine, 4) - 500) <= 2


def test_fragment_takes_a_16th(make_machine: Callable[..., Machine]) -> None:
    """Of what is in pieces; the frames are counted, and are nobody else's."""
    for percent in PERCENT:
        machine = make_machine(fragment=percent)
        (zone,) = machine.page_alloc.statistics().zones
        taken = machine.page_alloc.unevictable()
        assert len(taken) == zone.unevictable
        assert zone.managed == machine.page_alloc.totalram_pages
        part = percent / 100  # of what is free then: 15 of 16, where all is in pieces
        assert abs(zone.unevictable - zone.managed * part / (15 + part)) < 2
        assert len({pfn // 16 for pfn in taken}) == len(taken), "two in one block of 16"
    assert not make_machine().page_alloc.unevictable()


@pytest.mark.parametrize("shuffle", [True, False])
def test_pieces_are_of_all_sizes_below_64_kib(
    make_machine: Callable[..., Machine], shuffle: bool
) -> None:
    """Each broken group leaves a block of each of the orders 0 to 3, in unmovable pageblocks."""
    machine = make_machine(shuffle=shuffle, fragment=100)
    zone = machine.page_alloc.zones[0]
    counts = zone.free_by_order()
    assert counts[1:4] == [counts[1]] * 3
    assert 700 < counts[1] <= 1024
    assert counts[0] == zone.nr_free - 14 * counts[1]
    assert counts[4:] == [0] * 7
    assert zone.free_by_type()["Movable"] == [0] * 11
    assert zone.pageblocks_by_type() == {"Unmovable": 32, "Movable": 0}
    half = make_machine(256 * MIB, shuffle=shuffle, fragment=50).page_alloc.zones[0]
    assert 58 <= half.pageblocks_by_type()["Movable"] <= 64
    assert half.free_by_type()["Movable"][10] == half.free_by_order()[10] >= 29


def test_order_4_is_not_to_be_had_however_much_is_free() -> None:
    """And vmalloc gets all of it, as the story goes; after it was freed, too."""
    machine = Machine(64 * MIB, fragment=100)
    page_alloc = machine.page_alloc
    for _ in range(2):
        assert page_alloc.get_free_pages(GFP_KERNEL | NOWARN, 4) is None
        page_alloc.free_pages(page_alloc.get_free_pages(GFP_KERNEL, 3), 3)
        areas = []
        while (address := machine.vm.vmalloc(64 << 10)) is not None:
            areas.append(address)
        assert len(areas) > 900
        assert page_alloc.nr_available(GFP_KERNEL) < 64
        machine.vm.vfree_bulk(areas)
    machine.check()


def test_order_4_is_reported_with_where_the_memory_is() -> None:
    """The file is in it, and the blocks that there are."""
    machine = Machine(64 * MIB, shuffle=False, fragment=100)
    assert machine.page_alloc.get_free_pages(GFP_KERNEL, 4) is None
    first, *rest = texts(machine)
    assert first.startswith("swapper/0: page allocation failure: order:4, mode:0xcc0(GFP_KERNEL)")
    assert " unevictable:1023 dirty:0 writeback:0" in rest
    assert "1023 total pagecache pages" in rest
    zone = next(line for line in rest if line.startswith("Node 0 Normal free:"))
    assert " unevictable:4092kB " in zone
    (blocks,) = (line for line in rest if line.startswith("Node 0 Normal: "))
    assert " 0*64kB 0*128kB " in blocks


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("percent", [30, 100])
def test_every_frame_can_be_had_once(shuffle: bool, percent: int) -> None:
    """All but frame 0 and those that are taken; given back they are the same blocks again."""
    machine = Machine(24 * MIB, shuffle=shuffle, fragment=percent)
    page_alloc = machine.page_alloc
    buddy = buddy_of(machine)
    before, free = page_alloc.free_by_order(), page_alloc.nr_free
    frames = take_the_last(page_alloc)
    assert len(frames) == len(set(frames)) == free
    assert not page_alloc.unevictable().intersection(frames)
    page_alloc.free_frames(frames)
    page_alloc.zones[0].drain()
    joined = list(largest_blocks(frames).values())
    assert page_alloc.free_by_order()["Normal"] == [joined.count(order) for order in range(11)]
    assert sum(before["Normal"][4:]) <= sum(page_alloc.free_by_order()["Normal"][4:])
    assert not buddy.unlisted()
    machine.check()


def test_the_same_seed_breaks_the_same_blocks() -> None:
    """Of one seed they are the same frames, shuffled or not; of another they are others."""
    taken = [
        Machine(64 * MIB, shuffle=shuffle, seed=seed, fragment=40).page_alloc.unevictable()
        for shuffle, seed in ((True, 1), (True, 1), (False, 1), (True, 2))
    ]
    assert taken[0] == taken[1] == taken[2] != taken[3]


def test_unshuffled_frames_come_side_by_side() -> None:
    """As the pieces are: of one block, from its largest pieces' neighbours on."""
    machine = Machine(64 * MIB, shuffle=False, fragment=100)
    frames = machine.page_alloc.alloc_pages_bulk(GFP_HIGHUSER, 500)
    assert frames is not None
    assert len({pfn >> 10 for pfn in frames}) <= 2
    shuffled = Machine(64 * MIB, fragment=100).page_alloc.alloc_pages_bulk(GFP_HIGHUSER, 500)
    assert shuffled is not None
    assert len({pfn >> 10 for pfn in shuffled}) >= 4


def test_frames_that_are_nobodys_to_free() -> None:
    """A frame of a folded block was never handed out, whether it is free or taken."""
    page_alloc = Machine(64 * MIB, fragment=100).page_alloc
    buddy = page_alloc.zones[0].buddy
    folded = buddy.unlisted()
    taken = {pfn for pfn in buddy.unevictable() if pfn ^ 1 in folded}
    for pfn in (min(folded), min(taken)):
        with pytest.raises(KernelBug, match="Bad page state"):
            page_alloc.free_unref_page(pfn, 0)


def test_both_zones_are_fragmented(highmem: Machine, make_machine: Callable[..., Machine]) -> None:
    """Each of them to that degree."""
    machine = make_machine(mem=32 * MIB, arch="i386", fragment=60)
    for zone in ("Normal", "HighMem"):
        assert abs(index(machine, 4, zone) - 600) <= 6


def test_folded_blocks_are_in_the_state_until_they_are_used() -> None:
    """A machine of 16 GiB has two numbers for each, and no list of pieces."""
    machine = Machine(16 * GIB, fragment=100)
    buddy = buddy_of(machine)

    def folded() -> int:
        broken = buddy.state()["broken"]
        assert broken is not None
        return len(broken["folded"])

    before = folded()
    assert before >= 4000
    assert sum(area.nr_free[0] for area in buddy.free_area) < 2000
    for _ in range(400):
        assert machine.page_alloc.alloc_pages(GFP_KERNEL, 3) is not None
    assert before - 10 <= folded() < before


@pytest.mark.parametrize("percent", [-1, 101])
def test_fragment_out_of_range(percent: int) -> None:
    """It is a percentage."""
    with pytest.raises(ValueError, match="has to be 0 to 100"):
        Machine(64 * MIB, fragment=percent)


def test_the_log_says_who_has_taken_them() -> None:
    """And how many pages that are."""
    machine = Machine(64 * MIB, fragment=100)
    assert machine.log.records()[1].text == (
        "ramfs: 1023 unevictable pages hold free memory apart, 100 % of it in blocks below order 4"
    )
