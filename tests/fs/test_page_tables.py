"""The page tables' listing: held against a walk of every entry, and against its own size."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import pytest

from scullvfs.fs.page_tables import PageTablesListing
from scullvfs.fs.seq_file import Place, SeqFile, text_of
from scullvfs.mm import Machine
from scullvfs.mm.gfp import GFP_KERNEL
from scullvfs.mm.layout import LAYOUTS, Layout
from scullvfs.mm.vm_struct import VM_IOREMAP, VM_NO_GUARD

from ..thorough import rounds
from .conftest import MIB

Fresh = Callable[..., Machine]

P = 4096
DEVICE = 0xFED0_0000

archs = pytest.mark.parametrize("arch", LAYOUTS)


def entries(machine: Machine) -> Iterator[tuple[int, int, int]]:
    """(address, depth, flags) of every entry that points to no table, one by one."""
    layout, words = machine.layout, machine.ram.words
    mask, value = layout.leaf_bits

    def walk(phys: int, depth: int, base: int) -> Iterator[tuple[int, int, int]]:
        level, at = layout.levels[depth], phys // layout.pointer_size
        for index, entry in enumerate(words[at : at + (1 << level.bits)]):
            address = base + (index << level.shift)
            if not entry or level.shift == 12 or entry & mask == value:
                yield address, depth, entry & ~layout.phys_mask if entry else 0
            else:
                yield from walk(entry & layout.phys_mask, depth + 1, address)

    base = layout.page_offset >> layout.va_bits << layout.va_bits
    return walk(machine.pgtable.top, 0, base)


def noted(machine: Machine, markers: list[int]) -> list[tuple[int, int, int]]:
    """Where a line begins, by each entry in turn, as note_page() sees them."""
    found: list[tuple[int, int, int]] = []
    todo = sorted(markers)
    for address, depth, flags in entries(machine):
        if machine.layout.name == "x86_64" and address < 0xFFFF_8880_0000_0000:
            continue
        passed = bool(todo) and address >= todo[0]
        while todo and address >= todo[0]:
            todo.pop(0)
        if passed or not found or found[-1][1:] != (depth, flags):
            found.append((address, depth, flags))
    return found


def mix(machine: Machine, rng: Random, steps: int) -> None:
    """Areas of all kinds, some without a guard page, some freed, some purged."""
    vm, live = machine.vm, []
    frames = machine.page_alloc.alloc_pages_bulk(GFP_KERNEL, 100)
    assert frames is not None
    for _ in range(steps):
        kind, pages = rng.randrange(10), rng.choice([1, 1, 2, 16, 99])
        address: int | None = None
        if kind < 4:
            address = vm.vmalloc(pages * P)
        elif kind == 4:
            address = vm.ioremap(DEVICE, pages * P)
        elif kind == 5:
            address = vm.vmalloc_node_range(pages * P, GFP_KERNEL, "", VM_NO_GUARD)
        elif kind == 6 and vm.vm_map_ram(frames[:pages]) is not None:
            continue
        elif kind == 7:
            vm.vm_unmap_aliases()
        elif live:
            gone = live.pop(rng.randrange(len(live)))
            area = machine.vmap_space.busy.find(gone)
            assert area is not None
            (vm.iounmap if area.kind.flags & VM_IOREMAP else vm.vfree)(gone)
        if address is not None:
            live.append(address)


def starts(text: str) -> list[int]:
    """The first addresses of the lines."""
    return [int(line.split("-")[0], 16) for line in text.splitlines() if line[0] == "0"]


@archs
def test_lines_are_runs(fresh: Fresh, arch: str) -> None:
    """A line begins where an entry is another than the one before, or a part begins."""
    machine = fresh(arch, panic_on_warn=False)
    listing = PageTablesListing(machine)
    markers = [address for _, address in listing._markers]
    for seed in range(4):
        mix(machine, Random(seed), 25)
        found = noted(machine, markers)
        text = text_of(listing)
        skip = 2 if arch == "x86_64" else 0  # user space, and what lies below the linear mapping
        assert starts(text)[skip:] == [address for address, *_ in found]
        levels = [line.split()[-1] for line in text.splitlines() if line[0] == "0"][skip:]
        names = [level.name for level in machine.layout.levels]
        if arch != "arm64":
            expected = [
                "pmd" if (arch, depth) == ("i386", 0) and flags else names[depth]
                for _, depth, flags in found
            ]
            assert levels == expected


@archs
def test_ends_meet(fresh: Fresh, arch: str) -> None:
    """Each line begins where the one before has ended, up to the end of all addresses."""
    machine = fresh(arch, panic_on_warn=False)
    mix(machine, Random(1), 60)
    lines = [line for line in text_of(PageTablesListing(machine)).splitlines() if line[0] == "0"]
    ends = [line.split()[0].split("-")[1] for line in lines]
    assert ends[:-1] == [line.split("-")[0] for line in lines[1:]]
    assert int(ends[-1], 16) == 0


@archs
@pytest.mark.parametrize("seed", range(3))
def test_size_and_any_position(fresh: Fresh, arch: str, seed: int) -> None:
    """The size is that of the text, and each position has its bytes, whatever areas there are."""
    machine, rng = fresh(arch, panic_on_warn=False, cpus=1 + seed), Random(seed)
    layout: Layout = machine.layout
    if seed == 2:
        machine.vmap_space.reserve(layout.vmalloc_start + P, layout.vmalloc_start + 5 * MIB)
    file = SeqFile(PageTablesListing(machine), 0o400, 1, 2)
    for _ in range(rounds(6, 2)):
        mix(machine, rng, 30)
        text, handle = text_of(file.listing).encode(), file.open(os.O_RDONLY)
        assert file.size == len(text)
        for pos in (0, len(text) - 1, len(text), *(rng.randrange(len(text)) for _ in range(20))):
            count = rng.choice([1, 50, 5000])
            assert bytes(handle.read(pos, count)) == text[pos : pos + count]


def test_linear_mapping(fresh: Fresh) -> None:
    """Single pages, 2 MiB, 1 GiB and down again; ioremap()'s pages are not cached."""
    machine = fresh(mem=(3 << 30) + 6 * MIB + 8 * P)
    machine.vm.ioremap(DEVICE, P)
    text = text_of(PageTablesListing(machine))
    how = "RW         {}     GLB NX {}\n"
    small, large = how.format("   ", "pte"), how.format("PSE", "pmd")
    huge = how.format("PSE", "pud")
    for line in (
        f"0xffff888000000000-0xffff888000200000           2M     {small}",
        f"0xffff888000200000-0xffff888040000000        1022M     {large}",
        f"0xffff888040000000-0xffff8880c0000000           2G     {huge}",
        f"0xffff8880c0000000-0xffff8880c0600000           6M     {large}",
        f"0xffff8880c0600000-0xffff8880c0608000          32K     {small}",
        "0xffffc90000000000-0xffffc90000001000           4K     RW     PCD         GLB NX pte\n",
    ):
        assert line in text


class Counted(PageTablesListing):
    """Counts the lines that it makes, and the tables' entries that it looks at one by one."""

    made = 0

    def _line(self, *args: Any) -> bytes:
        self.made += 1
        return super()._line(*args)


def test_work_does_not_grow_with_the_areas(fresh: Fresh) -> None:
    """Size and a jump make some lines of what is around the areas; a read those that it gives."""
    machine = fresh(mem=256 * MIB)
    for _ in range(5000):
        machine.vm.vmalloc(P)
    listing = Counted(machine)
    file = SeqFile(listing, 0o400, 1, 2)
    size = file.size
    assert listing.made < 50
    text, line = text_of(PageTablesListing(machine)).encode(), 85
    assert size == len(text) > 10_000 * line
    for pos in (0, size // 3, size // 2, size - 5 * line):
        listing.made = 0
        assert bytes(file.open(os.O_RDONLY).read(pos, P)) == text[pos : pos + P]
        assert listing.made < 2 * 512 + P // line + 50
    listing.made = 0
    assert len(bytes(file.open(os.O_RDONLY).read(0, 1 << 20))) == 1 << 16
    assert listing.made < (1 << 16) // line + 50


def test_place_moves_on(fresh: Fresh) -> None:
    """What is freed or allocated between two reads is there or not; lines stay lines."""
    machine, rng = fresh(panic_on_warn=False), Random(5)
    mix(machine, rng, 100)
    handle, text = SeqFile(PageTablesListing(machine), 0o400, 1, 2).open(0), b""
    while part := bytes(handle.read(len(text), 300)):
        text += part
        mix(machine, rng, 2)
    found = starts(text.decode())
    assert len(found) > 100
    assert found == sorted(found)
    places: list[Place] = [(1 << 63, 1), (0xFFFF_C900_0000_5000, 4), (1 << 64, 6)]
    for place in places:
        assert all(line.endswith(b"\n") for line, _ in PageTablesListing(machine).lines(place))


def test_many_full_tables_are_one_line(fresh: Fresh) -> None:
    """Gigabytes of one area are a line, but for one page in it that is mapped otherwise."""
    machine = fresh(mem=3 << 30)
    address = machine.vm.vmalloc(2 << 30)
    assert address == 0xFFFF_C900_0000_0000
    listing = PageTablesListing(machine)
    line = "0xffffc90000000000-0xffffc90080000000           2G     RW                 GLB NX pte\n"
    assert line in text_of(listing)
    place = machine.pgtable._walk(address + (1 << 30) - P)
    machine.ram.words[place] ^= 2
    where = "0xffffc9003ffff000-0xffffc90040000000"
    (line,) = [line for line in text_of(listing).splitlines() if line.startswith(where)]
    assert line.split()[1:] == ["4K", "ro", "GLB", "NX", "pte"]


@archs
def test_areas_without_a_guard_page(fresh: Fresh, arch: str) -> None:
    """They make one run with what follows, or end with their table; the size is true for each."""
    table = {"i386": 1024}.get(arch, 512)
    for first, behind in ((table, None), (table - 7, None), (5, "vmalloc"), (5, "ioremap"), (5, 5)):
        machine = fresh(arch, panic_on_warn=False)
        vm, listing = machine.vm, PageTablesListing(machine)
        offset = machine.layout.vmalloc_start // P % table  # to where a table begins
        if offset:
            vm.vmalloc((table - offset - 1) * P)
        vm.vmalloc_node_range(first * P, GFP_KERNEL, "", VM_NO_GUARD)
        if behind == "vmalloc":
            vm.vmalloc(P)
        elif behind == "ioremap":
            vm.ioremap(DEVICE, P)
        elif behind is not None:
            vm.vmalloc_node_range(5 * P, GFP_KERNEL, "", VM_NO_GUARD)
        text = text_of(listing)
        assert listing.size() == len(text)
        pages = first + {"vmalloc": 1, 5: 5}.get(behind or "", 0)
        assert f"{pages * 4}K" in text.split() or f"{pages // 256}M" in text.split()
