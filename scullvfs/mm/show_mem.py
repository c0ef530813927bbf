"""Where the memory is, as Linux prints it when an allocation has failed, and what of it can be had.

Confessed: frames on the per-cpu list count as free, too.  There is one node, no page cache but one
file's (`fragment`), no swap and no process, so most numbers are 0.

Linux: mm/show_mem.c
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from .gfp import __GFP_HIGHMEM
from .layout import PAGE_SHIFT, Layout
from .page_alloc import PageAllocator
from .pgtable import PageTables
from .slab import Slab
from .zone import Zone, ZoneStatistics

__all__ = ["lowmem_reserve", "show_mem", "si_mem_available"]

KB: Final = PAGE_SHIFT - 10
"""A page is 1 << KB kB."""

RESERVE_RATIO: Final = 32
"""Of the zones above one, this part is kept back in it from who could have them.

Linux: mm/page_alloc.c:sysctl_lowmem_reserve_ratio, for the zone Normal
"""

LETTERS: Final = {"Unmovable": "U", "Movable": "M"}
"""Linux: mm/show_mem.c:show_migration_types()"""


def lowmem_reserve(zones: Sequence[ZoneStatistics]) -> list[list[int]]:
    """Frames kept back in each zone from requests that could be served by each zone above.

    Linux: mm/page_alloc.c:setup_per_zone_lowmem_reserve()
    """
    return [
        [
            sum(zone.managed for zone in zones[below + 1 : above + 1]) // RESERVE_RATIO
            for above in range(len(zones))
        ]
        for below in range(len(zones))
    ]


def si_mem_available(zones: Sequence[ZoneStatistics]) -> int:
    """Frames that can be had without asking for the last ones (MemAvailable in /proc/meminfo).

    Linux: mm/show_mem.c:si_mem_available(), mm/page_alloc.c:calculate_totalreserve_pages()
    """
    kept = sum(
        min(max(reserve) + zone.wmark_high, zone.managed)
        for zone, reserve in zip(zones, lowmem_reserve(zones), strict=True)
    )
    return max(sum(zone.free for zone in zones) - kept, 0)


def show_mem(
    page_alloc: PageAllocator, slab: Slab, pgtable: PageTables, layout: Layout, gfp: int
) -> list[str]:
    """The lines from `Mem-Info:` on.

    Args:
        gfp: the flags of who asks; zones where such an allocation cannot look are left out.

    Linux: mm/show_mem.c:__show_mem(), show_free_areas()
    """
    every = page_alloc.statistics().zones
    reserves = [" ".join(map(str, reserve)) for reserve in lowmem_reserve(every)]
    looked = len(every) if gfp & __GFP_HIGHMEM else 1
    zones = every[:looked]
    slab_pages, tables = slab.statistics().pages, pgtable.statistics().nr_pagetable
    unevictable = sum(zone.unevictable for zone in every)
    node = "Node 0 " if layout.numa else ""
    lines = [
        "Mem-Info:",
        "active_anon:0 inactive_anon:0 isolated_anon:0",
        " active_file:0 inactive_file:0 isolated_file:0",
        f" unevictable:{unevictable} dirty:0 writeback:0",
        f" slab_reclaimable:0 slab_unreclaimable:{slab_pages}",
        f" mapped:0 shmem:0 pagetables:{tables}",
        " sec_pagetables:0 bounce:0",
        " kernel_misc_reclaimable:0",
        f" free:{sum(zone.free for zone in every)} "
        f"free_pcp:{sum(zone.pcp_count for zone in zones)} free_cma:0",
        "Node 0 active_anon:0kB inactive_anon:0kB active_file:0kB inactive_file:0kB "
        f"unevictable:{unevictable << KB}kB isolated(anon):0kB isolated(file):0kB mapped:0kB "
        "dirty:0kB writeback:0kB shmem:0kB shmem_thp:0kB shmem_pmdmapped:0kB anon_thp:0kB "
        f"writeback_tmp:0kB kernel_stack:0kB pagetables:{tables << KB}kB sec_pagetables:0kB "
        "all_unreclaimable? no",
    ]
    for zone, reserve in zip(zones, reserves, strict=False):
        lines.append(node + _zone_line(zone))
        lines.append(f"lowmem_reserve[]: {reserve}")
    lines += [node + _blocks_line(zone) for zone in page_alloc.zones[:looked]]
    lines += [
        f"Node 0 hugepages_total=0 hugepages_free=0 hugepages_surp=0 hugepages_size={size}kB"
        for size in _hugepages(layout)
    ]
    present = sum(zone.present for zone in every)
    high = sum(zone.present for zone in every if zone.name == "HighMem")
    return [
        *lines,
        f"{unevictable} total pagecache pages",
        "0 pages in swap cache",
        "Free swap  = 0kB",
        "Total swap = 0kB",
        f"{present} pages RAM",
        f"{high} pages HighMem/MovableOnly",
        f"{present - sum(zone.managed for zone in every)} pages reserved",
        "0 pages hwpoisoned",
    ]


def _zone_line(zone: ZoneStatistics) -> str:
    fields = {
        "free": f"{zone.free << KB}kB",
        "boost": "0kB",
        "min": f"{zone.wmark_min << KB}kB",
        "low": f"{zone.wmark_low << KB}kB",
        "high": f"{zone.wmark_high << KB}kB",
        "reserved_highatomic": "0KB",
        **dict.fromkeys(("active_anon", "inactive_anon", "active_file", "inactive_file"), "0kB"),
        "unevictable": f"{zone.unevictable << KB}kB",
        "writepending": "0kB",
        "present": f"{zone.present << KB}kB",
        "managed": f"{zone.managed << KB}kB",
        **dict.fromkeys(("mlocked", "bounce"), "0kB"),
        "free_pcp": f"{zone.pcp_count << KB}kB",
        "local_pcp": f"{zone.pcp_count << KB}kB",
        "free_cma": "0kB",
    }
    return " ".join([zone.name, *(f"{name}:{value}" for name, value in fields.items())])


def _blocks_line(zone: Zone) -> str:
    """The free blocks of each order, and of which types there are any."""
    types = zone.free_by_type()
    words, total = [], 0
    for order, counts in enumerate(zip(*types.values(), strict=True)):
        count = sum(counts)
        total += count << order
        words.append(f"{count}*{1 << KB << order}kB")
        if count:
            letters = [LETTERS[name] for name, some in zip(types, counts, strict=True) if some]
            words.append(f"({''.join(letters)})")
    return f"{zone.name}: {' '.join(words)} = {total << KB}kB"


def _hugepages(layout: Layout) -> list[int]:
    """The sizes of huge pages in kB, the largest first (Linux: mm/hugetlb.c)."""
    shifts = [level.shift for level in layout.levels[-3:-1]]
    return [1 << shift >> 10 for shift in shifts]
