"""The files of `proc/`: the machine's state in the kernel's text formats.

The short ones are functions from a machine to text, and `shown` says when they are called; the
long ones are listings, which `seq_file` reads line by line.
Addresses are shown as they are, as to root under kptr_restrict=1.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from typing import Final

from scullvfs.mm import PAGE_SIZE, Machine
from scullvfs.mm.layout import PAGE_SHIFT
from scullvfs.mm.vm_struct import (
    VM_ALLOC,
    VM_IOREMAP,
    VM_MAP,
    VM_MAP_RAM,
    VM_USERMAP,
    VmKind,
)
from scullvfs.scull import Module, ScullvProcmem

from .seq_file import START, Listing, Place, SeqFile
from .shown import ShownFile
from .tree import Directory, Node

__all__ = [
    "Kmsg",
    "TextFile",
    "Vmallocinfo",
    "buddyinfo",
    "iomem",
    "listings",
    "meminfo",
    "procfs",
]


WORDS: Final = (
    (VM_IOREMAP, "ioremap"),
    (VM_ALLOC, "vmalloc"),
    (VM_MAP, "vmap"),
    (VM_USERMAP, "user"),
    (VM_MAP_RAM, "vm_map_ram"),
)
"""Flag -> how the listing of areas has it."""


class TextFile(ShownFile):
    """A read-only file like those of procfs."""

    def __init__(self, show: Callable[[], str], permissions: int, uid: int, gid: int) -> None:
        super().__init__(permissions, uid, gid)
        self._show = show

    def text(self) -> str:
        """What there is to show now."""
        return self._show()


class Vmallocinfo:
    """/proc/vmallocinfo: busy areas by address, then those freed and not yet purged.

    A place is (0, address of the next busy area or less) or (1, how many of the others are done).
    Linux: mm/vmalloc.c:vmalloc_info_show()
    """

    def __init__(self, machine: Machine) -> None:
        self._space = machine.vmap_space
        self._digits = machine.layout.pointer_digits
        self._range_width = len("0x-0x") + 2 * self._digits
        self._lazy: list[tuple[int, int]] = []
        """The list of unpurged areas that was looked at last; a purge begins another one."""
        self._lazy_ends = array("Q")
        """Of each of them, how many bytes its line and those before it have."""

    def size(self) -> int:
        """Known from how many areas of each kind there are, and how large the others are.

        Of the others only those are looked at that have come since it was asked for last.
        """
        busy = self._space.busy
        kinds = zip(busy.counts, map(self._length, busy.kinds), strict=True)
        ends = self._unpurged_ends()
        return sum(count * length for count, length in kinds) + (ends[-1] if ends else 0)

    def _unpurged_ends(self) -> array[int]:
        if self._lazy is not self._space.lazy:
            self._lazy, self._lazy_ends = self._space.lazy, array("Q")
        ends = self._lazy_ends
        at = ends[-1] if ends else 0
        for start, end in islice(self._lazy, len(ends), None):
            at += self._unpurged_length(end - start)
            ends.append(at)
        return ends

    def _unpurged_length(self, size: int) -> int:
        return self._range_width + len(f" {size:7} unpurged vm_area\n")

    def seek(self, pos: int) -> tuple[Place, int]:
        """A few hundred areas at a step, without making a line."""
        busy = self._space.busy
        lengths = list(map(self._length, busy.kinds))
        at = 0
        for start, numbers in busy.chunks():
            most = numbers[0]
            count = numbers.count(most)
            length = (
                count * lengths[most]
                if count == len(numbers)
                else sum(map(lengths.__getitem__, numbers))
            )
            if at + length > pos:
                return (0, start), at
            at += length
        ends = self._unpurged_ends()
        done = bisect_right(ends, pos - at)
        return (1, done), at + (ends[done - 1] if done else 0)

    def lines(self, place: Place) -> Iterator[tuple[bytes, Place]]:
        """Each with the place behind it."""
        which, done = place
        if not which:
            digits = self._digits
            words: dict[int, tuple[int, str, str, bool]] = {}
            for start, number, data in self._space.busy.walk(done):
                if number not in words:
                    kind = self._space.busy.kinds[number]
                    words[number] = kind.size, *_words(kind), bool(kind.flags & VM_IOREMAP)
                size, before, behind, has_phys = words[number]
                phys = f" phys=0x{data:0{digits}x}" if has_phys else ""
                end = start + size
                where = f"0x{start:0{digits}x}-0x{end:0{digits}x}"
                yield f"{where}{before}{phys}{behind}\n".encode(), (0, end)
            done = 0
        for line in self._unpurged(done):
            done += 1
            yield line, (1, done)

    def _unpurged(self, done: int) -> Iterator[bytes]:
        digits = self._digits
        for start, end in islice(self._space.lazy, done, None):
            where = f"0x{start:0{digits}x}-0x{end:0{digits}x}"
            yield f"{where} {end - start:7} unpurged vm_area\n".encode()

    def _length(self, kind: VmKind) -> int:
        phys = len(" phys=0x") + self._digits if kind.flags & VM_IOREMAP else 0
        return self._range_width + sum(map(len, _words(kind))) + phys + 1


def _words(kind: VmKind) -> tuple[str, str]:
    """What is said of an area, in the kernel's order: before and behind `phys=`."""
    before, behind = [f"{kind.size:7}"], []
    if kind.caller:
        before.append(kind.caller)
    if kind.nr_pages:
        before.append(f"pages={kind.nr_pages}")
    for flag, word in WORDS:
        if kind.flags & flag:
            behind.append(word)
    if kind.vpages:
        behind.append("vpages")
    if kind.nr_pages:
        behind.append(f"N0={kind.nr_pages}")
    return " ".join(["", *before]), " ".join(["", *behind])


def buddyinfo(machine: Machine) -> str:
    """/proc/buddyinfo: free blocks of each order, as if the freed frames were given back.

    Linux: mm/vmstat.c:frag_show_print()
    """
    return "".join(
        f"Node 0, zone {name:>8} {''.join(f'{count:6} ' for count in counts)}\n"
        for name, counts in machine.page_alloc.free_by_order().items()
    )


def meminfo(machine: Machine) -> str:
    """/proc/meminfo: where the RAM is.

    MemTotal is MemFree + Slab + PageTables + VmallocUsed.  Fields that would always be 0
    are left out.  Linux: fs/proc/meminfo.c:meminfo_proc_show()
    """
    books = machine.statistics()
    pages, slab = books.pages, books.slab.pages
    fields = {
        "MemTotal": pages.total,
        "MemFree": pages.free,
        "MemAvailable": pages.free,
    }
    zones = {zone.name: zone for zone in pages.zones}
    if "HighMem" in zones:
        low, high = zones["Normal"], zones["HighMem"]
        fields["HighTotal"], fields["HighFree"] = high.managed, high.free
        fields["LowTotal"], fields["LowFree"] = low.managed, low.free
    fields |= {
        "Slab": slab,
        "SReclaimable": 0,
        "SUnreclaim": slab,
        "PageTables": books.pgtable.tables,
        "VmallocTotal": books.vmap.total_pages,
        "VmallocUsed": books.vmalloc.pages,
        "VmallocChunk": 0,
    }
    return "".join(
        f"{name + ':':16}{count * (PAGE_SIZE >> 10):8} kB\n" for name, count in fields.items()
    )


def iomem(machine: Machine) -> str:
    """/proc/iomem: the physical address space (Linux: kernel/resource.c:r_show())."""
    last = machine.statistics().ram.nbytes - 1
    resources = ((0, PAGE_SIZE - 1, "Reserved"), (1 << PAGE_SHIFT, last, "System RAM"))
    return "".join(f"{start:08x}-{end:08x} : {name}\n" for start, end, name in resources)


class Kmsg:
    """/proc/kmsg: the kernel log, oldest line first; reading it takes nothing away.

    A place is (0, number of a record or less), counted from the first one ever.
    """

    def __init__(self, machine: Machine) -> None:
        self._log = machine.log
        self._sized = (0, 0)
        """How many records there had been when the size was asked for last, and the size."""

    def size(self) -> int:
        """Of the lines that have not fallen out."""
        if self._log.nr_records != self._sized[0]:
            size = sum(len(line) for line, _ in self.lines(START))
            self._sized = (self._log.nr_records, size)
        return self._sized[1]

    def seek(self, pos: int) -> tuple[Place, int]:
        """From the oldest line on."""
        at, place = 0, START
        for line, behind in self.lines(START):
            if at + len(line) > pos:
                break
            at, place = at + len(line), behind
        return place, at

    def lines(self, place: Place) -> Iterator[tuple[bytes, Place]]:
        """Each with the place behind it."""
        for number, record in self._log.records_from(place[1]):
            yield f"{record}\n".encode("utf-8", "surrogateescape"), (0, number + 1)


TEXTS: Final[dict[str, tuple[int, Callable[[Machine], str]]]] = {
    "buddyinfo": (0o444, buddyinfo),
    "iomem": (0o444, iomem),
    "meminfo": (0o444, meminfo),
}
"""Name -> permissions, and what makes the text."""


def listings(module: Module) -> dict[str, tuple[int, Listing]]:
    """Name -> permissions, and the listing."""
    return {
        "kmsg": (0o400, Kmsg(module.machine)),
        "scullvmem": (0o444, ScullvProcmem(module)),
        "vmallocinfo": (0o400, Vmallocinfo(module.machine)),
    }


def procfs(module: Module, uid: int, gid: int) -> Directory:
    """The directory `proc` of a loaded module."""
    files: dict[str, Node] = {
        name: TextFile(partial(show, module.machine), permissions, uid, gid)
        for name, (permissions, show) in TEXTS.items()
    }
    for name, (permissions, listing) in listings(module).items():
        files[name] = SeqFile(listing, permissions, uid, gid)
    return Directory.of(dict(sorted(files.items())), uid, gid)
