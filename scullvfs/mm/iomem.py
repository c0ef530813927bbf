"""The physical address space: where RAM is, and the one device that lies behind it.

The device, `scull-demo`, is a page of registers of 32 bits, little-endian, for somebody to
ioremap(), read and write:

    0x00  ID       reads as the letters SCUL; writes to it vanish
    0x04  SCRATCH  keeps what is written to it; 0 at first
    0x08  COUNT    how many writes have reached SCRATCH; any write to COUNT sets it to 0
    ...            reads as 0; writes vanish

An access of any width reaches the bytes that it covers.  The page lies at 0xfe000000, where a PC
has its devices, or behind RAM that reaches there; a machine of which RAM fills all physical
addresses has none.  Where no device is, a read gives all ones, and a write vanishes, as on a bus
where nobody answers.
"""

from __future__ import annotations

from typing import Final, NamedTuple, TypedDict

from .layout import PAGE_SIZE, Layout
from .restoring import StateError

__all__ = ["IoMemory", "IoMemoryState", "IoMemoryStatistics", "Resource"]

DEVICE: Final = 0xFE00_0000
ALIGN: Final = 1 << 24
"""Behind RAM the device lies at a multiple of this."""
ID: Final = b"SCUL"
SCRATCH: Final = 4
COUNT: Final = 8
END: Final = 12


class Resource(NamedTuple):
    """A range of physical addresses (Linux: struct resource)."""

    start: int
    end: int
    """Its last byte."""
    name: str


class IoMemoryStatistics(NamedTuple):
    """What there is, and what has been done to it."""

    resources: int
    writes: int
    """That have reached SCRATCH since COUNT was set to 0."""


class IoMemoryState(TypedDict):
    """The registers."""

    scratch: list[int]
    """Its bytes."""
    count: int


class IoMemory:
    """The resources of one machine, and the registers of its device.

    Args:
        ram_size: bytes of RAM, which begins at physical address 0.
    """

    def __init__(self, layout: Layout, ram_size: int) -> None:
        self._scratch = bytearray(4)
        self._count = 0
        device = DEVICE if ram_size <= DEVICE else -(-ram_size // ALIGN) * ALIGN
        resources = [
            Resource(0, PAGE_SIZE - 1, "Reserved"),
            Resource(PAGE_SIZE, ram_size - 1, "System RAM"),
        ]
        if device + PAGE_SIZE <= layout.max_mem:
            resources.append(Resource(device, device + PAGE_SIZE - 1, "scull-demo"))
        else:
            device = -PAGE_SIZE
        self.resources: Final = tuple(resources)
        """Lowest first, none of them in another (Linux: iomem_resource)."""
        self._device: Final = device

    def read(self, phys: int, count: int) -> bytes:
        """Read `count` bytes that are not RAM."""
        data = bytearray(b"\xff") * count
        start, end = self._covered(phys, count)
        if start < end:
            registers = (
                ID + self._scratch + self._count.to_bytes(4, "little") + bytes(PAGE_SIZE - END)
            )
            data[start - phys : end - phys] = registers[start - self._device : end - self._device]
        return bytes(data)

    def write(self, phys: int, data: bytes | memoryview) -> None:
        """Write bytes that are not RAM."""
        start, end = self._covered(phys, len(data))
        first, last = start - self._device, end - self._device
        if first < COUNT and last > SCRATCH:
            low, high = max(first, SCRATCH), min(last, COUNT)
            begin = low + self._device - phys
            self._scratch[low - SCRATCH : high - SCRATCH] = data[begin : begin + high - low]
            self._count = (self._count + 1) & 0xFFFF_FFFF
        if first < END and last > COUNT:
            self._count = 0

    def _covered(self, phys: int, count: int) -> tuple[int, int]:
        """Where the device's page begins and ends in these bytes; (n, n) if none is in it."""
        start = max(phys, self._device)
        return start, max(min(phys + count, self._device + PAGE_SIZE), start)

    def statistics(self) -> IoMemoryStatistics:
        """The books as they stand now."""
        return IoMemoryStatistics(len(self.resources), self._count)

    def __repr__(self) -> str:
        return f"<IoMemory resources={len(self.resources)}>"

    def state(self) -> IoMemoryState:
        """The registers, as plain data."""
        return {"scratch": list(self._scratch), "count": self._count}

    def restore(self, state: IoMemoryState) -> None:
        """Have these registers."""
        scratch, self._count = state["scratch"], state["count"]
        if len(scratch) != len(self._scratch) or self._count >> 32:
            raise StateError("no registers of the device")
        self._scratch[:] = bytes(scratch)

    def check(self) -> None:
        """Assert the invariants: resources are in order, and none is in another."""
        at = -1
        for resource in self.resources:
            assert at < resource.start <= resource.end
            at = resource.end
        assert len(self._scratch) == 4
