"""Areas that are made before anybody asks for them, many in one go, for who fills a device.

Who writes a device from its start to its end asks for one area after the other, all alike.  Each is
a walk through slab caches, free addresses, page frames, areas and page tables, though what comes
of it is known beforehand.  So while requests are served one after the other, the next areas are
made together, by slices of what there is in all these places, and handed out as they are asked for:

    vmalloc()    1st    2nd, 3rd    4th .. 7th    8th .. 15th
    made         one    two         four          eight        ... up to MOST

Nobody can tell.  Whatever looks at the machine, or allocates or frees anything else, has those that
nobody has got undone first, the last one first: then all is as if they had never been made, to the
last bit.

    made ----> handed out, by the next `vmalloc()` with the same arguments
         +---> undone, by `end()` or `undo()`, or before anything else is allocated or freed

That is so because none is made that would change more than can be told beforehand.  They end with
the per-cpu list, with the page table, with the range of free addresses; there one area is made as
ever, and may fetch the next one.  Where the cpu's slab ends, a new one in the next frame follows
(`objects_ahead`).  None is made at all while a method on the way is replaced (`replacing`), with
page_owner or without `init_on_alloc`, where an array of pages fills no object, or where it comes
from the cache of the struct vm_structs (16 pages on i386).

Linux has nothing like it.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator
from sys import byteorder
from typing import TYPE_CHECKING, Final

from .frame_words import FrameWords
from .gfp import GFP_KERNEL
from .layout import PAGE_SHIFT, PAGE_SIZE, PFN_PHYS
from .objects_ahead import ObjectsAhead
from .ram import WORD_FORMAT
from .replacing import Layer, Replaced, is_plain, replace
from .vm_struct import VM_ALLOC, VM_SHIFT

if TYPE_CHECKING:
    from .machine import Machine
    from .object_numbers import ObjectNumbers
    from .zone import Listed

__all__ = ["MOST", "VmallocAhead"]

MOST: Final = 64
"""Areas that are made in one go at the most."""
TABLE: Final = 3
"""In `_Run.growths`: a page table, and not a slab of the first, second or third cache."""
MOST_PAGES: Final = 1024
"""Pages that they have at the most, all of them."""


class _Run:
    """Areas that follow each other, made and not undone."""

    # No NamedTuple, which takes a thousandth of a second to make of so many fields.
    __slots__ = (
        *("before", "cleared", "growths", "listed", "nr_areas", "nr_pages", "objects"),
        *("start", "tables"),
    )

    def __init__(self, start: int, nr_areas: int, nr_pages: int) -> None:
        self.start = start
        self.nr_areas = nr_areas
        self.nr_pages = nr_pages
        """Of each, the guard page left out."""
        self.listed: Listed
        """The frames of all of them, and those of new slabs and page tables."""
        self.growths: list[tuple[int, int]]
        """Which of these frames are none of theirs, see `_growths()`;"""
        self.tables: list[tuple[int, int]]
        """those of page tables: which area needs it first, and which addresses."""
        self.objects: tuple[ObjectsAhead, ...]
        """What they take of slabs: struct vm_structs, vmap_areas, arrays of pages."""
        self.before: list[bytes]
        """What was where the arrays are, for each slab."""
        self.cleared: list[tuple[int, int, bytes]]
        """New slabs and page tables: for which area, in which frame, and what was in there."""


class VmallocAhead:
    """Makes them, on one machine.

    Between `begin()` and `end()` nobody may look at the machine but by reading and writing what he
    has got of it.
    """

    def __init__(self, machine: Machine) -> None:
        layout = machine.layout
        self._vm: Final = machine.vm
        self._space: Final = machine.vmap_space
        self._page_alloc: Final = machine.page_alloc
        self._slab: Final = machine.slab
        self._pgtable: Final = machine.pgtable
        self._ram: Final = machine.ram
        self._workqueue: Final = machine.workqueue
        self._pointer_size: Final = layout.pointer_size
        self._page_offset: Final = layout.page_offset
        self._word_format: Final = WORD_FORMAT[layout.pointer_size]
        self._pointers: Final = FrameWords(layout, layout.page_struct_size, layout.vmemmap)
        self._entries: Final = FrameWords(layout, PAGE_SIZE, layout.page_kernel)
        self._parts: Final = (
            *(self._vm, self._vm.vm_structs, self._space, self._space.vmap_areas),
            *(self._page_alloc, self._slab, self._pgtable, machine.memory),
        )
        self._arrays: Final[dict[int, ObjectNumbers]] = {}
        """Bytes of an array of pages -> the cache that it comes from, if it fills an object."""
        self._serving = False
        self._wanted: tuple[int, str, bool] | None = None
        """What was asked for last: size, caller, whether it is filled as a whole."""
        self._window = 1
        """How many areas of that were to be made when they were made last."""
        self._run: _Run | None = None
        self._rest: Final[list[int]] = []
        """Those of it that were not handed out, the next one last."""
        self._dirty: list[array[int]] = []
        """The frames of each that are to be filled with zeros, the next one's last."""
        # Frames of which somebody keeps the owner, and objects that are not wiped, are for others.
        if machine.init_on_alloc and machine.page_owner is None:
            replace(self._vm, "vmalloc", Layer.AHEAD, self._around)

    def begin(self) -> None:
        """Make areas ahead from now on."""
        self._serving = True

    def end(self) -> None:
        """Make none any more, and undo what nobody has got."""
        self._serving = False
        if self._run is not None:
            self.undo()

    def _around(self, plain: Replaced) -> Replaced:
        rest = self._rest

        def vmalloc(size: int, caller: str = "", whole: bool = False) -> int | None:
            wanted = size, caller, whole
            if not (rest and wanted == self._wanted) and not self._make(wanted):
                address: int | None = plain(size, caller, whole)
                return address
            if not whole and self._dirty:
                self._ram.clear_pages(self._dirty.pop())
            return rest.pop()

        return vmalloc

    def _make(self, wanted: tuple[int, str, bool]) -> bool:
        """Make some areas if they are likely to be asked for; returns whether there are any."""
        if self._run is not None:
            self.undo()
        if not self._serving or wanted != self._wanted:
            self._wanted, self._window = wanted, 1
            return False
        size, caller, whole = wanted
        self._window = min(2 * self._window, MOST)
        if size <= 0 or size % PAGE_SIZE or not self._can_be_told():
            return False
        run = self._run = self._make_run(size >> PAGE_SHIFT, caller)
        if run is None:
            return False
        starts = range(run.start, run.start + run.nr_areas * (size + PAGE_SIZE), size + PAGE_SIZE)
        self._rest.extend(reversed(starts))
        self._dirty = [] if whole else _dirty(run)
        self._workqueue.undo_first(self.undo)
        return True

    def _can_be_told(self) -> bool:
        """Whether nothing stands or waits on the way."""
        return not self._workqueue.pending and all(map(is_plain, self._parts))

    def _make_run(self, nr_pages: int, caller: str) -> _Run | None:
        space, pgtable, page_alloc = self._space, self._pgtable, self._page_alloc
        array_size, slots = nr_pages * self._pointer_size, nr_pages + 1
        area_size = slots << PAGE_SHIFT
        kind = area_size, VM_ALLOC, caller, nr_pages, False
        start, count = space.next_run(area_size)
        room = space.busy.room(start, kind)
        count = min(count, self._window, MOST_PAGES // nr_pages, room)
        arrays = self._arrays.get(array_size) or self._arrays_of(array_size)
        if count < 1 or arrays is None:
            return None
        caches = self._vm.vm_structs, space.vmap_areas, arrays
        may_grow = page_alloc.has_single_frames
        if not all(cache.refill(GFP_KERNEL, may_grow) for cache in caches):
            return None
        grows = page_alloc.shares_list
        objects = tuple([ObjectsAhead(each, self._slab, count, grows) for each in caches])
        count = min(count, *[each.reach for each in objects])
        count, tables = self._missing_tables(start, count, nr_pages, grows)
        growths = _growths(objects, tables, count)
        if count * nr_pages + len(growths) > page_alloc.nr_listed:
            count = (page_alloc.nr_listed - len(growths)) // nr_pages
            growths = [growth for growth in growths if growth[0] < count]
            tables = [table for table in tables if table[0] < count]
        if count < 1:
            return None
        run = _Run(start, count, nr_pages)
        run.objects, run.growths, run.tables = objects, growths, tables
        run.listed = page_alloc.alloc_listed(count * nr_pages + len(growths))
        frames, new, run.cleared = self._sorted_out(run)
        for each, of_each in zip(objects, new, strict=False):
            each.take(count, of_each)
        for (_, address), pfn in zip(tables, new[TABLE], strict=True):
            pgtable.grow_at(address, pfn)
        pfns = array(self._word_format, frames)
        entries = self._entries_of(pfns, nr_pages, count)
        for first, nr, nr_mapped in self._spans(start, 0, count, nr_pages):
            pgtable.map_run(start + (first << PAGE_SHIFT), entries[first : first + nr], nr_mapped)
        space.free_areas.take_run(count * area_size)
        vms, vas, arrays_taken = objects
        space.busy.add_run(start, kind, arrays_taken.addresses(), _paired(vms, vas))
        self._vm.nr_vmalloc_pages += count * nr_pages
        run.before = self._write_arrays(pfns, arrays_taken)
        return run

    def _missing_tables(
        self, start: int, count: int, nr_pages: int, grows: bool
    ) -> tuple[int, list[tuple[int, int]]]:
        """(area that needs it first, address) of page tables that are to be made.

        And how many of the areas there can be, if they are to be made ahead.
        """
        slots = nr_pages + 1
        tables: list[tuple[int, int]] = []
        for slot, _ in self._pgtable.spans(start, count * slots - 1):
            address = start + (slot << PAGE_SHIFT)
            if not self._pgtable.has_table(address):
                area = (slot + 1) // slots  # behind it, if it is the guard page's
                if not grows or not self._pgtable.may_grow_at(address):
                    return area, tables
                tables.append((area, address))
        return count, tables

    def _spans(
        self, start: int, first: int, count: int, nr_pages: int
    ) -> Iterator[tuple[int, int, int]]:
        """(first slot, how many, how many are mapped) of each page table, from an area on."""
        slots = nr_pages + 1
        begin, nr = first * slots, (count - first) * slots - 1
        for slot, n in self._pgtable.spans(start + (begin << PAGE_SHIFT), nr):
            at, end = begin + slot, begin + slot + n
            guards = end // slots - at // slots
            yield at, n, n - guards

    def _sorted_out(
        self, run: _Run
    ) -> tuple[array[int], list[list[int]], list[tuple[int, int, bytes]]]:
        """The frames of the areas, and those of each kind of growth, which are zeros then.

        And what was in these, as `_Run.cleared` has it.
        """
        new: list[list[int]] = [[], [], [], []]
        cleared: list[tuple[int, int, bytes]] = []
        if not run.growths:
            return run.listed.frames, new, cleared
        frames, ram = run.listed.frames[:], self._ram.bytes
        for place, (area, kind) in reversed([*enumerate(run.growths)]):
            at = (area + (kind == TABLE)) * run.nr_pages + place
            pfn = frames.pop(at)
            new[kind].insert(0, pfn)
            if at < run.listed.dirty:
                cleared.append((area, pfn, bytes(ram[PFN_PHYS(pfn) : PFN_PHYS(pfn + 1)])))
                self._ram.clear_pages((pfn,))
        return frames, new, cleared

    def _arrays_of(self, array_size: int) -> ObjectNumbers | None:
        """The cache that arrays of so many bytes come from, if they fill its objects."""
        if array_size > PAGE_SIZE:  # it is an area itself
            return None
        cache = self._slab.kmalloc_slab(array_size)
        if cache.size != array_size or cache is self._vm.vm_structs.cache:
            return None
        arrays = self._arrays[array_size] = self._slab.numbers(cache)
        return arrays

    def _entries_of(self, pfns: array[int], nr_pages: int, count: int) -> array[int]:
        """The page-table entries of `count` areas, with those of the guard pages between them."""
        words = array(self._word_format, self._entries.of(pfns))
        slots = nr_pages + 1
        entries = array(self._word_format, bytes((count * slots - 1) * self._pointer_size))
        if nr_pages < count:
            for page in range(nr_pages):
                entries[page::slots] = words[page::nr_pages]
        else:
            for at in range(count):
                entries[at * slots : at * slots + nr_pages] = words[at * nr_pages :][:nr_pages]
        return entries

    def _write_arrays(self, pfns: array[int], arrays: ObjectsAhead) -> list[bytes]:
        """Write the arrays of pages, side by side in each slab; returns what was there."""
        words, at, ram = self._pointers.of(pfns), 0, self._ram.bytes
        before = []
        for piece in arrays.pieces:
            span = self._span(piece.addresses)
            size, nbytes = abs(piece.addresses.step), span.stop - span.start
            part = words[at : at + nbytes]
            if piece.addresses.step < 0:
                part = b"".join([part[i : i + size] for i in range(nbytes - size, -1, -size)])
            before.append(bytes(ram[span]))
            ram[span] = part
            at += nbytes
        return before

    def _span(self, addresses: range) -> slice:
        """The bytes of RAM of objects that lie side by side."""
        lowest = min(addresses[0], addresses[-1]) - self._page_offset
        return slice(lowest, lowest + len(addresses) * abs(addresses.step))

    def undo(self) -> None:
        """Have those that nobody has got as if they had never been made."""
        run, left, start = self._run, len(self._rest), self._rest[-1] if self._rest else 0
        self._run, self._dirty = None, []
        self._rest.clear()
        self._workqueue.undo_first(None)
        if run is None or not left:
            return
        taken, nr_pages, slots = run.nr_areas - left, run.nr_pages, run.nr_pages + 1
        self._window = max(taken, 1)
        self._vm.nr_vmalloc_pages -= left * nr_pages
        self._restore_arrays(run, taken)
        self._space.busy.drop_run(start, left)
        self._space.free_areas.take_run(-(left * slots << PAGE_SHIFT))
        for first, nr, nr_mapped in self._spans(run.start, taken, run.nr_areas, nr_pages):
            self._pgtable.forget_run(run.start + (first << PAGE_SHIFT), nr, nr_mapped)
        for area, address in reversed(run.tables):
            if area >= taken:
                self._pgtable.shrink_at(address)
        for each in run.objects:
            each.undo(taken)
        for area, pfn, before in run.cleared:
            if area >= taken:
                self._ram.bytes[PFN_PHYS(pfn) : PFN_PHYS(pfn + 1)] = before
        growths = bisect_left(run.growths, (taken,))
        self._page_alloc.put_listed(run.listed, taken * nr_pages + growths)

    def _restore_arrays(self, run: _Run, taken: int) -> None:
        """Have in RAM what was where the arrays of all but the first areas are."""
        for piece, before in zip(run.objects[2].pieces, run.before, strict=True):
            addresses = piece.addresses[taken:]
            taken = max(taken - len(piece.addresses), 0)
            if addresses:
                span, whole = self._span(addresses), self._span(piece.addresses)
                self._ram.bytes[span] = before[span.start - whole.start :][: span.stop - span.start]

    @property
    def nr_ahead(self) -> int:
        """How many areas there are that nobody has got."""
        return len(self._rest)

    def __repr__(self) -> str:
        return f"<VmallocAhead areas={self.nr_ahead} window={self._window}>"


def _growths(
    objects: tuple[ObjectsAhead, ...], tables: list[tuple[int, int]], count: int
) -> list[tuple[int, int]]:
    """(area, place in `objects`) of each new slab, (area, TABLE) of each table, in their order.

    A slab's frame comes before those of the area that needs it first, and a page table's behind.
    """
    found = [(at, place) for place, each in enumerate(objects) for at in each.grown_at(count)]
    found += [(area, TABLE) for area, _ in tables]
    found.sort()
    return found


def _paired(vms: ObjectsAhead, vas: ObjectsAhead) -> array[int]:
    """`objects_of()` each pair, all at once."""
    high, low = (int.from_bytes(each.numbers(), byteorder) for each in (vms, vas))
    pairs = high << VM_SHIFT | low
    return array("Q", pairs.to_bytes(8 * len(vms), byteorder))


def _dirty(run: _Run) -> list[array[int]]:
    """The frames of each area but for those that read as zeros already, the last area first."""
    frames, dirty = run.listed.frames, run.listed.dirty
    parts = []
    for area in range(run.nr_areas - 1, -1, -1):
        first = area * run.nr_pages + bisect_left(run.growths, (area, TABLE))
        parts.append(frames[first : min(first + run.nr_pages, dirty)])
    return parts
