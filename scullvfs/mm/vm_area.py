"""What vmalloc, vmap and ioremap have in common: an area, mapped, looked up and taken away again.

An area is a range of addresses (`vmap` gives them out) with what lives there.  The page behind the
last one is never mapped: running over the end is a page fault and not a neighbour's corrupted
data.  Which frames an area has stands in the page tables and nowhere else.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Final, NamedTuple

from .access import KernelMemory
from .errors import PageFault
from .frame_words import FrameWords
from .gfp import __GFP_ZERO as ZERO
from .gfp import GFP_KERNEL, GFP_RECLAIM_MASK
from .layout import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE, PFN_PHYS, PHYS_PFN, Layout
from .page_alloc import PageAllocator
from .pgtable import PageTables
from .printk import KernelLog
from .ram import WORD_FORMAT
from .slab import Slab
from .vm_struct import VA_MASK, VM_ALLOC, VM_IOREMAP, VM_MAP_RAM, VM_SHIFT, VmKind, VmStruct
from .vmap import VmapSpace
from .vmap_block import VmapBlocks

__all__ = ["Page", "VmAreas"]


class Page(NamedTuple):
    """One page frame (as little of Linux's struct page as anybody needs here)."""

    pfn: int

    @property
    def phys(self) -> int:
        """Its physical address."""
        return PFN_PHYS(self.pfn)


class VmAreas:
    """The areas of one machine: what each kind of them is made with."""

    def __init__(
        self,
        vmap_space: VmapSpace,
        page_alloc: PageAllocator,
        slab: Slab,
        pgtable: PageTables,
        memory: KernelMemory,
        layout: Layout,
        log: KernelLog,
    ) -> None:
        self._vmap_space = vmap_space
        self._page_alloc = page_alloc
        self._workqueue = page_alloc.workqueue
        self._slab = slab
        self._pgtable = pgtable
        self._memory = memory
        self._layout = layout
        self._log = log
        self.vm_structs: Final = slab.numbers(slab.kmalloc_slab(layout.vm_struct_size))
        self._blocks: Final = VmapBlocks(vmap_space, slab, layout)
        self._page_pointers: Final = FrameWords(layout, layout.page_struct_size, layout.vmemmap)
        self._entries: Final = FrameWords(layout, PAGE_SIZE, layout.page_kernel)
        self._io_entries: Final = FrameWords(layout, PAGE_SIZE, layout.page_kernel_io)
        self._word_format: Final = WORD_FORMAT[layout.pointer_size]
        self.nr_vmalloc_pages = 0
        """Frames that vmalloc() holds (VmallocUsed in /proc/meminfo)."""

    def _get_vm_area(self, size: int, align: int, gfp: int = GFP_KERNEL) -> tuple[int, int] | None:
        """Addresses for `size` bytes, the guard page included, and what they take of slabs.

        None when there is no memory, or no addresses.
        Linux: mm/vmalloc.c:__get_vm_area_node()
        """
        if self._workqueue.pending:
            self._workqueue.flush()
        vm = self.vm_structs.alloc(gfp & GFP_RECLAIM_MASK | ZERO)
        if not vm:
            return None
        try:
            area = self._vmap_space.alloc_vmap_area(size, align, gfp)
        except PageFault:  # somebody has overwritten what they go by
            self.vm_structs.free(vm)
            raise
        if area is None:
            self.vm_structs.free(vm)
            return None
        start, va = area
        return start, vm << VM_SHIFT | va  # as `objects_of()`

    def _free_vm_area(self, start: int, size: int, objects: int) -> None:
        """Undo `_get_vm_area()` (Linux: mm/vmalloc.c:free_vm_area())."""
        self._vmap_space.free_vmap_area_noflush(start, size, objects & VA_MASK)
        self.vm_structs.free(objects >> VM_SHIFT)

    def _remove_vm_area(self, address: int) -> tuple[VmKind, int, int, array[int]] | None:
        """Unmap the area that `address` lies in and free its addresses.

        Returns its kind, its data, the number of its struct vm_struct, which the caller frees (0
        for none), and the frames that it was mapped to, 0 for the guard page.
        Linux: mm/vmalloc.c:remove_vm_area()
        """
        if address & ~PAGE_MASK:
            self._log.warn(
                f"Trying to vfree() bad address ({self._layout.pointer(address)})", "remove_vm_area"
            )
            return None
        if self._workqueue.pending:
            self._workqueue.flush()
        area = self._vmap_space.busy.pop(address)
        if area is None:
            return None
        start, kind, data, objects = area
        size, flags, _, _, _ = kind
        if flags & VM_MAP_RAM:  # Linux loses it here; it stays
            self._vmap_space.busy.add(*area)
            return None
        frames = self._pgtable.unmap_pages(start, size >> PAGE_SHIFT)
        self._vmap_space.free_vmap_area_noflush(start, size, objects & VA_MASK)
        return kind, data, objects >> VM_SHIFT, frames

    def _remove(self, address: int) -> bool:
        """Take an area away whose frames are others'; returns whether there was one."""
        removed = self._remove_vm_area(address)
        if removed is None:
            return False
        if removed[2]:
            self.vm_structs.free(removed[2])
        return True

    def find_vm_area(self, address: int) -> VmStruct | None:
        """What lives at `address`, or None (Linux: mm/vmalloc.c:find_vm_area())."""
        area = self._vmap_space.busy.find(address)
        if area is None or area.kind.flags & VM_MAP_RAM:
            return None
        size, flags, caller, nr_pages, _ = area.kind
        return VmStruct(
            addr=area.va_start,
            size=size,
            flags=flags,
            caller=caller,
            pages=self._pgtable.frames(area.va_start, nr_pages) if nr_pages else None,
            nr_pages=nr_pages,
            page_array=area.data if nr_pages and flags & VM_ALLOC else None,
            phys_addr=area.data if flags & VM_IOREMAP else 0,
        )

    def _are_pages(self, pages: Sequence[int]) -> bool:
        """Whether all of them are frames of RAM."""
        return self._page_alloc.pfn_valid(min(pages)) and self._page_alloc.pfn_valid(max(pages))

    def _warn_of_no_page(self, pages: Sequence[int]) -> None:
        wrong = next(pfn for pfn in pages if not self._page_alloc.pfn_valid(pfn))
        self._log.warn(f"vmap of pfn {wrong:#x}, which is no page", "vmap_pages_pte_range")

    def _map_pages(self, start: int, pages: Sequence[int], entries: FrameWords) -> bool:
        """Map frames; False as for `PageTables.map_pages()`."""
        word_format = self._word_format
        words = entries.of(array(word_format, pages))
        return self._pgtable.map_pages(start, array(word_format, words))

    def _map_frames(
        self, start: int, pages: Sequence[int], entries: FrameWords, objects: int
    ) -> bool:
        """Map an area's frames; without a frame for a page table, free the area."""
        if self._map_pages(start, pages, entries):
            return True
        self._pgtable.unmap_pages(start, len(pages) + 1)
        self._free_vm_area(start, (len(pages) + 1) << PAGE_SHIFT, objects)
        return False

    # -- looking up ------------------------------------------------------------------------

    def is_vmalloc_addr(self, address: int) -> bool:
        """Whether `address` lies in the vmalloc window (Linux: mm/vmalloc.c:is_vmalloc_addr())."""
        return self._layout.vmalloc_start <= address < self._layout.vmalloc_end

    def vmalloc_to_pfn(self, address: int) -> int | None:
        """The number of the frame that `address` in the window is mapped to, or None.

        Linux: mm/vmalloc.c:vmalloc_to_pfn()
        """
        if not self.is_vmalloc_addr(address):
            return None
        entry = self._pgtable.lookup(address)
        return PHYS_PFN(entry & self._layout.phys_mask) if entry else None

    def vmalloc_to_page(self, address: int) -> Page | None:
        """The frame that `address` is mapped to, or None.

        Linux: mm/vmalloc.c:vmalloc_to_page()
        """
        pfn = self.vmalloc_to_pfn(address)
        return None if pfn is None else Page(pfn)
