"""Page tables: mapping across table boundaries, the whole map against a plain dict."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from random import Random

import pytest

from scullvfs.mm.gfp import GFP_KERNEL
from scullvfs.mm.layout import LAYOUTS, PAGE_SHIFT, Layout
from scullvfs.mm.page_alloc import PageAllocator
from scullvfs.mm.pgtable import PageTables
from scullvfs.mm.ram import WORD_FORMAT, Ram

from .helpers import ARCHS, MIB, P, take_all


class Tables:
    """Page tables of an architecture with RAM of their own, without a machine around them."""

    def __init__(self, arch: str, mem: int = 16 * MIB) -> None:
        self.layout: Layout = LAYOUTS[arch]
        ram = self.ram = Ram(mem, self.layout.pointer_size)
        self.page_alloc = PageAllocator(ram, self.layout, shuffle=True, seed=0)
        self.pgtable = PageTables(self.page_alloc, ram, self.layout)
        self.free = self.page_alloc.nr_free
        self.at_boot = self.pgtable.statistics()
        self.table_pages = 1 << self.layout.levels[-1].bits
        self.table_bytes = self.table_pages * P
        # The first table boundary in the window that has room before it.
        self.boundary = -(-self.layout.vmalloc_start // self.table_bytes) * self.table_bytes
        self.boundary += self.table_bytes

    @property
    def made(self) -> tuple[int, int]:
        """Tables made, and entries written, since then."""
        now = self.pgtable.statistics()
        return now.tables - self.at_boot.tables, now.entries_written - self.at_boot.entries_written

    def entries(self, frames: Iterable[int]) -> array[int]:
        """Page-table entries that map frames."""
        flags = self.layout.page_kernel
        values = [pfn << PAGE_SHIFT | flags for pfn in frames]
        return array(WORD_FORMAT[self.layout.pointer_size], values)

    def map(self, address: int, frames: Iterable[int]) -> dict[int, int]:
        """Map frames, which must succeed; returns what `mappings()` has to show of them."""
        entries = self.entries(frames)
        assert self.pgtable.map_pages(address, entries)
        return {address + i * P: entry for i, entry in enumerate(entries)}


@pytest.fixture(params=ARCHS)
def tables(request: pytest.FixtureRequest) -> Tables:
    """Page tables of each architecture in turn."""
    return Tables(request.param)


def test_page_tables_are_empty_at_first(tables: Tables) -> None:
    """There is the linear mapping and nothing else, of which Linux counts no table."""
    assert list(tables.pgtable.mappings()) == []
    assert tables.at_boot.nr_pagetable == 0
    assert tables.pgtable.lookup(tables.layout.vmalloc_start) == 0
    assert tables.pgtable.walk(tables.layout.vmalloc_start) == [(tables.layout.levels[0].name, 0)]


def test_page_tables_without_a_frame_are_refused() -> None:
    """The top-level table needs a frame."""
    layout = LAYOUTS["x86_64"]
    ram = Ram(MIB, 8)
    page_alloc = PageAllocator(ram, layout, shuffle=False, seed=0)
    take_all(page_alloc)

    with pytest.raises(MemoryError, match="top-level page table"):
        PageTables(page_alloc, ram, layout)


@pytest.mark.parametrize("where", ["start", "end", "first page behind a boundary"])
def test_map_pages_maps_one_page(tables: Tables, where: str) -> None:
    """A page at either end of the window, or beside a table boundary, is the only one mapped."""
    layout = tables.layout
    address = {"start": layout.vmalloc_start, "end": layout.vmalloc_end - P}.get(
        where, tables.boundary
    )

    expected = tables.map(address, [0x123])

    assert dict(tables.pgtable.mappings()) == expected
    assert tables.pgtable.lookup(address) == tables.pgtable.lookup(address + P - 1)
    assert tables.pgtable.lookup(address) & layout.phys_mask == 0x123 << PAGE_SHIFT
    assert tables.pgtable.lookup(address - P) == 0
    assert tables.pgtable.lookup(address + P) == 0
    tables.pgtable.check()


# table n                          |table n + 1
# ... |  5  |  6  |  7  |  8  |  9 | 10  |  11  | ...
#     |<---------- mapped -------------------->|
def test_map_pages_across_a_table_boundary(tables: Tables) -> None:
    """Expect seven pages in address order, five in one table and two in the next."""
    address = tables.boundary - 5 * P

    expected = tables.map(address, range(5, 12))

    assert dict(tables.pgtable.mappings()) == expected
    upper = len(tables.layout.levels) - 2
    assert tables.made[0] == upper + 2
    assert tables.pgtable.statistics().nr_pagetable == upper, "without the lowest ones"
    assert tables.pgtable.lookup_pages(address - P, 9).tolist() == [0, *expected.values(), 0]


def test_map_pages_over_many_tables(tables: Tables) -> None:
    """A mapping of more than two whole tables is complete, and unmaps to nothing."""
    count = 2 * tables.table_pages + 10
    address = tables.boundary - 5 * P

    expected = tables.map(address, range(1, count + 1))

    assert list(tables.pgtable.mappings()) == list(expected.items())
    assert tables.pgtable.lookup_pages(address, count).tolist() == list(expected.values())
    tables.pgtable.unmap_pages(address, count)
    assert list(tables.pgtable.mappings()) == []


@pytest.mark.parametrize("arch", ["x86_64", "arm64"])
@pytest.mark.parametrize("level", [0, 1, 2])
def test_map_pages_across_a_boundary_of_each_level(arch: str, level: int) -> None:
    """Where a table of a higher level ends, the pages before and behind it are still neighbours."""
    tables = Tables(arch)
    shift = tables.layout.levels[level].shift
    boundary = (tables.layout.vmalloc_start >> shift) + 1 << shift
    assert boundary < tables.layout.vmalloc_end

    expected = tables.map(boundary - 2 * P, range(1, 5))

    assert dict(tables.pgtable.mappings()) == expected
    assert tables.made[0] == 2 * (3 - level) + level
    tables.pgtable.check()


def test_map_pages_counts_every_entry_written(tables: Tables) -> None:
    """`entries_written` is the pages mapped, plus an entry for each table hung in."""
    tables.map(tables.boundary - 2 * P, range(1, 5))
    made, written = tables.made
    assert written == 4 + made

    tables.pgtable.unmap_pages(tables.boundary - 3 * P, 6)
    assert tables.made[1] == 8 + made, "clearing an empty entry writes nothing"


def test_unmap_pages_of_what_is_not_mapped_does_nothing(tables: Tables) -> None:
    """Unmapping untouched addresses makes no table and writes no entry."""
    tables.pgtable.unmap_pages(tables.layout.vmalloc_start, 5 * tables.table_pages)

    assert tables.made == (0, 0)
    tables.pgtable.check()


# mapped:  |<---------------- 12 pages ---------------->|
# unmap:              |<---- 4 ---->|
def test_unmap_pages_in_the_middle_leaves_the_rest(tables: Tables) -> None:
    """Expect a hole of just these pages."""
    address = tables.boundary - 6 * P
    expected = tables.map(address, range(1, 13))

    tables.pgtable.unmap_pages(address + 4 * P, 4)

    assert dict(tables.pgtable.mappings()) == {
        at: entry for at, entry in expected.items() if not 4 <= (at - address) // P < 8
    }


def test_free_empty_tables_gives_every_frame_back(tables: Tables) -> None:
    """Empty tables keep their frames until then; a table with one entry left stays for good."""
    address = tables.boundary - 5 * P
    tables.map(address, range(1, 11))
    used = tables.page_alloc.nr_free
    tables.pgtable.unmap_pages(address, 9)
    assert tables.page_alloc.nr_free == used

    tables.pgtable.free_empty_tables()
    assert tables.page_alloc.nr_free == used + 1
    assert [at for at, _ in tables.pgtable.mappings()] == [address + 9 * P]

    tables.pgtable.unmap_pages(address + 9 * P, 1)
    tables.pgtable.free_empty_tables()
    assert tables.page_alloc.nr_free == tables.free
    assert tables.made[0] == tables.pgtable.statistics().nr_pagetable == 0
    tables.pgtable.check()


def test_free_empty_tables_spares_a_table_in_use_again(tables: Tables) -> None:
    """A table that was emptied and then used again is not given back."""
    tables.map(tables.boundary, [1])
    tables.pgtable.unmap_pages(tables.boundary, 1)
    expected = tables.map(tables.boundary + 3 * P, [2])

    tables.pgtable.free_empty_tables()

    assert dict(tables.pgtable.mappings()) == expected
    tables.pgtable.check()


def test_a_table_that_is_freed_is_looked_for_anew(tables: Tables) -> None:
    """Whoever has its frame next may write what he wants: it translates no address any more."""
    pgtable, address = tables.pgtable, tables.boundary
    tables.map(address, [5])
    assert pgtable.lookup(address)
    pgtable.unmap_pages(address, 1)
    pgtable.free_empty_tables()
    frames = take_all(tables.page_alloc)
    for pfn in frames:
        tables.ram.bytes[pfn * P : (pfn + 1) * P] = b"\xff" * P
    assert not pgtable.lookup(address)
    tables.ram.clear_pages(frames)
    tables.page_alloc.free_frames(frames)
    tables.map(address, [6])
    assert pgtable.lookup(address) == tables.entries([6])[0]


def test_walk_shows_the_entry_of_each_level(tables: Tables) -> None:
    """The walk ends with the page's entry, or with the first empty one, named by its level."""
    tables.map(tables.boundary, [0x77])
    names = [level.name for level in tables.layout.levels]

    mapped, unmapped = (
        tables.pgtable.walk(tables.boundary),
        tables.pgtable.walk(tables.boundary + P),
    )

    assert [name for name, _ in mapped] == names
    assert mapped[-1][1] == 0x77 << PAGE_SHIFT | tables.layout.page_kernel
    assert all(entry & ~tables.layout.phys_mask == tables.layout.table_flags
               for _, entry in mapped[:-1])  # fmt: skip
    assert unmapped == [*mapped[:-1], (names[-1], 0)]


# tables that are needed:  |<- boundary - 1 page ->|<- behind the boundary ->|
# frames left for them:     0, 1, ... one too few
@pytest.mark.parametrize(
    ("arch", "left"), [(arch, left) for arch in ARCHS for left in range(len(LAYOUTS[arch].levels))]
)
def test_map_pages_without_frames_for_tables(arch: str, left: int) -> None:
    """Expect False, and after the caller's clean-up books as if nothing had happened."""
    tables = Tables(arch)
    held = take_all(tables.page_alloc, leave=left)

    assert tables.pgtable.map_pages(tables.boundary - P, tables.entries([1, 2])) is False
    assert tables.page_alloc.nr_available(GFP_KERNEL) == 0
    tables.pgtable.unmap_pages(tables.boundary - P, 2)
    tables.pgtable.check()
    tables.pgtable.free_empty_tables()

    assert tables.page_alloc.nr_available(GFP_KERNEL) == left
    assert tables.made[0] == tables.pgtable.statistics().nr_pagetable == 0
    assert list(tables.pgtable.mappings()) == []
    tables.pgtable.check()
    tables.page_alloc.free_frames(held)
    assert tables.page_alloc.nr_free == tables.free


def test_map_pages_without_frames_keeps_what_was_mapped(tables: Tables) -> None:
    """Running out of frames for a new table does not touch the mappings that there are."""
    expected = tables.map(tables.boundary - P, [1])
    held = take_all(tables.page_alloc)

    assert tables.pgtable.map_pages(tables.boundary, tables.entries([4])) is False
    tables.pgtable.unmap_pages(tables.boundary, 1)

    assert dict(tables.pgtable.mappings()) == expected
    tables.page_alloc.free_frames(held)


@pytest.mark.parametrize("seed", range(3))
def test_mappings_equals_a_plain_dict(tables: Tables, seed: int) -> None:
    """The whole map, after random mapping, unmapping and freeing of tables, is what a dict says."""
    rng = Random(seed)
    model: dict[int, int] = {}
    step = 1 << tables.layout.levels[0].shift
    bases = [tables.boundary, tables.boundary + 7 * tables.table_bytes]
    if tables.layout.vmalloc_start + 3 * step < tables.layout.vmalloc_end:
        bases.append((tables.layout.vmalloc_start // step + 2) * step)
    for turn in range(300):
        span = rng.randrange(1, 40) if rng.random() < 0.9 else tables.table_pages + 3
        address = rng.choice(bases) + rng.randrange(-60, 60) * P
        pages = [address + i * P for i in range(span)]
        if rng.random() < 0.5:
            if not any(page in model for page in pages):
                model |= tables.map(address, [rng.randrange(1, 1 << 20) for _ in pages])
        else:
            tables.pgtable.unmap_pages(address, span)
            for page in pages:
                model.pop(page, None)
        if rng.random() < 0.1:
            tables.pgtable.free_empty_tables()
        assert tables.pgtable.lookup_pages(address, span).tolist() == [
            model.get(page, 0) for page in pages
        ]
        if turn % 20 == 0:
            assert list(tables.pgtable.mappings()) == sorted(model.items())
            tables.pgtable.check()
    for page in model:
        tables.pgtable.unmap_pages(page, 1)
    tables.pgtable.free_empty_tables()
    assert tables.page_alloc.nr_free == tables.free
