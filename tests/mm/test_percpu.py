"""The per-cpu allocator: places in a unit, frames for each CPU, chunks that come and go."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from random import Random

import pytest

from scullvfs.mm import KernelBug
from scullvfs.mm.machine import Machine
from scullvfs.mm.percpu_chunk import Chunk

from ..thorough import rounds
from .helpers import ARCHS, MIB, P, books, linear_scan, take_all, texts

KINDS = [(size, 1 << align) for size in (1, 5, 64, 1000, 1024, 9000) for align in (1, 4, 11, 12)]


@pytest.mark.parametrize("seed", range(rounds(12, 4)))
def test_chunk_equals_a_linear_scan(seed: int) -> None:
    """The lowest place where the bytes are free and aligned, whatever was freed before."""
    rng, unit = Random(seed), 64 << 10
    chunk, held = Chunk(0, unit, []), dict[int, int]()
    refused = 0
    for _ in range(1500):
        if held and rng.random() < (0.45 if len(held) < 60 else 0.55):
            at = rng.choice(list(held))
            del held[at]
            chunk.give_back(at)
        else:
            size, align = 4 * rng.randint(1, 300), 1 << rng.randint(2, 12)
            taken = [(start, start + count) for start, count in held.items()]
            want = linear_scan(taken, (0, unit), size, align)
            at = chunk.take(size, align)
            if at is None:  # the largest range would not do
                first = next(start for start, count in chunk.free_ranges() if count == chunk.room)
                assert -first % align + size > chunk.room
                refused += 1
            else:
                assert at == want
                held[at] = size
        chunk.check()
        assert chunk.objects == held
    assert 0 < refused < 500


@pytest.mark.parametrize(
    ("arch", "cpus", "unit", "units"),
    [
        ("x86_64", 1, 2 * MIB, 1),
        ("x86_64", 2, MIB, 2),
        ("x86_64", 3, MIB // 2, 4),
        ("x86_64", 8, MIB // 4, 8),
        ("x86_64", 9, MIB // 2, 12),
        ("i386", 4, 42 * P, 4),
        ("arm64", 3, 33 * P, 3),
    ],
)
def test_chunk_lies_at_the_end_of_the_window(
    make_machine: Callable[..., Machine], arch: str, cpus: int, unit: int, units: int
) -> None:
    """With a unit for each CPU, so many in 2 MiB on x86_64 as waste a third of it at the most."""
    machine = make_machine(arch=arch, cpus=cpus)
    before = books(machine)
    address = machine.percpu.alloc_percpu(100, 8)
    assert (machine.percpu.unit_size, machine.percpu.nr_units) == (unit, units)
    align = 2 * MIB if arch == "x86_64" else P
    assert address == (machine.layout.vmalloc_end & -align) - unit * units
    vm = machine.vm.find_vm_area(address)
    assert vm is not None
    assert (vm.size, vm.caller, vm.pages) == (unit * units, "pcpu_get_vm_areas", None)
    for cpu in range(cpus):
        machine.memory.write(machine.percpu.per_cpu_ptr(address, cpu), bytes([cpu + 1]) * 100)
    for cpu in range(cpus):
        copy = machine.memory.read(machine.percpu.per_cpu_ptr(address, cpu), 100)
        assert bytes(copy) == bytes([cpu + 1]) * 100
    assert machine.percpu.statistics() == (1, 1, cpus)
    machine.percpu.free_percpu(address)
    again = machine.percpu.alloc_percpu(100, 8)
    assert again == address
    for cpu in range(cpus):
        copy = machine.memory.read(machine.percpu.per_cpu_ptr(address, cpu), 100)
        assert bytes(copy) == bytes(100)
    machine.percpu.free_percpu(again)
    assert books(machine).vmalloc_pages > before.vmalloc_pages  # one chunk stays


@pytest.mark.parametrize("arch", ARCHS)
def test_objects_of_all_sizes(make_machine: Callable[..., Machine], arch: str) -> None:
    """None overlaps another, and what is freed last leaves one chunk, the first that was free."""
    machine = make_machine(arch=arch, cpus=2)
    machine.percpu.free_percpu(machine.percpu.alloc_percpu(8, 8))
    before = books(machine)
    rng, held = Random(arch), dict[int, int]()
    for number in range(rounds(2000, 700)):
        size, align = KINDS[number % len(KINDS)]
        address = machine.percpu.alloc_percpu(size, align)
        assert address is not None
        assert address % align == 0
        held[address] = size
        if rng.random() < 0.3:
            gone = rng.choice(list(held))
            machine.percpu.free_percpu(gone)
            del held[gone]
    machine.check()
    chunks = machine.percpu.statistics().chunks
    assert chunks >= 2
    ends = sorted((address, address + size) for address, size in held.items())
    assert all(end <= start for (_, end), (start, _) in pairwise(ends))
    for address in held:
        machine.percpu.free_percpu(address)
    assert machine.percpu.statistics()[:2] == (1, 0)
    after = books(machine)
    assert (after.vmalloc_pages, after.objects) == (before.vmalloc_pages, before.objects)


def test_alloc_percpu_takes_the_chunk_with_the_least_room(machine: Machine) -> None:
    """That will do; of a chunk that is nearly full the rest is used up before a new one is made."""
    half = [machine.percpu.alloc_percpu(32 << 10, P) for _ in range(63)]
    second = [machine.percpu.alloc_percpu(32 << 10, P) for _ in range(2)]
    assert None not in half + second
    assert machine.percpu.statistics().chunks == 2
    machine.percpu.free_percpu(half[5])
    assert machine.percpu.alloc_percpu(16, 4) == half[5]


def test_chunk_that_got_room_is_the_next(machine: Machine) -> None:
    """Before those that have as much room already."""
    objects = [machine.percpu.alloc_percpu(32 << 10, P) for _ in range(128)]
    assert machine.percpu.statistics().chunks == 2
    machine.percpu.free_percpu(objects[7])
    machine.percpu.free_percpu(objects[77])
    assert machine.percpu.alloc_percpu(32 << 10, P) == objects[77]
    assert machine.percpu.alloc_percpu(32 << 10, P) == objects[7]


@pytest.mark.parametrize(("size", "align"), [(0, 4), (-4, 4), (32769, 4), (4, 8192), (4, 12)])
def test_alloc_percpu_refuses(lenient: Machine, size: int, align: int) -> None:
    """What no unit could have, with a warning."""
    assert lenient.percpu.alloc_percpu(size, align) is None
    assert any("for percpu allocation" in line for line in texts(lenient))
    assert lenient.percpu.statistics().chunks == 0


def test_alloc_percpu_without_memory(lenient: Machine) -> None:
    """Neither for a chunk nor for frames; it says so ten times, and nothing is lost."""
    machine = lenient
    before = books(machine)
    held = take_all(machine.page_alloc, leave=20)
    assert machine.percpu.alloc_percpu(8, 8) is None
    machine.page_alloc.free_frames(held)
    assert books(machine) == before
    assert machine.percpu.alloc_percpu(8, 8) is not None
    held = take_all(machine.page_alloc)
    for _ in range(20):
        assert machine.percpu.alloc_percpu(P, P) is None
    machine.page_alloc.free_frames(held)
    said = [text for text in texts(machine) if text.startswith("percpu: ")]
    assert said == [
        "percpu: allocation failed, size=8 align=8 atomic=0, failed to allocate new chunk",
        *["percpu: allocation failed, size=4096 align=4096 atomic=0, failed to populate"] * 9,
    ]
    assert machine.log.records()[-1].text == "percpu: limit reached, disable warning"
    assert machine.percpu.statistics() == (1, 1, 1)


def test_free_percpu_of_what_is_none(machine: Machine) -> None:
    """NULL is fine; anything else that is not an object stops the machine."""
    address = machine.percpu.alloc_percpu(64, 64)
    assert address is not None
    machine.percpu.free_percpu(None)
    for wrong in (address + 4, 0x1000):
        with pytest.raises(KernelBug):
            machine.percpu.free_percpu(wrong)
    machine.percpu.free_percpu(address)


# window: |  reserved                |  lazily freed                       |
#         ^ VMALLOC_START                            ^ alloc_highest()    ^ VMALLOC_END
@pytest.mark.parametrize("arch", ARCHS)
def test_alloc_highest_purges(arch: str) -> None:
    """Where only lazily freed addresses are left; where none are, it is None."""
    machine = Machine(16 * MIB, arch)
    space, layout = machine.vmap_space, machine.layout
    border = layout.vmalloc_end - 64 * P
    space.reserve(layout.vmalloc_start, border)
    space.reserve(border, layout.vmalloc_end)
    assert space.alloc_highest(P, P) is None
    machine.vm.vunmap(border)
    purges = space.purges
    found = space.alloc_highest(3 * P, 8 * P)
    assert found is not None
    assert found[0] == (layout.vmalloc_end & -8 * P) - 3 * P
    assert space.purges == purges + 1
