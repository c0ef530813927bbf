"""Objects by number: the same objects, in the same order, as by address."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from scullvfs.mm import KernelBug, PageFault
from scullvfs.mm.gfp import __GFP_ZERO as ZERO
from scullvfs.mm.gfp import GFP_KERNEL
from scullvfs.mm.machine import Machine

from ..thorough import rounds
from .helpers import MIB, take_all


@pytest.mark.parametrize("size", [8, 72, 96, 1024, 4096, 8192])
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(
    ("init_on_alloc", "page_owner"), [(True, False), (False, False), (True, True)]
)
def test_equals_objects_by_address(
    size: int, seed: int, init_on_alloc: bool, page_owner: bool
) -> None:
    """Random work on two machines, one in bulk: each object is the same, and so are the lists.

    So is what is in RAM, where somebody could see it.
    """
    rng = Random(seed)
    one, other = (
        Machine(32 * MIB, init_on_alloc=init_on_alloc, page_owner=page_owner) for _ in range(2)
    )
    cache = one.slab.kmem_cache_create("things", size)
    same = other.slab.kmem_cache_create("things", size)
    assert cache is not None
    assert same is not None
    numbers = one.slab.numbers(cache)
    live: list[tuple[int, int]] = []
    for step in range(rounds(200, 50)):
        for _ in range(rng.randrange(5 * cache.objects) if rng.random() < 0.5 else 0):
            gfp = GFP_KERNEL | (ZERO if rng.random() < 0.1 else 0)
            number, address = numbers.alloc(gfp), other.slab.kmem_cache_alloc(same, gfp)
            assert number != 0
            assert numbers.address(number) == address
            if not init_on_alloc:
                for machine in (one, other):
                    machine.memory.write(address or 0, b"\xdd" * size)
            live.append((number, address or 0))
        if rng.random() < 0.5:
            rng.shuffle(live)
        elif rng.random() < 0.5:
            live.sort()
        gone = [live.pop() for _ in range(rng.randrange(len(live) + 1))]
        if step % 2:
            numbers.free_bulk(number for number, _ in gone)
        else:
            for number, _ in gone:
                numbers.free(number)
        for _, address in gone:
            other.slab.kmem_cache_free(same, address)
        assert cache.state() == same.state()
        assert all(numbers.is_allocated(number) for number, _ in live)
        assert not any(numbers.is_allocated(number) for number, _ in gone)
    assert one.slab.state() == other.slab.state()
    assert one.page_alloc.state() == other.page_alloc.state()
    if not init_on_alloc:
        assert one.ram.bytes == other.ram.bytes
    one.check()
    other.check()


def test_numbers_are_used_again(machine: Machine) -> None:
    """They stay as small as there are slabs, so that they take 32 bits."""
    cache = machine.slab.kmem_cache_create("things", 4096)
    assert cache is not None
    numbers = machine.slab.numbers(cache)
    for _ in range(5):
        objects = [numbers.alloc(GFP_KERNEL) for _ in range(8 * 100)]
        assert len(set(objects)) == len(objects)
        assert max(objects) < 8 * 101
        numbers.free_bulk(objects)
    machine.slab.kmem_cache_destroy(cache)


@pytest.mark.parametrize("bulk", [True, False])
@pytest.mark.parametrize("count", [1, 8 * 20])
def test_a_double_free_is_a_bug(machine: Machine, bulk: bool, count: int) -> None:
    """Of an object of the cpu's slab, or of another."""
    cache = machine.slab.kmem_cache_create("things", 1024)
    assert cache is not None
    numbers = machine.slab.numbers(cache)
    objects = [numbers.alloc(GFP_KERNEL) for _ in range(count)]
    numbers.free(objects[0])
    free = numbers.free_bulk if bulk else lambda some: numbers.free(some[-1])
    with pytest.raises(KernelBug, match=r"things: Object (0x[0-9a-f]*|of no slab) already free"):
        free(objects[1:] + objects[:1])


def test_what_is_no_object_is_not_allocated(machine: Machine) -> None:
    """No slab of that number, no such place in it, or none at all."""
    cache = machine.slab.kmem_cache_create("things", 72)
    assert cache is not None
    numbers = machine.slab.numbers(cache)
    number = numbers.alloc(GFP_KERNEL)
    assert numbers.is_allocated(number)
    for other in (0, 1, number + 1, number + 60, number + 64):
        assert not numbers.is_allocated(other)
    numbers.free(number)


def test_without_memory_there_is_none(make_machine: Callable[..., Machine]) -> None:
    """0, when the last slab is used up and no frame can be had."""
    machine = make_machine()
    cache = machine.slab.kmem_cache_create("things", 2048)
    assert cache is not None
    numbers = machine.slab.numbers(cache)
    objects = [numbers.alloc(GFP_KERNEL)]
    held = take_all(machine.page_alloc)
    while (number := numbers.alloc(GFP_KERNEL)) != 0:
        objects.append(number)
    assert len(objects) == cache.nr_used
    machine.page_alloc.free_frames(held)
    numbers.free_bulk(objects)


def test_a_broken_list_is_found_when_it_is_used(machine: Machine) -> None:
    """Once, and then there is another slab; what was on the list is lost."""
    cache = machine.slab.kmem_cache_create("things", 1024)
    assert cache is not None
    numbers = machine.slab.numbers(cache)
    first = numbers.alloc(GFP_KERNEL)
    behind = numbers.address(first) + 1024 - machine.layout.page_offset
    machine.slab.overwritten(behind, behind + 1024)
    second = numbers.alloc(GFP_KERNEL)
    with pytest.raises(PageFault):
        numbers.alloc(GFP_KERNEL)
    assert (cache.nr_used, cache.nr_lost) == (cache.objects, cache.objects - 2)
    third = numbers.alloc(GFP_KERNEL)
    numbers.free_bulk([first, second, third])
    assert cache.nr_used == cache.nr_lost
    machine.check()
