"""The areas in use, by address: 20 bytes each, and no Python object.

They are kept in address order, in chunks of some hundred, each of three arrays side by side:

    starts    0xffffc90000000000  0xffffc90000002000  0xffffc90000004000   where it starts
    numbers   0                   0                   1                    which kind it is
    data      page array          page array          page array           what is its own

What many areas have in common (size, flags, caller, number of frames) is a `VmKind`, and there are
only as many of these as there have been different ones.  How many areas of a kind are in use is
known at any time, so what depends on the kind alone (the pages in use, the length of a listing)
needs no walk over all areas.

Linux keeps a `struct vmap_area` and a `struct vm_struct` for each, in a red-black tree; in Python
an object alone would take more than all of this, and the collector would have to visit it.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Final

from .vm_struct import VmapArea, VmKind

__all__ = ["BusyAreas"]

CHUNK: Final = 512
"""A chunk with that many areas takes no more."""


class BusyAreas:
    """Disjoint areas.  Iterating gives their starts, lowest first."""

    def __init__(self) -> None:
        self.kinds: Final[list[VmKind]] = []
        """Every kind that there has been."""
        self.counts: Final[list[int]] = []
        """How many areas of each kind are in use."""
        self.nbytes = 0
        """Bytes of addresses, guard pages included."""
        self._number_of: Final[dict[tuple[int, int, str, int, bool], int]] = {}
        """Kind -> its place in `kinds`."""
        self._firsts: Final[list[int]] = []
        """Each chunk's first start."""
        self._starts: Final[list[array[int]]] = []
        self._numbers: Final[list[array[int]]] = []
        self._data: Final[list[array[int]]] = []

    def add(self, start: int, kind: tuple[int, int, str, int, bool], data: int) -> None:
        """Put an area in; `kind` is a VmKind, or its fields."""
        number = self._number_of.get(kind)
        if number is None:
            number = self._number_of[kind] = len(self.kinds)
            self.kinds.append(VmKind(*kind))
            self.counts.append(0)
        self.counts[number] += 1
        self.nbytes += kind[0]
        chunk = bisect_right(self._firsts, start) - 1
        if chunk < 0:
            if not self._firsts:
                self._new_chunk(0, start, number, data)
                return
            chunk = 0
            self._firsts[0] = start
        starts = self._starts[chunk]
        at = len(starts) if start > starts[-1] else bisect_right(starts, start)
        if len(starts) < CHUNK:
            starts.insert(at, start)
            self._numbers[chunk].insert(at, number)
            self._data[chunk].insert(at, data)
        elif at == CHUNK:  # as they come when addresses rise: the chunk stays full
            self._new_chunk(chunk + 1, start, number, data)
        else:
            self._split(chunk)
            self.counts[number] -= 1
            self.nbytes -= kind[0]
            self.add(start, kind, data)

    def _new_chunk(self, chunk: int, start: int, number: int, data: int) -> None:
        self._firsts.insert(chunk, start)
        self._starts.insert(chunk, array("Q", [start]))
        self._numbers.insert(chunk, array("I", [number]))
        self._data.insert(chunk, array("Q", [data]))

    def _split(self, chunk: int) -> None:
        for column in (self._starts, self._numbers, self._data):
            low, high = column[chunk][: CHUNK // 2], column[chunk][CHUNK // 2 :]
            column[chunk : chunk + 1] = [low, high]
        self._firsts.insert(chunk + 1, self._starts[chunk + 1][0])

    def _find(self, address: int) -> tuple[int, int]:
        """Chunk and place in it of the area that `address` lies in; place -1 if there is none."""
        chunk = bisect_right(self._firsts, address) - 1
        if chunk < 0:
            return 0, -1
        at = bisect_right(self._starts[chunk], address) - 1
        size = self.kinds[self._numbers[chunk][at]].size
        return chunk, at if address < self._starts[chunk][at] + size else -1

    def find(self, address: int) -> VmapArea | None:
        """The area that `address` lies in, or None."""
        chunk, at = self._find(address)
        return self._area(chunk, at) if at >= 0 else None

    def pop(self, address: int) -> VmapArea | None:
        """Take out the area that `address` lies in, if there is one."""
        chunk, at = self._find(address)
        if at < 0:
            return None
        number, starts = self._numbers[chunk].pop(at), self._starts[chunk]
        kind = self.kinds[number]
        area = VmapArea(starts.pop(at), kind, self._data[chunk].pop(at))
        self.counts[number] -= 1
        self.nbytes -= kind[0]
        self._emptied(chunk, at)
        return area

    def _emptied(self, chunk: int, at: int) -> None:
        """Something was taken out of a chunk at that place."""
        starts = self._starts[chunk]
        if not starts:
            del self._firsts[chunk], self._starts[chunk], self._numbers[chunk], self._data[chunk]
        elif not at:
            self._firsts[chunk] = starts[0]

    def pop_run(self, starts: Sequence[int]) -> list[tuple[int, VmKind, int]]:
        """Take out the areas that start at the first of `starts`, the next, and so on.

        It goes on as long as each begins where the one before it ends; there are none if the first
        is no area's start.  Returns the fields of each; in one go it is quicker.
        """
        chunk, at = self._find(starts[0])
        if at < 0:
            return []
        kinds, counts = self.kinds, self.counts
        columns = (self._starts[chunk], self._numbers[chunk], self._data[chunk])
        behind = at + len(starts)
        rows = zip(*(column[at:behind] for column in columns), strict=True)
        areas: list[tuple[int, VmKind, int]] = []
        end = starts[0]
        for wanted, (start, number, data) in zip(starts, rows, strict=False):
            if start != wanted or start != end:
                break
            kind = kinds[number]
            areas.append((start, kind, data))
            counts[number] -= 1
            end = start + kind[0]
        self.nbytes -= end - starts[0]
        for column in columns:
            del column[at : at + len(areas)]
        self._emptied(chunk, at)
        return areas

    def _area(self, chunk: int, at: int) -> VmapArea:
        kind = self.kinds[self._numbers[chunk][at]]
        return VmapArea(self._starts[chunk][at], kind, self._data[chunk][at])

    def walk(self, address: int = 0) -> Iterator[tuple[int, int, int]]:
        """(start, place of the kind in `kinds`, data) of all from `address` on, lowest first.

        Nothing may be added or taken out meanwhile.
        """
        chunk = max(bisect_right(self._firsts, address) - 1, 0)
        columns = (self._starts, self._numbers, self._data)
        for starts, numbers, data in zip(*(column[chunk:] for column in columns), strict=True):
            if starts[0] >= address:
                yield from zip(starts, numbers, data, strict=True)
            else:
                at = bisect_right(starts, address - 1)
                yield from zip(starts[at:], numbers[at:], data[at:], strict=True)

    def chunks(self) -> Iterator[tuple[int, array[int]]]:
        """(first start, what kinds they are) of areas that follow each other, all areas in turn."""
        return zip(self._firsts, self._numbers, strict=True)

    def values(self) -> Iterator[VmapArea]:
        """All areas, lowest first."""
        for start, number, data in self.walk():
            yield VmapArea(start, self.kinds[number], data)

    def __iter__(self) -> Iterator[int]:
        """The starts, lowest first."""
        for starts in self._starts:
            yield from starts

    def __len__(self) -> int:
        """How many areas there are, from how many of each kind."""
        return sum(self.counts)

    def __repr__(self) -> str:
        return f"<BusyAreas areas={len(self)} bytes={self.nbytes}>"

    def state(self) -> list[list[int | str | bool]]:
        """All areas, lowest first: start, data, and what the kind says; plain data."""
        return [[start, data, *self.kinds[number]] for start, number, data in self.walk()]

    def check(self) -> None:
        """Assert the invariants.  Slow: for tests.

        - areas are in order and do not overlap; no chunk is empty or too full
        - what stands beside the chunks is what they hold
        """
        end = 0
        counts = [0] * len(self.kinds)
        for start, number, _ in self.walk():
            assert start >= end
            end = start + self.kinds[number].size
            counts[number] += 1
        assert counts == self.counts
        assert self.nbytes == sum(n * kind.size for n, kind in zip(counts, self.kinds, strict=True))
        assert self._firsts == [starts[0] for starts in self._starts]
        for starts, numbers, data in zip(self._starts, self._numbers, self._data, strict=True):
            assert 0 < len(starts) == len(numbers) == len(data) <= CHUNK
