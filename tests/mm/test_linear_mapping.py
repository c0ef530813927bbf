"""The linear mapping: its page tables, and its arithmetic, which has to say the same."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from scullvfs.mm import KernelBug
from scullvfs.mm.layout import LAYOUTS, PAGE_SHIFT
from scullvfs.mm.machine import Machine
from scullvfs.mm.page_alloc import PageAllocator
from scullvfs.mm.pgtable import PageTables
from scullvfs.mm.ram import Ram

from .helpers import ARCHS, GIB, MIB, P, take_all

PTDUMP = Path(__file__).parents[1] / "truth" / "text-debug" / "page_tables_kernel_head.txt"
X86_FLAGS = {0x2: "RW", 0x8: "PWT", 0x10: "PCD", 0x80: "PSE", 0x100: "GLB", 1 << 63: "NX"}


@pytest.mark.parametrize(
    ("arch", "mem", "pages"),
    [
        ("x86_64", MIB, {"pte": 256}),
        ("x86_64", 64 * MIB, {"pte": 512, "pmd": 31}),
        ("x86_64", 3 * GIB + 5 * MIB + 7 * P, {"pte": 512 + 263, "pmd": 511 + 2, "pud": 2}),
        ("i386", 64 * MIB, {"pte": 1024, "pgd": 15}),
        ("i386", GIB, {"pte": 1024 + 1022, "pgd": 218}),
        ("arm64", 2 * GIB, {"pte": 512, "pmd": 511, "pud": 1}),
    ],
)
def test_the_largest_pages_that_fit(arch: str, mem: int, pages: dict[str, int]) -> None:
    """Large ones in the middle, single ones at the ends, some tables for all of them."""
    layout = LAYOUTS[arch]
    ram = Ram(mem, layout.pointer_size)
    page_alloc = PageAllocator(ram, layout, shuffle=False, seed=0)
    pgtable = PageTables(page_alloc, ram, layout)

    assert pgtable.direct_pages == pages
    assert pgtable.statistics().tables <= 6
    ends = [(at, at + (1 << level.shift)) for at, level, _ in pgtable.leaves()]
    assert ends[0][0] == layout.page_offset
    assert all(end == start for (_, end), (start, _) in pairwise(ends))
    assert ends[-1][1] == page_alloc.high_memory
    pgtable.check()


@pytest.mark.parametrize("left", [1, 2, 3])
def test_no_frames_for_its_tables(left: int) -> None:
    """The machine does not start."""
    layout = LAYOUTS["x86_64"]
    ram = Ram(MIB, 8)
    page_alloc = PageAllocator(ram, layout, shuffle=False, seed=0)
    take_all(page_alloc, leave=left)
    with pytest.raises(MemoryError, match="linear mapping"):
        PageTables(page_alloc, ram, layout)


def test_the_walk_of_an_object(machine: Machine) -> None:
    """kmalloc writes no entry, and its address has one all the same: of a large page."""
    written = machine.pgtable.entries_written
    address = machine.slab.kmalloc(100)
    assert address is not None
    assert machine.pgtable.entries_written == written

    path = machine.pgtable.walk(address)

    assert [name for name, _ in path] == ["pgd", "pud", "pmd"]
    large = path[-1][1]
    phys = address - machine.layout.page_offset
    assert large == 0x8000_0000_0000_01E3 | phys >> 21 << 21
    assert machine.pgtable.lookup(address) == large | phys >> PAGE_SHIFT << PAGE_SHIFT & ~(-1 << 21)


@pytest.mark.parametrize("arch", ARCHS)
def test_tables_and_arithmetic_say_the_same(
    make_machine: Callable[..., Machine], arch: str
) -> None:
    """Page by page, over the ends of large pages, with the frames that a lookup gives."""
    machine = make_machine(arch=arch)
    offset, end = machine.layout.page_offset, machine.page_alloc.high_memory
    mask = machine.layout.phys_mask
    for start in (offset, offset + 2 * MIB - 5 * P, offset + 4 * MIB - 3 * P, end - 9 * P):
        pages = range(start, start + 9 * P, P)
        assert [machine.pgtable.lookup(at) & mask for at in pages] == [at - offset for at in pages]
        entries = machine.pgtable.lookup_pages(start, 9)
        assert [entry & mask for entry in entries] == [at - offset for at in pages]
        frames = machine.pgtable.frames(start, 9).tolist()
        assert frames == [(at - offset) // P for at in pages]
    assert machine.pgtable.lookup(end) == machine.pgtable.lookup(offset - P) == 0
    assert machine.pgtable.lookup_pages(end - P, 3).tolist()[1:] == [0, 0]


def test_flags_are_those_of_a_real_kernel(machine: Machine) -> None:
    """A run of 2 MiB pages and one of single ones, as ptdump prints them on a real x86_64."""
    lines = [line.split() for line in PTDUMP.read_text().splitlines()[6:]]
    recorded = {(line[-1], " ".join(line[2:-1])) for line in lines if line[2] == "RW"}
    names: set[tuple[str, str]] = set()
    for at, level, entry in machine.pgtable.leaves():
        if at < machine.page_alloc.high_memory:
            flags = " ".join(name for flag, name in X86_FLAGS.items() if entry & flag)
            names.add((level.name, flags))
    assert names == {("pmd", "RW PSE GLB NX"), ("pte", "RW GLB NX")}
    assert names <= recorded


def test_virt_to_phys_and_back(any_arch: Machine) -> None:
    """Of objects, frames and the ends of the mapping."""
    memory, offset = any_arch.memory, any_arch.layout.page_offset
    address = any_arch.slab.kmalloc(100)
    assert address is not None
    phys = memory.virt_to_phys(address + 5)
    assert phys == address + 5 - offset
    assert memory.phys_to_virt(phys) == address + 5
    page = memory.virt_to_page(address + 5)
    assert page == memory.virt_to_pfn(address) == phys // P
    assert memory.page_to_virt(page) == address // P * P
    last = any_arch.page_alloc.high_memory - 1
    assert memory.phys_to_virt(memory.virt_to_phys(last)) == last


def test_virt_to_phys_of_another_address_is_a_bug(any_arch: Machine) -> None:
    """vmalloc's addresses, NULL and those behind RAM have no place in the linear mapping."""
    memory, end = any_arch.memory, any_arch.page_alloc.high_memory
    area = any_arch.vm.vmalloc(P)
    assert area is not None
    for address in (area, 0, end, any_arch.layout.page_offset - 1):
        with pytest.raises(KernelBug, match="non-linear address"):
            memory.virt_to_phys(address)
        with pytest.raises(KernelBug, match="non-linear address"):
            memory.virt_to_page(address)
    for phys in (-1, any_arch.ram.size, 0xFE00_0000):
        with pytest.raises(KernelBug, match="not mapped"):
            memory.phys_to_virt(phys)
    with pytest.raises(KernelBug, match="not mapped"):
        memory.page_to_virt(any_arch.ram.nr_pages)
    any_arch.vm.vfree(area)
