"""POSIX rules over a device: what a regular file does, quantum by quantum.

The driver ends every call at a quantum and knows no holes; these functions go over any
number of quanta, read holes as zeros, and find and punch holes.  They use the driver's
list, quantum sets and quanta, and nothing else.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from scullvfs.mm import PAGE_SIZE

from .dev import ScullvDev

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


def _pieces(device: ScullvDev, pos: int, end: int) -> Iterator[tuple[int, int]]:
    """The parts of `pos`..`end` - 1 that lie in one quantum each: (position, bytes)."""
    while pos < end:
        count = min(device.quantum - pos % device.quantum, end - pos)
        yield pos, count
        pos += count


def read_span(device: ScullvDev, pos: int, count: int) -> bytes:
    """Read up to `count` bytes at `pos`; only the size ends it."""
    end = min(pos + count, device.size)
    pieces = _pieces(device, pos, end)
    return b"".join([bytes(device.peek(at, n)) or bytes(n) for at, n in pieces])


def write_span(device: ScullvDev, pos: int, data: Buffer) -> int:
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


def punch_hole(device: ScullvDev, pos: int, length: int) -> None:
    """Free every quantum that lies wholly in the range, and zero the rest of it."""
    for item in list(device.items_with_qset()):
        start = max(pos, item * device.itemsize)
        end = min(pos + length, (item + 1) * device.itemsize)
        for at, count in _pieces(device, start, end):
            device.clear(at, count)


def allocate(device: ScullvDev, pos: int, length: int, keep_size: bool) -> None:
    """Have a quantum at every byte of the range, and the size at its end at least.

    Raises:
        OSError: ENOMEM, no memory for all of them; none is added then.
    """
    free = device.module.machine.page_alloc.nr_free * PAGE_SIZE
    if length - device.allocated > free:
        raise OSError(errno.ENOMEM, "more than there is memory")  # without trying for seconds
    added: list[int] = []
    try:
        for at, _ in _pieces(device, pos, pos + length):
            if device.fill(at):
                added.append(at - at % device.quantum)
    except OSError:
        for at in added:
            device.clear(at, device.quantum)
        raise
    if not keep_size:
        device.size = max(device.size, pos + length)


def zero_range(device: ScullvDev, pos: int, length: int, keep_size: bool) -> None:
    """As `allocate()`, and zero the range where there is data.

    Raises:
        OSError: ENOMEM, no memory for all of the range; nothing is changed then.
    """
    allocate(device, pos, length, keep_size)
    for at, count in _pieces(device, pos, pos + length):
        device.clear(at, count, free=False)


def seek_data(device: ScullvDev, pos: int) -> int:
    """The first position from `pos` on that lies in a quantum.

    Raises:
        OSError: ENXIO, `pos` is not in the file, or there is only a hole behind it.
    """
    _check_inside(device, pos)
    for start, _ in _runs(device, pos):
        return max(start, pos)
    raise OSError(errno.ENXIO, os.strerror(errno.ENXIO))


def seek_hole(device: ScullvDev, pos: int) -> int:
    """The first position from `pos` on that lies in none; the size counts as one.

    Raises:
        OSError: ENXIO, `pos` is not in the file.
    """
    _check_inside(device, pos)
    for start, end in _runs(device, pos):
        return end if start <= pos else pos
    return pos


def _check_inside(device: ScullvDev, pos: int) -> None:
    if not 0 <= pos < device.size:
        raise OSError(errno.ENXIO, os.strerror(errno.ENXIO))


def _runs(device: ScullvDev, pos: int) -> Iterator[tuple[int, int]]:
    """The ranges (start, end) of quanta without a hole between, from `pos` on, up to the size."""
    quantum, size = device.quantum, device.size
    start = end = -1
    for item in sorted(device.items_with_qset()):
        if (item + 1) * device.itemsize <= pos:
            continue
        for s_pos, address in enumerate(device.quanta(item)):
            at = item * device.itemsize + s_pos * quantum
            if not address or at + quantum <= pos or at >= size:
                continue
            if at != end:
                if end > 0:
                    yield start, min(end, size)
                start = at
            end = at + quantum
    if end > 0:
        yield start, min(end, size)
