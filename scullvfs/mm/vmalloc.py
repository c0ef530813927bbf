"""vmalloc and its kin: memory that is contiguous in addresses and scattered in RAM.

      vmalloc(12288)                                       page frames
     |<--- page --->|<--- page --->|<--- page --->|guard|
            |              |              |
            |              |              +-------------------> frame 0x2a1f7
            |              +--------------------> frame 0x00c44
            +---------------------------------------------------------> frame 0x31b02

An area (`vm_struct.VmapArea`) is the range of addresses with what lives there.  The page behind the
last one is never mapped: running over the end is a page fault and not a neighbour's corrupted
data.  Which frames an area has stands in the page tables and nowhere else.

`None` stands for NULL.  What a caller does wrong is answered as Linux answers it, most of
the time with a warning in the kernel log and no harm done.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from .access import KernelMemory
from .layout import (
    PAGE_MASK,
    PAGE_SHIFT,
    PAGE_SIZE,
    PFN_PHYS,
    PHYS_PFN,
    Layout,
    offset_in_page,
    page_align,
)
from .page_alloc import PageAllocator
from .pgtable import PageTables
from .printk import KERN_ERR, KERN_WARNING, KernelLog
from .ram import WORD_FORMAT
from .slab import Slab
from .vm_struct import (
    VM_ALLOC,
    VM_IOREMAP,
    VM_MAP,
    VM_MAP_PUT_PAGES,
    VmapArea,
    VmKind,
    VmStruct,
)
from .vmap import VmapSpace

__all__ = ["Page", "Vmalloc", "VmallocStatistics"]

MAX_RUN: Final = 512
"""Areas that `vfree_bulk()` unmaps in one go at the most: a millisecond's work."""


class Page(NamedTuple):
    """One page frame (as little of Linux's struct page as anybody needs here)."""

    pfn: int

    @property
    def phys(self) -> int:
        """Its physical address."""
        return PFN_PHYS(self.pfn)


class VmallocStatistics(NamedTuple):
    """vmalloc's books."""

    pages: int
    """Frames that vmalloc() holds (VmallocUsed in /proc/meminfo)."""


class Vmalloc:
    """vmalloc, vmap and ioremap of one machine."""

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
        self._entry_format: Final = WORD_FORMAT[layout.pointer_size]
        self._page_kernel: Final = layout.page_kernel
        self.nr_vmalloc_pages = 0
        """Frames that vmalloc() holds (VmallocUsed in /proc/meminfo)."""

    # -- vmalloc ---------------------------------------------------------------------------

    def vmalloc(self, size: int, caller: str = "") -> int | None:
        """Allocate `size` bytes, rounded up to whole pages; what is in them is left as it was.

        Args:
            caller: named in the listing of areas, such as "scullv_write [scullv]".

        Returns:
            The address, or None (with a line in the kernel log) when `size` is 0, or there
            are not enough frames, or not enough addresses.

        Linux: mm/vmalloc.c:__vmalloc_node_range_noprof()
        """
        return self._vmalloc(size, caller, zero=False)

    def vzalloc(self, size: int, caller: str = "") -> int | None:
        """As `vmalloc()`, filled with zeros."""
        return self._vmalloc(size, caller, zero=True)

    def _vmalloc(self, size: int, caller: str, zero: bool) -> int | None:
        if size <= 0:
            self._log.warn_once("vmalloc of 0 bytes", "__vmalloc_node_range")
            return None
        nr_pages = (size + PAGE_SIZE - 1) >> PAGE_SHIFT
        if nr_pages > self._page_alloc.totalram_pages:
            self._failed(size, "exceeds total pages")
            return None
        start = self._get_vm_area(nr_pages << PAGE_SHIFT, PAGE_SIZE)
        if start is None:
            self._failed(size, "vm_struct allocation failed")
            return None
        area_size = (nr_pages + 1) << PAGE_SHIFT
        array_size = nr_pages * self._layout.pointer_size
        vpages = array_size > PAGE_SIZE
        if vpages:
            page_array = self._vmalloc(array_size, caller, zero=True)
        else:
            page_array = self._slab.kmalloc(array_size)
        if page_array is None:
            self._vmap_space.free_vmap_area_noflush(start, area_size)
            self._failed(size, f"failed to allocated page array size {array_size}")
            return None
        pages = self._page_alloc.alloc_pages_bulk(nr_pages, zero)
        if pages is None:
            self._kvfree(page_array)
            self._vmap_space.free_vmap_area_noflush(start, area_size)
            self._failed(size, "failed to allocate pages")
            return None
        flags = self._page_kernel
        entries = array(self._entry_format, [pfn << PAGE_SHIFT | flags for pfn in pages])
        if not self._pgtable.map_pages(start, entries):
            self._unmap(start, area_size)
            self._page_alloc.free_pages_bulk(pages)
            self._kvfree(page_array)
            self._failed(size, "failed to map pages")
            return None
        kind = (area_size, VM_ALLOC, caller, nr_pages, vpages)
        self._vmap_space.busy.add(start, kind, page_array)
        self.nr_vmalloc_pages += nr_pages
        return start

    def _failed(self, size: int, why: str) -> None:
        self._log.warn_alloc(f"vmalloc error: size {size}, {why}")

    def vfree(self, address: int | None) -> None:
        """Free what `vmalloc()` gave, or `vmap()` with VM_MAP_PUT_PAGES; None is fine.

        An unknown or unaligned address is a warning in the kernel log.  An aligned address
        inside of an area frees the whole area, as in Linux.
        Linux: mm/vmalloc.c:vfree()
        """
        if address is None:
            return
        removed = self._remove_vm_area(address)
        if removed is None:
            self._warn(f"Trying to vfree() nonexistent vm area ({self._pointer(address)})", "vfree")
            return
        area, frames = removed
        self._free_pages(area.kind, area.data, frames[: area.kind.nr_pages])

    def _free_pages(self, kind: VmKind, data: int, frames: array[int]) -> None:
        """Free what an area had: `frames`, if they are its own, and the array of their pointers."""
        _, flags, _, nr_pages, vpages = kind
        if nr_pages:
            self._page_alloc.put_pages(frames)
            if not flags & VM_MAP_PUT_PAGES:
                self.nr_vmalloc_pages -= nr_pages
                if vpages:
                    self.vfree(data)
                else:
                    self._slab.kfree(data)

    def vfree_bulk(self, addresses: Iterable[int]) -> None:
        """`vfree()` of each; areas that follow each other are unmapped in one go, which is quicker.

        Linux has no such function.
        """
        if self._workqueue.pending:
            self._workqueue.flush()
        space, wanted = self._vmap_space, list(addresses)
        runs: list[tuple[list[tuple[int, VmKind, int]], array[int]]] = []
        odd: list[int] = []
        done = 0
        while done < len(wanted):
            areas = space.busy.pop_run(wanted[done : done + MAX_RUN])
            if areas:
                start, (last, kind, _) = areas[0][0], areas[-1]
                nr_pages = (last - start + kind.size) >> PAGE_SHIFT
                runs.append((areas, self._pgtable.unmap_pages(start, nr_pages)))
            else:
                odd.append(wanted[done])
            done += len(areas) or 1
        for areas, frames in runs:
            at = 0
            for start, kind, data in areas:
                size = kind[0]
                space.free_vmap_area_noflush(start, size)
                behind = at + (size >> PAGE_SHIFT)
                self._free_pages(kind, data, frames[at : behind - 1])
                at = behind
        for address in odd:
            self.vfree(address)

    def _kvfree(self, address: int | None) -> None:
        """Linux: mm/util.c:kvfree()"""
        if address is not None and self.is_vmalloc_addr(address):
            self.vfree(address)
        else:
            self._slab.kfree(address)

    # -- areas -----------------------------------------------------------------------------

    def _get_vm_area(self, size: int, align: int) -> int | None:
        """Addresses for `size` bytes and a guard page.

        Linux: mm/vmalloc.c:__get_vm_area_node()
        """
        if self._workqueue.pending:
            self._workqueue.flush()
        size += PAGE_SIZE
        start = self._vmap_space.alloc_vmap_area(size, align)
        if start is None:
            first, end = self._layout.vmalloc_start, self._layout.vmalloc_end
            self._log.printk(
                KERN_WARNING,
                f"vmalloc_node_range for size {size} failed: "
                f"Address range restricted to {first:#x} - {end:#x}",
            )
        return start

    def _unmap(self, start: int, size: int) -> array[int]:
        """Unmap `size` bytes of addresses and free them; returns the frames, 0 for none."""
        frames = self._pgtable.unmap_pages(start, size >> PAGE_SHIFT)
        self._vmap_space.free_vmap_area_noflush(start, size)
        return frames

    def _remove_vm_area(self, address: int) -> tuple[VmapArea, array[int]] | None:
        """Unmap the area that `address` lies in and free its addresses.

        Returns it, and the frames that it was mapped to, 0 for the guard page.
        Linux: mm/vmalloc.c:remove_vm_area()
        """
        if address & ~PAGE_MASK:
            self._warn(
                f"Trying to vfree() bad address ({self._pointer(address)})", "remove_vm_area"
            )
            return None
        if self._workqueue.pending:
            self._workqueue.flush()
        area = self._vmap_space.busy.pop(address)
        return area and (area, self._unmap(area.va_start, area.kind.size))

    def find_vm_area(self, address: int) -> VmStruct | None:
        """What lives at `address`, or None (Linux: mm/vmalloc.c:find_vm_area())."""
        area = self._vmap_space.busy.find(address)
        if area is None:
            return None
        size, flags, caller, nr_pages, _ = area.kind
        return VmStruct(
            addr=area.va_start,
            size=size,
            flags=flags,
            caller=caller,
            pages=self._pgtable.frames(area.va_start, nr_pages) if nr_pages else None,
            nr_pages=nr_pages,
            page_array=area.data if flags & VM_ALLOC else None,
            phys_addr=area.data if flags & VM_IOREMAP else 0,
        )

    # -- vmap ------------------------------------------------------------------------------

    def vmap(self, pages: Sequence[int], flags: int = VM_MAP, caller: str = "") -> int | None:
        """Map frames that the caller has into contiguous addresses.

        Args:
            pages: their numbers, in the order in which they shall appear.
            flags: VM_MAP, with VM_MAP_PUT_PAGES if `vfree()` shall free the frames.

        Returns:
            The address, or None when there are no pages, more than there is RAM, no addresses,
            or no frame for a page table; and, with a warning in the kernel log, when one of them
            is no frame of RAM.

        Linux: mm/vmalloc.c:vmap(), vmap_pages_pte_range()
        """
        if not 0 < len(pages) <= self._page_alloc.totalram_pages:
            return None
        start = self._get_vm_area(len(pages) << PAGE_SHIFT, PAGE_SIZE)
        if start is None:
            return None
        pfn_valid = self._page_alloc.pfn_valid
        if not (pfn_valid(min(pages)) and pfn_valid(max(pages))):
            self._vmap_space.free_vmap_area_noflush(start, (len(pages) + 1) << PAGE_SHIFT)
            wrong = next(pfn for pfn in pages if not pfn_valid(pfn))
            self._warn(f"vmap of pfn {wrong:#x}, which is no page", "vmap_pages_pte_range")
            return None
        if not self._map_frames(start, pages, self._page_kernel):
            return None
        kind = VmKind(
            size=(len(pages) + 1) << PAGE_SHIFT,
            flags=flags,
            caller=caller,
            nr_pages=len(pages) if flags & VM_MAP_PUT_PAGES else 0,
        )
        self._vmap_space.busy.add(start, kind, 0)
        return start

    def vunmap(self, address: int | None) -> None:
        """Undo `vmap()`; the frames stay the caller's.  None is fine, an unknown address a warning.

        Linux: mm/vmalloc.c:vunmap()
        """
        if address is not None and self._remove_vm_area(address) is None:
            self._warn(
                f"Trying to vunmap() nonexistent vm area ({self._pointer(address)})", "vunmap"
            )

    def _map_frames(self, start: int, pages: Sequence[int], flags: int) -> bool:
        """Map an area's frames; without a frame for a page table, free its addresses."""
        entries = array(self._entry_format, [pfn << PAGE_SHIFT | flags for pfn in pages])
        if self._pgtable.map_pages(start, entries):
            return True
        self._unmap(start, (len(pages) + 1) << PAGE_SHIFT)
        return False

    # -- ioremap ---------------------------------------------------------------------------

    def ioremap(self, phys: int, size: int, caller: str = "") -> int | None:
        """Map `size` bytes of device memory at physical address `phys`; takes no page frames.

        The area starts at a multiple of its size, rounded up to a power of two, up to
        the layout's `ioremap_max_order`.

        Returns:
            The address of the byte at `phys`, or None (with a warning in the kernel log)
            when the range is empty, not a physical address, or RAM; or without addresses.

        Linux: mm/ioremap.c:generic_ioremap_prot(), arch/x86/mm/ioremap.c
        """
        last = phys + size - 1
        if size <= 0 or phys < 0:
            self._log.warn_once("ioremap: empty range", "__ioremap_caller")
            return None
        if last >> self._layout.phys_bits:
            self._log.printk(KERN_WARNING, f"ioremap: invalid physical address {phys:x}")
            self._log.warn_once("ioremap: invalid physical address", "phys_addr_valid")
            return None
        if PHYS_PFN(phys) <= self._page_alloc.totalram_pages:
            self._log.warn_once(f"ioremap on RAM at {phys:#018x} - {last:#018x}", "__ioremap_check")
            return None
        offset = offset_in_page(phys)
        size = page_align(size + offset)
        order = min(max((size - 1).bit_length(), PAGE_SHIFT), self._layout.ioremap_max_order)
        start = self._get_vm_area(size, 1 << order)
        if start is None:
            return None
        first = PHYS_PFN(phys)
        frames = range(first, first + (size >> PAGE_SHIFT))
        if not self._map_frames(start, frames, self._layout.page_kernel_io):
            return None
        kind = VmKind(size + PAGE_SIZE, VM_IOREMAP, caller)
        self._vmap_space.busy.add(start, kind, phys - offset)
        return start + offset

    def iounmap(self, address: int) -> None:
        """Undo `ioremap()`.  An unknown address is an error in the kernel log.

        Linux: arch/x86/mm/ioremap.c:iounmap()
        """
        if not self.is_vmalloc_addr(address):
            return
        area = self._vmap_space.busy.find(address & PAGE_MASK)
        if area is None or not area.kind.flags & VM_IOREMAP:
            self._log.printk(KERN_ERR, f"iounmap: bad address {self._pointer(address)}")
            return
        self._remove_vm_area(area.va_start)

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

    def vm_unmap_aliases(self) -> None:
        """Purge what is lazily freed now (Linux: mm/vmalloc.c:vm_unmap_aliases())."""
        if self._workqueue.pending:
            self._workqueue.flush()
        self._vmap_space.purge_vmap_area_lazy()

    def _pointer(self, address: int) -> str:
        return f"{address:0{self._layout.pointer_digits}x}"

    def _warn(self, text: str, where: str) -> None:
        self._log.warn(text, where)

    def statistics(self) -> VmallocStatistics:
        """The books as they stand now."""
        return VmallocStatistics(self.nr_vmalloc_pages)

    def __repr__(self) -> str:
        return f"<Vmalloc pages={self.nr_vmalloc_pages}>"

    def state(self) -> dict[str, int]:
        """The books, as plain data: where the frames are stands in the page tables."""
        return {"nr_vmalloc_pages": self.nr_vmalloc_pages}

    def check(self) -> set[int]:
        """Assert the invariants; return the frames that vmalloc() holds.  Slow: for tests.

        - every page of an area is mapped, its guard page is not, and nothing else is mapped;
          of one that is only reserved no page is
        - no frame that vmalloc() holds belongs to two areas
        - `nr_vmalloc_pages` is the number of these frames
        """
        self._vmap_space.check()
        mapped = {at: PHYS_PFN(e & self._layout.phys_mask) for at, e in self._pgtable.mappings()}
        owned: set[int] = set()
        seen = 0
        for area in self._vmap_space.busy.values():
            assert area.va_end - PAGE_SIZE not in mapped, "a guard page is mapped"
            pages = range(area.va_start, area.va_end - PAGE_SIZE, PAGE_SIZE)
            if not area.kind.flags:
                assert mapped.keys().isdisjoint(pages), "a reserved page is mapped"
                continue
            frames = {mapped[address] for address in pages}
            seen += len(pages)
            if area.kind.nr_pages:
                assert area.kind.nr_pages == len(pages)
                assert not owned & frames
                if not area.kind.flags & VM_MAP_PUT_PAGES:
                    assert len(frames) == len(pages)
                    owned |= frames
        assert seen == len(mapped)
        assert len(owned) == self.nr_vmalloc_pages
        return owned
