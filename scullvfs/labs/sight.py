"""What a task looks at: the files of a mount, for a process that may hang on them.

Whatever is in them may have been put there by anybody, so nothing is believed: what makes no sense
is `nonsense()`, and what is read of a device has a bound.
"""

from __future__ import annotations

import os
import re
from typing import Final, NamedTuple

from scullvfs.scull.family import DRIVERS, driver_of_device
from scullvfs.view.core import Core
from scullvfs.view.files import Files, nonsense
from scullvfs.view.listing import Area, Item, Listed, areas, listed_devices

__all__ = ["ANSWER", "DeviceState", "Handle", "Sight"]

ANSWER: Final = 256
"""Bytes of an answer that are looked at."""
LARGEST: Final = 64 << 20
"""Bytes of a device that are read at the most."""
HANDLE: Final = re.compile(
    rb"(\S+) +(\w+) +([0-9a-f]+) +(\d{1,19}) +(\d{1,19}) +(\d{1,19}) "
    rb"(?:phys 0x([0-9a-f]{1,16})-0x[0-9a-f]{1,16}|.*)"
)
SLAB: Final = re.compile(rb"(\S+) +\d+ +\d+ +(\d{1,9}) .*")


class DeviceState(NamedTuple):
    """A device as `sys/class` has it."""

    measure: int
    """Its order, or its quantum."""
    quantum: int
    """Bytes of one."""
    qset: int
    size: int
    items: int
    quanta: int


class Handle(NamedTuple):
    """What a command has allocated."""

    kind: str
    address: int
    size: int
    phys: int | None
    """Where in physical memory it begins, if it is in one piece."""


class Sight:
    """The files of one mount, as tasks need them.

    Each method raises OSError: as read(2), or EBADMSG where a file is not as it has to be.
    """

    def __init__(self, files: Files) -> None:
        self.files: Final = files

    def answer(self, device: str) -> str:
        """What stands in a device, in one line; nothing in an empty one."""
        with self.files.opened(device) as fd:
            return " ".join(os.pread(fd, ANSWER, 0).decode(errors="replace").split())

    def device(self, name: str) -> DeviceState:
        """How a device is."""
        driver = driver_of_device(name)
        assert driver is not None
        there = f"sys/class/{driver.name}/{name}"
        measure, qset, size, items, quanta = (
            self.files.number(f"{there}/{file}")
            for file in (driver.word, "qset", "size", "items", "quanta")
        )
        quantum = Listed(0, qset, measure, size, ()).quantum(driver)
        return DeviceState(measure, quantum, qset, size, items, quanta)

    def parameter(self, name: str) -> int:
        """A parameter of scullv as it is now."""
        return self.files.number(f"sys/module/scullv/parameters/{name}")

    def content(self, name: str) -> bytes:
        """All of a device, with zeros where it has holes."""
        device = self.device(name)
        if device.size > LARGEST:
            raise nonsense(f"{name} is too long")
        data = bytearray()
        with self.files.opened(name) as fd:
            while len(data) < device.size:
                part = os.pread(fd, device.size - len(data), len(data))
                behind = (len(data) // device.quantum + 1) * device.quantum
                data += part or bytes(min(behind, device.size) - len(data))
        return bytes(data)

    def items(self, name: str) -> tuple[Item, ...]:
        """The list items of a device."""
        driver = driver_of_device(name)
        assert driver is not None
        number = int(name.removeprefix(driver.name))
        listed = next(listed_devices(self.files, driver.listings[0], number), None)
        if listed is None:
            raise nonsense(f"{driver.listings[0]} has no such device")
        return listed.items

    def quantum(self, name: str, number: int) -> int:
        """The address of a quantum of a device, counted from 0; 0 for a hole."""
        item, place = divmod(number, self.device(name).qset)
        found = next((each for each in self.items(name) if each.number == item), None)
        if found is None or not found.qset:
            return 0
        with Core(self.files) as core:
            return core.pointers(found.qset, place + 1)[place]

    def frame(self, address: int) -> int | None:
        """The page frame behind an address of the vmalloc window; None, nothing is mapped."""
        with Core(self.files) as core:
            return core.frame(address) or None

    def physical(self, address: int) -> int | None:
        """The physical address of one of the linear mapping; None, it is none."""
        with Core(self.files) as core:
            return core.physical(address)

    def areas(self) -> list[Area]:
        """All ranges of the vmalloc window, by address."""
        return sorted(areas(self.files))

    def handles(self) -> dict[str, Handle]:
        """What commands have allocated, by name."""
        found = {}
        for line in list(self.files.lines("sys/kernel/debug/mm/handles"))[1:]:
            parts = HANDLE.fullmatch(line)
            if parts is None:
                raise nonsense("handles has a line of another kind")
            name, kind = parts[1].decode(errors="replace"), parts[2].decode()
            phys = None if parts[7] is None else int(parts[7], 16)
            found[name] = Handle(kind, int(parts[3], 16), int(parts[4]), phys)
        return found

    def text(self, name: str) -> str:
        """All of a text of the kernel's."""
        return self.files.read(name).decode(errors="replace")

    def object_size(self, driver: str, quantum: int) -> int:
        """Bytes that a quantum takes in memory, one of up to 8192 bytes; 0, nobody knows."""
        row = DRIVERS[driver]
        if row.by_order:
            return quantum
        sizes = dict[bytes, int]()
        for line in self.files.lines("proc/slabinfo"):
            if found := SLAB.fullmatch(line):
                sizes[found[1]] = int(found[2])
        if row.memory != "kmalloc":
            return sizes.get(row.name.encode(), 0)
        fitting = [size for name, size in sizes.items() if name.startswith(b"kmalloc-")]
        return min((size for size in fitting if size >= quantum), default=0)
