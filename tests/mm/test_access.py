"""Reading and writing kernel addresses: scattered pages, faults, device memory."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from scullvfs.mm import PageFault
from scullvfs.mm.gfp import GFP_KERNEL
from scullvfs.mm.layout import PFN_PHYS
from scullvfs.mm.machine import Machine

from .helpers import GIB, MIB, P, difference


def area(machine: Machine, nr_pages: int) -> int:
    """The address of a zeroed area."""
    address = machine.vm.vzalloc(nr_pages * P)
    assert address is not None
    return address


def read(machine: Machine, address: int, count: int) -> bytes:
    """What is there, as bytes."""
    return bytes(machine.memory.read(address, count))


def fault(call: Callable[..., object], *arguments: object) -> tuple[int, bool]:
    """The address and the write flag of the fault that a call raises."""
    with pytest.raises(PageFault) as caught:
        call(*arguments)
    return caught.value.address, caught.value.write


# pages:  |    0    |    1    |    2    |     frames: anywhere
#            |<-- written -->|
@pytest.mark.parametrize(
    ("offset", "count"), [(0, 1), (P - 1, 2), (5, P), (100, 2 * P), (0, 3 * P)]
)
def test_write_reaches_just_its_bytes(any_arch: Machine, offset: int, count: int) -> None:
    """Expect the bytes at their places, in the frames that the page tables say, and no other."""
    address = area(any_arch, 3)
    data = Random(8).randbytes(count)

    any_arch.memory.write(address + offset, data)

    expected = bytes(offset) + data + bytes(3 * P - offset - count)
    assert read(any_arch, address, 3 * P) == expected
    for i in range(3):
        pfn = any_arch.vm.vmalloc_to_pfn(address + i * P)
        assert pfn is not None
        page = any_arch.ram.bytes[PFN_PHYS(pfn) : PFN_PHYS(pfn) + P]
        assert bytes(page) == expected[i * P : (i + 1) * P]
    any_arch.vm.vfree(address)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_write_takes_any_buffer(machine: Machine, kind: Callable[[bytes], bytes]) -> None:
    """bytes, a bytearray and a memoryview are all data, in one page and over several."""
    address = area(machine, 2)
    for offset in (10, P - 3):
        machine.memory.write(address + offset, kind(b"abcdef"))

        assert read(machine, address + offset, 6) == b"abcdef"
    machine.vm.vfree(address)


@pytest.mark.parametrize("shuffle", [True, False])
def test_read_and_write_across_a_table_boundary(
    make_machine: Callable[..., Machine], shuffle: bool
) -> None:
    """An area over several page tables is one range of bytes, on scattered frames or on a run."""
    for arch in ("x86_64", "i386", "arm64"):
        machine = make_machine(arch=arch, shuffle=shuffle)
        size = 9 * MIB + 5
        address = area(machine, 9 * 256 + 1)
        data = Random(9).randbytes(size)

        machine.memory.write(address + 3, data)

        assert difference(read(machine, address + 3, size), data) is None
        for boundary in (4 * MIB, 2 * MIB + 3 * P):
            assert read(machine, address + boundary - 50, 100) == data[boundary - 53 :][:100]
        machine.vm.vfree(address)


def test_read_and_write_equal_a_bytearray(any_arch: Machine) -> None:
    """Random reads, writes and fills of an area do what they do to a bytearray."""
    rng, size = Random(10), 40 * P
    address, model = area(any_arch, 40), bytearray(size)
    for _ in range(500):
        offset = rng.randrange(size)
        count = min(rng.choice([1, 7, 100, P, 3 * P, 12345]), size - offset)
        match rng.randrange(3):
            case 0:
                data = rng.randbytes(count)
                any_arch.memory.write(address + offset, data)
                model[offset : offset + count] = data
            case 1:
                value = rng.randrange(256)
                any_arch.memory.memset(address + offset, value, count)
                model[offset : offset + count] = bytes([value]) * count
            case _:
                found = read(any_arch, address + offset, count)
                assert difference(found, model[offset : offset + count]) is None
    assert difference(read(any_arch, address, size), model) is None
    any_arch.vm.vfree(address)


def test_translate_joins_frames_that_follow_each_other(machine: Machine) -> None:
    """Runs of frames are one step, whatever the order in which the area has them."""
    block = machine.page_alloc.alloc_pages(GFP_KERNEL, 2)
    assert block is not None
    address = machine.vm.vmap([block, block + 1, block + 3, block + 2, block + 3])
    assert address is not None
    phys = PFN_PHYS(block)

    assert machine.memory.translate(address + 10, 5 * P - 20, write=False) == [
        (phys + 10, 2 * P - 10),
        (phys + 3 * P, P),
        (phys + 2 * P, 2 * P - 10),
    ]
    assert machine.memory.translate(address + 5, 7, write=True) == [(phys + 5, 7)]
    machine.vm.vunmap(address)
    machine.page_alloc.free_unref_page(block, 2)


# addresses:  | page 0 | page 1 | guard |
@pytest.mark.parametrize(("offset", "count"), [(2 * P, 1), (2 * P + 5, 3), (3 * P - 1, 1)])
def test_access_to_the_guard_page_faults(any_arch: Machine, offset: int, count: int) -> None:
    """Expect a fault at just this address, read or write."""
    memory, address = any_arch.memory, area(any_arch, 2)
    where = address + offset

    assert fault(memory.read, where, count) == (where, False)
    assert fault(memory.write, where, b"x" * count) == (where, True)
    assert fault(memory.memset, where, 0, count) == (where, True)
    any_arch.vm.vfree(address)


# addresses:  | page 0 | page 1 | guard |
#                 |<------ access ---->|
@pytest.mark.parametrize(
    ("offset", "count"), [(2 * P - 1, 2), (5, 2 * P), (0, 3 * P), (0, 900 * P)]
)
def test_access_that_runs_into_the_guard_page_writes_nothing(
    any_arch: Machine, offset: int, count: int
) -> None:
    """Expect a fault at the guard page's start, and not one byte of the good pages written."""
    memory, address = any_arch.memory, area(any_arch, 2)
    guard = address + 2 * P

    assert fault(memory.read, address + offset, count) == (guard, False)
    assert fault(memory.write, address + offset, b"x" * count) == (guard, True)
    assert fault(memory.memset, address + offset, 1, count) == (guard, True)
    assert read(any_arch, address, 2 * P) == bytes(2 * P)
    any_arch.vm.vfree(address)


@pytest.mark.parametrize("where", ["null", "below", "freed", "behind", "vmalloc_end"])
def test_access_to_unmapped_addresses_faults(any_arch: Machine, where: str) -> None:
    """NULL, what lies around the window, and an area that was freed."""
    layout = any_arch.layout
    address = area(any_arch, 3)
    any_arch.vm.vfree(address)
    at = {
        "null": 0,
        "below": layout.vmalloc_start - 1,
        "freed": address + P,
        "behind": any_arch.page_alloc.high_memory,
        "vmalloc_end": layout.vmalloc_end,
    }[where]

    assert fault(any_arch.memory.read, at, 1) == (at, False)
    assert fault(any_arch.memory.write, at, b"x") == (at, True)


def test_access_to_far_too_much_faults(machine: Machine) -> None:
    """A length of gigabytes faults at the first page that is not mapped, as any other."""
    address = area(machine, 1)

    assert fault(machine.memory.read, address, 4 * GIB) == (address + P, False)
    machine.vm.vfree(address)


def test_page_fault_tells_the_walk(machine: Machine) -> None:
    """The fault names the level whose entry is empty, and the entries above it."""
    address = area(machine, 1)

    with pytest.raises(PageFault) as near:
        machine.memory.write(address + P, b"x")
    with pytest.raises(PageFault) as far:
        machine.memory.read(address + (1 << 30), 1)

    assert near.value.level == "pte"
    assert [bool(entry) for entry in near.value.entries] == [True, True, True, False]
    assert (far.value.level, len(far.value.entries)) == ("pud", 2)
    assert str(near.value) == (f"unable to handle page fault for address: {address + P:x} (write)")
    machine.vm.vfree(address)


# linear mapping:  |<---- 64 MiB of RAM ---->|  nothing
#                                      |<- access ->|
def test_linear_mapping_reads_and_writes_ram(any_arch: Machine) -> None:
    """An address is PAGE_OFFSET plus a physical one, to the last byte, over pages without end."""
    memory, end = any_arch.memory, any_arch.page_alloc.high_memory
    assert end == any_arch.layout.page_offset + 64 * MIB
    block = any_arch.page_alloc.get_free_pages(GFP_KERNEL, 3)
    assert block is not None
    data = Random(11).randbytes(5 * P)

    memory.write(block + 100, data)
    memory.memset(block + 150, 0x11, P)

    phys = block - any_arch.layout.page_offset
    expected = data[:50] + b"\x11" * P + data[50 + P :]
    assert bytes(any_arch.ram.bytes[phys + 100 : phys + 100 + 5 * P]) == expected
    assert read(any_arch, block + 100, 5 * P) == expected
    assert read(any_arch, end - 1, 1) == b"\0"
    any_arch.page_alloc.free_pages(block, 3)


@pytest.mark.parametrize("before", [1, P - 1, 3 * P])
def test_linear_mapping_ends_with_lowmem(any_arch: Machine, before: int) -> None:
    """Expect an access over the end to fault at the end, with nothing written."""
    memory, end = any_arch.memory, any_arch.page_alloc.high_memory

    assert fault(memory.read, end - before, before + 1) == (end, False)
    assert fault(memory.write, end - before, b"x" * (before + 1)) == (end, True)
    assert read(any_arch, end - before, before) == bytes(before)


@pytest.mark.parametrize("before", [1, 2])
def test_load_array_that_runs_over_lowmem(any_arch: Machine, before: int) -> None:
    """Expect a fault at the first pointer behind the end, and not a shorter array."""
    memory, end = any_arch.memory, any_arch.page_alloc.high_memory
    size = any_arch.layout.pointer_size

    assert memory.load_array(end - before * size, before) == [0] * before
    assert fault(memory.load_array, end - before * size, before + 1) == (end, False)


@pytest.mark.parametrize("arch", ["x86_64", "arm64"])
def test_address_outside_of_the_kernels_half(
    make_machine: Callable[..., Machine], arch: str
) -> None:
    """The tables look at 48 bits; an address that only has these in common is not mapped."""
    machine = make_machine(arch=arch)
    address = area(machine, 1)
    alias = address & ((1 << 48) - 1)

    assert fault(machine.memory.read, alias, 1) == (alias, False)
    assert fault(machine.memory.write, alias, b"x") == (alias, True)
    assert machine.vm.vmalloc_to_pfn(alias) is None


def test_linear_mapping_does_not_reach_high_memory(highmem: Machine) -> None:
    """Behind lowmem there is RAM, but no address for it but vmalloc's."""
    end = highmem.page_alloc.high_memory
    assert end < highmem.layout.page_offset + highmem.ram.size

    assert fault(highmem.memory.read, end, 1) == (end, False)
    address = area(highmem, 100)
    highmem.memory.write(address, b"x" * 100 * P)
    assert difference(read(highmem, address, 100 * P), b"x" * 100 * P) is None
    highmem.vm.vfree(address)


def test_load_and_store_are_pointers_of_the_machine(any_arch: Machine) -> None:
    """A pointer is as wide as the architecture's, little-endian, beside its neighbours."""
    width = any_arch.layout.pointer_size
    table = any_arch.slab.kzalloc(8 * width)
    assert table is not None
    value = any_arch.layout.vmalloc_start + P

    any_arch.memory.store(table + 2 * width, value)

    assert any_arch.memory.load(table + 2 * width) == value
    assert any_arch.memory.load_array(table, 4) == [0, 0, value, 0]
    assert read(any_arch, table + 2 * width, width) == value.to_bytes(width, "little")
    any_arch.slab.kfree(table)


@pytest.mark.parametrize("where", ["null", "vmalloc", "behind"])
def test_load_and_store_elsewhere_fault(any_arch: Machine, where: str) -> None:
    """Pointers live in the linear mapping only."""
    memory, address = any_arch.memory, area(any_arch, 1)
    end = any_arch.page_alloc.high_memory
    at = {"null": 0, "vmalloc": address + P, "behind": end}[where]

    assert fault(memory.load, at) == (at, False)
    assert fault(memory.store, at, 1) == (at, True)
    assert fault(memory.load_array, at, 2) == (at, False)
    any_arch.vm.vfree(address)


@pytest.mark.parametrize(("offset", "count"), [(0, 1), (P - 1, 2), (17, 2 * P)])
def test_device_memory_reads_as_ones(any_arch: Machine, offset: int, count: int) -> None:
    """Nobody answers on the bus: reads give 0xff, writes vanish, and no RAM changes."""
    address = any_arch.vm.ioremap(GIB, 3 * P)
    assert address is not None

    any_arch.memory.write(address + offset, b"x" * count)
    any_arch.memory.memset(address + offset, 0, count)

    assert read(any_arch, address + offset, count) == b"\xff" * count
    assert fault(any_arch.memory.read, address + 3 * P - 1, 2) == (address + 3 * P, False)
    any_arch.vm.iounmap(address)


def test_count_array(any_arch: Machine) -> None:
    """The pointers that are not NULL, at any place of an array in the linear mapping."""
    machine = any_arch
    size, width = 100, machine.layout.pointer_size
    array = machine.slab.kzalloc(size * width)
    assert array is not None
    places = {0, 1, 50, 98, 99}
    for place in places:
        machine.memory.store(array + place * width, machine.layout.vmalloc_start)
    for first, count in ((0, 100), (0, 1), (1, 50), (2, 48), (99, 1)):
        expected = len(places & {*range(first, first + count)})
        assert machine.memory.count_array(array + first * width, count) == expected
    with pytest.raises(PageFault):
        machine.memory.count_array(machine.layout.vmalloc_start, 1)
