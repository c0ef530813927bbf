"""The list of items: its memory, taken singly or in runs, and given back."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest

from scullvfs.mm import PAGE_SIZE, Machine
from scullvfs.scull.family import SCULLV
from scullvfs.scull.items import BULK, ItemList

from ..mm.helpers import books, other_slabs
from .helpers import GIB, MIB, shortage

SIZE = 176
"""Of an item; kmalloc gives 192 bytes for it."""


@pytest.fixture
def machine() -> Machine:
    """A machine of 16 MiB."""
    return Machine(mem=16 * MIB, panic_on_warn=True)


@pytest.fixture
def items(machine: Machine) -> ItemList:
    """A list with its first item, which belongs to somebody else."""
    first = machine.slab.kmalloc(SIZE)
    assert first is not None
    return ItemList(machine.slab, first, SIZE, SCULLV)


def check(items: ItemList, machine: Machine) -> None:
    """Every item has memory of its own, inside of a page of the slab."""
    addresses = sorted(items.address(item) for item in range(items.count))
    frames = machine.slab.check()
    page_offset = machine.layout.page_offset
    assert {(address - page_offset) // PAGE_SIZE for address in addresses} <= frames
    assert all(address % PAGE_SIZE <= PAGE_SIZE - SIZE for address in addresses)
    gaps = [b - a for a, b in pairwise(addresses)]
    assert all(gap >= SIZE for gap in gaps)


def test_items_new(items: ItemList, machine: Machine) -> None:
    """A list has one item from the start, and it takes nothing."""
    assert items.count == 1
    assert other_slabs(machine).objects == 1


@pytest.mark.parametrize("count", [2, 3, BULK, BULK + 1, BULK + 2, 5000])
def test_items_extend(items: ItemList, machine: Machine, count: int) -> None:
    """However many are added at once, each has a place, and they all can be freed."""
    before = books(machine)
    assert items.extend_to(count)
    assert items.count == count
    check(items, machine)
    items.truncate(1)
    assert items.count == 1
    assert books(machine) == before


def test_items_extend_to_fewer(items: ItemList, machine: Machine) -> None:
    """A list that is long enough stays as it is."""
    assert items.extend_to(10)
    addresses = [items.address(item) for item in range(10)]
    assert items.extend_to(4)
    assert [items.address(item) for item in range(items.count)] == addresses


def test_items_runs_take_whole_pages(items: ItemList, machine: Machine) -> None:
    """Many items at once come as pages full of items, 21 to a page."""
    before = machine.slab.statistics().pages
    assert items.extend_to(1 + 21 * 100)
    assert machine.slab.statistics().pages == before + 100


def test_items_run_stays_as_long_as_one_of_its_items(items: ItemList, machine: Machine) -> None:
    """A run cannot be freed in part: the items cut off are ready for the next extension."""
    assert items.extend_to(1000)
    address = items.address(500)
    pages = machine.slab.statistics().pages
    items.truncate(10)
    assert items.count == 10
    assert items.extend_to(501)
    assert items.address(500) == address
    assert machine.slab.statistics().pages <= pages
    check(items, machine)


@pytest.mark.parametrize("missing", [BULK - 1, BULK, 2000])
def test_items_without_memory(items: ItemList, machine: Machine, missing: int) -> None:
    """Where the memory ends half-way the list is as it was, and what was taken is given back."""
    assert items.extend_to(22)
    before = books(machine)
    with shortage(machine, leave=2):
        assert not items.extend_to(22 + missing)
        assert items.count == 22
    assert books(machine) == before
    assert items.extend_to(22 + missing)
    check(items, machine)


@pytest.mark.long
def test_items_random(items: ItemList, machine: Machine) -> None:
    """Extended and truncated at random, each item stays where it is as long as it lives."""
    rng = Random(8)
    where = {0: items.address(0)}
    for step in range(300):
        count = rng.choice([rng.randint(1, 40), rng.randint(1, 3000)])
        if rng.random() < 0.5:
            assert items.extend_to(count)
        else:
            items.truncate(count)
        where = {item: at for item, at in where.items() if item < items.count}
        assert all(items.address(item) == at for item, at in where.items())
        where = {item: items.address(item) for item in range(items.count)}
        if step % 25 == 0:
            check(items, machine)


@pytest.mark.parametrize("arch", ["x86_64", "i386", "arm64"])
def test_items_a_million(arch: str) -> None:
    """A million items take the RAM that they take in Linux, and a handful of runs."""
    machine = Machine(mem=GIB // 2, arch=arch, panic_on_warn=True)
    first = machine.slab.kmalloc(SIZE)
    assert first is not None
    items = ItemList(machine.slab, first, SIZE, SCULLV)
    free = machine.page_alloc.nr_free
    assert items.extend_to(1_000_000)
    assert free - machine.page_alloc.nr_free == -(-999_999 // 21)
    assert len({items.address(item) for item in range(0, 1_000_000, 997)}) == -(-1_000_000 // 997)
    items.truncate(1)
    assert machine.page_alloc.nr_free == free
