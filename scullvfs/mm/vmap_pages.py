"""vmap: page frames that the caller has, at addresses that follow each other.

Linux: mm/vmalloc.c:vmap()
"""

from __future__ import annotations

from collections.abc import Sequence

from .layout import PAGE_SHIFT
from .vm_area import VmAreas
from .vm_struct import VM_MAP, VM_MAP_PUT_PAGES, VM_NO_GUARD, VmKind

__all__ = ["VmapPages"]


class VmapPages(VmAreas):
    """vmap and vunmap of one machine."""

    def vmap(self, pages: Sequence[int], flags: int = VM_MAP, caller: str = "") -> int | None:
        """Map frames that the caller has into contiguous addresses.

        Args:
            pages: their numbers, in the order in which they shall appear.
            flags: VM_MAP, with VM_MAP_PUT_PAGES if `vfree()` shall free the frames.  Without a
                guard page there is no vmap: VM_NO_GUARD is a warning.

        Returns:
            The address, or None when there are no pages, more than there is RAM, no addresses,
            or no memory for the area or its page tables; and, with a warning in the kernel log,
            when one of them is no frame of RAM.

        Linux: mm/vmalloc.c:vmap(), vmap_pages_pte_range()
        """
        if not 0 < len(pages) <= self._page_alloc.totalram_pages:
            return None
        if flags & VM_NO_GUARD:
            self._log.warn_once("", "vmap")
            flags &= ~VM_NO_GUARD
        area = self._get_vm_area((len(pages) + 1) << PAGE_SHIFT, 1)
        if area is None:
            return None
        start, objects = area
        if not self._are_pages(pages):
            self._free_vm_area(start, (len(pages) + 1) << PAGE_SHIFT, objects)
            self._warn_of_no_page(pages)
            return None
        if not self._map_frames(start, pages, self._entries, objects):
            return None
        kind = VmKind(
            size=(len(pages) + 1) << PAGE_SHIFT,
            flags=flags,
            caller=caller,
            nr_pages=len(pages) if flags & VM_MAP_PUT_PAGES else 0,
        )
        self._vmap_space.busy.add(start, kind, 0, objects)
        return start

    def vunmap(self, address: int | None) -> None:
        """Undo `vmap()`; the frames stay the caller's.  None is fine, an unknown address a warning.

        Linux: mm/vmalloc.c:vunmap()
        """
        if address is not None and not self._remove(address):
            self._log.warn(
                f"Trying to vunmap() nonexistent vm area ({self._layout.pointer(address)})",
                "vunmap",
            )
