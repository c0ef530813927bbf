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

That is so because none is made that would change more than its own place.  They end with the cpu's
slab, with the per-cpu list, with the page table, with the range of free addresses; there one area
is made as ever, and may fetch the next one.  (A slab's successor may be fetched for the first of
them, which is asked for already.)  None is made at all while a method on the way is replaced
(`replacing`), with page_owner or without `init_on_alloc`, where an array of pages fills no object,
or where it comes from the cache of the struct vm_structs (16 pages on i386).

Linux has nothing like it.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Final, NamedTuple

from .frame_words import FrameWords
from .gfp import GFP_KERNEL
from .layout import PAGE_SHIFT, PAGE_SIZE
from .ram import WORD_FORMAT
from .replacing import Layer, Replaced, is_plain, replace, times
from .vm_struct import VM_ALLOC, objects_of

if TYPE_CHECKING:
    from .machine import Machine
    from .object_numbers import ObjectNumbers
    from .zone import Listed

__all__ = ["MOST", "VmallocAhead"]

MOST: Final = 64
"""Areas that are made in one go at the most."""
MOST_PAGES: Final = 1024
"""Pages that they have at the most, all of them."""


class _Run(NamedTuple):
    """Areas that follow each other, made and not undone."""

    start: int
    nr_pages: int
    """Of each, the guard page left out."""
    listed: Listed
    """The frames of all of them."""
    objects: list[tuple[ObjectNumbers, range]]
    """What they take of slabs: of each cache an object for an area."""
    arrays: range
    """Where the arrays of their pages are in RAM,"""
    before: bytes
    """and what was there, the lowest first."""

    @property
    def nr_areas(self) -> int:
        """How many there are."""
        return len(self.arrays)


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
        self._replaced = -1
        """How often methods had been replaced when it was looked whether any of these are,"""
        self._are_plain = False
        """and that none was."""
        self._arrays: Final[dict[int, ObjectNumbers]] = {}
        """Bytes of an array of pages -> the cache that it comes from, if it fills an object."""
        self._serving = False
        self._wanted: tuple[int, str, bool] | None = None
        """What was asked for last: size, caller, whether it is filled as a whole."""
        self._window = 1
        """How many areas of that were to be made when they were made last."""
        self._run: _Run | None = None
        self._left = 0
        """How many of it were not handed out,"""
        self._next = self._step = 0
        """the address of the first of these, and how far the next one is from there."""
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
        def vmalloc(size: int, caller: str = "", whole: bool = False) -> int | None:
            wanted = size, caller, whole
            if not (self._left and wanted == self._wanted) and not self._make(wanted):
                address: int | None = plain(size, caller, whole)
                return address
            self._left -= 1
            if self._dirty:
                self._ram.clear_pages(self._dirty.pop())
            start = self._next
            self._next = start + self._step
            return start

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
        self._left, self._next, self._step = run.nr_areas, run.start, size + PAGE_SIZE
        self._dirty = [] if whole else _dirty(run.listed, run.nr_pages)
        self._workqueue.undo_first(self.undo)
        return True

    def _can_be_told(self) -> bool:
        """Whether nothing stands or waits on the way."""
        if self._replaced != times():
            self._replaced, self._are_plain = times(), all(map(is_plain, self._parts))
        return self._are_plain and not self._workqueue.pending

    def _make_run(self, nr_pages: int, caller: str) -> _Run | None:
        space, pgtable, page_alloc = self._space, self._pgtable, self._page_alloc
        array_size, slots = nr_pages * self._pointer_size, nr_pages + 1
        area_size = slots << PAGE_SHIFT
        kind = area_size, VM_ALLOC, caller, nr_pages, False
        start, count = space.next_run(area_size)
        count = min(
            *(count, self._window, MOST_PAGES // nr_pages, space.busy.room(start, kind)),
            (pgtable.room(start) + 1) // slots,
        )
        arrays = self._arrays.get(array_size) or self._arrays_of(array_size)
        if count < 1 or arrays is None:
            return None
        caches = self._vm.vm_structs, space.vmap_areas, arrays
        if not all(cache.refill(GFP_KERNEL) for cache in caches):
            return None
        count = min(count, page_alloc.nr_listed // nr_pages)  # new slabs have taken some
        if count < 1:
            return None
        numbers = [cache.next_listed(count) for cache in caches]
        count = min(map(len, numbers))
        vms, vas, array_numbers = numbers = [each[:count] for each in numbers]
        for cache, each in zip(caches, numbers, strict=True):
            cache.alloc_listed(each)
        listed = page_alloc.alloc_listed(count * nr_pages)
        pfns = array(self._word_format, listed.frames)
        pgtable.map_run(start, self._entries_of(pfns, nr_pages, count), count * nr_pages)
        space.free_areas.take_run(count * area_size)
        data = arrays.addresses(array_numbers)
        step = objects_of(vms.step, 0) + vas.step
        first = objects_of(vms.start, vas.start)
        space.busy.add_run(start, kind, data, range(first, first + count * step, step))
        self._vm.nr_vmalloc_pages += count * nr_pages
        before = self._write_arrays(pfns, data)
        return _Run(start, nr_pages, listed, [*zip(caches, numbers, strict=True)], data, before)

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

    def _write_arrays(self, pfns: array[int], arrays: range) -> bytes:
        """Write the arrays of pages, which lie side by side; returns what was there."""
        words, size = self._pointers.of(pfns), abs(arrays.step)
        if arrays.step < 0:
            firsts = range(len(words) - size, -1, -size)
            words = b"".join([words[first : first + size] for first in firsts])
        phys = min(arrays[0], arrays[-1]) - self._page_offset
        ram = self._ram.bytes
        before = bytes(ram[phys : phys + len(words)])
        ram[phys : phys + len(words)] = words
        return before

    def undo(self) -> None:
        """Have those that nobody has got as if they had never been made."""
        run, left = self._run, self._left
        self._run, self._left, self._dirty = None, 0, []
        self._workqueue.undo_first(None)
        if run is None or not left:
            return
        taken, nr_pages, slots = run.nr_areas - left, run.nr_pages, run.nr_pages + 1
        self._window = max(taken, 1)
        self._vm.nr_vmalloc_pages -= left * nr_pages
        self._restore_arrays(run, taken)
        self._space.busy.drop_run(self._next, left)
        self._space.free_areas.take_run(-left * self._step)
        self._pgtable.forget_run(self._next, left * slots - 1, left * nr_pages)
        self._page_alloc.put_listed(run.listed, taken * nr_pages)
        for cache, numbers in run.objects:
            cache.free_bulk(reversed(numbers[taken:]))

    def _restore_arrays(self, run: _Run, taken: int) -> None:
        arrays, size = run.arrays[taken:], abs(run.arrays.step)
        lowest = min(run.arrays[0], run.arrays[-1])
        first = min(arrays[0], arrays[-1])
        before = run.before[first - lowest :][: len(arrays) * size]
        self._ram.bytes[first - self._page_offset :][: len(before)] = before

    def __repr__(self) -> str:
        return f"<VmallocAhead window={self._window}>"


def _dirty(listed: Listed, nr_pages: int) -> list[array[int]]:
    """The frames of each area but for those that read as zeros already, the last area first."""
    frames, dirty = listed.frames, listed.dirty
    firsts = range(0, len(frames), nr_pages)
    return [frames[first : min(first + nr_pages, dirty)] for first in reversed(firsts)]
