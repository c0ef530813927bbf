"""vm_map_ram: page frames that the caller has, mapped for a short time.

It does what vmap does, with less work for each mapping: up to `BITS_PER_LONG` pages come out of a
block (`vmap_block`), without a guard page behind them; more are an area of their own.

Linux: mm/vmalloc.c:vm_map_ram()
"""

from __future__ import annotations

from collections.abc import Sequence

from .errors import KernelBug
from .layout import PAGE_SHIFT, PAGE_SIZE
from .vm_area import VmAreas
from .vm_struct import VM_MAP_RAM, VmKind, objects_of

__all__ = ["VmMapRam"]


class VmMapRam(VmAreas):
    """vm_map_ram and vm_unmap_ram of one machine."""

    def vm_map_ram(self, pages: Sequence[int]) -> int | None:
        """Map frames that the caller has into contiguous addresses, for a short time.

        Args:
            pages: their numbers, in the order in which they shall appear.

        Returns:
            The address, or None without addresses, or without memory for an area or a page table;
            and, with a warning in the kernel log, when there are no pages or one of them is no
            frame of RAM.

        Linux: mm/vmalloc.c:vm_map_ram()
        """
        count = len(pages)
        if not count:
            self._log.warn("", "vb_alloc")
            return None
        if not self._are_pages(pages):
            self._warn_of_no_page(pages)
            return None
        if self._workqueue.pending:
            self._workqueue.flush()
        if count <= self._blocks.max_alloc:
            start = self._blocks.alloc(count)
        else:
            area = self._vmap_space.alloc_vmap_area(count << PAGE_SHIFT)
            start = None
            if area is not None:
                start, va = area
                kind = VmKind(count << PAGE_SHIFT, VM_MAP_RAM)
                self._vmap_space.busy.add(start, kind, 0, objects_of(0, va))
        if start is None:
            return None
        if not self._map_pages(start, pages, self._entries):
            self.vm_unmap_ram(start, count)
            return None
        return start

    def vm_unmap_ram(self, address: int, count: int) -> None:
        """Undo a `vm_map_ram()` of `count` pages; the frames stay the caller's.

        Raises:
            KernelBug: nothing of that size is mapped so at the address.

        Linux: mm/vmalloc.c:vm_unmap_ram()
        """
        if not self.is_vmalloc_addr(address) or address % PAGE_SIZE or count < 1:
            raise KernelBug(f"kernel BUG in vm_unmap_ram: {count} pages at {address:#x}")
        if self._workqueue.pending:
            self._workqueue.flush()
        if count <= self._blocks.max_alloc:
            self._blocks.free(address, count, self._pgtable.unmap_pages)
            return
        area = self._vmap_space.busy.find(address)
        if area is None or area[:2] != (address, VmKind(count << PAGE_SHIFT, VM_MAP_RAM)):
            raise KernelBug(f"vm_unmap_ram: {count} pages at {address:#x} are not mapped")
        popped = self._vmap_space.busy.pop(address)
        assert popped is not None
        self._pgtable.unmap_pages(address, count)
        self._vmap_space.free_vmap_area_noflush(address, area.kind.size, popped[3])

    def vm_unmap_aliases(self) -> None:
        """Purge what is lazily freed now, with blocks that are all but used up.

        Linux: mm/vmalloc.c:vm_unmap_aliases()
        """
        if self._workqueue.pending:
            self._workqueue.flush()
        self._blocks.purge_fragmented(force=False)
        self._vmap_space.purge_vmap_area_lazy()
