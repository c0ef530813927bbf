"""Words that follow from frames' numbers, of many frames at once.

A page-table entry, and the address of a frame's struct page, are its number times something, and
something more:

    entry       pfn * PAGE_SIZE            + flags
    pointer     pfn * sizeof(struct page)  + vmemmap

There are no struct pages here, as a frame is its number; but whoever looks at an array of pages
finds in it the addresses that a kernel has there.

Linux: include/linux/pgtable.h:pfn_pte(), include/asm-generic/memory_model.h:__pfn_to_page()
"""

from __future__ import annotations

from array import array
from sys import byteorder
from typing import Final

from .layout import PAGE_SIZE, Layout

__all__ = ["FrameWords"]


class FrameWords:
    """For each frame, its number times `factor` plus `base`, as wide as a pointer."""

    def __init__(self, layout: Layout, factor: int, base: int) -> None:
        self._factor: Final = factor
        self._base: Final = base
        self._bases: Final = layout.page_of(base)
        self._bases_of: Final[dict[int, int]] = {}
        """Bytes of some words -> as many of `_bases`."""

    def __repr__(self) -> str:
        return f"<FrameWords pfn * {self._factor} + {self._base:#x}>"

    def of(self, pfns: array[int]) -> bytes:
        """The words of some frames, whose numbers are as wide, as they are in memory.

        All at once, as one large number: it takes a third of the time.
        """
        nbytes = len(pfns) * pfns.itemsize
        bases = self._bases_of.get(nbytes)
        if bases is None:
            if nbytes > PAGE_SIZE:
                step = PAGE_SIZE // pfns.itemsize
                return b"".join([self.of(pfns[at : at + step]) for at in range(0, len(pfns), step)])
            bases = self._bases_of[nbytes] = self._bases >> 8 * (PAGE_SIZE - nbytes)
        return (int.from_bytes(pfns, byteorder) * self._factor + bases).to_bytes(nbytes, byteorder)
