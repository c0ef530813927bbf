"""A whole machine under seeded random work, with a dict beside it and `check()` now and then."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from random import Random

import pytest

from scullvfs.mm import PageFault
from scullvfs.mm.layout import LAYOUTS
from scullvfs.mm.machine import Machine

from ..thorough import rounds
from .helpers import ARCHS, GIB, MIB, P, books, difference, small_i386

SIZES = (1, 100, P, 3 * P, 64 * 1024, 200_000, MIB, 5 * MIB)


class Work:
    """Random calls on a machine; everything written is remembered and compared."""

    def __init__(self, machine: Machine, seed: int) -> None:
        self.machine = machine
        self.rng = Random(seed)
        self.areas: dict[int, bytearray] = {}
        """Address of an area or object -> what is in it."""
        self.objects: set[int] = set()
        """Those of `areas` that are kmalloc()'s."""
        self.maps: dict[int, tuple[int, int]] = {}
        """Address of a vmap -> the area whose frames it shows, and how many."""
        self.devices: dict[int, int] = {}
        """Address of an ioremap -> its size."""
        self.failed = 0

    def step(self) -> None:
        """Do one thing."""
        acts = [self.alloc] * 6 + [self.free] * 4 + [self.write] * 8 + [self.verify] * 4
        acts += [self.kmalloc] * 4 + [self.vmap] * 2 + [self.ioremap] * 2 + [self.unmap] * 3
        acts += [self.idle] * 2 + [self.overrun] * 2 + [self.purge]
        self.rng.choice(acts)()

    def some(self, addresses: dict[int, bytearray] | dict[int, int] | set[int]) -> int | None:
        return self.rng.choice(sorted(addresses)) if addresses else None

    def compare(self, address: int, expected: bytes | bytearray) -> None:
        found = self.machine.memory.read(address, len(expected))
        assert difference(found, expected) is None

    def remember(self, address: int | None, size: int, zero: bool) -> None:
        if address is None:
            self.failed += 1
            return
        assert address not in self.areas
        data = bytes(self.machine.memory.read(address, size))
        if zero:
            assert difference(data, bytes(size)) is None
        self.areas[address] = bytearray(data)

    def alloc(self) -> None:
        size, zero = self.rng.choice(SIZES), self.rng.random() < 0.3
        vm = self.machine.vm
        self.remember(vm.vzalloc(size) if zero else vm.vmalloc(size), size, zero)

    def kmalloc(self) -> None:
        size, zero = self.rng.choice([8, 96, 500, 5000, 30000]), self.rng.random() < 0.3
        slab = self.machine.slab
        address = slab.kzalloc(size) if zero else slab.kmalloc(size)
        self.remember(address, size, zero)
        if address is not None:
            self.objects.add(address)

    def free(self) -> None:
        address = self.some(self.areas)
        if address is None:
            return
        self.compare(address, self.areas[address])
        for at in [at for at, (area, _) in self.maps.items() if area == address]:
            self.machine.vm.vunmap(at)
            del self.maps[at]
        del self.areas[address]
        if address in self.objects:
            self.objects.remove(address)
            self.machine.slab.kfree(address)
        else:
            self.machine.vm.vfree(address)

    def write(self) -> None:
        address = self.some(self.areas)
        if address is None:
            return
        data = self.areas[address]
        offset = self.rng.randrange(len(data))
        count = min(self.rng.choice([1, 50, P, 9000, MIB]), len(data) - offset)
        if self.rng.random() < 0.7:
            new = self.rng.randbytes(count)
            self.machine.memory.write(address + offset, new)
        else:
            new = bytes([self.rng.randrange(256)]) * count
            self.machine.memory.memset(address + offset, new[0], count)
        data[offset : offset + count] = new

    def verify(self) -> None:
        address = self.some(self.areas)
        if address is None:
            return
        data = self.areas[address]
        offset = self.rng.randrange(len(data))
        count = self.rng.randrange(1, len(data) - offset + 1)
        self.compare(address + offset, data[offset : offset + count])

    def vmap(self) -> None:
        address = self.some(set(self.areas) - self.objects)
        if address is None:
            return
        nr_pages = -(-len(self.areas[address]) // P)
        pages = [self.machine.vm.vmalloc_to_pfn(address + i * P) for i in range(nr_pages)]
        at = self.machine.vm.vmap(array("I", pages))
        if at is None:
            self.failed += 1
        else:
            self.maps[at] = address, nr_pages

    def ioremap(self) -> None:
        size = self.rng.choice([1, P, 3 * P, MIB])
        at = self.machine.vm.ioremap(GIB + self.rng.randrange(MIB), size)
        if at is None:
            self.failed += 1
            return
        self.compare(at, b"\xff" * size)
        self.devices[at] = size

    def unmap(self) -> None:
        if self.maps and self.rng.random() < 0.5:
            at = self.rng.choice(sorted(self.maps))
            area, _ = self.maps.pop(at)
            self.compare(at, self.areas[area])
            self.machine.vm.vunmap(at)
        elif self.devices:
            at = self.rng.choice(sorted(self.devices))
            del self.devices[at]
            self.machine.vm.iounmap(at)

    def overrun(self) -> None:
        """Write over the end of an area: a fault in the guard page, and nothing written."""
        address = self.some(set(self.areas) - self.objects)
        if address is None:
            return
        end = address - (-len(self.areas[address]) // P) * P
        with pytest.raises(PageFault) as caught:
            self.machine.memory.write(end - 10, b"overrun, in all its glory")
        assert caught.value.address == end

    def idle(self) -> None:
        self.machine.idle_work()

    def purge(self) -> None:
        self.machine.vm.vm_unmap_aliases()

    def finish(self) -> None:
        """Free everything."""
        while self.areas:
            self.free()
        for at in self.devices:
            self.machine.vm.iounmap(at)


@pytest.mark.long
@pytest.mark.parametrize(("shuffle", "fragment"), [(True, 0), (False, 0), (True, 60)])
@pytest.mark.parametrize("cpus", [1, 4])
@pytest.mark.parametrize("arch", [*ARCHS, "i386 with high memory"])
def test_machine_survives_random_work(
    make_machine: Callable[..., Machine],
    monkeypatch: pytest.MonkeyPatch,
    arch: str,
    cpus: int,
    shuffle: bool,
    fragment: int,
) -> None:
    """Whatever is called in whatever order: contents stay, books add up, all can be freed."""
    if arch not in ARCHS:
        arch = "i386"
        monkeypatch.setitem(LAYOUTS, arch, small_i386(12 * MIB - 2 * P))
    options = {"shuffle": shuffle, "cpus": cpus, "seed": 3, "fragment": fragment}
    machine = make_machine(32 * MIB, arch=arch, **options)
    before = books(machine)
    work = Work(machine, seed=4)

    for step in range(rounds(4000, 1000)):
        work.step()
        if step % 250 == 249:
            machine.check()
    assert work.failed, "RAM never ran out: the work is too easy"
    work.finish()

    assert books(machine) == before
    for _ in range(10_000):
        if not machine.idle_work():
            break
    assert machine.page_alloc.statistics().dirty <= 2 * 4096
