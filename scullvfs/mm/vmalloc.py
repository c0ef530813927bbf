"""vmalloc and its kin: memory that is contiguous in addresses and scattered in RAM.

      vmalloc(12288)                                       page frames
     |<--- page --->|<--- page --->|<--- page --->|guard|
            |              |              |
            |              |              +-------------------> frame 0x2a1f7
            |              +--------------------> frame 0x00c44
            +---------------------------------------------------------> frame 0x31b02

Confessed: huge pages (`vmalloc_huge()`) are blocks of 2 MiB of frames, at addresses as the
kernel's, but mapped page by page; and there is no zone of frames below 4 GiB for `vmalloc_32()`.

`None` stands for NULL.  What a caller does wrong is answered as Linux answers it, most of
the time with a warning in the kernel log and no harm done.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable
from typing import Final, NamedTuple, TypedDict

from .errors import PageFault
from .gfp import __GFP_DIRECT_RECLAIM as DIRECT_RECLAIM
from .gfp import __GFP_HIGHMEM as HIGHMEM
from .gfp import __GFP_NORETRY as NORETRY
from .gfp import __GFP_NOWARN as NOWARN
from .gfp import __GFP_ZERO as ZERO
from .gfp import GFP_DMA, GFP_DMA32, GFP_KERNEL, GFP_RECLAIM_MASK
from .ioremap import Ioremap
from .layout import PAGE_SHIFT, PAGE_SIZE, PHYS_PFN
from .restoring import Claims
from .vm_map_ram import VmMapRam
from .vm_struct import (
    VA_MASK,
    VM_ALLOC,
    VM_ALLOW_HUGE_VMAP,
    VM_MAP_PUT_PAGES,
    VM_MAP_RAM,
    VM_NO_GUARD,
    VM_SHIFT,
    VM_USERMAP,
    VmKind,
)
from .vmap_pages import VmapPages

__all__ = ["Vmalloc", "VmallocState", "VmallocStatistics"]

INT_MAX: Final = (1 << 31) - 1
COPIED: Final = 1 << 16
"""Bytes that `vrealloc()` copies in one go."""
MAX_RUN: Final = 512
"""Areas that `vfree_bulk()` unmaps in one go at the most: a millisecond's work."""


class VmallocStatistics(NamedTuple):
    """vmalloc's books."""

    pages: int
    """Frames that vmalloc() holds (VmallocUsed in /proc/meminfo)."""


class VmallocState(TypedDict):
    """What is known beside the areas."""

    nr_vmalloc_pages: int
    blocks: list[list[int]]


class Vmalloc(VmapPages, VmMapRam, Ioremap):
    """vmalloc, vmap and ioremap of one machine."""

    def vmalloc(self, size: int, caller: str = "", whole: bool = False) -> int | None:
        """Allocate `size` bytes, rounded up to whole pages.

        They are zeros under `init_on_alloc`, and what was there otherwise.

        Args:
            caller: named in the listing of areas, such as "scullv_write [scullv]".
            whole: the caller fills all of them at once, and needs no zeros of `init_on_alloc`.

        Returns:
            The address, or None (with a line in the kernel log) when `size` is 0, or there
            are not enough frames, or not enough addresses.

        Linux: mm/vmalloc.c:vmalloc_noprof()
        """
        return self.vmalloc_node_range(size, GFP_KERNEL, caller, whole=whole)

    def vzalloc(self, size: int, caller: str = "") -> int | None:
        """As `vmalloc()`, filled with zeros."""
        return self.vmalloc_node_range(size, GFP_KERNEL | ZERO, caller)

    def vmalloc_user(self, size: int, caller: str = "") -> int | None:
        """As `vzalloc()`, of memory that processes may map (VM_USERMAP)."""
        return self.vmalloc_node_range(size, GFP_KERNEL | ZERO, caller, VM_USERMAP)

    def vmalloc_32(self, size: int, caller: str = "") -> int | None:
        """As `vmalloc()`, of frames that 32 bits address (which is not looked after here)."""
        return self.vmalloc_node_range(size, GFP_DMA32 | GFP_KERNEL, caller)

    def vmalloc_huge(self, size: int, gfp: int = GFP_KERNEL, caller: str = "") -> int | None:
        """As `vmalloc()`; 2 MiB and more come as huge pages (no such thing on i386).

        The size is a multiple of a huge page's then, and so is the address.  Where there are not
        enough blocks of that size, it is as `vmalloc()`.
        Linux: mm/vmalloc.c:vmalloc_huge_noprof()
        """
        return self.vmalloc_node_range(size, gfp, caller, VM_ALLOW_HUGE_VMAP)

    def kvmalloc(self, size: int, gfp: int = GFP_KERNEL, caller: str = "") -> int | None:
        """Allocate `size` bytes with `kmalloc()`, or if it has none, as `vmalloc_huge()`.

        `kvfree()` frees them.
        Linux: mm/util.c:__kvmalloc_node_noprof()
        """
        # Linux: mm/util.c:kmalloc_gfp_adjust()
        address = self._slab.kmalloc(size, gfp | NOWARN | NORETRY if size > PAGE_SIZE else gfp)
        if address is not None or size <= PAGE_SIZE or not gfp & DIRECT_RECLAIM:
            return address
        if size > INT_MAX:
            if not gfp & NOWARN:
                self._log.warn_once("", "__kvmalloc_node_noprof")
            return None
        return self.vmalloc_node_range(size, gfp, caller, VM_ALLOW_HUGE_VMAP)

    def kvfree(self, address: int | None) -> None:
        """Free what `kvmalloc()` gave; None is fine (Linux: mm/util.c:kvfree())."""
        if address is not None and self.is_vmalloc_addr(address):
            self.vfree(address)
        else:
            self._slab.kfree(address)

    def vrealloc(self, address: int | None, size: int, gfp: int = GFP_KERNEL) -> int | None:
        """Make what `vmalloc()` gave larger, or smaller.

        What fits into the pages that are there stays where it is, and none of them is freed; more
        is allocated anew, with a copy of what was there.  With __GFP_ZERO or `init_on_alloc` what
        is behind `size` is filled with zeros.  Size 0 frees it, and without an `address` it is
        `vmalloc()`.

        Returns:
            The address, or None when all was freed, or there is not enough memory and the old one
            is left as it was; and, with a warning in the kernel log, when there is no such area.

        Linux: mm/vmalloc.c:vrealloc_noprof()
        """
        if size <= 0:
            self.vfree(address)
            return None
        if address is None:
            return self.vmalloc_node_range(size, gfp)
        area = self._vmap_space.busy.find(address)
        if area is None or area.kind.flags & VM_MAP_RAM:
            where = self._layout.pointer(address)
            self._log.warn(f"Trying to vrealloc() nonexistent vm area ({where})", "vrealloc_noprof")
            return None
        old_size = area.kind.mapped_size
        if size <= old_size:
            if size < old_size and (gfp & ZERO or self._page_alloc.init_on_alloc):
                self._memory.memset(address + size, 0, old_size - size)
            return address
        new = self.vmalloc_node_range(size, gfp)
        if new is not None:
            for at in range(0, old_size, COPIED):
                count = min(COPIED, old_size - at)
                self._memory.write(new + at, bytes(self._memory.read(address + at, count)))
            self.vfree(address)
        return new

    def vmalloc_node_range(
        self,
        size: int,
        gfp: int,
        caller: str = "",
        vm_flags: int = 0,
        whole: bool = False,
        align: int = 1,
    ) -> int | None:
        """What all of them are, with the flags of the allocation and those of the area.

        Args:
            vm_flags: VM_USERMAP; VM_ALLOW_HUGE_VMAP, VM_NO_GUARD.
            whole: as for `vmalloc()`; of no use where `size` is not whole pages.
            align: the address is a multiple of it, a power of two; any is one of PAGE_SIZE.

        Linux: mm/vmalloc.c:__vmalloc_node_range_noprof()
        """
        if size <= 0:
            self._log.warn_once("", "__vmalloc_node_range_noprof")
            return None
        if size >> PAGE_SHIFT > self._page_alloc.totalram_pages:
            self._failed(size, "exceeds total pages", gfp, caller)
            return None
        huge_shift = self._layout.huge_vmap_shift
        if vm_flags & VM_ALLOW_HUGE_VMAP and huge_shift and size >> huge_shift:
            huge_align = max(align, 1 << huge_shift)
            start = self._vmalloc_area(size, gfp, caller, vm_flags, huge_shift, align=huge_align)
            if start is not None:
                return start
        return self._vmalloc_area(size, gfp, caller, vm_flags, PAGE_SHIFT, whole, align)

    def _vmalloc_area(
        self,
        size: int,
        gfp: int,
        caller: str,
        vm_flags: int,
        shift: int,
        whole: bool = False,
        align: int = 1,
    ) -> int | None:
        """An area of pages of 2**`shift` bytes (Linux: mm/vmalloc.c:__vmalloc_area_node())."""
        page_size = 1 << shift
        mapped_size = (size + page_size - 1) & -page_size
        area_size = mapped_size if vm_flags & VM_NO_GUARD else mapped_size + PAGE_SIZE
        area = self._get_vm_area(area_size, align, gfp)
        if area is None:
            self._failed(size, "vm_struct allocation failed", gfp, caller)
            return None
        start, objects = area
        if not gfp & (GFP_DMA | GFP_DMA32):
            gfp |= HIGHMEM
        nr_pages = mapped_size >> PAGE_SHIFT
        array_size = nr_pages * self._layout.pointer_size
        vpages = array_size > PAGE_SIZE
        nested_gfp = gfp & GFP_RECLAIM_MASK | ZERO
        try:
            if vpages:
                page_array = self.vmalloc_node_range(array_size, nested_gfp, caller)
            else:
                page_array = self._slab.kmalloc(array_size, nested_gfp)
        except PageFault:  # somebody has overwritten what they go by
            self._free_vm_area(start, area_size, objects)
            raise
        if page_array is None:
            self._free_vm_area(start, area_size, objects)
            self._failed(
                mapped_size, f"failed to allocated page array size {array_size}", gfp, caller
            )
            return None
        whole = whole and size == mapped_size
        pages = self._alloc_pages(nr_pages, gfp | NOWARN, shift - PAGE_SHIFT, whole)
        if pages is None:
            self.kvfree(page_array)
            self._free_vm_area(start, area_size, objects)
            if shift == PAGE_SHIFT:
                had = self._page_alloc.nr_populated << PAGE_SHIFT
                self._failed(had, "failed to allocate pages", gfp, caller)
            return None
        pfns = array(self._word_format, pages)
        entries = array(self._word_format, self._entries.of(pfns))
        if not self._pgtable.map_pages(start, entries):
            self._pgtable.unmap_pages(start, area_size >> PAGE_SHIFT)
            self._page_alloc.put_frames(pages)
            self.kvfree(page_array)
            self._free_vm_area(start, area_size, objects)
            self._failed(mapped_size, "failed to map pages", gfp, caller)
            return None
        kind = (area_size, VM_ALLOC | vm_flags, caller, nr_pages, vpages)
        self._vmap_space.busy.add(start, kind, page_array, objects)
        self.nr_vmalloc_pages += nr_pages
        self._memory.write(page_array, self._page_pointers.of(pfns))
        return start

    def _alloc_pages(self, nr_pages: int, gfp: int, order: int, whole: bool) -> array[int] | None:
        """Frames for an area, in blocks of 2**`order`; None if there are not so many.

        Linux: mm/vmalloc.c:vm_area_alloc_pages()
        """
        if not order:
            return self._page_alloc.alloc_pages_bulk(gfp, nr_pages, whole)
        frames = array("I")
        while len(frames) < nr_pages:
            pfn = self._page_alloc.alloc_pages(gfp, order)
            if pfn is None:
                self._page_alloc.put_frames(frames)
                return None
            self._page_alloc.split_page(pfn, order)
            frames.extend(range(pfn, pfn + (1 << order)))
        return frames

    def _failed(self, size: int, why: str, gfp: int, caller: str) -> None:
        trace = ("__vmalloc_node_range_noprof", *((caller,) if caller else ()))
        self._log.warn_alloc(f"vmalloc error: size {size}, {why}", gfp, trace)

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
            self._log.warn(
                f"Trying to vfree() nonexistent vm area ({self._layout.pointer(address)})", "vfree"
            )
            return
        kind, data, vm, frames = removed
        self._free_pages(kind, data, vm, frames[: kind[3]])

    def _free_pages(self, kind: VmKind, data: int, vm: int, frames: array[int]) -> None:
        """Free what an area had: `frames`, if they are its own, and the array of their pointers.

        Then the struct vm_struct itself, if it has one.  What has been scheduled since it was
        removed waits on: it is for the next one.
        """
        _, flags, _, nr_pages, vpages = kind
        if nr_pages:
            self._page_alloc.put_frames(frames)
            if not flags & VM_MAP_PUT_PAGES:
                self.nr_vmalloc_pages -= nr_pages
                if vpages:
                    self.vfree(data)
                else:
                    self._slab.put(data)
        if vm:
            self.vm_structs.free(vm)

    def vfree_bulk(self, addresses: Iterable[int]) -> None:
        """`vfree()` of each; areas that follow each other are unmapped in one go, which is quicker.

        They are what `vmalloc()` and its kin gave.  Linux has no such function.
        """
        if self._workqueue.pending:
            self._workqueue.flush()
        space, wanted = self._vmap_space, list(addresses)
        runs: list[tuple[list[tuple[int, VmKind, int, int]], array[int]]] = []
        odd: list[int] = []
        done = 0
        while done < len(wanted):
            areas = space.busy.pop_run(wanted[done : done + MAX_RUN])
            if areas:
                start, (last, kind, _, _) = areas[0][0], areas[-1]
                nr_pages = (last - start + kind.size) >> PAGE_SHIFT
                runs.append((areas, self._pgtable.unmap_pages(start, nr_pages)))
            else:
                odd.append(wanted[done])
            done += len(areas) or 1
        for areas, frames in runs:
            at = 0
            for start, kind, data, objects in areas:
                size = kind[0]
                space.free_vmap_area_noflush(start, size, objects & VA_MASK)
                self._free_pages(kind, data, objects >> VM_SHIFT, frames[at : at + kind[3]])
                at += size >> PAGE_SHIFT
        for address in odd:
            self.vfree(address)

    def statistics(self) -> VmallocStatistics:
        """The books as they stand now."""
        return VmallocStatistics(self.nr_vmalloc_pages)

    def __repr__(self) -> str:
        return f"<Vmalloc pages={self.nr_vmalloc_pages}>"

    def state(self) -> VmallocState:
        """The books, as plain data: where the frames are stands in the page tables."""
        return {"nr_vmalloc_pages": self.nr_vmalloc_pages, "blocks": self._blocks.state()}

    def restore(self, state: VmallocState, claims: Claims) -> None:
        """Have these books; the areas, the slabs and the page tables are there already."""
        self._blocks.restore(state["blocks"])
        self.nr_vmalloc_pages = 0
        busy = self._vmap_space.busy
        for (start, number, _), objects in zip(busy.walk(), busy.objects(), strict=True):
            kind = busy.kinds[number]
            vm = objects >> VM_SHIFT
            assert not vm or self.vm_structs.is_allocated(vm)
            if kind.nr_pages:
                assert start >= self._layout.vmalloc_start
                assert kind.nr_pages << PAGE_SHIFT == kind.mapped_size
                frames = self._pgtable.frames(start, kind.nr_pages)
                if not kind.flags & VM_MAP_PUT_PAGES:
                    claims.take_each(frames)
                    self.nr_vmalloc_pages += kind.nr_pages
        assert self.nr_vmalloc_pages == state["nr_vmalloc_pages"]

    def check(self) -> set[int]:
        """Assert the invariants; return the frames that vmalloc() holds.  Slow: for tests.

        - every page of an area is mapped, its guard page is not, and nothing else is mapped;
          of one that is only reserved no page is, of a block those that are in use, and of a chunk
          of the per-cpu allocator any
        - no frame that vmalloc() holds belongs to two areas
        - `nr_vmalloc_pages` is the number of these frames
        - each area has a struct vm_struct of its own but those that are only reserved, and
          vm_map_ram()'s
        """
        self._vmap_space.check()
        self._blocks.check()
        mapped = {at: PHYS_PFN(e & self._layout.phys_mask) for at, e in self._pgtable.mappings()}
        addresses = [*mapped]  # the lowest first
        owned: set[int] = set()
        seen = 0
        for start, kind, _ in self._vmap_space.busy.values():
            end = start + kind.mapped_size
            assert end == start + kind.size or end not in mapped, "a guard page is mapped"
            pages = range(start, end, PAGE_SIZE)
            used = self._blocks.used(start)
            if not kind.flags or used >= 0 or (kind.flags & VM_ALLOC and not kind.nr_pages):
                # It may be as large as the window: look at what is mapped, not at each page.
                inside = addresses[bisect_left(addresses, start) : bisect_left(addresses, end)]
                if not kind.flags & VM_ALLOC:
                    assert used > 0 or not inside, "a page is mapped that nobody uses"
                    assert all(used >> pages.index(address) & 1 for address in inside)
                seen += len(inside)
                continue
            frames = {mapped[address] for address in pages}
            seen += len(pages)
            if kind.nr_pages:
                assert kind.nr_pages == len(pages)
                assert not owned & frames
                if not kind.flags & VM_MAP_PUT_PAGES:
                    assert len(frames) == len(pages)
                    owned |= frames
        assert seen == len(mapped)
        assert len(owned) == self.nr_vmalloc_pages
        busy = self._vmap_space.busy
        objects = [objects >> VM_SHIFT for objects in busy.objects()]
        for vm, (_, kind, _) in zip(objects, busy.values(), strict=True):
            assert bool(vm) == bool(kind.flags & ~VM_MAP_RAM)
            assert not vm or self.vm_structs.is_allocated(vm)
        assert len(set(objects) - {0}) == len(objects) - objects.count(0)
        return owned
