"""A device, as its mount has it: list items, quantum sets, and some quanta down to RAM.

    proc/scullvmem        the items, where each set is
    proc/kcore            the sets, the page tables
    vmap_areas            where an area ends, its guard page
    proc/kpageflags       what the frames of a quantum are, where it is part of a slab or a block

Items that are alike and follow one another are one `Group`, so a million of them is little.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from itertools import groupby
from typing import Final, NamedTuple

from scullvfs.mm.layout import PAGE_SHIFT, PAGE_SIZE
from scullvfs.scull.driver import Driver
from scullvfs.scull.family import DRIVERS, MAX_PAGE_ORDER, driver_of_device

from .core import NONE, Core, Step
from .files import Files, nonsense
from .listing import Item, Listed, find_area, listed_devices

__all__ = ["Device", "Group", "Quantum", "Run", "read_device", "read_tree"]

KPF_SLAB: Final = 1 << 7
KPF_COMPOUND_HEAD: Final = 1 << 15
KPF_COMPOUND_TAIL: Final = 1 << 16
FEW: Final = 64
"""Runs of quanta in a set that are told apart; of more only how many there are is kept."""


class Run(NamedTuple):
    """Numbers that follow one another."""

    first: int
    length: int


class Group(NamedTuple):
    """List items that are alike and follow one another."""

    first: int
    """The number of the first one."""
    items: int
    """How many."""
    address: int
    """Where the first one is."""
    qset: int
    """Where its quantum set is; 0, none of them has one."""
    quanta: int
    """How many each of them has."""
    runs: tuple[Run, ...]
    """Which places of a set lead to one; none if they are too many to tell."""
    listed: bool = True
    """Whether the listing has them."""


class Quantum(NamedTuple):
    """A quantum that was asked for, and the way to it."""

    number: int
    """Counted through the whole device."""
    item: int
    place: int
    """Which pointer of the item's set leads to it."""
    start: int
    """The byte of the device that it begins with."""
    at: int
    """The byte of it that was asked for."""
    address: int
    """What the pointer to it says; 0 if there is none."""
    why: str
    """If it is not there: `hole`, `unlisted`, `end` or `garbage`; else `area` or `linear`."""
    length: int
    """Bytes that are there for it; 0 if it is not there."""
    path: tuple[Step, ...]
    """The entries on the way to the byte asked for."""
    frames: tuple[int, ...]
    """Of each page, NONE where nothing is mapped."""
    entries: tuple[int, ...]
    """The lowest-level entry of each page; of a large page, what a single one would be is 0."""
    guard: int
    """The address of the guard page behind it; 0 if there is none."""
    block: Run
    """The frames of the slab or block that it is in; empty for an area."""
    slab: bool
    """Whether that is a slab."""


class Device(NamedTuple):
    """A device with all that is drawn of it."""

    name: str
    driver: str
    arch: str
    measure: int
    qset: int
    quantum: int
    """Bytes of one."""
    size: int
    nr_items: int
    nr_quanta: int
    seen: int
    """Quanta in the sets that could be looked at."""
    groups: tuple[Group, ...]
    quanta: tuple[Quantum, ...]
    nr_frames: int
    """Of all RAM."""
    page_offset: int


def read_device(files: Files, name: str, numbers: Sequence[int], bytes_at: Sequence[int]) -> Device:
    """Read what there is to draw of a device.

    Args:
        numbers: of quanta.
        bytes_at: bytes of the device, whose quanta are wanted, too.  With neither it is the first
            quantum that there is.

    Raises:
        OSError: as read(2); ENOENT, there is no such device; EBADMSG, what it says does not fit
            together.
    """
    driver = driver_of_device(name)
    assert driver is not None
    index = int(name.removeprefix(driver.name))
    nr_quanta = files.number(f"sys/class/{driver.name}/{name}/quanta")
    device = next(listed_devices(files, driver.listings[0], index), None)
    if device is None:
        raise nonsense("the listing has no such device")
    quantum = device.quantum(driver)
    with Core(files) as core:
        reader = _Reader(files, core, driver, device, quantum)
        found = reader.device(_nr_frames(files))
        wanted = [(number, 0) for number in numbers] + [divmod(at, quantum) for at in bytes_at]
        if not wanted:
            wanted = [(number, 0) for number in reader.first(found.groups)]
        return found._replace(
            nr_quanta=nr_quanta, quanta=tuple(reader.quantum(*each) for each in wanted)
        )


def read_tree(files: Files) -> tuple[Device, ...]:
    """All devices, by driver and number, without their quanta.

    Raises:
        OSError: as read(2); EBADMSG, what they say does not fit together.
    """
    found = []
    nr_frames = _nr_frames(files)
    with Core(files) as core:
        for name, driver in sorted(DRIVERS.items()):
            if not files.has(f"sys/class/{name}"):
                continue
            for listed in listed_devices(files, driver.listings[0]):
                reader = _Reader(files, core, driver, listed, listed.quantum(driver))
                device = reader.device(nr_frames)
                if not all(group.listed for group in device.groups):
                    nr_quanta = files.number(f"sys/class/{name}/{device.name}/quanta")
                    device = device._replace(nr_quanta=nr_quanta)
                found.append(device)
    return tuple(found)


def _nr_frames(files: Files) -> int:
    nr_frames = files.size("proc/kpageflags") // 8
    if nr_frames <= 0:
        raise nonsense("there is no RAM")
    return nr_frames


class _Reader:
    """What the functions below have in common."""

    def __init__(
        self, files: Files, core: Core, driver: Driver, device: Listed, quantum: int
    ) -> None:
        self._files = files
        self._core = core
        self._driver = driver
        self._device = device
        self._quantum = quantum
        self._items = {item.number: item for item in device.items}

    def device(self, nr_frames: int) -> Device:
        """All but the quanta; of these there are those in the sets that could be looked at."""
        groups = self.groups()
        seen = sum(group.items * group.quanta for group in groups)
        return Device(
            name=f"{self._driver.name}{self._device.number}",
            driver=self._driver.name,
            arch=self._core.layout.name,
            measure=self._device.measure,
            qset=self._device.qset,
            quantum=self._quantum,
            size=self._device.size,
            nr_items=groups[-1].first + groups[-1].items if groups else 0,
            nr_quanta=seen,
            seen=seen,
            groups=groups,
            quanta=(),
            nr_frames=nr_frames,
            page_offset=self._core.layout.page_offset,
        )

    def groups(self) -> tuple[Group, ...]:
        """The items of the device."""
        groups: list[Group] = []
        key: tuple[bool, int, tuple[Run, ...]] | None = None
        for item in self._device.items:
            behind = groups[-1].first + groups[-1].items if groups else 0
            if item.number > behind:
                groups.append(Group(behind, item.number - behind, 0, 0, 0, (), False))
                key = None
            quanta, runs = self._occupied(item)
            if key == (bool(item.qset), quanta, runs):
                groups[-1] = groups[-1]._replace(items=groups[-1].items + 1)
            else:
                groups.append(Group(item.number, 1, item.address, item.qset, quanta, runs))
                key = bool(item.qset), quanta, runs
        return tuple(groups)

    def _occupied(self, item: Item) -> tuple[int, tuple[Run, ...]]:
        """How many places of its set lead to a quantum, and which."""
        if not item.qset:
            return 0, ()
        pointers = self._core.pointers(item.qset, self._device.qset)
        missing = pointers.count(0)
        if not missing:
            return len(pointers), (Run(0, len(pointers)),)
        if missing == len(pointers):
            return 0, ()
        runs, at = [], 0
        for there, same in groupby(pointers, bool):
            count = sum(1 for _ in same)
            if there:
                runs.append(Run(at, count))
            at += count
        return len(pointers) - missing, tuple(runs) if len(runs) <= FEW else ()

    def first(self, groups: Sequence[Group]) -> list[int]:
        """The number of the first quantum that there is, if there is one."""
        for group in groups:
            if group.quanta:
                pointers = self._core.pointers(group.qset, self._device.qset)
                place = next((place for place, pointer in enumerate(pointers) if pointer), None)
                if place is None:  # trimmed since
                    raise nonsense("a quantum set is empty")
                return [group.first * self._device.qset + place]
        return []

    def quantum(self, number: int, at: int) -> Quantum:
        """One of them, and the way to a byte of it."""
        item, place = divmod(number, self._device.qset)
        start = number * self._quantum
        known = self._items.get(item)
        last = self._device.items[-1].number if self._device.items else -1
        address = 0
        if known is not None and known.qset:
            address = self._core.pointers(known.qset, self._device.qset)[place]
        why = "hole" if known is not None else "unlisted" if item < last else "end"
        nothing = Quantum(
            number, item, place, start, at, address, why, 0, (), (), (), 0, Run(0, 0), False
        )
        if not address:
            return nothing
        phys = self._core.physical(address)
        if phys is not None:
            return self._linear(nothing, phys)
        layout = self._core.layout
        if not layout.vmalloc_start <= address < layout.vmalloc_end:
            return nothing._replace(why="garbage")
        return self._area(nothing)

    def _area(self, quantum: Quantum) -> Quantum:
        """What vmalloc() gave."""
        area = find_area(self._files, quantum.address)
        if area is None or area.start != quantum.address:
            raise nonsense("a quantum is in no area")
        nr_pages = (area.end - area.start) >> PAGE_SHIFT
        frames = self._core.frames(area.start, nr_pages)
        guard = 0
        if nr_pages > 1 and frames[-1] == NONE:
            guard = area.end - PAGE_SIZE
            frames.pop()
        length = min(len(frames) << PAGE_SHIFT, self._quantum)
        return quantum._replace(
            why="area",
            length=length,
            path=self._core.walk(quantum.address + min(quantum.at, length - 1)),
            frames=tuple(frames),
            entries=self._entries(area.start, len(frames)),
            guard=guard,
        )

    def _entries(self, address: int, count: int) -> tuple[int, ...]:
        pages = range(address, address + (count << PAGE_SHIFT), PAGE_SIZE)
        lowest = len(self._core.layout.levels)
        steps = [self._core.walk(page) for page in pages]
        return tuple(step[-1].entry if len(step) == lowest else 0 for step in steps)

    def _linear(self, quantum: Quantum, phys: int) -> Quantum:
        """What lies in the linear mapping: a block of pages, an object of a slab."""
        first = phys >> PAGE_SHIFT
        count = ((phys + self._quantum - 1) >> PAGE_SHIFT) - first + 1
        block, slab = self._block(first, count)
        return quantum._replace(
            why="linear",
            length=self._quantum,
            path=self._core.walk(quantum.address + quantum.at),
            frames=tuple(range(first, first + count)),
            block=block,
            slab=slab,
        )

    def _block(self, first: int, count: int) -> tuple[Run, bool]:
        """The slab or large object around some frames, or just these."""
        begin = max(0, first - (1 << MAX_PAGE_ORDER))
        behind = first + max(count, 1 << MAX_PAGE_ORDER)
        with self._files.opened("proc/kpageflags") as fd:
            data = os.pread(fd, 8 * (behind - begin), 8 * begin)
        flags = struct.unpack_from(f"={len(data) // 8}Q", data)
        at = first - begin
        if at >= len(flags):
            raise nonsense("proc/kpageflags is too short")
        slab = bool(flags[at] & KPF_SLAB)
        while flags[at] & KPF_COMPOUND_TAIL and at:
            at -= 1
        end = at + 1
        if flags[at] & KPF_COMPOUND_HEAD:
            while end < len(flags) and flags[end] & KPF_COMPOUND_TAIL:
                end += 1
        elif not slab:
            end = at + count
        return Run(begin + at, end - at), slab
