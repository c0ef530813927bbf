"""The seed's promise: the same calls get the same frames and addresses, whatever the clock did."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from scullvfs.mm import Machine
from scullvfs.mm.free_map import FreeMap
from scullvfs.mm.gfp import GFP_KERNEL
from scullvfs.mm.workqueue import Steps
from scullvfs.scull import Module

from ..thorough import rounds
from .helpers import ARCHS, MIB, P, free_blocks, largest_blocks, take_the_last


def freeing(machine: Machine, areas: list[int]) -> Steps[None]:
    """Free areas, one a step."""
    for address in areas:
        machine.vm.vfree(address)
        yield


def calls(machine: Machine, seed: int, count: int) -> Iterator[Any]:
    """Make random calls of all kinds; gives what each has given."""
    rng = Random(seed)
    areas: list[int] = []
    objects: list[int] = []
    blocks: list[tuple[int, int]] = []
    copies: list[int | None] = []

    def some() -> list[int]:
        number = rng.randrange(1, len(areas) // 2 + 2)
        return [areas.pop(rng.randrange(len(areas))) for _ in range(min(number, len(areas)))]

    for _ in range(count):
        match rng.randrange(12):
            case 0 | 1 | 2:
                nr_pages = rng.choice((1, 16, 256, 1000))
                for _ in range(rng.randrange(1, 12)):
                    address = machine.vm.vmalloc(nr_pages * P)
                    if address is not None:
                        areas.append(address)
                        yield address, list(machine.pgtable.frames(address, nr_pages))
            case 3:
                objects.append(machine.slab.kmalloc(rng.randrange(1, 9000)) or 0)
                yield objects[-1]
            case 4 if objects:
                address = objects.pop(rng.randrange(len(objects)))
                machine.slab.kfree(address or None)
            case 5:
                order = rng.randrange(5)
                blocks.append((machine.page_alloc.alloc_pages(GFP_KERNEL, order) or 0, order))
                yield blocks[-1]
            case 6 if blocks:
                pfn, order = blocks.pop(rng.randrange(len(blocks)))
                if pfn:
                    machine.page_alloc.free_unref_page(pfn, order)
            case 7:
                machine.vm.vfree_bulk(some())
            case 8:
                copies.append(machine.percpu.alloc_percpu(rng.randrange(1, 9000), 8))
                yield copies[-1]
            case 9 if copies:
                machine.percpu.free_percpu(copies.pop(rng.randrange(len(copies))))
            case 10:
                for address in some():
                    machine.krc.kvfree_rcu(address)
            case _:
                machine.workqueue.queue_work(freeing(machine, some()))
        yield len(areas)


@pytest.fixture(autouse=True, scope="module")
def little_is_kept() -> Iterator[None]:
    """Idle work goes over all but a few of the freed frames."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("scullvfs.mm.zone.KEPT", 64)
        yield


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("fragment", [0, 70])
@settings(
    max_examples=rounds(8, 1), phases=[Phase.reuse, Phase.generate]
)  # a seed has nothing to shrink
@given(seed=st.integers(0, 1 << 32), idle_seed=st.integers(0, 1 << 32))
def test_idle_work_does_not_show(
    arch: str, shuffle: bool, fragment: int, seed: int, idle_seed: int
) -> None:
    """Of two equal machines with the same calls one idles at random moments, the other never."""
    options = {"seed": 3, "cpus": 2, "fragment": fragment}
    idle, busy = (Machine(24 * MIB, arch, shuffle, **options) for _ in range(2))
    rng = Random(idle_seed)
    steps = zip(calls(idle, seed, 60), calls(busy, seed, 60), strict=True)
    for number, (here, there) in enumerate(steps):
        assert here == there, number
        if rng.random() < 0.3:
            for _ in range(rng.choice((1, 2, 5, 1000))):
                if not idle.idle_work():
                    break
    for machine in (idle, busy):
        machine.workqueue.flush()
    assert dict(idle.pgtable.mappings()) == dict(busy.pgtable.mappings())
    assert idle.page_alloc.free_by_order() == busy.page_alloc.free_by_order()
    zones = zip(idle.page_alloc.zones, busy.page_alloc.zones, strict=True)
    for one, other in zones:
        assert (one.hot, one.cold) == (other.hot, other.cold)
        assert free_blocks(one.buddy) == free_blocks(other.buddy)
        one.check()


@pytest.mark.long
def test_idle_work_after_a_trim_does_not_show() -> None:
    """What is written after a device was emptied lies in the same frames, idle or not."""
    frames = []
    for idle in (True, False):
        machine = Machine(96 * MIB, seed=1)
        device = Module(machine, scullv_devs=1).devices[0]
        for pos in range(0, 64 * MIB, 1 << 16):
            device.write(pos, bytes(1 << 16))
        device.trim(later=True)
        while idle and machine.idle_work():
            pass
        for pos in range(0, 64 * MIB, 1 << 16):
            device.write(pos, bytes(1 << 16))
        frames.append(list(machine.pgtable.mappings()))
    assert frames[0] == frames[1]


def test_zeroed_frames_are_zeros_whether_released_or_not() -> None:
    """Of what idle work has released in part, frames that are asked for as zeros are zeros."""
    machine = Machine(64 * MIB)
    area = machine.vm.vmalloc(40 * MIB)
    assert area is not None
    machine.memory.memset(area, 0xA5, 40 * MIB)
    machine.vm.vfree(area)
    for _ in range(5):
        machine.idle_work()
    assert 0 < machine.page_alloc.statistics().dirty < 40 * MIB // P
    again = machine.vm.vzalloc(40 * MIB)
    assert again is not None
    for at in range(0, 40 * MIB, MIB):
        assert bytes(machine.memory.read(again + at, MIB)) == bytes(MIB)


@pytest.mark.long
@given(st.sets(st.integers(0, 4095)), st.sets(st.integers(0, 4095)))
def test_free_map_joins_what_can_be_joined(frames: set[int], gone: set[int]) -> None:
    """The blocks are as few as can be, whatever was put in and taken out."""
    free_map = FreeMap(4095)
    free_map.add(array("I", frames))
    free_map.blocks()
    free_map.discard(array("I", gone))
    left = frames - gone
    assert free_map.frames() == left
    orders = list(largest_blocks(left).values())
    assert free_map.blocks() == [orders.count(order) for order in range(11)]


@pytest.mark.parametrize("shuffle", [True, False])
def test_freed_memory_is_seen_as_large_blocks(shuffle: bool) -> None:
    """With all of it free, single frames or not, there are as many large blocks as at the start."""
    page_alloc = Machine(64 * MIB, shuffle=shuffle).page_alloc
    before = page_alloc.free_by_order()["Normal"][10]
    frames = take_the_last(page_alloc)
    assert page_alloc.free_by_order()["Normal"] == [0] * 11
    page_alloc.free_frames(frames)
    assert page_alloc.free_by_order()["Normal"][10] >= before - 1
