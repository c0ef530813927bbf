"""The linear mapping: all of low memory, from PAGE_OFFSET on, as the boot maps it.

With the largest pages that fit, 1 GiB by an entry of a pud, 2 MiB by one of a pmd (4 MiB by one of
the pgd on i386), and single pages at its ends:

    PAGE_OFFSET                                                               end of low memory
    |4 KiB pages| 2 MiB | 2 MiB | ... |    1 GiB    | ... |    1 GiB    | 2 MiB | 4 KiB pages|

So it takes a handful of tables, however much RAM there is.  Its first large page is single pages,
as frame 0 is not RAM to Linux.

Linux: arch/x86/mm/init.c:init_mem_mapping(), split_mem_range()
"""

from __future__ import annotations

from collections.abc import Iterator

from .layout import PAGE_SIZE, Layout, Level

__all__ = ["split_mem_range"]


def split_mem_range(layout: Layout, end: int) -> Iterator[tuple[int, Level, int]]:
    """What maps the addresses from PAGE_OFFSET to `end` - 1: entries of one table at a time.

    Gives (address, level, how many entries), lowest address first.
    Linux: arch/x86/mm/init.c:split_mem_range()
    """
    start = at = layout.page_offset
    levels = layout.leaf_levels
    while at < end:
        for level in levels:
            size = 1 << level.shift
            count = (end - at) // size if not at % size else 0
            if count and (at > start or size == PAGE_SIZE):
                break
        # as far as its table goes, or to where a larger page fits
        above = next((up.shift for up in reversed(levels) if up.shift > level.shift), 64)
        to_larger = ((1 << above) - at % (1 << above)) >> level.shift
        table = (1 << level.bits) - (at >> level.shift & (1 << level.bits) - 1)
        count = min(count, to_larger, table)
        yield at, level, count
        at += count << level.shift
