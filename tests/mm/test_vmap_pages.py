"""vmap, ioremap and the look-ups: mapping what is there already."""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable

import pytest

from scullvfs.mm import KernelBug
from scullvfs.mm.gfp import GFP_HIGHUSER
from scullvfs.mm.layout import PFN_PHYS
from scullvfs.mm.machine import Machine
from scullvfs.mm.vm_area import Page
from scullvfs.mm.vm_struct import VM_IOREMAP, VM_MAP, VM_MAP_PUT_PAGES

from .helpers import GIB, MIB, P, books, take_all, texts


def frames_of(machine: Machine, count: int) -> array[int]:
    """Frames from the page allocator, the caller's to free."""
    frames = machine.page_alloc.alloc_pages_bulk(GFP_HIGHUSER, count)
    assert frames is not None
    return frames


# -- vmap and vunmap -----------------------------------------------------------------------


# addresses:  |<- page ->|<- page ->|<- page ->|guard|
#                  |          |          |
# frames:         [2]        [1]        [0]
def test_vmap_maps_the_frames_in_their_order(any_arch: Machine) -> None:
    """Expect the caller's frames one after the other, as given, and no frame taken for them."""
    frames = frames_of(any_arch, 3)[::-1]

    address = any_arch.vm.vmap(frames, caller="test")

    assert address is not None
    found = [any_arch.vm.vmalloc_to_pfn(address + i * P) for i in range(4)]
    assert found == [*frames, None]
    vm = any_arch.vm.find_vm_area(address)
    assert vm is not None
    assert (vm.flags, vm.pages, vm.caller) == (VM_MAP, None, "test")
    assert any_arch.vm.nr_vmalloc_pages == 0
    any_arch.vm.vunmap(address)
    any_arch.page_alloc.free_frames(frames)


def test_vmap_shares_the_bytes(machine: Machine) -> None:
    """What is written through one mapping is read through the other, and through a third."""
    address = machine.vm.vmalloc(2 * P)
    assert address is not None
    frames = [machine.vm.vmalloc_to_pfn(address + i * P) for i in (1, 0, 1)]

    alias = machine.vm.vmap([pfn for pfn in frames if pfn is not None])
    assert alias is not None
    machine.memory.write(alias + P - 3, b"abcdef")

    assert bytes(machine.memory.read(address, 3)) == b"def"
    assert bytes(machine.memory.read(address + 2 * P - 3, 3)) == b"abc"
    assert bytes(machine.memory.read(alias + 3 * P - 3, 3)) == b"abc"
    machine.vm.vunmap(alias)
    assert bytes(machine.memory.read(address, 3)) == b"def"
    machine.vm.vfree(address)


def test_vunmap_leaves_the_frames_with_the_caller(machine: Machine) -> None:
    """Unmapping frees addresses and nothing else; vunmap(NULL) is fine."""
    frames = frames_of(machine, 5)
    before = books(machine)
    address = machine.vm.vmap(frames)
    assert address is not None
    machine.memory.write(address, b"mine")

    machine.vm.vunmap(address)
    machine.vm.vunmap(None)

    assert books(machine) == before
    assert bytes(machine.ram.bytes[PFN_PHYS(frames[0]) :][:4]) == b"mine"
    machine.page_alloc.free_frames(frames)


def test_vfree_of_vmap_with_put_pages_frees_the_frames(any_arch: Machine) -> None:
    """With VM_MAP_PUT_PAGES the frames go with the area."""
    before = books(any_arch)
    address = any_arch.vm.vmap(frames_of(any_arch, 7), VM_MAP | VM_MAP_PUT_PAGES)
    assert books(any_arch).vmalloc_pages == 0

    any_arch.vm.vfree(address)

    assert books(any_arch) == before


def test_vmap_of_no_pages_or_too_many_is_none(machine: Machine) -> None:
    """No pages, or more than RAM has, are None without a word."""
    before = books(machine)

    assert machine.vm.vmap([]) is None
    assert machine.vm.vmap([1] * (machine.page_alloc.totalram_pages + 1)) is None
    assert books(machine) == before
    assert texts(machine) == []


@pytest.mark.parametrize("wrong", [-1, 64 * MIB // P, GIB // P, 1 << 60])
@pytest.mark.parametrize("at", [0, 1, 3])
def test_vmap_of_what_is_no_ram_is_a_warning(
    make_machine: Callable[..., Machine], wrong: int, at: int
) -> None:
    """One frame that does not exist, wherever among good ones: nothing is mapped, the log says so.

    So no range of addresses is half RAM and half not.
    """
    lenient = make_machine(panic_on_warn=False)
    strict = make_machine()
    pages = [5, 6, 7]
    pages.insert(at, wrong)
    before = books(lenient)

    assert lenient.vm.vmap(pages) is None
    assert books(lenient) == before
    lenient.vm.check()
    text = f"vmap of pfn {wrong:#x}, which is no page"
    assert texts(lenient).count(text) == 1
    assert any(line.endswith(" vmap_pages_pte_range") for line in texts(lenient))
    assert lenient.vm.vmap([5, 64 * MIB // P - 1]) is not None, "the last frame of RAM is one"
    with pytest.raises(KernelBug, match=re.escape(text)):
        strict.vm.vmap(pages)


@pytest.mark.long
def test_vmap_without_frames_for_tables_is_none(any_arch: Machine) -> None:
    """Out of frames in the middle of the tables: None, and the books as before."""
    for left in range(len(any_arch.layout.levels)):
        held = take_all(any_arch.page_alloc, leave=left)
        before = books(any_arch)

        address = any_arch.vm.vmap(held[:1030])

        assert address is None
        assert books(any_arch) == before
        any_arch.page_alloc.free_frames(held)


def test_vmap_out_of_addresses_is_none(make_machine: Callable[..., Machine]) -> None:
    """One frame mapped often enough fills the window of i386; freeing makes room again."""
    machine = make_machine(arch="i386", panic_on_warn=False)
    frames = frames_of(machine, 1)
    pages = list(frames) * 4000
    areas = []
    while (address := machine.vm.vmap(pages)) is not None:
        areas.append(address)

    assert len(areas) == 32768 // 4001
    assert texts(machine)[-1].startswith(f"vmalloc_node_range for size {4001 * P} failed")
    machine.vm.vunmap(areas.pop(0))
    assert machine.vm.vmap(pages) == machine.layout.vmalloc_start
    for address in [machine.layout.vmalloc_start, *areas]:
        machine.vm.vunmap(address)
    machine.page_alloc.free_frames(frames)


@pytest.mark.parametrize("offset", [0, 1])
def test_vunmap_of_no_area_is_a_warning(make_machine: Callable[..., Machine], offset: int) -> None:
    """An unknown or unaligned address is a warning and changes nothing."""
    lenient, strict = make_machine(panic_on_warn=False), make_machine()
    address = lenient.layout.vmalloc_start + offset
    before = books(lenient)

    lenient.vm.vunmap(address)

    assert books(lenient) == before
    assert f"Trying to vunmap() nonexistent vm area ({address:016x})" in texts(lenient)
    with pytest.raises(KernelBug, match=r"nonexistent vm area|bad address"):
        strict.vm.vunmap(address)


# -- ioremap and iounmap -------------------------------------------------------------------


# physical:   |<-- RAM -->|      phys
#                         |------|<- size ->|
# addresses:                 |off|<- size ->|pad|guard|
#                            ^ multiple of the size, rounded up to a power of two
@pytest.mark.parametrize(
    ("offset", "size", "nr_pages"),
    [(0, P, 1), (0, 1, 1), (0x10, 4, 1), (0xFFE, 4, 2), (0xABC, 3 * P, 4), (0, 5 * MIB, 1280)],
)
def test_ioremap_keeps_the_offset_and_takes_no_frames(
    any_arch: Machine, offset: int, size: int, nr_pages: int
) -> None:
    """Expect whole pages of device memory, the address as far into its page as `phys`."""
    before = books(any_arch)
    phys = GIB + offset
    any_arch.vm.iounmap(any_arch.vm.ioremap(phys, size) or 0)
    free = any_arch.page_alloc.nr_free

    address = any_arch.vm.ioremap(phys, size, "test")

    assert address is not None
    assert address % P == offset
    first = address - offset
    frames = [any_arch.vm.vmalloc_to_pfn(first + i * P) for i in range(nr_pages + 1)]
    assert frames == [*range(GIB // P, GIB // P + nr_pages), None]
    vm = any_arch.vm.find_vm_area(first)
    assert vm is not None
    assert (vm.flags, vm.phys_addr, vm.size) == (VM_IOREMAP, GIB, (nr_pages + 1) * P)
    assert any_arch.pgtable.lookup(first) & 0x10, "device memory is not cached"
    assert free - any_arch.page_alloc.nr_free <= 3, "a frame that is no page table was taken"
    assert any_arch.vm.nr_vmalloc_pages == 0
    any_arch.vm.iounmap(address)
    assert books(any_arch) == before


@pytest.mark.parametrize(
    ("size", "align"), [(P, P), (2 * P, 2 * P), (3 * P, 4 * P), (MIB, MIB), (MIB + 1, 2 * MIB)]
)
def test_ioremap_aligns_to_its_size(any_arch: Machine, size: int, align: int) -> None:
    """An area starts at a multiple of its size, rounded up to a power of two."""
    spoiler = any_arch.vm.vmalloc(P)

    address = any_arch.vm.ioremap(GIB, size)

    assert address is not None
    assert address % align == 0
    any_arch.vm.iounmap(address)
    any_arch.vm.vfree(spoiler)


@pytest.mark.parametrize(("arch", "order"), [("i386", 22), ("x86_64", 30)])
def test_ioremap_alignment_has_a_limit(
    make_machine: Callable[..., Machine], arch: str, order: int
) -> None:
    """Not above IOREMAP_MAX_ORDER: the first multiple of that, not of the area's size."""
    machine = make_machine(arch=arch)
    spoiler = machine.vm.vmalloc(4 * MIB)
    limit = 1 << order

    address = machine.vm.ioremap(GIB, limit + P)

    behind = machine.layout.vmalloc_start + 4 * MIB
    assert address == -(-behind // limit) * limit
    assert address % (2 * limit), "a multiple of the area's size would be further up"
    machine.vm.iounmap(address)
    machine.vm.vfree(spoiler)


@pytest.mark.parametrize("phys", [0, P, 32 * MIB + 5, 64 * MIB - 1])
def test_ioremap_of_ram_is_refused(make_machine: Callable[..., Machine], phys: int) -> None:
    """RAM is no device: a warning and None, and the first address behind RAM is fine."""
    lenient, strict = make_machine(panic_on_warn=False), make_machine()
    before = books(lenient)

    assert lenient.vm.ioremap(phys, P) is None

    assert books(lenient) == before
    assert f"ioremap on RAM at {phys:#018x} - {phys + P - 1:#018x}" in texts(lenient)
    with pytest.raises(KernelBug, match="ioremap on RAM"):
        strict.vm.ioremap(phys, P)
    address = strict.vm.ioremap(64 * MIB, P)
    assert address is not None
    strict.vm.iounmap(address)


@pytest.mark.parametrize(
    ("phys", "size", "text"),
    [
        (1 << 48, P, "invalid physical address"),
        ((1 << 48) - P, P + 1, "invalid physical address"),
        ((1 << 64) - P, P, "invalid physical address"),
    ],
)
def test_ioremap_of_no_physical_range_is_a_warning(
    make_machine: Callable[..., Machine], phys: int, size: int, text: str
) -> None:
    """A range that no bus reaches is None and a warning."""
    lenient, strict = make_machine(panic_on_warn=False), make_machine()

    assert lenient.vm.ioremap(phys, size) is None

    assert any(text in line for line in texts(lenient))
    assert not lenient.vmap_space.busy
    with pytest.raises(KernelBug, match="__ioremap_caller"):
        strict.vm.ioremap(phys, size)


@pytest.mark.parametrize(
    ("phys", "size"), [(GIB, 0), (GIB, -1), (-P, P), ((1 << 64) - P, 2 * P), (GIB, 1 << 64)]
)
def test_ioremap_of_nothing_is_silent(machine: Machine, phys: int, size: int) -> None:
    """An empty range, or one that goes beyond all numbers, is None without a word."""
    assert machine.vm.ioremap(phys, size) is None
    assert texts(machine) == []
    assert not machine.vmap_space.busy


@pytest.mark.parametrize("arch", ["x86_64", "i386", "arm64"])
def test_ioremap_reaches_the_last_physical_page(
    make_machine: Callable[..., Machine], arch: str
) -> None:
    """The end of the physical address space is still an address."""
    machine = make_machine(arch=arch)
    top = 1 << machine.layout.phys_bits

    address = machine.vm.ioremap(top - P, P)

    assert address is not None
    assert machine.vm.vmalloc_to_pfn(address) == top // P - 1
    machine.vm.iounmap(address)


def test_iounmap_takes_any_address_of_the_area(machine: Machine) -> None:
    """The offset into the first page does not matter."""
    address = machine.vm.ioremap(GIB + 0x123, 100)
    assert address is not None

    machine.vm.iounmap(address)

    assert not machine.vmap_space.busy
    assert list(machine.pgtable.mappings()) == []


def test_iounmap_of_no_device_is_an_error_in_the_log(lenient: Machine) -> None:
    """What ioremap() did not give is left alone: nothing, vmalloc's, or not even that."""
    machine = lenient
    address = machine.vm.vmalloc(P)
    assert address is not None
    before = books(machine)

    machine.vm.iounmap(address)
    machine.vm.iounmap(address + 10 * P)
    assert str(machine.log.records()[-1]).startswith("<3>[")
    assert texts(machine) == [
        f"iounmap: bad address {address:016x}",
        f"iounmap: bad address {address + 10 * P:016x}",
    ]
    machine.vm.iounmap(machine.layout.page_offset)
    machine.vm.iounmap(0)

    assert books(machine) == before
    assert texts(machine).count("WARNING: CPU: 0 PID: 0 at arch/x86/mm/ioremap.c iounmap") == 1
    machine.vm.vfree(address)


# -- looking up ----------------------------------------------------------------------------


def test_vmalloc_to_page_names_the_frame(any_arch: Machine) -> None:
    """Any address of a page leads to its frame, with its physical address; the guard to None."""
    address = any_arch.vm.vmalloc(2 * P)
    assert address is not None
    any_arch.memory.write(address + P, b"here")

    page = any_arch.vm.vmalloc_to_page(address + P + 123)

    assert page == Page(any_arch.vm.vmalloc_to_pfn(address + P) or 0)
    assert bytes(any_arch.ram.bytes[page.phys : page.phys + 4]) == b"here"
    assert any_arch.vm.vmalloc_to_page(address + 2 * P) is None
    assert any_arch.vm.vmalloc_to_page(any_arch.layout.page_offset) is None
    any_arch.vm.vfree(address)


def test_is_vmalloc_addr_is_the_window(any_arch: Machine) -> None:
    """From its first byte to its last, and nothing else."""
    start, end = any_arch.layout.vmalloc_start, any_arch.layout.vmalloc_end
    inside = any_arch.vm.is_vmalloc_addr

    assert [inside(at) for at in (start - 1, start, end - 1, end)] == [False, True, True, False]
    assert not inside(any_arch.layout.page_offset)
