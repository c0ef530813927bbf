"""/proc/meminfo: where the RAM is.

All lines of a Debian kernel are there, in its order; what this machine has not got is 0: no
processes, no swap, and no page cache but that of the one file that holds free memory apart
(`mm.fragment`), which is Unevictable, too.  MemTotal is MemFree + Cached + Slab + PageTables +
VmallocUsed and what no line counts: page tables of the lowest level and of the boot, and pages that
somebody asked for.

Linux: fs/proc/meminfo.c:meminfo_proc_show()
"""

from __future__ import annotations

from typing import Final

from scullvfs.mm import PAGE_SIZE, Machine
from scullvfs.mm.layout import Layout
from scullvfs.mm.show_mem import si_mem_available

__all__ = ["meminfo"]

FIELDS: Final = """
    MemTotal MemFree MemAvailable Buffers Cached SwapCached Active Inactive Active(anon)
    Inactive(anon) Active(file) Inactive(file) Unevictable Mlocked HighTotal HighFree LowTotal
    LowFree SwapTotal SwapFree Zswap Zswapped Dirty Writeback AnonPages Mapped Shmem KReclaimable
    Slab SReclaimable SUnreclaim KernelStack PageTables SecPageTables NFS_Unstable Bounce
    WritebackTmp CommitLimit Committed_AS VmallocTotal VmallocUsed VmallocChunk Percpu
    HardwareCorrupted AnonHugePages ShmemHugePages ShmemPmdMapped FileHugePages FilePmdMapped
    Unaccepted HugePages_Total HugePages_Free HugePages_Rsvd HugePages_Surp Hugepagesize Hugetlb
    DirectMap4k DirectMap2M DirectMap4M DirectMap1G
"""
"""In their order."""

ONLY: Final = {
    **dict.fromkeys(("HighTotal", "HighFree", "LowTotal", "LowFree", "DirectMap4M"), ("i386",)),
    **dict.fromkeys(("Unaccepted", "DirectMap2M", "DirectMap1G"), ("x86_64",)),
    "DirectMap4k": ("x86_64", "i386"),
}
"""Fields that not all architectures have -> those that do."""

COUNTS: Final = ("HugePages_Total", "HugePages_Free", "HugePages_Rsvd", "HugePages_Surp")
"""Numbers of pages; all others are kB."""

UNITS: Final = ((30, "G"), (20, "M"), (10, "k"))
"""Power of two -> how the name of a field has it."""

LINE: Final = 24
"""Where the numbers end, unless they are too long for that."""


def meminfo(machine: Machine) -> str:
    """The text."""
    known = _known(machine)
    arch = machine.layout.name
    lines = []
    for name in FIELDS.split():
        if arch in ONLY.get(name, (arch,)):
            label = f"{name + ':':16}"
            unit = "" if name in COUNTS else " kB"
            lines.append(f"{label}{known.get(name, 0):{LINE - len(label)}}{unit}\n")
    return "".join(lines)


def _known(machine: Machine) -> dict[str, int]:
    """What is not 0, in kB."""
    books = machine.statistics()
    pages, layout = books.pages, machine.layout
    zones = {zone.name: zone for zone in pages.zones}
    low = zones["Normal"]
    file = sum(zone.unevictable for zone in pages.zones)
    counts = {
        "MemTotal": pages.total,
        "MemFree": pages.free,
        "MemAvailable": si_mem_available(pages.zones),
        "Cached": file,
        "Unevictable": file,
        "LowTotal": low.managed,
        "LowFree": low.free,
        "Slab": books.slab.pages,
        "SUnreclaim": books.slab.pages,
        "PageTables": books.pgtable.nr_pagetable,
        # Linux: mm/util.c:vm_commit_limit(), where vm.overcommit_ratio is 50
        "CommitLimit": pages.total // 2,
        "VmallocUsed": books.vmalloc.pages,
        "Percpu": books.percpu.pages,
    }
    if "HighMem" in zones:
        high = zones["HighMem"]
        counts["HighTotal"], counts["HighFree"] = high.managed, high.free
    return {
        **{name: count * (PAGE_SIZE >> 10) for name, count in counts.items()},
        "VmallocTotal": (layout.vmalloc_limit - layout.vmalloc_start) >> 10,
        "Hugepagesize": 1 << layout.levels[-2].shift >> 10,
        **_direct_map(machine.pgtable.direct_pages, layout),
    }


def _direct_map(pages: dict[str, int], layout: Layout) -> dict[str, int]:
    """What of the linear mapping is mapped by pages of each size (Linux: direct_pages_count[])."""
    sizes = {level.name: 1 << level.shift for level in layout.levels}
    return {f"DirectMap{_unit(sizes[name])}": n * sizes[name] >> 10 for name, n in pages.items()}


def _unit(size: int) -> str:
    return next(f"{size >> shift}{unit}" for shift, unit in UNITS if size >> shift)
