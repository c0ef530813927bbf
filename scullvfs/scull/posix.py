"""POSIX rules over a device: what a regular file does, quantum by quantum.

The driver ends every call at a quantum and knows no holes; these functions go over any
number of quanta, read holes as zeros, and find and punch holes.  They use the driver's
list, quantum sets and quanta, and nothing else.

What may take long is done in steps.  The caller lets nobody truncate the device, or begin another
such function, between two steps of one.  What may come there: reads; writes, of mapped pages; and
an open that trims.  An interrupt comes as an `InterruptedError` raised in a step, and ends it.
"""

from __future__ import annotations

import errno
import os
from array import array
from collections.abc import Iterator
from typing import TYPE_CHECKING

from scullvfs.mm import PAGE_SIZE
from scullvfs.mm.gfp import GFP_HIGHUSER
from scullvfs.mm.workqueue import Steps

from .dev import ScullDev

if TYPE_CHECKING:
    from scullvfs.mm.access import Buffer

__all__ = [
    "allocate",
    "punch_hole",
    "read_span",
    "seek_data",
    "seek_hole",
    "write_span",
    "zero_range",
]


def _pieces(device: ScullDev, pos: int, end: int) -> Iterator[tuple[int, int]]:
    """The parts of `pos`..`end` - 1 that lie in one quantum each: (position, bytes)."""
    while pos < end:
        count = min(device.quantum - pos % device.quantum, end - pos)
        yield pos, count
        pos += count


def read_span(device: ScullDev, pos: int, count: int) -> bytes:
    """Read up to `count` bytes at `pos`; only the size ends it."""
    end = min(pos + count, device.size)
    pieces = _pieces(device, pos, end)
    data = b"".join([bytes(device.peek(at, n)) or bytes(n) for at, n in pieces])
    if device.tell_read is not None:
        device.tell_read(pos, count, len(data))
    return data


def write_span(device: ScullDev, pos: int, data: Buffer) -> int:
    """Write all of `data` at `pos`, or as much as there is memory for; returns the bytes written.

    Raises:
        OSError: ENOMEM, there was no memory for the first of it.
    """
    view = memoryview(data)
    done = 0
    try:
        while done < len(view):
            done += device.write(pos + done, view[done:])
    except OSError:
        if not done:
            raise
    return done


def punch_hole(device: ScullDev, pos: int, length: int) -> Steps[None]:
    """Free every quantum that lies wholly in the range, and zero the rest of it.

    Raises:
        InterruptedError: a part of the range is done.
    """
    trims = device.trims
    for item in device.items_from(pos // device.itemsize):
        if item * device.itemsize >= pos + length:
            return
        for _ in device.punching(item, pos, pos + length):
            yield
            if device.trims != trims:  # which has left nothing to punch
                return


def allocate(device: ScullDev, pos: int, length: int, keep_size: bool) -> Steps[None]:
    """Have a quantum at every byte of the range, and the size at its end at least.

    Raises:
        OSError: ENOMEM, no memory for all of them.  Nothing has changed then.
        InterruptedError: nothing has changed.
    """
    if (yield from _allocate(device, pos, length)) and not keep_size:
        device.size = max(device.size, pos + length)


def zero_range(device: ScullDev, pos: int, length: int, keep_size: bool) -> Steps[None]:
    """As `allocate()`, and zero the range where there is data.

    Raises:
        OSError: ENOMEM, no memory for all of the range.  Nothing has changed then.
        InterruptedError: nothing has changed, or all is allocated and a part is zeroed.
    """
    added = yield from _allocate(device, pos, length)
    if added is None:
        return
    trims, quantum = device.trims, device.quantum
    for first, end in added.quanta.gaps(pos // quantum, -(-(pos + length) // quantum)):
        for _ in device.zeroing(max(pos, first * quantum), min(pos + length, end * quantum)):
            yield
            if device.trims != trims:
                return
    if not keep_size:
        device.size = max(device.size, pos + length)


class _Ranges:
    """Rising numbers, as ranges, since most of them follow one another."""

    def __init__(self) -> None:
        self._firsts = array("Q")
        self._ends = array("Q")

    def add(self, number: int) -> None:
        """Add a number above all others, or the last one once more."""
        if self._ends and self._ends[-1] >= number:
            self._ends[-1] = number + 1
        else:
            self._firsts.append(number)
            self._ends.append(number + 1)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """The ranges, (first, last + 1)."""
        return zip(self._firsts, self._ends, strict=True)

    def gaps(self, first: int, end: int) -> Iterator[tuple[int, int]]:
        """What of the numbers `first`..`end` - 1 is not among them, as ranges."""
        for start, stop in self:
            if first < start:
                yield first, start
            first = stop
        if first < end:
            yield first, end


class _Added:
    """What an `allocate()` has added to a device, which goes again if it fails."""

    def __init__(self, device: ScullDev) -> None:
        self._device = device
        self._nr_items = device.items.count
        self._qsets = _Ranges()
        """Numbers of the items that had none."""
        self.quanta = _Ranges()
        """Positions / quantum."""

    def fill(self, pos: int) -> None:
        """Have a quantum at `pos`."""
        device = self._device
        item = pos // device.itemsize
        if item not in device.items_with_qset():
            self._qsets.add(item)  # which may fail half-way
        if device.fill(pos):
            self.quanta.add(pos // device.quantum)

    def undo(self) -> Steps[None]:
        """Take it away again, but for quanta that somebody has written to meanwhile."""
        device, trims = self._device, self._device.trims
        for _ in self._undo():
            yield
            if device.trims != trims:
                return

    def _undo(self) -> Steps[None]:
        device = self._device
        quantum, qset, items = device.quantum, device.qset, device.items
        for first, end in self.quanta:
            for item in range(first // qset, -(-end // qset)):
                yield from device.punching(item, first * quantum, end * quantum, blank=True)
        for first, end in self._qsets:
            for item in range(first, end):
                device.free_qset(item)
                yield
        count = items.count
        while count > self._nr_items and count - 1 not in device.items_with_qset():
            count -= 1
            yield
        yield from items.cut(count)


def _allocate(device: ScullDev, pos: int, length: int) -> Steps[_Added | None]:
    """Have a quantum at every byte of the range; returns what was added.

    None if an open has trimmed the device meanwhile.  That counts as later, since Linux goes on
    with the open after this call (Linux: fs/fuse/dir.c:fuse_do_setattr(), ATTR_OPEN).
    """
    machine = device.machine
    yield from machine.workqueue.drain()  # what was given up counts as free
    if length - device.allocated > machine.page_alloc.nr_available(GFP_HIGHUSER) * PAGE_SIZE:
        raise OSError(errno.ENOMEM, "more than there is memory")  # without trying for seconds
    added, trims, at = _Added(device), device.trims, pos
    try:
        while at < pos + length:
            added.fill(at)
            at += device.quantum - at % device.quantum
            yield
            if device.trims != trims:
                return None
        return added
    except OSError:
        yield from added.undo()
        raise


def seek_data(device: ScullDev, pos: int) -> Steps[int]:
    """The first position from `pos` on that lies in a quantum.

    Raises:
        OSError: ENXIO, `pos` is not in the file, or there is only a hole behind it.
    """
    _check_inside(device, pos)
    for item in device.items_from(pos // device.itemsize):
        base = item * device.itemsize
        for s_pos, quanta in device.places(item, max(pos - base, 0) // device.quantum):
            address = next(filter(None, quanta), None)
            if address is not None:
                at = base + (s_pos + quanta.index(address)) * device.quantum
                if at < device.size:
                    return max(at, pos)
            yield
        if base >= device.size:
            break
    raise OSError(errno.ENXIO, os.strerror(errno.ENXIO))


def seek_hole(device: ScullDev, pos: int) -> Steps[int]:
    """The first position from `pos` on that lies in none; the size counts as one.

    Raises:
        OSError: ENXIO, `pos` is not in the file.
    """
    _check_inside(device, pos)
    at = pos - pos % device.quantum
    while at < device.size:
        item, rest = divmod(at, device.itemsize)
        for s_pos, quanta in device.places(item, rest // device.quantum):
            if 0 in quanta:
                at = item * device.itemsize + (s_pos + quanta.index(0)) * device.quantum
                return min(max(at, pos), device.size)
            yield
        at = (item + 1) * device.itemsize
    return device.size


def _check_inside(device: ScullDev, pos: int) -> None:
    if not 0 <= pos < device.size:
        raise OSError(errno.ENXIO, os.strerror(errno.ENXIO))
