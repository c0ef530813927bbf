"""The kernel's page tables: radix trees in RAM, and the one walker through them.

A table is one page frame full of entries; an entry holds a physical address and flags,
and 0 maps nothing.  On x86_64 an address is cut like this:

     63    48 47   39 38   30 29   21 20   12 11      0
    +--------+-------+-------+-------+-------+---------+
    |  sign  |  pgd  |  pud  |  pmd  |  pte  | offset  |
    +--------+---|---+---|---+---|---+---|---+---------+
                 v       v       v       v
               table   table   table   table --> page frame

The levels come from the layout.  Everything that reads or writes entries (mapping,
unmapping, looking up, reporting a fault) goes through `_walk()`.  As a CPU does, it keeps which
table of the lowest level it has come to last, and goes on from there for an address near by; the
entries of that table are looked at each time.  (Intel SDM, volume 3, "Caches for Paging
Structures".)

The linear mapping (`linear_mapping`) is made when the machine is switched on, and nobody writes to
it again; its entries may be those of large pages.

A table that has become empty keeps its frame until `free_empty_tables()`, which the
purge of lazily freed areas calls: before the CPUs have flushed what they cached of the
table, it must not be used for anything else.  (Linux keeps it for good.)
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from typing import Final, NamedTuple, TypedDict

from .gfp import __GFP_ZERO, GFP_KERNEL
from .layout import PAGE_SHIFT, PAGE_SIZE, Layout, Level
from .linear_mapping import split_mem_range
from .page_alloc import PageAllocator
from .ram import WORD_FORMAT, Ram
from .restoring import Claims, StateError

__all__ = ["PageTables", "PgtableState", "PgtableStatistics"]

GFP_PGTABLE_KERNEL: Final = GFP_KERNEL | __GFP_ZERO
"""What tables are asked for with (Linux: include/asm-generic/pgalloc.h)."""


class PgtableStatistics(NamedTuple):
    """The page tables' books."""

    tables: int
    """Frames that are page tables."""
    entries_written: int
    """Entries set or cleared since the machine was switched on, of all levels."""
    nr_pagetable: int
    """Tables that Linux counts as page tables (NR_PAGETABLE): pmds and puds made after the boot.

    Lowest-level tables of the kernel are not counted in 6.12, nor is what the boot has made.
    Linux: include/asm-generic/pgalloc.h
    """


class PgtableState(TypedDict):
    """What stands beside the tables."""

    entries: list[tuple[int, int]]
    """Frame of each table, and how many of its entries are set; those of the boot first."""
    empty: list[tuple[int, int]]
    entries_written: int
    damage: list[tuple[int, int, int]]
    """Place of an entry that is damaged, what it should be, what it is (`overwritten_tables`)."""


class PageTables:
    """The page tables of one machine's kernel address space.

    Raises:
        MemoryError: there is no frame for the top-level table.
    """

    def __init__(self, page_alloc: PageAllocator, ram: Ram, layout: Layout) -> None:
        self._page_alloc = page_alloc
        self._words = ram.words
        self._layout = layout
        self._word_shift: Final = layout.pointer_size.bit_length() - 1
        self._table_bits: Final = layout.levels[-1].bits
        levels = [(level.shift, (1 << level.bits) - 1) for level in layout.levels]
        self._upper_levels: Final = tuple(levels[:-1])
        self._pte_mask: Final = levels[-1][1]
        self._lowest_upper: Final = levels[-2][0]
        """The shift of the level whose entries point to tables of the lowest."""
        self._levels: Final = tuple(levels)
        self._phys_mask: Final = layout.phys_mask
        self._none = array(WORD_FORMAT[layout.pointer_size], bytes(PAGE_SIZE))
        self._pfn_masks: Final = layout.page_of(layout.phys_mask >> PAGE_SHIFT)
        """The bits of a frame's number, for each entry of a table."""
        words_of_entry = layout.pointer_size // 4
        low = 0 if sys.byteorder == "little" else words_of_entry - 1
        self._pfn_words: Final = slice(low, None, words_of_entry)
        self._entries: dict[int, int] = {}
        """Frame of each table -> how many of its entries are set."""
        self.nr_entries: Final[Callable[[int], int]] = self._entries.__getitem__
        """Gives how many entries of the table in a frame are set."""
        self._empty: dict[int, int] = {}
        """Frame of each table that may be empty -> an address that it covers."""
        self._walked = -1
        """Addresses whose lowest-level table was looked for last, `>> self._lowest_upper`,"""
        self._walked_table = 0
        """and the place of its first entry."""
        self._linear_end: Final = page_alloc.high_memory
        self.direct_pages: Final[dict[str, int]] = {}
        """Level -> how many of its entries map a page of the linear mapping (DirectMap)."""
        self._boot_tables = 0
        self._lowest = 0
        """Tables of the lowest level, those of the boot left out."""
        self.entries_written = 0
        top = page_alloc.alloc_pages(GFP_PGTABLE_KERNEL, 0)
        if top is None:
            raise MemoryError("no page frame for the top-level page table")
        self._top: Final = top << self._table_bits
        self.top: Final = top << PAGE_SHIFT
        """Physical address of the top-level table (Linux: swapper_pg_dir)."""
        self._entries[top] = 0
        self._map_linear()

    # An entry is named by its place: physical address / pointer size, the index in `words`.

    def _walk(self, address: int, create: bool = False, path: list[int] | None = None) -> int:
        """The place of the lowest-level entry that translates `address`.

        -1 if a table on the way is missing; with `create`, if there is no frame for it.
        `path` gets the place of each entry that was looked at, top level first.
        """
        if path is None and address >> self._lowest_upper == self._walked:
            return self._walked_table + (address >> PAGE_SHIFT & self._pte_mask)
        if address < self._linear_end:
            return self._walk_linear(address, path)
        words, phys_mask, word_shift = self._words, self._phys_mask, self._word_shift
        table = self._top
        for shift, mask in self._upper_levels:
            place = table + (address >> shift & mask)
            if path is not None:
                path.append(place)
            entry = words[place]
            if not entry:
                entry = self._new_table(place, shift) if create else 0
                if not entry:
                    return -1
            table = (entry & phys_mask) >> word_shift
        place = table + (address >> PAGE_SHIFT & self._pte_mask)
        if path is not None:
            path.append(place)
        else:
            self._walked, self._walked_table = address >> self._lowest_upper, table
        return place

    def _walk_linear(self, address: int, path: list[int] | None) -> int:
        """As `_walk()`, below the vmalloc window, where an entry may be a large page's."""
        table, place = self._top, -1
        for shift, mask in self._levels:
            place = table + (address >> shift & mask)
            if path is not None:
                path.append(place)
            entry = self._words[place]
            if shift == PAGE_SHIFT or self._layout.is_leaf(entry):
                break
            if not entry:
                return -1
            table = (entry & self._phys_mask) >> self._word_shift
        return place

    def _map_linear(self) -> None:
        """Map all of the RAM that is always mapped, as the boot does.

        Raises:
            MemoryError: there is no frame for a table.
        """
        for address, level, count in split_mem_range(self._layout, self._linear_end):
            self._map_leaves(address, level, count)
        self._boot_tables = len(self._entries)

    def _map_leaves(self, address: int, level: Level, count: int) -> None:
        place = self._top + (address >> self._levels[0][0] & self._levels[0][1])
        for shift, mask in self._levels[1:]:
            if shift < level.shift:
                break
            entry = self._words[place] or self._new_table(place)  # of the boot
            if not entry:
                raise MemoryError("no page frame for the page tables of the linear mapping")
            table = (entry & self._phys_mask) >> self._word_shift
            place = table + (address >> shift & mask)
        large, phys = level.shift > PAGE_SHIFT, address - self._layout.page_offset
        flags = self._layout.page_kernel_large if large else self._layout.page_kernel
        entries = range(phys | flags, (phys | flags) + (count << level.shift), 1 << level.shift)
        self._words[place : place + count] = array(self._none.typecode, entries)
        self._entries[place >> self._table_bits] += count
        self.entries_written += count
        self.direct_pages[level.name] = self.direct_pages.get(level.name, 0) + count

    def _new_table(self, place: int, shift: int = 0) -> int:
        """Hang an empty table into the entry at `place`; returns the entry, 0 without memory.

        `shift` is the level of the entry, for the books; 0 while they are not kept.
        """
        pfn = self._page_alloc.alloc_pages(GFP_PGTABLE_KERNEL, 0)
        return 0 if pfn is None else self._hang_in(place, shift, pfn)

    def _hang_in(self, place: int, shift: int, pfn: int) -> int:
        """Hang the empty table in a frame into an entry, and return that."""
        self._entries[pfn] = 0
        self._lowest += shift == self._lowest_upper
        entry = self._words[place] = (pfn << PAGE_SHIFT) | self._layout.table_flags
        self._entries[place >> self._table_bits] += 1
        self.entries_written += 1
        return entry

    def _span(self, address: int, nr_pages: int) -> int:
        """How many of `nr_pages` from `address` on one lowest-level table maps."""
        return min(nr_pages, self._pte_mask + 1 - (address >> PAGE_SHIFT & self._pte_mask))

    def map_pages(self, address: int, entries: array[int]) -> bool:
        """Write the lowest-level `entries` for the pages from `address` on, none mapped yet.

        Returns False when there is no frame for a table; the first pages may be mapped
        then, and `unmap_pages()` takes them away.
        Linux: mm/vmalloc.c:vmap_small_pages_range_noflush()
        """
        done, nr_pages, words, mask = 0, len(entries), self._words, self._pte_mask
        while done < nr_pages:
            place = self._walk(address, create=True)
            if place < 0:
                return False
            count = min(nr_pages - done, mask + 1 - (place & mask))
            assert not words[place], "mapped already"
            words[place : place + count] = entries[done : done + count]
            self._entries[place >> self._table_bits] += count
            self.entries_written += count
            address += count << PAGE_SHIFT
            done += count
        return True

    def spans(self, address: int, nr_pages: int) -> Iterator[tuple[int, int]]:
        """(first, how many) of some pages from `address` on, those of each lowest-level table."""
        done = 0
        while done < nr_pages:
            count = self._span(address + (done << PAGE_SHIFT), nr_pages - done)
            yield done, count
            done += count

    def has_table(self, address: int) -> bool:
        """Whether there is a lowest-level table for an address."""
        return self._walk(address) >= 0

    def map_run(self, address: int, entries: array[int], nr_mapped: int) -> None:
        """`map_pages()` of areas that follow each other, as far as one table goes, which is there.

        Args:
            entries: of all pages, 0 for each guard page.
            nr_mapped: how many of them are not 0.
        """
        place = self._walk(address)
        self._words[place : place + len(entries)] = entries
        self._entries[place >> self._table_bits] += nr_mapped
        self.entries_written += nr_mapped

    def forget_run(self, address: int, nr_pages: int, nr_mapped: int) -> None:
        """Have the last pages of `map_run()` as if they had never been mapped."""
        place = self._walk(address)
        self._words[place : place + nr_pages] = self._none[:nr_pages]
        self._entries[place >> self._table_bits] -= nr_mapped
        self.entries_written -= nr_mapped

    def may_grow_at(self, address: int) -> bool:
        """Whether a table for an address takes one frame, as those above it are there."""
        path: list[int] = []
        return self._walk(address, path=path) < 0 and len(path) == len(self._upper_levels)

    def grow_at(self, address: int, pfn: int) -> None:
        """Have a lowest-level table for an address, in a frame of zeros."""
        path: list[int] = []
        self._walk(address, path=path)
        self._hang_in(path[-1], self._lowest_upper, pfn)

    def shrink_at(self, address: int) -> None:
        """Undo the last `grow_at()`; the table is empty."""
        path: list[int] = []
        self._walk(address, path=path)
        table, above = path[-1] >> self._table_bits, path[-2]
        nr_entries = self._entries.pop(table)
        assert not nr_entries
        self._walked = -1
        self._words[above] = 0
        self._entries[above >> self._table_bits] -= 1
        self.entries_written -= 1
        self._lowest -= 1

    def unmap_pages(self, address: int, nr_pages: int) -> array[int]:
        """Clear the entries of `nr_pages` pages from `address` on, mapped or not.

        Returns the frames that they mapped, 0 for each that was not mapped.
        Linux: mm/vmalloc.c:vunmap_range_noflush()
        """
        words, table_bits = self._words, self._table_bits
        frames = array("I")
        while nr_pages:
            count = self._span(address, nr_pages)
            place = self._walk(address)
            if place >= 0:
                span = words[place : place + count]
                was_set = count - span.tolist().count(0)
                frames += self._frames(span)
                words[place : place + count] = self._none[:count]
                self._entries[place >> table_bits] -= was_set
                self.entries_written += was_set
            else:  # of a mapping that ran out of frames, which may leave upper tables empty
                frames.extend(bytes(count))
                path: list[int] = []
                self._walk(address, path=path)
                place = path[-1]
            if not self._entries[place >> table_bits]:
                self._empty[place >> table_bits] = address
            address += count << PAGE_SHIFT
            nr_pages -= count
        return frames

    def _frames(self, entries: memoryview[int] | array[int]) -> array[int]:
        """The frames that some entries of one table map, 0 for each that maps nothing.

        All at once, as one large number: it takes a tenth of the time.
        """
        shifted = int.from_bytes(entries, sys.byteorder) >> PAGE_SHIFT & self._pfn_masks
        raw = shifted.to_bytes(len(entries) * entries.itemsize, sys.byteorder)
        return array("I", raw)[self._pfn_words]

    def frames(self, address: int, nr_pages: int) -> array[int]:
        """The frames that `nr_pages` pages from `address` on are mapped to, 0 for none."""
        frames = array("I")
        while nr_pages:
            count = self._span(address, nr_pages)
            frames += self._frames(self._lookup_span(address, count))
            address += count << PAGE_SHIFT
            nr_pages -= count
        return frames

    def lookup(self, address: int) -> int:
        """The entry that maps the page of `address`, or 0.

        Of a large page it is as if it mapped that one page of it: with the page's own address.
        """
        if address < self._linear_end:
            return self._lookup_linear(address)
        place = self._walk(address)
        return self._words[place] if place >= 0 else 0

    def _lookup_linear(self, address: int) -> int:
        path: list[int] = []
        place = self._walk_linear(address, path)
        entry = self._words[place] if place >= 0 else 0
        if not entry:
            return 0
        shift = self._levels[len(path) - 1][0]
        return entry + (address & ((1 << shift) - 1) & ~(PAGE_SIZE - 1))

    def lookup_pages(self, address: int, nr_pages: int) -> memoryview[int] | array[int]:
        """The entries of `nr_pages` pages from `address` on, 0 for each that is not mapped.

        They are a view of the table itself where one has them all.
        """
        if self._span(address, nr_pages) == nr_pages:
            return self._lookup_span(address, nr_pages)
        entries = array(self._none.typecode)
        while nr_pages:
            count = self._span(address, nr_pages)
            entries.extend(self._lookup_span(address, count))
            address += count << PAGE_SHIFT
            nr_pages -= count
        return entries

    def _lookup_span(self, address: int, count: int) -> memoryview[int] | array[int]:
        """As `lookup_pages()`, of pages that one table maps, or could map."""
        if address < self._linear_end:
            pages = range(address, address + (count << PAGE_SHIFT), PAGE_SIZE)
            return array(self._none.typecode, [self._lookup_linear(page) for page in pages])
        place = self._walk(address)
        return self._words[place : place + count] if place >= 0 else self._none[:count]

    def whole(self) -> AbstractContextManager[None]:
        """Have no entry in them that somebody has written by mistake; here there is none."""
        return nullcontext()

    def walk(self, address: int) -> list[tuple[str, int]]:
        """(level name, entry) from the top down, to the first empty one or that of the page.

        It is what Linux prints in an oops (Linux: arch/x86/mm/fault.c:dump_pagetable()).
        """
        path: list[int] = []
        self._walk(address, path=path)
        return [
            (level.name, self._words[place])
            for level, place in zip(self._layout.levels, path, strict=False)
        ]

    def boot_tables(self) -> set[int]:
        """The frames of the tables that the boot has made, which stay."""
        return {*islice(self._entries, self._boot_tables)}

    def tables_by_level(self) -> Iterator[list[int]]:
        """The frames of the tables of each level, the top one's first, as far as one looks."""
        words, bits, phys_mask = self._words, self._table_bits, self._phys_mask
        leaf, value = self._layout.leaf_bits
        tables = [self._top >> bits]
        yield tables
        for _ in self._upper_levels:
            tables = [
                (entry & phys_mask) >> PAGE_SHIFT
                for pfn in tables
                for entry in filter(None, words[pfn << bits : pfn + 1 << bits].tolist())
                if entry & leaf != value
            ]
            yield tables

    def mappings(self) -> Iterator[tuple[int, int]]:
        """Every (page address, entry) behind the linear mapping, lowest address first."""
        return ((at, entry) for at, _, entry in self._leaves(self._linear_end))

    def leaves(self) -> Iterator[tuple[int, Level, int]]:
        """Every (address, level, entry) that maps a page, large or not, lowest address first.

        With those of the linear mapping (Linux: mm/ptdump.c:ptdump_walk_pgd()).
        """
        return self._leaves(0)

    def _leaves(self, start: int) -> Iterator[tuple[int, Level, int]]:
        va_bits = self._layout.va_bits
        high = self._layout.page_offset >> va_bits << va_bits
        return self._leaves_of(self._top, 0, high, start)

    def _leaves_of(
        self, table: int, depth: int, base: int, start: int
    ) -> Iterator[tuple[int, Level, int]]:
        level = self._layout.levels[depth]
        first = max((start - base) >> level.shift, 0)
        for index, entry in enumerate(
            self._words[table + first : table + (1 << level.bits)], first
        ):
            if not entry:
                continue
            address = base + (index << level.shift)
            if level.shift == PAGE_SHIFT or self._layout.is_leaf(entry):
                if address >= start:
                    yield address, level, entry
            else:
                below = (entry & self._phys_mask) >> self._word_shift
                yield from self._leaves_of(below, depth + 1, address, start)

    def free_empty_tables(self) -> None:
        """Give the frames of empty tables back, of all levels but the top one."""
        self._walked = -1
        for table, address in self._empty.items():
            if self._entries.get(table):
                continue  # in use again
            path: list[int] = []
            self._walk(address, path=path)
            while len(path) > 1:
                pfn = path.pop() >> self._table_bits
                if self._entries[pfn]:
                    break
                del self._entries[pfn]
                self._lowest -= len(path) == len(self._upper_levels)
                self._page_alloc.free_unref_page(pfn, 0)
                self._words[path[-1]] = 0
                self._entries[path[-1] >> self._table_bits] -= 1
                self.entries_written += 1
        self._empty.clear()

    def tables_in(self, frames: range) -> dict[int, list[int]]:
        """Those of some frames that are tables, with their entries."""
        few = frames if len(frames) < len(self._entries) else self._entries
        return {
            pfn: self._words[pfn << self._table_bits : pfn + 1 << self._table_bits].tolist()
            for pfn in few
            if pfn in frames and pfn in self._entries
        }

    def statistics(self) -> PgtableStatistics:
        """The books as they stand now."""
        tables = len(self._entries)
        counted = tables - self._boot_tables - self._lowest
        return PgtableStatistics(tables, self.entries_written, counted)

    def __repr__(self) -> str:
        return f"<PageTables tables={len(self._entries)} at {self._top << self._word_shift:#x}>"

    def state(self) -> PgtableState:
        """What stands beside the tables, which are in RAM, as plain data."""
        return {
            "entries": [*self._entries.items()],
            "empty": [*self._empty.items()],
            "entries_written": self.entries_written,
            "damage": [],
        }

    def restore(self, state: PgtableState, claims: Claims) -> None:
        """Have these tables, which are in RAM already.

        Raises:
            StateError, AssertionError: they are not.
        """
        boot = self.boot_tables()
        if boot != {pfn for pfn, _ in state["entries"][: len(boot)]}:
            raise StateError("the boot has made other page tables")
        claims.take_each(pfn for pfn, _ in state["entries"])
        self._walked = -1
        self._entries.clear()
        self._entries.update(state["entries"])
        self._empty.clear()
        self._empty.update(state["empty"])
        self.entries_written = state["entries_written"]
        PageTables.check(self)
        *_, lowest = self.tables_by_level()
        self._lowest = sum(pfn not in boot for pfn in lowest)

    def check(self) -> set[int]:
        """Assert the invariants; return the frames of all tables.  Slow: for tests.

        - every table but the top one is hung into exactly one entry
        - each table's count is the number of its entries that are set
        - an empty table is on the list of `free_empty_tables()`
        - the entries of the linear mapping are as the boot has made them
        """
        found: set[int] = set()
        todo = [(self._top, 0)]
        while todo:
            table, level = todo.pop()
            pfn = table >> self._table_bits
            assert pfn not in found
            found.add(pfn)
            entries = [e for e in self._words[table : table + (1 << self._table_bits)] if e]
            assert len(entries) == self._entries[pfn]
            assert entries or level == 0 or pfn in self._empty
            if level + 1 < len(self._levels):
                phys_mask = self._phys_mask
                tables = [entry for entry in entries if not self._layout.is_leaf(entry)]
                todo += [((entry & phys_mask) >> self._word_shift, level + 1) for entry in tables]
        assert found == set(self._entries)
        linear = [(at, entry) for at, _, entry in self.leaves() if at < self._linear_end]
        offset = self._layout.page_offset
        assert all(entry & self._phys_mask == at - offset for at, entry in linear)
        assert len(linear) == sum(self.direct_pages.values())
        assert 0 <= self.statistics().nr_pagetable <= len(found)
        return found
