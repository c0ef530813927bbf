"""Whether what is allocated is zeros, or what its last owner has left there."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from scullvfs.mm import Machine
from scullvfs.mm.gfp import __GFP_ZERO as ZERO
from scullvfs.mm.gfp import GFP_KERNEL
from scullvfs.mm.ram import Ram

from .frames import fill
from .helpers import MIB, P, difference, take_the_last

MakeMachine = Callable[..., Machine]

SIZES = [8, 96, 4000, 8192, 8193, 100_000]
"""Objects of caches, of which one is larger than was asked for, and large ones."""


def dirty(machine: Machine, value: int = 0xDD) -> None:
    """Write to every free frame."""
    frames = take_the_last(machine.page_alloc)
    for pfn in frames:
        machine.ram.bytes[pfn * P : (pfn + 1) * P] = bytes([value]) * P
    machine.page_alloc.free_frames(frames)


Allocate = Callable[[Machine, int, bool], tuple[int | None, int]]
"""Gives an address, and how many bytes are there."""


def kmalloc(machine: Machine, size: int, whole: bool = False) -> tuple[int | None, int]:
    """An object."""
    address = machine.slab.kmalloc(size, whole=whole)
    return address, machine.slab.ksize(address)


def vmalloc(machine: Machine, size: int, whole: bool = False) -> tuple[int | None, int]:
    """An area."""
    return machine.vm.vmalloc(size, whole=whole), -(-size // P) * P


def cached(machine: Machine, size: int, whole: bool = False) -> tuple[int | None, int]:
    """An object of a cache of its own."""
    cache = machine.slab.kmem_cache_create("mine", size)
    assert cache is not None
    return machine.slab.kmem_cache_alloc(cache, whole=whole), size


def pages(machine: Machine, size: int, whole: bool = False) -> tuple[int | None, int]:
    """A block of frames."""
    order = (size // P).bit_length()
    return machine.page_alloc.get_free_pages(GFP_KERNEL, order, whole), P << order


ALLOCATORS = [kmalloc, vmalloc, cached, pages]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("allocate", ALLOCATORS)
def test_all_that_is_allocated_is_zeros(allocate: Allocate, size: int) -> None:
    """Whoever asks, without a flag, and however memory was used before."""
    machine = Machine(16 * MIB)
    dirty(machine)
    for _ in range(20):
        address, nbytes = allocate(machine, size, False)
        assert address is not None
        assert difference(bytes(machine.memory.read(address, nbytes)), bytes(nbytes)) is None
        machine.memory.memset(address, 0xEE, nbytes)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("allocate", ALLOCATORS)
def test_who_fills_it_leaves_nothing_to_see(allocate: Allocate, size: int) -> None:
    """Of bytes that the caller has not asked for, and so does not fill, none is another's."""
    machine = Machine(16 * MIB)
    dirty(machine)
    address, nbytes = allocate(machine, size, True)
    assert address is not None
    asked = min(size, nbytes) if allocate is not pages else nbytes
    machine.memory.memset(address, 0xEE, asked)
    expected = b"\xee" * asked + bytes(nbytes - asked)
    assert difference(bytes(machine.memory.read(address, nbytes)), expected) is None


def test_who_fills_it_gets_no_zeros() -> None:
    """They would be written for nothing."""
    machine = Machine(16 * MIB)
    dirty(machine)
    address = machine.vm.vmalloc(16 * P, whole=True)
    assert address is not None
    assert bytes(machine.memory.read(address, 16 * P)) == b"\xdd" * 16 * P


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("fragment", [0, 100])
@pytest.mark.parametrize("allocate", ALLOCATORS)
@pytest.mark.parametrize("idle", [True, False])
def test_without_it_memory_shows_its_last_owner(
    make_machine: MakeMachine, allocate: Allocate, shuffle: bool, fragment: int, idle: bool
) -> None:
    """All of it but the pointers of free objects, whatever idle work was done, or was not."""
    machine = make_machine(
        16 * MIB, shuffle=shuffle, fragment=fragment, init_on_alloc=False, panic_on_warn=False
    )
    dirty(machine)
    while idle and machine.idle_work():
        pass
    size = 8192 if allocate is not vmalloc else 65536
    address, nbytes = allocate(machine, size, False)
    assert address is not None
    content = bytes(machine.memory.read(address, nbytes))
    others = nbytes - content.count(b"\xdd")
    assert 0 < others <= 8 if allocate in (kmalloc, cached) else others == 0
    if allocate is pages:
        machine.page_alloc.free_pages(address, 2)


@pytest.mark.parametrize("size", SIZES)
def test_without_it_zeros_are_zeros_where_they_are_asked_for(size: int) -> None:
    """By __GFP_ZERO, of whatever allocator."""
    machine = Machine(16 * MIB, init_on_alloc=False)
    dirty(machine)
    order = (size // P).bit_length()
    for _ in range(10):
        for address in (
            machine.slab.kzalloc(size),
            machine.vm.vzalloc(size),
            machine.page_alloc.get_free_pages(GFP_KERNEL | ZERO, order),
        ):
            assert address is not None
            assert difference(bytes(machine.memory.read(address, size)), bytes(size)) is None


def test_without_it_free_memory_stays_with_the_host() -> None:
    """Idle work has nothing to do, and what was written is still there."""
    machine = Machine(64 * MIB, init_on_alloc=False)
    frames = take_the_last(machine.page_alloc)
    fill(machine.ram, frames)
    machine.page_alloc.free_frames(frames)
    while machine.idle_work():
        pass
    assert all(machine.ram.bytes[pfn * P : pfn * P + 8] == b"leftover" for pfn in frames)
    machine.page_alloc.zones[0].drain()
    assert machine.idle_work() is False
    assert machine.page_alloc.statistics().dirty >= len(frames)
    for _ in range(10):  # of blocks that were joined
        pfn = machine.page_alloc.alloc_pages(GFP_KERNEL, 10)
        assert pfn is not None
        assert machine.ram.bytes[pfn * P : pfn * P + 8] == b"leftover"


def test_clear_used_pages_clears() -> None:
    """Those that are zeros and those that are not."""
    ram = Ram(MIB, 8)
    ram.bytes[5 * P] = 1
    ram.clear_used_pages([4, 5, 6])
    assert bytes(ram.bytes[4 * P : 7 * P]) == bytes(3 * P)


def freepointer(machine: Machine, address: int, offset: int) -> int:
    """What stands at a place of an object."""
    size = machine.layout.pointer_size
    return int.from_bytes(bytes(machine.memory.read(address + offset, size)), "little")


@pytest.mark.parametrize("arch", ["x86_64", "i386"])
def test_a_freed_object_has_the_next_ones_address(make_machine: MakeMachine, arch: str) -> None:
    """In its middle, and obfuscated: with its own address it is XORed, bytes swapped."""
    machine = make_machine(arch=arch, init_on_alloc=False)
    slab, size = machine.slab, machine.layout.pointer_size
    cache = slab.kmem_cache_create("mine", 4000)
    assert cache is not None
    assert cache.offset == 2000
    first, second, third = (slab.kmem_cache_alloc(cache) for _ in range(3))
    assert first is not None
    assert second is not None
    assert third is not None
    for address in (third, second, first):
        machine.memory.memset(address, 0xAA, 4000)
        slab.kfree(address)

    def decoded(address: int) -> int:
        at = address + 2000
        return freepointer(machine, address, 2000) ^ int.from_bytes(at.to_bytes(size), "little")

    random = decoded(first) ^ second
    assert decoded(second) ^ random == third
    assert random not in (0, second)
    content = bytes(machine.memory.read(first, 4000))
    assert content[:2000] == b"\xaa" * 2000
    assert content[2000 + size :] == b"\xaa" * (2000 - size)
    assert slab.kmem_cache_alloc(cache) == first
    assert bytes(machine.memory.read(first, 4000)) == content
    slab.kfree(first)
    slab.kmem_cache_destroy(cache)


def test_the_last_free_object_has_no_next_one(make_machine: MakeMachine) -> None:
    """NULL, obfuscated as the others; of a fresh slab all objects have their pointers."""
    machine = make_machine(init_on_alloc=False)
    slab = machine.slab
    address = slab.kmalloc(1024)
    assert address is not None
    place, random = slab.state()["randoms"][-1]
    assert slab.state()["caches"][place]["name"] == "kmalloc-1k"
    for number in range(8):
        at = address + number * 1024
        swapped = int.from_bytes((at + 512).to_bytes(8), "little")
        following = freepointer(machine, at, 512) ^ random ^ swapped
        assert following == (at + 1024 if number < 7 else 0)
    slab.kfree(address)


def test_pointers_are_of_the_seed() -> None:
    """The same seed has the same ones, whatever the clock did."""

    def pointer(seed: int) -> int:
        machine = Machine(16 * MIB, shuffle=False, seed=seed, init_on_alloc=False)
        address = machine.slab.kmalloc(64)
        assert address is not None
        return freepointer(machine, address, 32)

    assert pointer(1) == pointer(1) != pointer(2)


def test_another_devices_bytes_are_in_fresh_quanta() -> None:
    """As recorded of scull: of 40 quanta of 4000 bytes all but a byte and 8 of each show."""
    machine = Machine(16 * MIB, init_on_alloc=False)
    slab = machine.slab
    quanta = [slab.kmalloc(4000) for _ in range(200)]
    for quantum in quanta:
        assert quantum is not None
        machine.memory.memset(quantum, 0x5A, 4000)
    for quantum in quanta:
        slab.kfree(quantum)
    shown = 0
    for _ in range(40):
        quantum = slab.kmalloc(4000)
        assert quantum is not None
        machine.memory.write(quantum + 3999, b"x")
        shown += bytes(machine.memory.read(quantum, 3999)).count(b"\x5a")
    assert 159_640 <= shown <= 159_640 + 20, "a pointer may have such a byte"


def busy_work(machine: Machine, idles: bool) -> None:
    """Write to what is allocated, and free some of it."""
    rng, vm = Random(7), machine.vm
    held: list[int] = []
    for number in range(400):
        size = rng.choice((40, 700, 5000, 30_000, 200_000))
        address = machine.slab.kmalloc(size) if number % 3 else vm.vmalloc(size)
        assert address is not None
        machine.memory.memset(address, number % 255 + 1, size // 2)
        held.append(address)
        while len(held) > 60:
            vm.kvfree(held.pop(rng.randrange(len(held))))
        while idles and machine.idle_work():
            pass


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("fragment", [0, 60])
def test_without_it_all_of_ram_is_of_the_calls_alone(
    monkeypatch: pytest.MonkeyPatch, shuffle: bool, fragment: int
) -> None:
    """Two machines after the same calls have the same bytes, whether one has idled or not."""
    monkeypatch.setattr("scullvfs.mm.zone.KEPT", 64)
    one, other = (
        Machine(16 * MIB, shuffle=shuffle, fragment=fragment, init_on_alloc=False) for _ in range(2)
    )
    busy_work(one, idles=True)
    busy_work(other, idles=False)
    assert difference(bytes(one.ram.bytes), bytes(other.ram.bytes)) is None
    assert one.slab.state() == other.slab.state()
    one.check()


def test_the_same_frames_come_either_way() -> None:
    """What is in memory decides of no address."""

    def story(init_on_alloc: bool) -> list[int | None]:
        machine, rng = Machine(16 * MIB, init_on_alloc=init_on_alloc), Random(5)
        given: list[int | None] = []
        for _ in range(100):
            given += [machine.vm.vmalloc(9 * P), machine.slab.kmalloc(rng.randrange(1, 9000))]
            if rng.random() < 0.3:
                machine.vm.kvfree(given.pop())
        return given

    assert story(True) == story(False)
