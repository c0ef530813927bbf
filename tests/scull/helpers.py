"""What several tests of the driver need: a geometry, a device to compare with, shortages."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from scullvfs.mm import PAGE_SIZE, Machine
from scullvfs.mm.gfp import __GFP_MEMALLOC, GFP_HIGHUSER
from scullvfs.scull import ScullDev

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30

ORDER = 1
QSET = 4
QUANTUM = PAGE_SIZE << ORDER
ITEM = QUANTUM * QSET
"""The geometry of the devices that `load` makes if not told otherwise."""

NUMBERS = {
    "RESET": 0x00004B00,
    "SORDER": 0x40044B01,
    "TORDER": 0x00004B02,
    "GORDER": 0x80044B03,
    "QORDER": 0x00004B04,
    "XORDER": 0xC0044B05,
    "HORDER": 0x00004B06,
    "SQSET": 0x40044B07,
    "TQSET": 0x00004B08,
    "GQSET": 0x80044B09,
    "QQSET": 0x00004B0A,
    "XQSET": 0xC0044B0B,
    "HQSET": 0x00004B0C,
}
"""The commands as scullv.h numbers them on x86 and arm."""


def fill(device: ScullDev, data: bytes, pos: int = 0) -> None:
    """Write all of `data`, in as many calls as it takes."""
    view, done = memoryview(data), 0
    while done < len(data):
        done += device.write(pos + done, view[done:])


def content(device: ScullDev) -> bytes:
    """The device from its start to the first hole or the end."""
    data = bytearray()
    while part := device.read(len(data), 1 << 30):
        data += bytes(part)
    return bytes(data)


def fails(number: int) -> AbstractContextManager[object]:
    """What happens in this context fails with that errno."""
    return pytest.raises(OSError, match=rf"^\[Errno {number}\]")


@contextmanager
def shortage(machine: Machine, leave: int = 0) -> Iterator[None]:
    """While it lasts, only `leave` page frames can be had, and no free one has a free neighbour.

    What kmalloc has left in its slabs can still be had.
    """
    page_alloc = machine.page_alloc
    frames = page_alloc.alloc_pages_bulk(GFP_HIGHUSER | __GFP_MEMALLOC, page_alloc.nr_free)
    assert frames is not None
    frames = array("I", sorted(frames))
    leave += sum(zone.wmark.min for zone in page_alloc.zones)
    page_alloc.free_frames(frames[: 2 * leave : 2])
    yield
    page_alloc.free_frames(frames[1 : 2 * leave : 2] + frames[2 * leave :])


class Oracle:
    """A device in a few lines of plain Python: a dict of quanta, and the driver's rules."""

    def __init__(self, order: int, qset: int) -> None:
        self.trim(order, qset)

    def trim(self, order: int, qset: int) -> None:
        self.quantum = PAGE_SIZE << order
        self.item = self.quantum * qset
        self.quanta: dict[int, bytearray] = {}
        self.size = 0
        self.items = 1

    def write(self, pos: int, data: bytes) -> int:
        number, offset = divmod(pos, self.quantum)
        count = min(len(data), self.quantum - offset)
        quantum = self.quanta.setdefault(number, bytearray(self.quantum))
        quantum[offset : offset + count] = data[:count]
        self.size = max(self.size, pos + count)
        self.items = max(self.items, pos // self.item + 1)
        return count

    def read(self, pos: int, count: int) -> bytes:
        if pos > self.size:
            return b""
        self.items = max(self.items, pos // self.item + 1)
        return self.peek(pos, count)

    def peek(self, pos: int, count: int) -> bytes:
        number, offset = divmod(pos, self.quantum)
        end = min(offset + count, offset + self.size - pos)
        return bytes(self.quanta.get(number, b"")[offset:end])

    def truncate(self, length: int) -> None:
        if length < self.size:
            self.items = min(self.items, length // self.item + 1)
            for number, quantum in list(self.quanta.items()):
                keep = length - number * self.quantum
                if keep <= 0:
                    del self.quanta[number]
                elif keep < self.quantum:
                    quantum[keep:] = bytes(self.quantum - keep)
        self.size = length
