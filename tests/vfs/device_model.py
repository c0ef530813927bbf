"""A model of a device in plain Python: bytes and holes.

It knows both sets of rules, those of the driver and those of a file, and what the members of the
family do otherwise.  It is written from their description alone: it uses nothing of the package.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

__all__ = [
    "FAMILY",
    "KEEP_SIZE",
    "PUNCH_HOLE",
    "ZERO_RANGE",
    "Device",
    "Driver",
    "Open",
    "Parameters",
    "Rules",
    "error",
]

Rules = Literal["device", "file"]

KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE = 0x01, 0x02, 0x10
"""Modes of fallocate(2)."""


def error(number: int) -> OSError:
    """An error as a system call raises it."""
    return OSError(number, os.strerror(number))


@dataclass(frozen=True)
class Driver:
    """What a driver has in its own way."""

    name: str
    word: str
    """What a quantum is measured by: an order, or bytes."""
    measure: int
    """The default."""
    qset: int = 500
    most: int = 18
    """The largest measure."""
    most_qset: int = 524287
    magic: int = 0x4B00
    first: int = 1
    """Items of an empty list."""

    def quantum(self, measure: int) -> int:
        """Bytes."""
        return 4096 << measure if self.word == "order" else measure

    def ioctl(self, name: str, letter: str) -> int:
        """The number of a command for the measure or the qset."""
        place, second = "STGQXH".index(letter), name == "qset"
        number = 1 + 2 * place + second if self.magic == 0x6B00 else 1 + place + 6 * second
        return (
            {"S": 1, "G": 2, "X": 3}.get(letter, 0) << 30
            | (letter in "SGX") << 18
            | (self.magic | number)
        )


FAMILY = {
    driver.name: driver
    for driver in (
        Driver("scullv", "order", 4),
        Driver("scullp", "order", 0),
        Driver("scullc", "quantum", 4000, most=8192, most_qset=(1 << 31) - 1),
        Driver("scull", "quantum", 4000, 1000, (1 << 31) - 1, (1 << 31) - 1, magic=0x6B00, first=0),
    )
}
"""With objects of 8 KiB for scullc."""


@dataclass
class Parameters:
    """What all devices of a module share."""

    driver: Driver

    def __post_init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """RESET."""
        self.measure, self.qset = self.driver.measure, self.driver.qset


@dataclass
class Device:
    """A device: bytes and holes."""

    rules: Rules
    parameters: Parameters
    size: int = 0
    items: int = 0
    quanta: dict[int, bytearray] = field(default_factory=dict)
    """Number of the quantum, from the start of the device -> its bytes."""
    mapped: list[Open] = field(default_factory=list)
    """Open files that it was mapped through; by the driver's rules they keep it from a trim."""

    def __post_init__(self) -> None:
        self.trim()

    def trim(self) -> None:
        """Give everything up, and take the geometry over."""
        self.quanta.clear()
        driver = self.parameters.driver
        self.size, self.items = 0, driver.first
        self.measure, self.qset = self.parameters.measure, self.parameters.qset
        self.quantum = driver.quantum(self.measure)

    def open(self, mode: int, truncate: bool) -> None:
        """open(2)."""
        write_only = self.rules == "device" and mode == os.O_WRONLY
        if truncate or (write_only and not self.mapped):
            self.trim()

    def pieces(self, pos: int, count: int) -> Iterator[tuple[int, int, int]]:
        """The parts of a range that lie in one quantum each: its number, offset, bytes."""
        while count > 0:
            number, offset = divmod(pos, self.quantum)
            part = min(count, self.quantum - offset)
            yield number, offset, part
            pos, count = pos + part, count - part

    def touch(self, number: int) -> bytearray:
        """A quantum, made if need be, with the items up to it."""
        self.items = max(self.items, number // self.qset + 1)
        return self.quanta.setdefault(number, bytearray(self.quantum))

    def content(self, pos: int = 0, count: int = 1 << 62) -> bytes:
        """Bytes of the file, with zeros in the holes."""
        found = bytearray()
        for number, offset, part in self.pieces(pos, min(count, self.size - pos)):
            found += self.quanta.get(number, bytes(self.quantum))[offset : offset + part]
        return bytes(found)

    def read(self, pos: int, count: int) -> bytes:
        """read(2)."""
        if self.rules == "file":
            return self.content(pos, count)
        if not count or pos > self.size - (1 - self.parameters.driver.first):
            return b""
        self.items = max(self.items, pos // self.quantum // self.qset + 1)
        if pos // self.quantum not in self.quanta:
            return b""
        return self.content(pos, min(count, self.quantum - pos % self.quantum))

    def write(self, pos: int, data: bytes) -> int:
        """write(2)."""
        done = 0
        for number, offset, part in self.pieces(pos, len(data)):
            self.touch(number)[offset : offset + part] = data[done : done + part]
            done += part
            self.size = max(self.size, pos + done)
            if self.rules == "device":
                break
        return done

    def truncate(self, size: int) -> None:
        """truncate(2)."""
        if size == 0:
            self.trim()
        elif size < self.size:
            end = (max(self.quanta, default=0) + 1) * self.quantum
            self.zero(size, end - size, free=True)
            self.items = min(self.items, size // self.quantum // self.qset + 1)
        self.size = size

    def zero(self, pos: int, length: int, free: bool) -> None:
        """Make a range zeros, freeing whole quanta or allocating all that it touches."""
        for number, offset, part in self.pieces(pos, length):
            if free and part == self.quantum:
                self.quanta.pop(number, None)
            elif not free or number in self.quanta:
                self.touch(number)[offset : offset + part] = bytes(part)

    def fallocate(self, mode: int, pos: int, length: int) -> None:
        """fallocate(2)."""
        if mode not in (0, KEEP_SIZE, PUNCH_HOLE | KEEP_SIZE, ZERO_RANGE, ZERO_RANGE | KEEP_SIZE):
            raise error(errno.EOPNOTSUPP)
        if self.rules == "device":
            raise error(errno.EOPNOTSUPP if mode & PUNCH_HOLE else errno.ENODEV)
        if mode & (PUNCH_HOLE | ZERO_RANGE):
            self.zero(pos, length, free=bool(mode & PUNCH_HOLE))
        else:
            for number, _, _ in self.pieces(pos, length):
                self.touch(number)
        if not mode & KEEP_SIZE:
            self.size = max(self.size, pos + length)

    def seek(self, pos: int, hole: bool) -> int:
        """lseek(2) with SEEK_HOLE or SEEK_DATA."""
        if self.rules == "device":
            raise error(errno.EINVAL)
        if not 0 <= pos < self.size:
            raise error(errno.ENXIO)
        while pos < self.size:
            if (pos // self.quantum in self.quanta) != hole:
                return pos
            pos += self.quantum - pos % self.quantum
        if not hole:
            raise error(errno.ENXIO)
        return self.size


@dataclass(eq=False)
class Open:
    """An open file: what its descriptors share."""

    device: int
    mode: int
    append: bool
    pos: int = 0

    @property
    def readable(self) -> bool:
        """Whether it is open for reading."""
        return self.mode != os.O_WRONLY

    @property
    def writable(self) -> bool:
        """Whether it is open for writing."""
        return self.mode != os.O_RDONLY
