"""How fragmented the free memory of a zone is, in Linux's two indices.

Both are in thousandths, and both follow from what /proc/buddyinfo shows, how many free blocks of
each order there are.

    unusable_free_index    what part of the free memory is in blocks that are too small
    fragmentation_index    of a request that would fail: is that for want of memory (towards 0), or
                           because of fragmentation (towards 1000); -1000 if it would not fail

Linux: mm/vmstat.c
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["ContigPageInfo", "fill_contig_page_info", "fragmentation_index", "unusable_free_index"]


class ContigPageInfo(NamedTuple):
    """The free blocks of a zone, seen by who wants one (Linux: struct contig_page_info)."""

    free_pages: int
    free_blocks_total: int
    free_blocks_suitable: int
    """Blocks of the wanted order that the free ones can be split into."""


def fill_contig_page_info(counts: Sequence[int], suitable_order: int) -> ContigPageInfo:
    """What `counts`, the free blocks of each order, are to who wants `suitable_order`."""
    return ContigPageInfo(
        free_pages=sum(blocks << order for order, blocks in enumerate(counts)),
        free_blocks_total=sum(counts),
        free_blocks_suitable=sum(
            blocks << order for order, blocks in enumerate(counts[suitable_order:])
        ),
    )


def unusable_free_index(counts: Sequence[int], order: int) -> int:
    """Thousandths of the free memory that no block of `order` can be had of; 1000 of none.

    Linux: mm/vmstat.c:unusable_free_index()
    """
    info = fill_contig_page_info(counts, order)
    if not info.free_pages:
        return 1000
    unusable = info.free_pages - (info.free_blocks_suitable << order)
    return unusable * 1000 // info.free_pages


def fragmentation_index(counts: Sequence[int], order: int) -> int:
    """Why there is no block of `order`, in thousandths; -1000 if there is one, 0 of no memory.

    Of few blocks that are much too small it can be below 0, in Linux, too.
    Linux: mm/vmstat.c:__fragmentation_index()
    """
    info = fill_contig_page_info(counts, order)
    if not info.free_blocks_total:
        return 0
    if info.free_blocks_suitable:
        return -1000
    return 1000 - (1000 + info.free_pages * 1000 // (1 << order)) // info.free_blocks_total
