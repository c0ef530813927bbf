"""The struct pages: where that of a frame would be, as pointers to it stand in memory.

There are none here, as a frame is its number; but whoever looks at an array of pages finds in it
the addresses that a kernel has there.

Linux: include/asm-generic/memory_model.h:__pfn_to_page()
"""

from __future__ import annotations

from array import array
from sys import byteorder
from typing import Final

from .layout import PAGE_SHIFT, PAGE_SIZE, Layout

__all__ = ["Vmemmap"]


class Vmemmap:
    """The addresses of the struct pages of one machine."""

    def __init__(self, layout: Layout) -> None:
        self._page_struct_size: Final = layout.page_struct_size
        self._pfn_masks: Final = layout.page_of(layout.phys_mask >> PAGE_SHIFT)
        """The bits of a frame's number, for each pointer in a page."""
        self._bases: Final = layout.page_of(layout.vmemmap)
        """The address of frame 0's struct page, for each of them."""
        self._start: Final = layout.vmemmap

    def __repr__(self) -> str:
        return f"<Vmemmap at {self._start:#x}>"

    def page_pointers(self, entries: array[int]) -> bytes:
        """The addresses of the struct pages of what some entries map, as they are in memory.

        All at once, as one large number: it takes a third of the time.
        """
        nbytes = len(entries) * entries.itemsize
        if nbytes > PAGE_SIZE:
            step = PAGE_SIZE // entries.itemsize
            parts = (entries[at : at + step] for at in range(0, len(entries), step))
            return b"".join(map(self.page_pointers, parts))
        pfns = int.from_bytes(entries, byteorder) >> PAGE_SHIFT & self._pfn_masks
        bases = self._bases >> 8 * (PAGE_SIZE - nbytes)
        return (pfns * self._page_struct_size + bases).to_bytes(nbytes, byteorder)
