"""The per-cpu allocator: memory of which each CPU has its own copy.

A chunk is an area at the end of the vmalloc window, with a unit for each CPU.  An object has the
same place in all of them; page frames come as objects do.

             base             base + unit        ...
    chunk    | a |  b  |free  | a |  b  |free  | ...      of CPU 0, of CPU 1 ...
               ^ where __alloc_percpu() says a is

Chunks are kept by the largest object that they have room for, and the one with the least that will
do is taken.  The lowest place that fits is the object's (`percpu_chunk`).  When all of a chunk is
free, and all of another one, its frames and addresses are freed.

Confessed: the kernel's own variables are not there, so there is no first chunk, which would lie in
the linear mapping; frames come for what is asked for alone, and not a few ahead, and stay until the
chunk goes.  `VM_NO_GUARD` says that there is no guard page, which in Linux only the size tells.

Linux: mm/percpu.c, mm/percpu-vm.c
"""

from __future__ import annotations

from array import array
from typing import Final, NamedTuple, TypedDict

from .access import KernelMemory
from .errors import KernelBug
from .frame_words import FrameWords
from .gfp import __GFP_HIGHMEM as HIGHMEM
from .gfp import __GFP_NOWARN as NOWARN
from .gfp import __GFP_ZERO as ZERO
from .gfp import GFP_KERNEL
from .layout import PAGE_SHIFT, PAGE_SIZE, Layout
from .page_alloc import PageAllocator
from .percpu_chunk import Chunk, ChunkState
from .pgtable import PageTables
from .printk import KERN_INFO, KERN_WARNING, KernelLog
from .ram import WORD_FORMAT
from .restoring import Claims
from .slab import Slab
from .vm_struct import VM_ALLOC, VM_NO_GUARD, VmKind, objects_of
from .vmalloc import Vmalloc
from .vmap import VmapSpace

__all__ = ["Percpu", "PercpuState", "PercpuStatistics"]

MIN_ALLOC_SIZE: Final = 4
"""PCPU_MIN_ALLOC_SIZE: sizes and places are multiples of it."""
MIN_UNIT_SIZE: Final = 32 << 10
"""PCPU_MIN_UNIT_SIZE: no object is larger."""
SLOT_BASE_SHIFT: Final = 5
"""Chunks with less room than 2**5 bytes are in the same slot (PCPU_SLOT_BASE_SHIFT)."""
WARN_LIMIT: Final = 10
"""How many failures are reported."""

FIRST_CHUNK: Final = {
    "x86_64": 61 << PAGE_SHIFT,
    "i386": 42 << PAGE_SHIFT,
    "arm64": 33 << PAGE_SHIFT,
}
"""Architecture -> bytes that the first chunk has for each CPU, about as in Debian's kernels."""
ATOM_SIZE: Final = {"x86_64": 2 << 20}
"""Architecture -> what a chunk is a multiple of, where that is not PAGE_SIZE.

Linux: arch/x86/kernel/setup_percpu.c:setup_per_cpu_areas()
"""

BLOCK_MD_SIZE: Final = 32
"""Bytes of a struct pcpu_block_md, of which there is one for each page of a unit."""
CHUNK_WORDS: Final = 24
"""Of a struct pcpu_chunk, without the bits of its pages."""


class PercpuStatistics(NamedTuple):
    """The per-cpu allocator's books."""

    chunks: int
    objects: int
    pages: int
    """Frames that it holds (Percpu in /proc/meminfo)."""


class PercpuState(TypedDict):
    """All chunks, slot by slot: where their frames are the page tables tell."""

    slots: list[list[ChunkState]]
    pages_array: int | None
    warnings_left: int


class Percpu:
    """The per-cpu allocator of one machine.

    Args:
        cpus: how many copies there are of everything.
    """

    def __init__(
        self,
        vm: Vmalloc,
        vmap_space: VmapSpace,
        page_alloc: PageAllocator,
        slab: Slab,
        pgtable: PageTables,
        memory: KernelMemory,
        layout: Layout,
        log: KernelLog,
        cpus: int,
    ) -> None:
        self._vm = vm
        self._vmap_space = vmap_space
        self._page_alloc = page_alloc
        self._slab = slab
        self._pgtable = pgtable
        self._memory = memory
        self._layout = layout
        self._log = log
        self._cpus = cpus
        self._atom_size: Final = ATOM_SIZE.get(layout.name, PAGE_SIZE)
        self.unit_size, self.nr_units = _units(FIRST_CHUNK[layout.name], self._atom_size, cpus)
        """Bytes of a unit, and how many of them a chunk has, one for each CPU at least."""
        self._sidelined_slot: Final = _size_to_slot(self.unit_size) + 1
        self._free_slot: Final = self._sidelined_slot + 1
        self._slots: Final[list[list[Chunk]]] = [[] for _ in range(self._free_slot + 1)]
        """The chunks by the room that they have, in the last one those that are all free."""
        self._entries: Final = FrameWords(layout, PAGE_SIZE, layout.page_kernel)
        self._word_format: Final = WORD_FORMAT[layout.pointer_size]
        self._pages_array: int | None = None
        """Kernel address of the array that frames are collected in, once there was need for one."""
        self._warnings_left = WARN_LIMIT

    def alloc_percpu(self, size: int, align: int, gfp: int = GFP_KERNEL) -> int | None:
        """Allocate zeros for each CPU, 1 byte to 32 KiB at a multiple of `align`.

        Returns:
            The address of the first CPU's; `per_cpu_ptr()` has the others.  None without memory,
            with a line in the kernel log; and, with a warning there, of another size, or an
            alignment that is no power of two or above PAGE_SIZE.

        Linux: mm/percpu.c:pcpu_alloc_noprof()
        """
        align = max(align, MIN_ALLOC_SIZE)
        size = -(-size // MIN_ALLOC_SIZE) * MIN_ALLOC_SIZE
        if not 0 < size <= MIN_UNIT_SIZE or align > PAGE_SIZE or align & (align - 1):
            self._log.warn(
                f"illegal size ({size}) or align ({align}) for percpu allocation",
                "pcpu_alloc_noprof",
            )
            return None
        found = self._find(size, align)
        if found is None:
            self._failed(size, align, gfp, "failed to allocate new chunk")
            return None
        chunk, at = found
        self._relocate(chunk)
        if not self._populate(chunk, at, size, gfp):
            chunk.give_back(at)
            self._relocate(chunk)
            self._failed(size, align, gfp, "failed to populate")
            return None
        address = chunk.base + at
        for cpu in range(self._cpus):
            self._memory.memset(self.per_cpu_ptr(address, cpu), 0, size)
        return address

    def per_cpu_ptr(self, address: int, cpu: int) -> int:
        """Where a CPU's copy is (Linux: include/linux/percpu-defs.h:per_cpu_ptr())."""
        return address + cpu * self.unit_size

    def _find(self, size: int, align: int) -> tuple[Chunk, int] | None:
        """A chunk, a new one if need be, and the place in it; None without memory for that."""
        for slot in self._slots[self._slot_of_room(size) :]:
            for chunk in slot:
                at = chunk.take(size, align)
                if at is not None:
                    return chunk, at
        new = self._create_chunk()
        at = None if new is None else new.take(size, align)
        return None if new is None or at is None else (new, at)

    def _slot_of_room(self, size: int) -> int:
        """Linux: mm/percpu.c:pcpu_size_to_slot()"""
        return self._free_slot if size == self.unit_size else _size_to_slot(size)

    def _relocate(self, chunk: Chunk) -> None:
        """Have a chunk in the slot of the room that it has now.

        Linux: mm/percpu.c:pcpu_chunk_relocate()
        """
        room = chunk.room
        slot = self._slot_of_room(room) if room else 0
        if slot != chunk.slot:
            self._slots[chunk.slot].remove(chunk)
            self._slots[slot].insert(0 if slot > chunk.slot else len(self._slots[slot]), chunk)
            chunk.slot = slot

    def _create_chunk(self) -> Chunk | None:
        """Linux: mm/percpu.c:pcpu_alloc_chunk(), mm/percpu-vm.c:pcpu_create_chunk()"""
        bits, word = self.unit_size // MIN_ALLOC_SIZE, self._layout.pointer_size
        unit_pages = self.unit_size >> PAGE_SHIFT
        records: list[int] = []
        for nbytes in (
            CHUNK_WORDS * word + -(-unit_pages // (word * 8)) * word,  # itself
            -(-bits // (word * 8)) * word,  # alloc_map
            -(-(bits + 1) // (word * 8)) * word,  # bound_map
            unit_pages * BLOCK_MD_SIZE,  # md_blocks
            bits * word,  # obj_exts, of who is accounted for what
        ):
            record = self._mem_zalloc(nbytes)
            if record is None:
                self._mem_free(records)
                return None
            records.append(record)
        base = self._get_vm_area()
        if base is None:
            self._mem_free(records)
            return None
        chunk = Chunk(base, self.unit_size, records)
        chunk.slot = self._free_slot
        self._slots[chunk.slot].append(chunk)
        return chunk

    def _mem_zalloc(self, size: int) -> int | None:
        """Linux: mm/percpu.c:pcpu_mem_zalloc()"""
        if size <= PAGE_SIZE:
            return self._slab.kmalloc(size, GFP_KERNEL | ZERO)
        return self._vm.vzalloc(size, "pcpu_create_chunk")

    def _mem_free(self, addresses: list[int]) -> None:
        for address in reversed(addresses):
            self._vm.kvfree(address)

    def _get_vm_area(self) -> int | None:
        """Addresses for a chunk (Linux: mm/vmalloc.c:pcpu_get_vm_areas())."""
        size = self.unit_size * self.nr_units
        vm = self._vm.vm_structs.alloc(GFP_KERNEL | ZERO)
        area = self._vmap_space.alloc_highest(size, self._atom_size) if vm else None
        if area is None:
            if vm:
                self._vm.vm_structs.free(vm)
            return None
        start, va = area
        kind = VmKind(size, VM_ALLOC | VM_NO_GUARD, "pcpu_get_vm_areas")
        self._vmap_space.busy.add(start, kind, 0, objects_of(vm, va))
        return start

    def _populate(self, chunk: Chunk, at: int, size: int, gfp: int) -> bool:
        """Have frames for an object in all units (Linux: mm/percpu-vm.c:pcpu_populate_chunk())."""
        touched = range(at >> PAGE_SHIFT, ((at + size - 1) >> PAGE_SHIFT) + 1)
        wanted = [page for page in touched if page not in chunk.populated]
        if not wanted:
            return True
        if self._pages_array is None:
            nbytes = self.nr_units * (self.unit_size >> PAGE_SHIFT) * self._layout.pointer_size
            self._pages_array = self._mem_zalloc(nbytes)
            if self._pages_array is None:
                return False
        frames = array("I")
        for _ in range(self._cpus * len(wanted)):
            pfn = self._page_alloc.alloc_pages(gfp | HIGHMEM, 0)
            if pfn is None:
                self._page_alloc.free_frames(frames)
                return False
            frames.append(pfn)
        entries = array(self._word_format, self._entries.of(array(self._word_format, frames)))
        places = [
            self.per_cpu_ptr(chunk.base, cpu) + (page << PAGE_SHIFT)
            for cpu in range(self._cpus)
            for page in wanted
        ]
        for place, entry in zip(places, entries, strict=True):
            if not self._pgtable.map_pages(place, array(self._word_format, [entry])):
                for mapped in places:
                    self._pgtable.unmap_pages(mapped, 1)
                self._page_alloc.free_frames(frames)
                return False
        chunk.populated.update(wanted)
        return True

    def free_percpu(self, address: int | None) -> None:
        """Free what `alloc_percpu()` gave, by its address; None is fine.

        Raises:
            KernelBug: there is nothing (Linux follows a pointer that is none).

        Linux: mm/percpu.c:free_percpu()
        """
        if address is None:
            return
        for chunk in self._chunks():
            if address - chunk.base in chunk.objects:
                break
        else:
            raise KernelBug(f"free_percpu: nothing is at {address:#x}")
        chunk.give_back(address - chunk.base)
        self._relocate(chunk)
        if not chunk.objects:
            self._balance_free()

    def _balance_free(self) -> None:
        """Destroy the chunks that are all free but one (Linux: mm/percpu.c:pcpu_balance_free())."""
        _, *surplus = self._slots[self._free_slot]
        for chunk in surplus:
            self._slots[self._free_slot].remove(chunk)
            unmapped = self._pgtable.unmap_pages(
                chunk.base, (self.unit_size >> PAGE_SHIFT) * self.nr_units
            )
            self._page_alloc.free_frames(array("I", filter(None, unmapped)))
            self._vm.vunmap(chunk.base)
            self._mem_free(chunk.records)

    def _failed(self, size: int, align: int, gfp: int, why: str) -> None:
        if gfp & NOWARN or not self._warnings_left:
            return
        self._log.printk(
            KERN_WARNING,
            f"percpu: allocation failed, size={size} align={align} atomic=0, {why}",
        )
        self._log.dump_stack(["pcpu_alloc_noprof"])
        self._warnings_left -= 1
        if not self._warnings_left:
            self._log.printk(KERN_INFO, "percpu: limit reached, disable warning")

    def _chunks(self) -> list[Chunk]:
        return [chunk for slot in self._slots for chunk in slot]

    def statistics(self) -> PercpuStatistics:
        """The books as they stand now."""
        chunks = self._chunks()
        return PercpuStatistics(
            chunks=len(chunks),
            objects=sum(len(chunk.objects) for chunk in chunks),
            pages=sum(len(chunk.populated) for chunk in chunks) * self._cpus,
        )

    def __repr__(self) -> str:
        books = self.statistics()
        return f"<Percpu chunks={books.chunks} objects={books.objects} pages={books.pages}>"

    def state(self) -> PercpuState:
        """All of it, as plain data."""
        return {
            "slots": [[chunk.state() for chunk in slot] for slot in self._slots],
            "pages_array": self._pages_array,
            "warnings_left": self._warnings_left,
        }

    def restore(self, state: PercpuState, claims: Claims) -> None:
        """Have these chunks, whose areas and frames are there already."""
        for number, (slot, chunks) in enumerate(zip(self._slots, state["slots"], strict=True)):
            slot[:] = [Chunk.restored(chunk, self.unit_size) for chunk in chunks]
            for chunk in slot:
                chunk.slot = number
                area = self._vmap_space.busy.find(chunk.base)
                assert area is not None
                assert area.va_start == chunk.base
        self._pages_array, self._warnings_left = state["pages_array"], state["warnings_left"]
        claims.take_each(self.check())

    def check(self) -> set[int]:
        """Assert the invariants; return the frames that are held.  Slow: for tests.

        - objects and free ranges cover a unit, and no two of them overlap
        - a chunk is in the slot of the room that it has
        - each page that an object lies in is mapped in all units, and no frame twice
        """
        owned: set[int] = set()
        for number, slot in enumerate(self._slots):
            for chunk in slot:
                room = chunk.room
                assert number == chunk.slot == (self._slot_of_room(room) if room else 0)
                chunk.check()
                for at, size in chunk.objects.items():
                    touched = range(at >> PAGE_SHIFT, ((at + size - 1) >> PAGE_SHIFT) + 1)
                    assert chunk.populated.issuperset(touched)
                for cpu in range(self._cpus):
                    for page in chunk.populated:
                        pfn = self._vm.vmalloc_to_pfn(
                            self.per_cpu_ptr(chunk.base, cpu) + (page << PAGE_SHIFT)
                        )
                        assert pfn is not None
                        assert pfn not in owned
                        owned.add(pfn)
        return owned


def _size_to_slot(size: int) -> int:
    """Linux: mm/percpu.c:__pcpu_size_to_slot()"""
    return max(size.bit_length() - SLOT_BASE_SHIFT + 2, 1)


def _units(bytes_per_cpu: int, atom_size: int, cpus: int) -> tuple[int, int]:
    """How large units are, and how many of them a chunk has.

    As many of them go into an atom as waste a third of it at the most, and no more atoms.
    Linux: mm/percpu.c:pcpu_build_alloc_info()
    """
    alloc_size = -(-bytes_per_cpu // atom_size) * atom_size
    best, fewest = 1, cpus + 1
    for count in range(alloc_size // bytes_per_cpu, 0, -1):
        if alloc_size % count or alloc_size // count % PAGE_SIZE:
            continue
        allocs = -(-cpus // count)
        if allocs * count - cpus > cpus // 3:
            continue
        if allocs > fewest:
            break
        best, fewest = count, allocs
    return alloc_size // best, -(-cpus // best) * best
