"""kvfree_rcu: what waits for a grace period is in use until then, and freed with all the others."""

from __future__ import annotations

import pytest

from scullvfs.mm.machine import Machine

from .helpers import P, books, take_the_last


def is_used(machine: Machine, address: int) -> bool:
    """Whether something of vmalloc()'s is there."""
    return machine.vm.find_vm_area(address) is not None


@pytest.mark.parametrize("call", ["kvfree_rcu", "kvfree_rcu_mightsleep"])
def test_kvfree_rcu_frees_when_a_page_is_full(any_arch: Machine, call: str) -> None:
    """Of pointers, which has 5 words of its own; not one is freed before.  NULL is none."""
    machine = any_arch
    free = getattr(machine.krc, call)
    entries = P // machine.layout.pointer_size - 5
    before = books(machine)
    areas = [machine.vm.vmalloc(P) for _ in range(entries)]
    for area in areas[:-1]:
        free(area)
    free(None)
    assert machine.krc.statistics() == (entries - 1, 1)
    assert all(is_used(machine, area) for area in areas if area is not None)
    machine.check()
    free(areas[-1])
    assert machine.krc.statistics() == (0, 0)
    assert books(machine) == before


def test_kvfree_rcu_barrier_frees_objects_first(machine: Machine) -> None:
    """Of kmalloc() and of vmalloc() there is a page each; the areas are freed in their order."""
    before = books(machine)
    areas = [machine.vm.vmalloc(n * P) for n in (3, 1, 2)]
    for area in (areas[1], machine.slab.kmalloc(100), areas[2], areas[0]):
        machine.krc.kvfree_rcu(area)
    assert machine.krc.statistics() == (4, 2)
    machine.krc.kvfree_rcu_barrier()
    assert [start for start, _, _ in machine.vmap_space.lazy] == [areas[1], areas[2], areas[0]]
    assert machine.krc.statistics() == (0, 0)
    assert books(machine) == before


def test_kvfree_rcu_without_a_page(machine: Machine) -> None:
    """It is linked by what is in it, or, where nothing is, the caller waits until it is freed."""
    first, second = machine.vm.vmalloc(P), machine.vm.vmalloc(P)
    assert first is not None
    assert second is not None
    held = take_the_last(machine.page_alloc)
    machine.krc.kvfree_rcu(first)
    machine.krc.kvfree_rcu_mightsleep(second)
    assert (is_used(machine, first), is_used(machine, second)) == (True, False)
    assert machine.krc.statistics() == (1, 0)
    machine.page_alloc.free_frames(held)
    for _ in range(2):
        machine.krc.kvfree_rcu_barrier()
        assert machine.krc.statistics() == (0, 0)
    assert not is_used(machine, first)
