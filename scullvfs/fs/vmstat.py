"""The page allocator's files in proc/, by zone: buddyinfo.

Linux: mm/vmstat.c
"""

from __future__ import annotations

from scullvfs.mm import Machine

__all__ = ["buddyinfo"]


def buddyinfo(machine: Machine) -> str:
    """/proc/buddyinfo: free blocks of each order, as if the freed frames were given back.

    Linux: mm/vmstat.c:frag_show_print()
    """
    return "".join(
        f"Node 0, zone {name:>8} {''.join(f'{count:6} ' for count in counts)}\n"
        for name, counts in machine.page_alloc.free_by_order().items()
    )
