"""ioremap: a device's memory at addresses of the kernel's; no page frame is taken for it.

Linux: mm/ioremap.c, arch/x86/mm/ioremap.c
"""

from __future__ import annotations

from .layout import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE, PHYS_PFN, offset_in_page, page_align
from .printk import KERN_ERR, KERN_WARNING
from .vm_area import VmAreas
from .vm_struct import VM_IOREMAP, VmKind

__all__ = ["Ioremap"]


class Ioremap(VmAreas):
    """ioremap and iounmap of one machine."""

    def ioremap(self, phys: int, size: int, caller: str = "") -> int | None:
        """Map `size` bytes of device memory at physical address `phys`; takes no page frames.

        The area starts at a multiple of its size, rounded up to a power of two, up to
        the layout's `ioremap_max_order`.

        Returns:
            The address of the byte at `phys`, or None when the range is empty or wraps around,
            or without memory or addresses; and, with a warning in the kernel log, when it is no
            physical address, or RAM.

        Linux: mm/ioremap.c:generic_ioremap_prot(), arch/x86/mm/ioremap.c
        """
        last = phys + size - 1
        if size <= 0 or phys < 0 or last >> 64:
            return None
        if last >> self._layout.phys_bits:
            self._log.printk(KERN_WARNING, f"ioremap: invalid physical address {phys:x}")
            self._log.warn_once("", "__ioremap_caller")
            return None
        if PHYS_PFN(phys) <= self._page_alloc.totalram_pages:
            self._log.warn_once(f"ioremap on RAM at {phys:#018x} - {last:#018x}", "__ioremap_check")
            return None
        offset = offset_in_page(phys)
        size = page_align(size + offset)
        order = min(max((size - 1).bit_length(), PAGE_SHIFT), self._layout.ioremap_max_order)
        area = self._get_vm_area(size + PAGE_SIZE, 1 << order)
        if area is None:
            return None
        start, objects = area
        first = PHYS_PFN(phys)
        frames = range(first, first + (size >> PAGE_SHIFT))
        if not self._map_frames(start, frames, self._io_entries, objects):
            return None
        kind = VmKind(size + PAGE_SIZE, VM_IOREMAP, caller)
        self._vmap_space.busy.add(start, kind, phys - offset, objects)
        return start + offset

    def iounmap(self, address: int) -> None:
        """Undo `ioremap()`.

        An address of no area is an error in the kernel log, one outside of the window a warning.
        (Another area than ioremap()'s, which Linux would take apart, is left as it is.)

        Linux: arch/x86/mm/ioremap.c:iounmap()
        """
        if not self.is_vmalloc_addr(address):
            self._log.warn_once("", "iounmap")
            return
        area = self._vmap_space.busy.find(address & PAGE_MASK)
        if area is None or not area.kind.flags & VM_IOREMAP:
            self._log.printk(KERN_ERR, f"iounmap: bad address {self._layout.pointer(address)}")
            return
        self._remove(area.va_start)
