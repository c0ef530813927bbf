"""What is mapped how: the page tables as runs of entries that are alike, for who lists them.

    pte table       | RW RW RW RW | 0 | RW RW | 0 0 0 ... 0 |       a run each: level and flags,
    pmd entries                                             | 0 0 ...    those of a hole are 0

A run goes on from table to table as long as the level stays the same.  Where there is no table, the
level is that of the entry which would point to it.

Linux: mm/ptdump.c
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from .layout import PAGE_SHIFT, PAGE_SIZE, Layout
from .pgtable import PageTables
from .ram import Ram

__all__ = ["Ptdump", "Run"]

Run = tuple[int, int, int]
"""Its first address, the depth of its entries (0 is the top level), and their flags."""


class Ptdump:
    """The walk through one machine's page tables; nothing of them is kept between two calls."""

    def __init__(self, pgtable: PageTables, ram: Ram, layout: Layout) -> None:
        self._pgtable = pgtable
        self._words = ram.words
        self._levels: Final = layout.levels
        self._lowest: Final = len(layout.levels) - 1
        """The depth of single pages' entries."""
        self._bits: Final = layout.levels[-1].bits
        self._phys_mask: Final = layout.phys_mask
        self._flags: Final = ~layout.phys_mask
        self._leaf_bits: Final = layout.leaf_bits
        self._word_shift: Final = layout.pointer_size.bit_length() - 1
        self._top: Final = pgtable.top >> self._word_shift
        self.start: Final = layout.page_offset >> layout.va_bits << layout.va_bits
        """The first address that the top-level table covers."""
        self.end: Final = self.start + (1 << layout.va_bits)
        """The first one behind them all."""

    def runs(self, start: int, end: int) -> Iterator[Run]:
        """The runs of the addresses `start`..`end` - 1, whole pages, lowest first.

        Quick where much is alike: a full table is known by its count, and by both its ends, as two
        areas that touch have a guard page between them unless both are mapped alike.
        """
        lowest, mask, bits, words = self._lowest, self._flags, self._bits, self._words
        nr_entries, full = self._pgtable.nr_entries, 1 << self._bits
        upper, phys, (leaf, value) = lowest - 1, self._phys_mask, self._leaf_bits
        last_depth, last = -1, 0
        for address, depth, size, entries in self._upper(start, end):
            if len(entries) == full and depth == upper and 0 not in entries:
                flags = self._alike(entries)
                if flags > 0:
                    if flags != last or last_depth != lowest:
                        yield max(address, start), lowest, flags
                        last_depth, last = lowest, flags
                    continue
            for entry in entries:
                if depth < upper or not entry or entry & leaf == value:
                    flags = entry & mask
                    if flags != last or depth != last_depth:
                        yield max(address, start), depth, flags
                        last_depth, last = depth, flags
                    address += size
                    continue
                pfn = (entry & phys) >> PAGE_SHIFT
                place = pfn << bits
                count = nr_entries(pfn)
                flags = words[place] & mask if count else 0
                if not count or (count == full and words[place + full - 1] & mask == flags):
                    if flags != last or last_depth != lowest:
                        yield max(address, start), lowest, flags
                        last_depth, last = lowest, flags
                    address += size
                    continue
                first, behind = self._part(address, start, end)
                if last_depth != lowest:
                    last_depth, last = lowest, -1
                at = address + (first << PAGE_SHIFT)
                for entry in words[place + first : place + behind].tolist():
                    flags = entry & mask
                    if flags != last:
                        yield at, lowest, flags
                        last = flags
                    at += PAGE_SIZE
                address += size

    def _alike(self, entries: list[int]) -> int:
        """The flags of all pages of many tables at once, which takes a fifth of the time; or 0.

        It is 0 if a page is not mapped, or not as the others are.
        """
        mask, (leaf, value) = self._flags, self._leaf_bits
        phys, words, last = self._phys_mask, self._words, (1 << self._bits) - 1
        pfns = [(entry & phys) >> PAGE_SHIFT for entry in entries if entry & leaf != value]
        if len(pfns) <= last or {*map(self._pgtable.nr_entries, pfns)} != {last + 1}:
            return 0
        places = [pfn << self._bits for pfn in pfns]
        ends = {words[place] & mask for place in places}
        ends |= {words[place + last] & mask for place in places}
        return ends.pop() if len(ends) == 1 else 0

    def gaps(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Where runs of a hole begin because of tables, of addresses that have areas only.

        Gives (address, 1) for each run without tables, and for tables in a row that begin with a
        hole; (address, -1) behind tables in a row that end with a page that is mapped.  With one
        hole behind each area's pages, its guard page, these are all runs that there are.
        """
        lowest, bits, words = self._lowest, self._bits, self._words
        upper, phys, (leaf, value) = lowest - 1, self._phys_mask, self._leaf_bits
        before, last = -1, -1  # the depth, and the frame of the table that came last
        for address, depth, size, entries in self._upper(start, end):
            for entry in entries:
                if depth < upper or not entry or entry & leaf == value:
                    if before == lowest and words[(last + 1 << bits) - 1]:
                        yield address, -1
                    if depth != before:
                        yield max(address, start), 1
                    before = depth
                else:
                    pfn = (entry & phys) >> PAGE_SHIFT
                    if before != lowest:
                        first, _ = self._part(address, start, end)
                        if not words[(pfn << bits) + first]:
                            yield max(address, start), 1
                        before = lowest
                    last = pfn
                address += size
        if before == lowest and words[(last << bits) + (end - 1 >> PAGE_SHIFT & (1 << bits) - 1)]:
            yield end, -1

    def flags(self, start: int, nr_pages: int) -> list[int | None]:
        """The flags of the entries of some pages, 0 for a hole; None where there is no table."""
        flags: list[int | None] = []
        for at in range(start, start + (nr_pages << PAGE_SHIFT), PAGE_SIZE):
            path = self._pgtable.walk(at)
            entry = path[-1][1]
            flags.append(entry & self._flags if len(path) > self._lowest else None)
        return flags

    def entry_from(self, address: int) -> int:
        """Where the first entry begins that begins at an address or behind it."""
        at, depth, size, (entry,) = next(self._upper(address, address + PAGE_SIZE))
        if at == address or (depth == self._lowest - 1 and self._table(entry) >= 0):
            return address
        return at + size

    def _table(self, entry: int) -> int:
        """The frame of the table that an entry points to; -1 if it points to none."""
        mask, value = self._leaf_bits
        return -1 if not entry or entry & mask == value else (entry & self._phys_mask) >> PAGE_SHIFT

    def _part(self, address: int, start: int, end: int) -> tuple[int, int]:
        """Which entries, as in a slice, of the lowest-level table at `address` are asked for."""
        first = max(start - address, 0) >> PAGE_SHIFT
        return first, min(end - address >> PAGE_SHIFT, 1 << self._bits)

    def _upper(
        self, start: int, end: int, table: int = -1, depth: int = 0, base: int = 0
    ) -> Iterator[tuple[int, int, int, list[int]]]:
        """The entries above the lowest level that point to no table, or to one of that level.

        Gives (address of the first, depth, bytes that each covers, entries) of some in a row.
        """
        if table < 0:
            table, base = self._top, self.start
        level = self._levels[depth]
        shift = level.shift
        first = max(start - base, 0) >> shift
        behind = min((end - base - 1 >> shift) + 1, 1 << level.bits)
        entries = self._words[table + first : table + behind].tolist()
        if depth == self._lowest - 1:
            yield base + (first << shift), depth, 1 << shift, entries
            return
        for index, entry in enumerate(entries, first):
            address, pfn = base + (index << shift), self._table(entry)
            if pfn >= 0:
                yield from self._upper(start, end, pfn << self._bits, depth + 1, address)
            else:
                yield address, depth, 1 << shift, [entry]

    def __repr__(self) -> str:
        return f"<Ptdump {self.start:#x}-{self.end - 1:#x}>"
