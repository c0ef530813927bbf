"""`sys/kernel/debug/vmap_areas`: every range of the vmalloc window, and what it is.

    0xffffc90000000000-0xffffc90000011000           69632 busy      in use, the guard page inside
    0xffffc90000022000-0xffffc90000033000           69632 lazy      freed, and not yet purged
    0xffffc90000044000-0xffffc90000055000           69632 pool      purged, and kept for its size
    0xffffc90000066000-0xffffe90000000000  35184371671040 free

Those in use come by address, then the lazily freed ones by address, then the pools by size, of each
that first which is used next, and the free ranges by address.  So any place is found at once; by
address they all come with sort(1), and then each begins where the one before it ends.

Linux has no such file: /proc/vmallocinfo has the first two kinds, and the others are in no file.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from itertools import islice
from typing import Final

from scullvfs.mm import Machine

from .seq_file import Place
from .vmallocinfo import Vmallocinfo

__all__ = ["VmapAreas"]

BUSY: Final = 0
LAZY: Final = 1
POOL: Final = 2
FREE: Final = 3
WORDS: Final = (b"busy", b"lazy", b"pool", b"free")


class VmapAreas:
    """The lines of one machine, all of the same length.

    A place is (kind, address of the next area or less), of pools (kind, how many are before it).
    """

    def __init__(self, machine: Machine) -> None:
        self._space = machine.vmap_space
        self._unpurged: Final = Vmallocinfo(machine).unpurged
        digits = machine.layout.pointer_digits
        self._format: Final = b"0x%%0%dx-0x%%0%dx %%15d %%b\n" % (digits, digits)
        self._length: Final = len(self._line(0, 0, BUSY))

    def _counts(self) -> list[int]:
        space = self._space
        pools = (space.pools or {}).values()
        return [len(space.busy), len(space.lazy), sum(map(len, pools)), len(space.free_areas)]

    def size(self) -> int:
        """Known from how many there are of each kind."""
        return self._length * sum(self._counts())

    def seek(self, pos: int) -> tuple[Place, int]:
        """Any area; it goes along half of the free ones at the most."""
        index = pos // self._length
        for kind, count in enumerate(self._counts()):
            if index < count:
                return (kind, self._nth(kind, index)), pos - pos % self._length
            index -= count
        return (FREE, self._space.free_areas.end), pos - pos % self._length

    def _nth(self, kind: int, index: int) -> int:
        if kind == BUSY:
            return self._space.busy.nth(index)
        if kind == LAZY:
            return self._unpurged()[index][0]
        return index if kind == POOL else self._space.free_areas.nth(index)

    def lines(self, place: Place) -> Iterator[tuple[bytes, Place]]:
        """Each with the place behind it."""
        kind, done = place
        busy = self._space.busy
        if kind == BUSY:
            kinds = busy.kinds
            for start, number, _ in busy.walk(done):
                end = start + kinds[number].size
                yield self._line(start, end, BUSY), (BUSY, end)
        if kind <= LAZY:
            areas = self._unpurged()
            first = bisect_left(areas, (done, 0, 0)) if kind == LAZY else 0
            for start, end, _ in islice(areas, first, None):
                yield self._line(start, end, LAZY), (LAZY, end)
        if kind <= POOL:
            for start, end, number in self._pooled(done if kind == POOL else 0):
                yield self._line(start, end, POOL), (POOL, number)
        for start, size in self._space.free_areas.walk(done if kind == FREE else 0):
            yield self._line(start, start + size, FREE), (FREE, start + size)

    def _pooled(self, skip: int) -> Iterator[tuple[int, int, int]]:
        """(start, end, how many with it) of what is in pools, but for the first `skip` of them."""
        number = 0
        for size, pool in sorted((self._space.pools or {}).items()):
            if number + len(pool) <= skip:
                number += len(pool)
                continue
            for start, _ in pool[len(pool) - 1 - max(skip - number, 0) :: -1]:
                number = max(number, skip) + 1
                yield start, start + size, number

    def _line(self, start: int, end: int, kind: int) -> bytes:
        return self._format % (start, end, end - start, WORDS[kind])
