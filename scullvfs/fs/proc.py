"""The files of `proc/`: the machine's state in the kernel's text formats.

Each is a function from a machine (or the module) to text; `shown` says when it is called.
Addresses are shown as they are, as to root under kptr_restrict=1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from scullvfs.mm import PAGE_SIZE, Layout, Machine
from scullvfs.mm.layout import PAGE_SHIFT
from scullvfs.mm.vmalloc import VM_ALLOC, VM_IOREMAP, VM_MAP, VmStruct
from scullvfs.scullv import Module, scullv_read_procmem

from .shown import ShownFile

__all__ = ["PROC_FILES", "TextFile", "buddyinfo", "iomem", "kmsg", "meminfo", "vmallocinfo"]


class TextFile(ShownFile):
    """A read-only file like those of procfs."""

    def __init__(self, show: Callable[[], str], permissions: int, uid: int, gid: int) -> None:
        super().__init__(permissions, uid, gid)
        self._show = show

    def text(self) -> str:
        """What there is to show now."""
        return self._show()


def vmallocinfo(machine: Machine) -> str:
    """/proc/vmallocinfo: busy areas by address, then those freed and not yet purged.

    Linux: mm/vmalloc.c:vmalloc_info_show()
    """
    space, layout = machine.vmap_space, machine.layout
    lines = []
    for area in sorted(space.busy.values(), key=lambda area: area.va_start):
        if area.vm is not None:
            where = _range(area.va_start, area.va_end, layout)
            lines.append(" ".join([where, *_words(machine, area.vm)]))
    for area in space.lazy:
        lines.append(f"{_range(area.va_start, area.va_end, layout)} unpurged vm_area")
    return "".join(line + "\n" for line in lines)


def _range(start: int, end: int, layout: Layout) -> str:
    digits = layout.pointer_digits
    return f"0x{start:0{digits}x}-0x{end:0{digits}x} {end - start:7}"


def _words(machine: Machine, vm: VmStruct) -> Iterator[str]:
    """What is said of an area, in the kernel's order."""
    if vm.caller:
        yield vm.caller
    if vm.nr_pages:
        yield f"pages={vm.nr_pages}"
    if vm.phys_addr:
        yield f"phys=0x{vm.phys_addr:0{machine.layout.pointer_digits}x}"
    for flag, word in ((VM_IOREMAP, "ioremap"), (VM_ALLOC, "vmalloc"), (VM_MAP, "vmap")):
        if vm.flags & flag:
            yield word
    if vm.page_array is not None and machine.vm.is_vmalloc_addr(vm.page_array):
        yield "vpages"
    if vm.nr_pages:
        yield f"N0={vm.nr_pages}"


def buddyinfo(machine: Machine) -> str:
    """/proc/buddyinfo: free blocks of each order, those of the per-cpu lists as order 0.

    Linux: mm/vmstat.c:frag_show_print()
    """
    return "".join(
        f"Node 0, zone {name:>8} {''.join(f'{count:6} ' for count in counts)}\n"
        for name, counts in machine.page_alloc.statistics().free_by_order.items()
    )


def meminfo(machine: Machine) -> str:
    """/proc/meminfo: where the RAM is.

    MemTotal is MemFree + Slab + PageTables + VmallocUsed.  Fields that would always be 0
    are left out.  Linux: fs/proc/meminfo.c:meminfo_proc_show()
    """
    pages = machine.page_alloc.statistics()
    slab = machine.slab.statistics().pages
    fields = {
        "MemTotal": pages.total,
        "MemFree": pages.free,
        "MemAvailable": pages.free,
    }
    zones = {zone.name: zone for zone in machine.page_alloc.zones}
    if "HighMem" in zones:
        high = zones["HighMem"]
        fields["HighTotal"] = high.buddy.end_pfn - high.buddy.start_pfn
        fields["HighFree"] = high.nr_free
        fields["LowTotal"] = pages.total - fields["HighTotal"]
        fields["LowFree"] = zones["Normal"].nr_free
    fields |= {
        "Slab": slab,
        "SReclaimable": 0,
        "SUnreclaim": slab,
        "PageTables": machine.pgtable.statistics().tables,
        "VmallocTotal": machine.layout.vmalloc_pages,
        "VmallocUsed": machine.vm.nr_vmalloc_pages,
        "VmallocChunk": 0,
    }
    return "".join(
        f"{name + ':':16}{count * (PAGE_SIZE >> 10):8} kB\n" for name, count in fields.items()
    )


def iomem(machine: Machine) -> str:
    """/proc/iomem: the physical address space (Linux: kernel/resource.c:r_show())."""
    last = machine.ram.size - 1
    resources = ((0, PAGE_SIZE - 1, "Reserved"), (1 << PAGE_SHIFT, last, "System RAM"))
    return "".join(f"{start:08x}-{end:08x} : {name}\n" for start, end, name in resources)


def kmsg(machine: Machine) -> str:
    """/proc/kmsg: the kernel log, oldest line first; reading it takes nothing away."""
    return "".join(f"{record}\n" for record in machine.log.records())


PROC_FILES: Final[dict[str, tuple[int, Callable[[Module], str]]]] = {
    "buddyinfo": (0o444, lambda module: buddyinfo(module.machine)),
    "iomem": (0o444, lambda module: iomem(module.machine)),
    "kmsg": (0o400, lambda module: kmsg(module.machine)),
    "meminfo": (0o444, lambda module: meminfo(module.machine)),
    "scullvmem": (0o444, scullv_read_procmem),
    "vmallocinfo": (0o400, lambda module: vmallocinfo(module.machine)),
}
"""Name -> permissions, and what shows it."""
