"""The page allocator's files in proc/: buddyinfo, pagetypeinfo, zoneinfo.

Only zones that there are have a line; a Debian kernel on such a machine has DMA, DMA32 and empty
ones, too.  Frames on the per-cpu lists count as free.

Linux: mm/vmstat.c
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from scullvfs.mm import Machine
from scullvfs.mm.buddy import PAGEBLOCK_ORDER
from scullvfs.mm.layout import PAGE_SHIFT
from scullvfs.mm.show_mem import lowmem_reserve
from scullvfs.mm.zone import ZoneStatistics

__all__ = ["buddyinfo", "pagetypeinfo", "zoneinfo"]

MIGRATE_TYPES: Final = ("Unmovable", "Movable", "Reclaimable", "HighAtomic", "Isolate")
"""Linux: mm/page_alloc.c:migratetype_names"""

NODE_STATS: Final = """
    nr_inactive_anon nr_active_anon nr_inactive_file nr_active_file nr_unevictable
    nr_slab_reclaimable nr_slab_unreclaimable nr_isolated_anon nr_isolated_file workingset_nodes
    workingset_refault_anon workingset_refault_file workingset_activate_anon
    workingset_activate_file workingset_restore_anon workingset_restore_file
    workingset_nodereclaim nr_anon_pages nr_mapped nr_file_pages nr_dirty nr_writeback
    nr_writeback_temp nr_shmem nr_shmem_hugepages nr_shmem_pmdmapped nr_file_hugepages
    nr_file_pmdmapped nr_anon_transparent_hugepages nr_vmscan_write nr_vmscan_immediate_reclaim
    nr_dirtied nr_written nr_throttled_written nr_kernel_misc_reclaimable nr_foll_pin_acquired
    nr_foll_pin_released nr_kernel_stack nr_page_table_pages nr_sec_page_table_pages
    nr_iommu_pages nr_swapcached pgpromote_success pgpromote_candidate pgdemote_kswapd
    pgdemote_direct pgdemote_khugepaged
"""
"""Of all zones together, in Linux's order (Linux: mm/vmstat.c:vmstat_text)."""

ZONE_STATS: Final = """
    nr_free_pages nr_zone_inactive_anon nr_zone_active_anon nr_zone_inactive_file
    nr_zone_active_file nr_zone_unevictable nr_zone_write_pending nr_mlock nr_bounce nr_zspages
    nr_free_cma nr_unaccepted numa_hit numa_miss numa_foreign numa_interleave numa_local numa_other
"""

OF_NUMA: Final = ("numa_", "pgpromote_")
"""How those begin that only a kernel with NUMA has."""


def buddyinfo(machine: Machine) -> str:
    """/proc/buddyinfo: free blocks of each order, as if the freed frames were given back.

    Linux: mm/vmstat.c:frag_show_print()
    """
    return "".join(
        f"Node 0, zone {name:>8} {_row(counts)}\n"
        for name, counts in machine.page_alloc.free_by_order().items()
    )


def _row(counts: list[int] | range) -> str:
    return "".join(f"{count:6} " for count in counts)


def pagetypeinfo(machine: Machine) -> str:
    """/proc/pagetypeinfo: the same for each migrate type, and how many pageblocks are of each.

    Linux: mm/vmstat.c:pagetypeinfo_show()
    """
    zones = {zone.name: zone.free_by_type() for zone in machine.page_alloc.zones}
    orders = len(next(iter(zones["Normal"].values())))
    lines = [
        f"Page block order: {PAGEBLOCK_ORDER}",
        f"Pages per block:  {1 << PAGEBLOCK_ORDER}",
        "",
        f"{'Free pages count per migrate type at order':43} {_row(range(orders))}",
    ]
    for name, types in zones.items():
        lines += [
            f"Node {0:4}, zone {name:>8}, type {each:>12} {_row(types.get(each, [0] * orders))}"
            for each in MIGRATE_TYPES
        ]
    lines += ["", f"{'Number of blocks type ':23}" + _names(MIGRATE_TYPES)]
    for zone in machine.page_alloc.zones:
        blocks = zone.pageblocks_by_type()
        counts = [str(blocks.get(each, 0)) for each in MIGRATE_TYPES]
        lines.append(f"Node 0, zone {zone.name:>8} " + _names(counts))
    return "\n".join(lines) + "\n"


def _names(words: tuple[str, ...] | list[str]) -> str:
    return "".join(f"{word:>12} " for word in words)


def zoneinfo(machine: Machine) -> str:
    """/proc/zoneinfo: the frames of each zone, its watermarks, its per-cpu lists.

    Linux: mm/vmstat.c:zoneinfo_show_print()
    """
    books = machine.statistics()
    unevictable = sum(zone.unevictable for zone in books.pages.zones)
    node = {
        "nr_unevictable": unevictable,
        "nr_file_pages": unevictable,
        "nr_slab_unreclaimable": books.slab.pages,
        "nr_page_table_pages": books.pgtable.nr_pagetable,
    }
    lines: list[str] = []
    zones = books.pages.zones
    for zone, reserve in zip(zones, lowmem_reserve(zones), strict=True):
        lines.append(f"Node 0, zone {zone.name:>8}")
        if zone is zones[0]:
            lines.append("  per-node stats")
            lines += _stats(machine, NODE_STATS, node)
        lines += _frames(zone)
        lines.append(f"        protection: ({', '.join(map(str, reserve))})")
        zone_stats = {"nr_free_pages": zone.free, "nr_zone_unevictable": zone.unevictable}
        lines += _stats(machine, ZONE_STATS, zone_stats)
        lines.append("  pagesets")
        for cpu in range(machine.cpus):
            lines += [
                f"    cpu: {cpu}",
                f"              count: {0 if cpu else zone.pcp_count}",
                f"              high:  {zone.pcp_high}",
                f"              batch: {zone.pcp_batch}",
                f"  vm stats threshold: {_threshold(zone, machine.cpus)}",
            ]
        lines += ["  node_unreclaimable:  0", f"  start_pfn:           {zone.start_pfn}"]
    return "\n".join(lines) + "\n"


def _frames(zone: ZoneStatistics) -> list[str]:
    numbers = {
        "boost": 0,
        "min": zone.wmark_min,
        "low": zone.wmark_low,
        "high": zone.wmark_high,
        "promo": zone.wmark_high + zone.wmark_low - zone.wmark_min,
        "spanned": zone.spanned,
        "present": zone.present,
        "managed": zone.managed,
        "cma": 0,
    }
    return [
        f"  pages free     {zone.free}",
        *(f"        {name:8} {number}" for name, number in numbers.items()),
    ]


def _stats(machine: Machine, names: str, known: dict[str, int]) -> Iterator[str]:
    """Lines of numbers, 0 for what this machine has not got."""
    for name in names.split():
        if name == "nr_unaccepted" and machine.layout.name != "x86_64":
            continue
        if machine.layout.numa or not name.startswith(OF_NUMA):
            yield f"      {name:12} {known.get(name, 0)}"


def _threshold(zone: ZoneStatistics, cpus: int) -> int:
    """How far a CPU counts for itself (Linux: mm/vmstat.c:calculate_normal_threshold())."""
    blocks = zone.managed >> (27 - PAGE_SHIFT)
    return min(2 * cpus.bit_length() * (1 + blocks.bit_length()), 125)
