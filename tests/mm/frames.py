"""A page allocator with nothing around it, and what is in its frames."""

from __future__ import annotations

from array import array

import pytest

from scullvfs.mm.gfp import __GFP_MEMALLOC, __GFP_ZERO, GFP_HIGHUSER
from scullvfs.mm.layout import LAYOUTS, PAGE_SHIFT
from scullvfs.mm.page_alloc import PageAllocator
from scullvfs.mm.ram import Ram

from .helpers import MIB


def new(
    mem: int = 64 * MIB, shuffle: bool = True, seed: int = 0, **options: bool
) -> tuple[PageAllocator, Ram]:
    """A page allocator of x86_64 with nothing taken."""
    ram = Ram(mem, 8)
    return PageAllocator(ram, LAYOUTS["x86_64"], shuffle, seed, **options), ram


def bulk(page_alloc: PageAllocator, nr_pages: int, zero: bool = False) -> array[int]:
    """As `alloc_pages_bulk()`, which must succeed and may take the last frames."""
    gfp = GFP_HIGHUSER | __GFP_MEMALLOC | (__GFP_ZERO if zero else 0)
    frames = page_alloc.alloc_pages_bulk(gfp, nr_pages)
    assert frames is not None
    return frames


def page(ram: Ram, pfn: int) -> bytes:
    """What is in a frame."""
    return bytes(ram.bytes[pfn << PAGE_SHIFT : (pfn + 1) << PAGE_SHIFT])


def fill(ram: Ram, frames: array[int]) -> None:
    """Write something into frames."""
    for pfn in frames:
        ram.bytes[pfn << PAGE_SHIFT : (pfn << PAGE_SHIFT) + 8] = b"leftover"


def idle(page_alloc: PageAllocator) -> int:
    """Do idle work until there is nothing to do; returns the number of slices."""
    for slices in range(100_000):
        if not page_alloc.idle_work():
            return slices
    pytest.fail("idle_work() never finds that there is nothing to do")
