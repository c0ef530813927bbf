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
from collections.abc import Iterable
from typing import Final, NamedTuple

from .access import KernelMemory
from .ioremap import Ioremap
from .layout import PAGE_SHIFT, PAGE_SIZE, PHYS_PFN, Layout
from .page_alloc import PageAllocator
from .pgtable import PageTables
from .printk import KernelLog
from .slab import Slab
from .vm_struct import VM_ALLOC, VM_MAP_PUT_PAGES, VmKind
from .vmap import VmapSpace
from .vmap_pages import VmapPages

__all__ = ["Vmalloc", "VmallocStatistics"]

MAX_RUN: Final = 512
"""Areas that `vfree_bulk()` unmaps in one go at the most: a millisecond's work."""


class VmallocStatistics(NamedTuple):
    """vmalloc's books."""

    pages: int
    """Frames that vmalloc() holds (VmallocUsed in /proc/meminfo)."""


class Vmalloc(VmapPages, Ioremap):
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
        super().__init__(vmap_space, page_alloc, slab, pgtable, memory, layout, log)
        self.nr_vmalloc_pages = 0
        """Frames that vmalloc() holds (VmallocUsed in /proc/meminfo)."""

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
