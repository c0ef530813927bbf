"""The page tables as debugfs shows them: page_tables/kernel on x86, kernel_page_tables on arm64.

    ---[ vmalloc() Area ]---
    0xffffc90000000000-0xffffc90000010000          64K     RW                 GLB NX pte
    0xffffc90000010000-0xffffc90000200000        1984K                               pte
    addresses                                     size flags, none of a hole         level

A line is a run of entries that are alike (`mm.ptdump`), and a name stands where a part of the
address space begins.  What the kernel has elsewhere is not there, so it has no lines: its own text,
modules, the fixmap; and the names of parts whose place no layout has are left out.

Linux: arch/x86/mm/dump_pagetables.c:note_page(), arch/arm64/mm/ptdump.c:note_page()
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from scullvfs.mm import PAGE_SIZE, Machine
from scullvfs.mm.layout import Layout
from scullvfs.mm.ptdump import Ptdump
from scullvfs.mm.vm_struct import VM_IOREMAP, VM_MAP_RAM, VM_NO_GUARD, VmKind

from .seq_file import START, Place

__all__ = ["PageTablesListing"]

UNITS: Final = b"BKMGTPE"

GUARD_HOLE_END: Final = 0xFFFF_8800_0000_0000
"""Below, on x86_64, nothing is looked at (Linux: GUARD_HOLE_END_ADDR)."""

X86_FLAGS: Final = (
    (0x004, "USR ", "    "),
    (0x002, "RW ", "ro "),
    (0x008, "PWT ", "    "),
    (0x010, "PCD ", "    "),
    (0x080, "PSE ", "    "),  # of a single page the bit would be PAT's; none has it here
    (1 << 12, "PAT ", "    "),  # of a large page
    (0x100, "GLB ", "    "),
    (1 << 63, "NX ", "x  "),
)
"""Bit of an entry -> its word, and what stands there without it (Linux: printk_prot())."""

ARM64_FLAGS: Final = (
    (1 << 0, " ", "F"),
    (1 << 6, "USR", "   "),
    (1 << 7, "ro", "RW"),
    (1 << 53, "NX", "x "),
    (3 << 8, "SHD", "   "),
    (1 << 10, "AF", "  "),
    (1 << 11, "NG", "  "),
    (1 << 52, "CON", "   "),
    (1 << 1, "   ", "BLK"),
    (1 << 54, "UXN", "   "),
    (1 << 50, "GP", "  "),
)
"""Linux: arch/arm64/mm/ptdump.c:pte_bits"""
ARM64_MEMORY: Final = ("MEM/NORMAL", "MEM/NORMAL-TAGGED", "MEM/NORMAL-NC", "", "DEVICE/nGnRE")
"""By an entry's index of attributes (Linux: arch/arm64/include/asm/memory.h:MT_NORMAL)."""


class _Part(NamedTuple):
    """A part of the address space."""

    name: str
    start: int
    end: int


class PageTablesListing:
    """The lines of one machine.

    A place is (address of a run or less, how many names have been printed).

    How long the text is, and which byte comes from where, follows from the areas in use: each has a
    run of its pages, and one of the hole behind them, so it takes no look at each of its entries.
    """

    def __init__(self, machine: Machine) -> None:
        self._layout = machine.layout
        self._busy = machine.vmap_space.busy
        self._pgtable = machine.pgtable
        self._dump = Ptdump(machine.pgtable, machine.ram, machine.layout)
        self._markers = _markers(machine.layout)
        self._window = [name for name, _ in self._markers].index(WINDOW[machine.layout.name])
        """The number of the part that has the areas."""
        digits = self._layout.pointer_digits
        self._format = b"0x%%0%dx-0x%%0%dx   %%9d%%c %%b\n" % (digits, digits)
        self._last = (1 << 4 * digits) - 1
        """The last address, or all bits of one."""
        self._hows: dict[tuple[int, int], bytes] = {}
        """Depth and flags -> how a line has them."""
        self._hole = len(self._line(0, PAGE_SIZE, len(machine.layout.levels) - 1, 0))

    def _parts(self) -> list[_Part]:
        """Each begins with the first entry that begins at its marker, or behind it."""
        starts = [
            at if at <= self._dump.start else self._dump.entry_from(at) for _, at in self._markers
        ]
        ends = [*starts[1:], self._dump.end]
        if self._layout.name == "x86_64":
            starts[1] = ends[0] = GUARD_HOLE_END
        names = [name for name, _ in self._markers]
        return [_Part(*part) for part in zip(names, starts, ends, strict=True)]

    def lines(self, place: Place) -> Iterator[tuple[bytes, Place]]:
        """Each with the place behind it."""
        with self._pgtable.whole():
            yield from self._lines(self._parts(), *place)

    def _lines(
        self, parts: list[_Part], address: int, printed: int
    ) -> Iterator[tuple[bytes, Place]]:
        for number, (name, start, end) in enumerate(parts, 1):
            if number < printed:
                continue
            if number > printed:
                yield _name_line(name), (start, number)
            at = max(start, address)
            if at >= end:
                continue
            runs = self._dump.runs(at, end) if at >= self._dump.start else iter([(at, 0, 0)])
            at, depth, flags = next(runs)
            for run in runs:
                yield self._line(at, run[0], depth, flags), (run[0], number)
                at, depth, flags = run
            yield self._line(at, end, depth, flags), (end, number)

    def _line(self, start: int, end: int, depth: int, flags: int) -> bytes:
        size, unit = end - start, 0
        while not size & 1023 and unit < 6:
            size >>= 10
            unit += 1
        how = self._hows.get((depth, flags))
        if how is None:
            how = self._hows[depth, flags] = _how(self._layout, depth, flags)
        return self._format % (start, end & self._last, size, UNITS[unit], how)

    def size(self) -> int:
        """Known from how many areas of each kind there are, and from which tables."""
        with self._pgtable.whole():
            parts = self._parts()
            *_, (_, inside, _) = self._marks(parts[self._window])
            around = self._before(parts) + sum(
                len(line)
                for line, _ in self._lines(parts, parts[self._window].end, self._window + 1)
            )
        return around + inside

    def _before(self, parts: list[_Part]) -> int:
        """Bytes of the lines before those of the areas; there are a handful."""
        before = parts[: self._window]
        name = _name_line(parts[self._window].name)
        return sum(len(line) for line, _ in self._lines(before, *START)) + len(name)

    def seek(self, pos: int) -> tuple[Place, int]:
        """Some hundred areas at a step, without making a line of them."""
        with self._pgtable.whole():
            return self._seek(pos)

    def _seek(self, pos: int) -> tuple[Place, int]:
        parts, number = self._parts(), self._window + 1
        before = self._before(parts)
        if pos < before:
            return START, 0
        found, at = parts[self._window].start, 0
        for starts, mark, step in self._marks(parts[self._window]):
            if before + mark > pos:
                break
            index = min((pos - before - mark) // step, len(starts) - 1) if step else 0
            found, at = starts[index], mark + index * step
        return (found, number), before + at

    def _marks(self, part: _Part) -> Iterator[tuple[Sequence[int], int, int]]:
        """Where runs begin, lowest first; the end of the part is the last one.

        Gives (addresses, bytes of the part's lines before the first one, bytes from one to the
        next), and 0 for the last if only the first is known.  It goes by the chunks in which the
        areas are kept: of some hundred areas each has two lines.
        """
        lengths = [self._length(kind) for kind in self._busy.kinds]
        live = {length for length, count in zip(lengths, self._busy.counts, strict=True) if count}
        odd = -1 in live
        gaps, at = self._dump.gaps(part.start, part.end), 0
        gap, sign = next(gaps, (part.end, 0))
        for starts, numbers in self._busy.columns():
            first = starts[0]
            while gap <= first:
                at += sign * self._hole
                gap, sign = next(gaps, (part.end, 0))
            if lengths[numbers[0]] > 0 and not (odd and self._is_mapped(first - PAGE_SIZE)):
                step = lengths[numbers[0]] if len(live) == 1 and gap > starts[-1] else 0
                yield starts, at, step
            if len(live) == 1 and not odd:
                at += len(numbers) * lengths[numbers[0]]
            elif odd:
                at += sum(
                    self._odd_length(start, self._busy.kinds[number])
                    if lengths[number] < 0
                    else lengths[number]
                    for start, number in zip(starts, numbers, strict=True)
                )
            else:
                at += sum(map(lengths.__getitem__, numbers))
        at += sign * self._hole + sum(each * self._hole for _, each in gaps)
        yield [part.end], at, 0

    def _length(self, kind: VmKind) -> int:
        """Bytes of the lines of an area: its pages, and the guard page; -1 if one has to look."""
        if not kind.flags:
            return 0  # nothing is mapped there
        if kind.flags & (VM_MAP_RAM | VM_NO_GUARD):
            return -1
        layout = self._layout
        flags = layout.page_kernel_io if kind.flags & VM_IOREMAP else layout.page_kernel
        return self._run_length(flags) + self._hole

    def _run_length(self, flags: int) -> int:
        return len(self._line(0, PAGE_SIZE, len(self._layout.levels) - 1, flags))

    def _is_mapped(self, address: int) -> bool:
        return bool(self._dump.flags(address, 1)[0])

    def _odd_length(self, start: int, kind: VmKind) -> int:
        """Bytes of the lines that begin in an area without a guard page, or just behind it.

        Such areas are few, and most are small: the blocks of vm_map_ram().
        """
        nr_pages = kind.size // PAGE_SIZE
        before: int | None
        behind: int | None
        before, *inside, behind = self._dump.flags(start - PAGE_SIZE, nr_pages + 2)
        end, length = start + kind.size, 0
        if start == self._layout.vmalloc_start:
            before = None
        for flags in inside:
            if flags is not None and flags != before and (flags or before is not None):
                length += self._run_length(flags) if flags else self._hole
            before = flags
        if not before:
            return length
        if behind is None or end == self._layout.vmalloc_end:
            return length + self._hole  # which `gaps()` has taken away
        area = self._busy.find(end)
        if area is None or not self._length(area.kind):
            return length + self._hole
        if self._length(area.kind) > 0 and behind == before:
            return length - self._run_length(before)  # one run for both
        return length


WINDOW: Final = {
    "x86_64": "vmalloc() Area",
    "i386": "vmalloc() Area",
    "arm64": "vmalloc() area",
}
"""Architecture -> the name of the part that has the areas."""


def _markers(layout: Layout) -> list[tuple[str, int]]:
    """(Name, address) of the parts, lowest first (Linux: address_markers).

    Those of which no layout has the place are left out.
    """
    if layout.name == "x86_64":
        return [
            ("User Space", 0),
            ("Kernel Space", 1 << 63),
            ("Low Kernel Mapping", layout.page_offset),
            ("vmalloc() Area", layout.vmalloc_start),
            ("Vmemmap", layout.vmemmap),
            ("CPU entry Area", 0xFFFF_FE00_0000_0000),
        ]
    if layout.name == "i386":
        return [
            ("User Space", 0),
            ("Kernel Mapping", layout.page_offset),
            ("vmalloc() Area", layout.vmalloc_start),
            ("vmalloc() End", layout.vmalloc_end),
            ("Persistent kmap() Area", layout.vmalloc_end + 2 * PAGE_SIZE),
        ]
    modules = 0xFFFF_8000_0000_0000
    return [
        ("Linear Mapping start", layout.page_offset),
        ("Linear Mapping end", modules),
        ("Modules start", modules),
        ("Modules end", layout.vmalloc_start),
        ("vmalloc() area", layout.vmalloc_start),
        ("vmalloc() end", layout.vmalloc_end),
        ("vmemmap start", layout.vmemmap),
        ("vmemmap end", layout.vmemmap + (2 << 40)),
    ]


def _name_line(name: str) -> bytes:
    return f"---[ {name} ]---\n".encode()


def _how(layout: Layout, depth: int, flags: int) -> bytes:
    """The flags of an entry and its level, as they stand behind the size."""
    arch, nr_levels = layout.name, len(layout.levels)
    level = ("pgd", "pud", "pmd", "pte")[depth if depth < nr_levels - 1 else 3]
    if arch != "arm64":
        if flags and not depth and nr_levels == 2:
            level = "pmd"  # where a table of the level above is one entry
        words = [word if flags & bit else off for bit, word, off in X86_FLAGS]
        if not flags:
            return b" " * len("USR RW PWT PCD PSE PAT GLB NX ") + level.encode()
        return "".join([*words, level]).encode()
    if not flags:
        return level.upper().encode()
    shown = [word if flags & bit == bit else off for bit, word, off in ARM64_FLAGS]
    return " ".join([level.upper(), *shown, ARM64_MEMORY[flags >> 2 & 7]]).encode()
