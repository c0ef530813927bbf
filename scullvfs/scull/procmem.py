"""/proc/scullvmem and its like: a driver's listing of its memory.

Pointers are shown as they are, as on a kernel booted with no_hash_pointers, so that they
can be found again in /proc/vmallocinfo.

The driver's own listing stops behind some 4,000 bytes; this one goes on, up to LISTED
items of a device.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from .dev import ScullDev
from .module import Module

__all__ = ["ScullProcmem"]

LISTED: Final = 10_000
"""Of a device with more items only so many are listed, and the last one."""
SLICE: Final = 512
"""Quanta of a set that are looked at in one go."""

Place = tuple[int, int]


class ScullProcmem:
    """The listing: each device with its items, and the quanta of the last item.

    A place is (device, n): n is 0 for its first lines, then the number of an item + 1, then behind
    the items LISTED + 1 for the last one, and LISTED + 2 + s_pos for a quantum of it.
    scullv: main.c:scullv_read_procmem()
    """

    def __init__(self, module: Module) -> None:
        self._devices = module.devices
        self._digits = module.machine.layout.pointer_digits
        self._highest = (1 << 4 * self._digits) - 1
        """An address, with all its digits."""
        self._item_length = len(self._item(0, 0))

    def size(self) -> int:
        """Known from how many items and quanta there are."""
        return sum(map(self._length, self._devices))

    def seek(self, pos: int) -> tuple[Place, int]:
        """The start of a device, of an item, or of some hundred quanta."""
        at = 0
        for index, device in enumerate(self._devices):
            length = self._length(device)
            if at + length > pos:
                return self._seek_in(device, index, at, pos)
            at += length
        return (len(self._devices), 0), at

    def _seek_in(self, device: ScullDev, index: int, at: int, pos: int) -> tuple[Place, int]:
        head, item = len(_head(device)), self._item_length
        if pos < at + head:
            return (index, 0), at
        at += head
        last, listed = _items(device)
        if pos < at + listed * item:
            number = (pos - at) // item
            return (index, number + 1), at + number * item
        at += listed * item
        behind = len(_more(last - listed)) + item * (last >= 0)
        if pos < at + behind:
            return (index, LISTED + 1), at
        at += behind
        first, end = 0, device.qset
        while end - first > SLICE:
            middle = (first + end) // 2
            length = self._quanta_length(device, last, first, middle)
            if at + length > pos:
                end = middle
            else:
                first, at = middle, at + length
        return (index, LISTED + 2 + first), at

    def _length(self, device: ScullDev) -> int:
        last, listed = _items(device)
        items = (listed + (last >= 0)) * self._item_length + len(_more(last - listed))
        return len(_head(device)) + items + self._quanta_length(device, last, 0, device.qset)

    def _quanta_length(self, device: ScullDev, item: int, first: int, end: int) -> int:
        """Bytes of the lines of an item's quanta at the places `first`..`end` - 1.

        All addresses are of the same length, so it takes no look at each of them, but where they
        may be overwritten.
        """
        if device.quirk_ldd3:
            quanta = device.quanta(item, first, end - first)
            return sum(len(_quantum(device, at, q)) for at, q in enumerate(quanta, first) if q)
        length = 0
        while first < end:
            longer = max(10**3, 10 ** len(str(first)))  # from there on places have a digit more
            count = device.count_quanta(item, first, min(end, longer) - first)
            length += count * len(_quantum(device, first, self._highest))
            first = longer
        return length

    def lines(self, place: Place) -> Iterator[tuple[bytes, Place]]:
        """Each with the place behind it."""
        index, done = place
        for device in self._devices[index:]:
            yield from self._lines(device, done)
            done = 0

    def _lines(self, device: ScullDev, done: int) -> Iterator[tuple[bytes, Place]]:
        index = device.index
        if done == 0:
            yield _head(device), (index, 1)
            done = 1
        last, listed = _items(device)
        for item in range(done - 1, listed):
            yield self._item(*_addresses(device, item)), (index, item + 2)
        if last < 0:
            return
        if done <= LISTED + 1:
            done = LISTED + 2
            yield _more(last - listed) + self._item(*_addresses(device, last)), (index, done)
        while first_quanta := device.quanta(last, done - LISTED - 2, SLICE):
            for quantum in first_quanta:
                done += 1
                if quantum:
                    yield _quantum(device, done - LISTED - 3, quantum), (index, done)
            if done - LISTED - 2 >= device.qset:
                return

    def _item(self, address: int, qset: int) -> bytes:
        digits = self._digits
        return f"  item at {address:0{digits}x}, qset at {qset:0{digits}x}\n".encode()


def _head(device: ScullDev) -> bytes:
    word = device.driver.listed_as or device.driver.word
    geometry = f"qset {device.qset}, {word} {device.measure}"
    return f"\nDevice {device.index}: {geometry}, sz {device.size}\n".encode()


def _items(device: ScullDev) -> tuple[int, int]:
    """The last item, -1 if there is none, and how many before it are listed."""
    last = device.items.count - 1
    return last, max(min(last, LISTED), 0)


def _addresses(device: ScullDev, item: int) -> tuple[int, int]:
    return device.items.address(item), device.qset_address(item)


def _more(count: int) -> bytes:
    return f"  ... {count} more\n".encode() if count > 0 else b""


def _quantum(device: ScullDev, s_pos: int, address: int) -> bytes:
    return f"    {s_pos: 4}:{device.driver.blank}{address:8x}\n".encode()
