"""What a call is given by the machine's allocators, and what they take back: where, and in words.

    vmap ffffc90000000000+11000         addresses of the vmalloc window, and how many bytes
    frames 251160 193567 8286 204856 of 16 f1dd3b5a
    pages 4096/2                        a block of 1 << 2 frames
    kmalloc ffff888000400400
    cache ffff888000440000 vmap_area
    free frames ...                     frames that are free again

It stands in the place of the plain methods while somebody wants that (`replacing`), inside of all
that fails or traces: what was made to fail has touched nothing.
"""

from __future__ import annotations

from array import array
from typing import Final
from zlib import crc32

from .gfp import GFP_KERNEL
from .layout import PAGE_SIZE
from .machine import Machine
from .page_alloc import PageAllocator
from .replacing import Layer, Replaced, replacing
from .slab import Slab
from .slub import KmemCache, ObjectRun
from .vmap import VmapSpace

__all__ = ["MOST", "Touched", "note_touched"]

MOST: Final = 32
"""So many of a call are kept in words; of all others their number, and a sum over them."""
SHOWN: Final = 4
"""Frames of a list that are named."""


class Touched:
    """What was touched since it was last taken."""

    def __init__(self) -> None:
        self._words: list[str] = []
        self.any = False
        """Whether there is something."""
        self._more = 0
        self._sum = 0

    def add(self, words: str) -> None:
        """Note it, in ASCII."""
        self.any = True
        if len(self._words) < MOST:
            self._words.append(words)
        else:
            self._more += 1
            self._sum = crc32(words.encode(), self._sum)

    def __len__(self) -> int:
        """How many that are."""
        return len(self._words) + self._more

    def take(self) -> list[str]:
        """All of it, and begin anew."""
        words, self._words = self._words, []
        self.any = False
        if self._more:
            words.append(f"and {self._more} more {self._sum:08x}")
            self._more = self._sum = 0
        return words

    def __repr__(self) -> str:
        return f"<Touched {len(self)}>"


def note_touched(machine: Machine, touched: Touched | None) -> None:
    """Have what a machine gives and takes back noted, or with None no more."""
    slab, pages, space = machine.slab, machine.page_alloc, machine.vmap_space
    switch = replacing(
        Layer.RECORD,
        (slab, "kmalloc", _kmalloc),
        (slab, "kmem_cache_alloc", _kmem_cache_alloc),
        (slab, "alloc_runs", _alloc_runs),
        (pages, "alloc_pages", _alloc_pages),
        (pages, "alloc_pages_bulk", _alloc_pages_bulk),
        (pages, "put_frames", _put_frames),
        (pages, "put_block", _put_block),
        (space, "alloc_vmap_area", _alloc_vmap_area),
    )
    switch(touched)


def _frames(frames: array[int]) -> str:
    named = " ".join(map(str, frames[:SHOWN]))
    if len(frames) <= SHOWN:
        return f"frames {named}"
    return f"frames {named} of {len(frames)} {crc32(frames):08x}"


def _kmalloc(slab: Slab, plain: Replaced, touched: Touched) -> Replaced:
    def kmalloc(size: int, gfp: int = GFP_KERNEL, whole: bool = False) -> int | None:
        address: int | None = plain(size, gfp, whole)
        touched.add(f"kmalloc {address or 0:x}")
        return address

    return kmalloc


def _kmem_cache_alloc(slab: Slab, plain: Replaced, touched: Touched) -> Replaced:
    def kmem_cache_alloc(
        cache: KmemCache, gfp: int = GFP_KERNEL, whole: bool = False
    ) -> int | None:
        address: int | None = plain(cache, gfp, whole)
        if not cache.name.startswith("kmalloc-"):  # which kmalloc() has noted
            touched.add(f"cache {address or 0:x} {cache.name}")
        return address

    return kmem_cache_alloc


def _alloc_runs(slab: Slab, plain: Replaced, touched: Touched) -> Replaced:
    def alloc_runs(size: int, count: int) -> list[ObjectRun] | None:
        runs: list[ObjectRun] | None = plain(size, count)
        for run in runs or ():
            touched.add(f"kmalloc {run.object(0):x} and {run.nr_objects - 1} more")
        return runs

    return alloc_runs


def _alloc_pages(pages: PageAllocator, plain: Replaced, touched: Touched) -> Replaced:
    def alloc_pages(gfp: int, order: int, whole: bool = False) -> int | None:
        pfn: int | None = plain(gfp, order, whole)
        touched.add("pages none" if pfn is None else f"pages {pfn}/{order}")
        return pfn

    return alloc_pages


def _alloc_pages_bulk(pages: PageAllocator, plain: Replaced, touched: Touched) -> Replaced:
    def alloc_pages_bulk(gfp: int, nr_pages: int, whole: bool = False) -> array[int] | None:
        frames: array[int] | None = plain(gfp, nr_pages, whole)
        touched.add("frames none" if frames is None else _frames(frames))
        return frames

    return alloc_pages_bulk


def _put_frames(pages: PageAllocator, plain: Replaced, touched: Touched) -> Replaced:
    def put_frames(frames: array[int]) -> None:
        touched.add(f"free {_frames(frames)}")
        plain(frames)

    return put_frames


def _put_block(pages: PageAllocator, plain: Replaced, touched: Touched) -> Replaced:
    def put_block(page: int, order: int) -> None:
        touched.add(f"free pages {page}/{order}")
        plain(page, order)

    return put_block


def _alloc_vmap_area(space: VmapSpace, plain: Replaced, touched: Touched) -> Replaced:
    def alloc_vmap_area(
        size: int, align: int = PAGE_SIZE, gfp: int = GFP_KERNEL
    ) -> tuple[int, int] | None:
        area: tuple[int, int] | None = plain(size, align, gfp)
        touched.add("vmap none" if area is None else f"vmap {area[0]:x}+{size:x}")
        return area

    return alloc_vmap_area
