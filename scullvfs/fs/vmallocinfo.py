"""/proc/vmallocinfo: which addresses of the vmalloc window are in use, and by whom.

    0xffffc90000000000-0xffffc90000011000   69632 scullv_write [scullv] pages=16 vmalloc N0=16
    range, the guard page inside            size  caller                what lives in it

Linux: mm/vmalloc.c:vmalloc_info_show()
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from itertools import accumulate, islice
from typing import Final

from scullvfs.mm import Machine
from scullvfs.mm.vm_struct import (
    VM_ALLOC,
    VM_IOREMAP,
    VM_MAP,
    VM_MAP_RAM,
    VM_USERMAP,
    VmKind,
)

from .seq_file import Place

__all__ = ["Vmallocinfo"]


WORDS: Final = (
    (VM_IOREMAP, "ioremap"),
    (VM_ALLOC, "vmalloc"),
    (VM_MAP, "vmap"),
    (VM_USERMAP, "user"),
    (VM_MAP_RAM, "vm_map_ram"),
)
"""Flag -> how the listing of areas has it."""


class Vmallocinfo:
    """Busy areas by address, then those freed and not yet purged, by address, too.

    A place is (0, address of the next busy area or less) or (1, that of the next unpurged one).
    """

    def __init__(self, machine: Machine) -> None:
        self._space = machine.vmap_space
        self._numa = machine.layout.numa
        self._digits = machine.layout.pointer_digits
        self._range_width = len("0x-0x") + 2 * self._digits
        self._lazy: list[tuple[int, int, int]] = []
        """The list of unpurged areas that was looked at last; a purge begins another one."""
        self._counted = 0
        """How many of it have been counted."""
        self._lazy_size = 0
        """The bytes of their lines."""
        self._listed: list[tuple[int, int, int]] = []
        """Those of it that have been listed, in ascending order."""
        self._ends = array("Q")
        """Of each of these, how many bytes its line and those before it have."""

    def size(self) -> int:
        """Known from how many areas of each kind there are, and how large the others are.

        Of the others only those are looked at that have come since it was asked for last.
        """
        busy = self._space.busy
        kinds = zip(busy.counts, map(self._length, busy.kinds), strict=True)
        self._follow()
        for start, end, _ in islice(self._lazy, self._counted, None):
            self._lazy_size += self._unpurged_length(end - start)
        self._counted = len(self._lazy)
        return sum(count * length for count, length in kinds) + self._lazy_size

    def _follow(self) -> None:
        """Begin anew with the list of unpurged areas behind a purge."""
        if self._lazy is not self._space.lazy:
            self._lazy, self._listed, self._ends = self._space.lazy, [], array("Q")
            self._counted = self._lazy_size = 0

    def unpurged(self) -> list[tuple[int, int, int]]:
        """They by address, as in Linux's tree of them, the latest ones put in.

        There are at most `lazy_max_pages` / 2 of them.
        """
        self._follow()
        if len(self._listed) < len(self._lazy):
            self._listed += self._lazy[len(self._listed) :]
            self._listed.sort()
        return self._listed

    def _unpurged_length(self, size: int) -> int:
        more = len(str(size)) - 7 if size >= 10**7 else 0
        return self._range_width + len(" 1234567 unpurged vm_area\n") + more

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
        areas = self.unpurged()
        if len(self._ends) != len(areas):
            lengths = [self._unpurged_length(end - start) for start, end, _ in areas]
            self._ends = array("Q", accumulate(lengths))
        done = bisect_right(self._ends, pos - at)
        if not done:
            return (1, 0), at
        return (1, areas[done - 1][1]), at + self._ends[done - 1]

    def lines(self, place: Place) -> Iterator[tuple[bytes, Place]]:
        """Each with the place behind it."""
        which, done = place
        digits = self._digits
        if not which:
            words: dict[int, tuple[int, str, str, bool]] = {}
            for start, number, data in self._space.busy.walk(done):
                if number not in words:
                    kind = self._space.busy.kinds[number]
                    words[number] = kind.size, *self._words(kind), bool(kind.flags & VM_IOREMAP)
                size, before, behind, has_phys = words[number]
                phys = f" phys=0x{data:0{digits}x}" if has_phys else ""
                end = start + size
                where = f"0x{start:0{digits}x}-0x{end:0{digits}x}"
                yield f"{where}{before}{phys}{behind}\n".encode(), (0, end)
            done = 0
        areas = self.unpurged()
        for start, end, _ in islice(areas, bisect_left(areas, (done, 0, 0)), None):
            where = f"0x{start:0{digits}x}-0x{end:0{digits}x}"
            yield f"{where} {end - start:7} unpurged vm_area\n".encode(), (1, end)

    def _length(self, kind: VmKind) -> int:
        phys = len(" phys=0x") + self._digits if kind.flags & VM_IOREMAP else 0
        return self._range_width + sum(map(len, self._words(kind))) + phys + 1

    def _words(self, kind: VmKind) -> tuple[str, str]:
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
        if kind.nr_pages and self._numa:
            behind.append(f"N0={kind.nr_pages}")
        return " ".join(["", *before]), " ".join(["", *behind])
