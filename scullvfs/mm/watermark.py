"""How many frames of a zone are kept back, and how many its per-cpu list holds.

Both follow from the size of the zone, as Linux computes them at boot:

    |<- kept back ->|<------------------ can be had ------------------>|
    0              min       low       high                        managed

Below `min` an allocation fails, unless it may go deeper (__GFP_HIGH, __GFP_MEMALLOC).  Between
`min` and `high` Linux makes room in the background; nothing here has to be made room for.

Confessed: Linux raises all three where transparent huge pages are on, to 5 % of the RAM at the most
(mm/khugepaged.c:set_recommended_min_free_kbytes()).
"""

from __future__ import annotations

from math import isqrt
from typing import Final, NamedTuple

from .layout import PAGE_SIZE

__all__ = ["Watermarks", "min_free_kbytes", "zone_batchsize", "zone_highsize", "zone_watermarks"]

_SWAP_CLUSTER_MAX: Final = 32
_WATERMARK_SCALE_FACTOR: Final = 10
"""The distance between the marks, in parts of 10,000 of a zone."""
_MIB: Final = 1 << 20


class Watermarks(NamedTuple):
    """The marks of a zone, in frames (Linux: struct zone, _watermark[])."""

    min: int
    low: int
    high: int


def min_free_kbytes(lowmem_pages: int) -> int:
    """What is kept back in all, in KiB: 128 to 262,144.

    Linux: mm/page_alloc.c:calculate_min_free_kbytes()
    """
    lowmem_kbytes = lowmem_pages * (PAGE_SIZE >> 10)
    return min(max(isqrt(lowmem_kbytes * 16), 128), 262_144)


def zone_watermarks(managed: int, lowmem_pages: int, highmem: bool = False) -> Watermarks:
    """The marks of a zone of `managed` frames, on a machine with so much low memory.

    Linux: mm/page_alloc.c:__setup_per_zone_wmarks()
    """
    pages_min = min_free_kbytes(lowmem_pages) // (PAGE_SIZE >> 10)
    share = pages_min * managed // lowmem_pages
    least = min(max(managed // 1024, _SWAP_CLUSTER_MAX), 128) if highmem else share
    step = max(share >> 2, managed * _WATERMARK_SCALE_FACTOR // 10_000)
    return Watermarks(least, least + step, least + 2 * step)


def zone_batchsize(managed: int) -> int:
    """Frames that go to and from the per-cpu list at once: 1, or one less than a power of two.

    Linux: mm/page_alloc.c:zone_batchsize()
    """
    batch = max(min(managed >> 10, _MIB // PAGE_SIZE) // 4, 1)
    return max((1 << ((batch + batch // 2).bit_length() - 1)) - 1, 1)


def zone_highsize(marks: Watermarks, batch: int, cpus: int = 1) -> int:
    """Frames that the per-cpu list of one of `cpus` CPUs holds.

    Linux: mm/page_alloc.c:zone_highsize()
    """
    return max(marks.low // cpus, batch << 2)
