"""RAM as `proc/kcore` has it, and the way through the page tables that stand in it.

    note: swapper_pg_dir --> pgd table --> pud table --> pmd table --> pte table --> frame
                                                  `--> a large page of the linear mapping

It is the walk of the CPU, as crash(8) does it with a real kernel's: an index is cut out of the
address, the entry there has the frame of the next table.
"""

from __future__ import annotations

import os
import re
import struct
import sys
from array import array
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from scullvfs.mm.layout import LAYOUTS, PAGE_SHIFT, PAGE_SIZE, Layout

from .files import Files, nonsense

__all__ = ["Core", "Step"]

E_MACHINE: Final = {3: "i386", 62: "x86_64", 183: "arm64"}
PT_LOAD: Final = 1
ELFCLASS64: Final = 2

NONE: Final = 0
"""In place of a frame, where nothing is mapped: frame 0 is reserved, and nobody has it."""


class Step(NamedTuple):
    """An entry on the way down."""

    level: str
    """pgd, pud, pmd, pte."""
    table: int
    """The frame that the table is in."""
    place: int
    """Which of its entries."""
    entry: int
    covers: int
    """Bytes that one entry of this level covers."""
    leaf: bool
    """Whether it maps memory itself, and leads to no table."""


class Core:
    """RAM of a mount.

    Raises:
        OSError: EACCES, this user may not read it; EBADMSG, it is no core file of such a machine.
    """

    def __init__(self, files: Files) -> None:
        self._files = files
        with files.opened("proc/kcore") as fd:
            head = os.pread(fd, PAGE_SIZE, 0)
        self.layout: Final = _layout(head)
        self._offset, self._bytes = _segment(head, self.layout)
        found = re.search(rb"SYMBOL\(swapper_pg_dir\)=([0-9a-f]{1,16})\n", head)
        if found is None:
            raise nonsense("proc/kcore does not say where the page tables are")
        self.top: Final = int(found[1], 16) - self.layout.page_offset
        """The physical address of the top-level table."""
        self._tables: dict[int, array[int]] = {}
        self._maps: dict[int, array[int] | None] = {}
        self._last: Final = (1 << self.layout.levels[-1].bits) - 1
        self._span: Final = self.layout.levels[-2].shift
        self._pfns: Final = self.layout.page_of(self.layout.phys_mask >> PAGE_SHIFT)
        self._fd = -1

    def __enter__(self) -> Core:
        self._opened = self._files.opened("proc/kcore")
        self._fd = self._opened.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._opened.__exit__(None, None, None)

    def physical(self, address: int) -> int | None:
        """Where an address of the linear mapping is in RAM; None, it is none."""
        phys = address - self.layout.page_offset
        return phys if 0 <= phys < self._bytes else None

    def words(self, phys: int, count: int) -> array[int]:
        """`count` words of the size of a pointer.

        Raises:
            OSError: EBADMSG, that is not RAM.
        """
        length = count * self.layout.pointer_size
        if not 0 <= phys <= self._bytes - length:
            raise nonsense("a pointer leads out of RAM")
        data, at = b"", self._offset + phys
        while len(data) < length:
            part = os.pread(self._fd, length - len(data), at + len(data))
            if not part:
                raise nonsense("proc/kcore is shorter than it says")
            data += part
        return array("Q" if self.layout.pointer_size == 8 else "I", data)

    def pointers(self, address: int, count: int) -> array[int]:
        """An array of pointers at an address of the linear mapping."""
        phys = self.physical(address)
        if phys is None:
            raise nonsense("a pointer leads out of the linear mapping")
        return self.words(phys, count)

    def table(self, phys: int) -> array[int]:
        """The entries of a page table; read once."""
        if phys not in self._tables:
            self._tables[phys] = self.words(phys, PAGE_SIZE // self.layout.pointer_size)
        return self._tables[phys]

    def walk(self, address: int) -> tuple[Step, ...]:
        """The entries from the top down, to the first empty one or to what maps the page."""
        steps, table, levels = [], self.top, self.layout.levels
        for level in levels:
            index = address >> level.shift & ((1 << level.bits) - 1)
            entry = self.table(table)[index]
            lowest = level is levels[-1]
            leaf = entry != 0 and (lowest or self.layout.is_leaf(entry))
            steps.append(
                Step(level.name, table >> PAGE_SHIFT, index, entry, 1 << level.shift, leaf)
            )
            if leaf or not entry:
                break
            table = entry & self.layout.phys_mask
        return tuple(steps)

    def _decoded(self, address: int) -> array[int] | None:
        """The frames that the lowest-level table of an address maps; None, there is no such table.

        Decoded once.
        """
        key = address >> self._span
        if key not in self._maps:
            steps = self.walk(address)
            if len(steps) < len(self.layout.levels):
                self._maps[key] = None
            else:
                self._maps[key] = self._frames_of(steps[-1].table << PAGE_SHIFT)
        return self._maps[key]

    def _frames_of(self, table: int) -> array[int]:
        """All entries at once, as one large number: it takes a tenth of the time."""
        entries = self.table(table)
        frames = int.from_bytes(entries, sys.byteorder) >> PAGE_SHIFT & self._pfns
        return array(entries.typecode, frames.to_bytes(PAGE_SIZE, sys.byteorder))

    def frame(self, address: int) -> int:
        """The frame of one page that has no large one, NONE where there is none."""
        frames = self._maps.get(address >> self._span) or self._decoded(address)
        return NONE if frames is None else frames[address >> PAGE_SHIFT & self._last]

    def frames(self, address: int, nr_pages: int) -> list[int]:
        """The frame of each of some pages behind one another, NONE where there is none."""
        table = self._maps.get(address >> self._span)
        first = address >> PAGE_SHIFT & self._last
        if table is not None and first + nr_pages <= self._last + 1:
            return table[first : first + nr_pages].tolist()
        frames = [NONE] * nr_pages
        for page, part in self.mapped(address, nr_pages):
            frames[page : page + len(part)] = part
        return frames

    def mapped(self, address: int, nr_pages: int) -> Iterator[tuple[int, Sequence[int]]]:
        """The same in parts, without what no table is there for: (which page, frames from it on).

        An empty entry is one step, whatever it covers: an area may be most of the window.
        """
        page = 0
        while page < nr_pages:
            at = address + (page << PAGE_SHIFT)
            first = at >> PAGE_SHIFT & self._last
            count = min(self._last + 1 - first, nr_pages - page)
            found = self._decoded(at)
            if found is not None:
                yield page, found[first : first + count]
            else:
                last = self.walk(at)[-1]
                skip = (at & (last.covers - 1)) >> PAGE_SHIFT
                count = min((last.covers >> PAGE_SHIFT) - skip, nr_pages - page)
                if last.leaf:
                    base = (last.entry & self.layout.phys_mask) >> PAGE_SHIFT
                    yield page, range(base + skip, base + skip + count)
            page += count

    def all_tables(self) -> set[int]:
        """The frames of every page table that there is."""
        found: set[int] = set()
        level_tables = {self.top}
        for level in self.layout.levels:
            found |= {table >> PAGE_SHIFT for table in level_tables}
            if level is self.layout.levels[-1]:
                break
            level_tables = {  # a set, as tables that are overwritten may lead to themselves
                entry & self.layout.phys_mask
                for table in level_tables
                for entry in self.table(table)
                if entry and not self.layout.is_leaf(entry)
            }
        return found


def _layout(head: bytes) -> Layout:
    if head[:4] != b"\x7fELF" or len(head) < PAGE_SIZE:
        raise nonsense("proc/kcore is no core file")
    (machine,) = struct.unpack_from("<H", head, 18)
    if machine not in E_MACHINE:
        raise nonsense("proc/kcore is of another architecture")
    return LAYOUTS[E_MACHINE[machine]]


def _segment(head: bytes, layout: Layout) -> tuple[int, int]:
    """Where in the file the linear mapping begins, and its bytes."""
    wide = head[4] == ELFCLASS64
    offset = 64 if wide else 52
    program = struct.Struct("<IIQQQQQQ" if wide else "<IIIIIIII")
    (count,) = struct.unpack_from("<H", head, 56 if wide else 44)
    for number in range(min(count, 16)):
        fields = program.unpack_from(head, offset + number * program.size)
        kind, place, vaddr, size = (
            (fields[0], fields[2], fields[3], fields[5])
            if wide
            else (fields[0], fields[1], fields[2], fields[4])
        )
        if kind == PT_LOAD and vaddr == layout.page_offset and size <= layout.max_mem:
            return place, size
    raise nonsense("proc/kcore has no linear mapping")
