"""The areas in use, by address: 28 bytes each, and no Python object.

They are kept in address order, in chunks of some hundred, each of four arrays side by side:

    starts    0xffffc90000000000  0xffffc90000002000  0xffffc90000004000   where it starts
    numbers   0                   0                   1                    which kind it is
    data      page array          page array          page array           what is its own
    objects   numbers             numbers             numbers              what it takes of slabs

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
from typing import Final, TypeAlias, TypedDict

from .restoring import StateError
from .vm_struct import VmapArea, VmKind

__all__ = ["BusyAreas", "BusyState"]

CHUNK: Final = 512
"""A chunk with that many areas takes no more."""

Chunk: TypeAlias = "tuple[array[int], array[int], array[int], array[int]]"


class BusyState(TypedDict):
    """The areas in use."""

    kinds: list[VmKind]
    areas: list[tuple[int, int, int, int]]
    """Start, place in `kinds`, data, objects, lowest first."""


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
        self._chunks: Final[list[Chunk]] = []
        """Each one's starts, numbers, data and objects."""

    def add(
        self, start: int, kind: tuple[int, int, str, int, bool], data: int, objects: int = 0
    ) -> None:
        """Put an area in; `kind` is a VmKind, or its fields.

        Args:
            objects: see `vm_struct.objects_of()`.
        """
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
                self._new_chunk(0, start, number, data, objects)
                return
            chunk = 0
            self._firsts[0] = start
        starts, its_numbers, its_data, its_objects = self._chunks[chunk]
        last = start > starts[-1]  # as they come when addresses rise
        if len(starts) == CHUNK:
            if last:  # the chunk stays full
                self._new_chunk(chunk + 1, start, number, data, objects)
            else:
                self._split(chunk)
                self.counts[number] -= 1
                self.nbytes -= kind[0]
                self.add(start, kind, data, objects)
        elif last:
            starts.append(start)
            its_numbers.append(number)
            its_data.append(data)
            its_objects.append(objects)
        else:
            at = bisect_right(starts, start)
            starts.insert(at, start)
            its_numbers.insert(at, number)
            its_data.insert(at, data)
            its_objects.insert(at, objects)

    def room(self, start: int, kind: tuple[int, int, str, int, bool]) -> int:
        """How many areas of a kind `add_run()` takes there."""
        chunk = bisect_right(self._firsts, start) - 1
        if chunk < 0 or kind not in self._number_of:
            return 0
        return CHUNK - len(self._chunks[chunk][0])

    def add_run(
        self,
        start: int,
        kind: tuple[int, int, str, int, bool],
        data: array[int],
        objects: array[int],
    ) -> None:
        """`add()` areas of one kind that follow each other, as far as there is `room()`.

        Args:
            data, objects: of each of them.
        """
        number, count, size = self._number_of[kind], len(data), kind[0]
        self.counts[number] += count
        self.nbytes += count * size
        columns = self._chunks[bisect_right(self._firsts, start) - 1]
        starts, its_numbers, its_data, its_objects = columns
        at = bisect_right(starts, start)
        starts[at:at] = array("Q", range(start, start + count * size, size))
        its_numbers[at:at] = array("I", [number]) * count
        its_data[at:at] = data
        its_objects[at:at] = objects

    def drop_run(self, start: int, count: int) -> None:
        """Take out the last areas of `add_run()`."""
        chunk, at = self._find(start)
        columns = self._chunks[chunk]
        number = columns[1][at]
        self.counts[number] -= count
        self.nbytes -= count * self.kinds[number].size
        for column in columns:
            del column[at : at + count]

    def _new_chunk(self, chunk: int, start: int, number: int, data: int, objects: int) -> None:
        self._firsts.insert(chunk, start)
        columns = array("Q", [start]), array("I", [number]), array("Q", [data])
        self._chunks.insert(chunk, (*columns, array("Q", [objects])))

    def _split(self, chunk: int) -> None:
        starts, numbers, data, objects = self._chunks[chunk]
        half = slice(CHUNK // 2, None)
        self._chunks.insert(chunk + 1, (starts[half], numbers[half], data[half], objects[half]))
        self._firsts.insert(chunk + 1, starts[CHUNK // 2])
        for column in self._chunks[chunk]:
            del column[half]

    def _find(self, address: int) -> tuple[int, int]:
        """Chunk and place in it of the area that `address` lies in; place -1 if there is none."""
        chunk = bisect_right(self._firsts, address) - 1
        if chunk < 0:
            return 0, -1
        starts, numbers, _, _ = self._chunks[chunk]
        at = bisect_right(starts, address) - 1
        size = self.kinds[numbers[at]][0]
        return chunk, at if address < starts[at] + size else -1

    def find(self, address: int) -> VmapArea | None:
        """The area that `address` lies in, or None."""
        chunk, at = self._find(address)
        return self._area(chunk, at) if at >= 0 else None

    def pop(self, address: int) -> tuple[int, VmKind, int, int] | None:
        """Take out the area that `address` lies in, if there is one: what `add()` was given."""
        chunk, at = self._find(address)
        if at < 0:
            return None
        starts, numbers, data, objects = self._chunks[chunk]
        number = numbers.pop(at)
        kind = self.kinds[number]
        area = starts.pop(at), kind, data.pop(at), objects.pop(at)
        self.counts[number] -= 1
        self.nbytes -= kind[0]
        self._emptied(chunk, at)
        return area

    def _emptied(self, chunk: int, at: int) -> None:
        """Something was taken out of a chunk at that place."""
        starts = self._chunks[chunk][0]
        if not starts:
            del self._firsts[chunk], self._chunks[chunk]
        elif not at:
            self._firsts[chunk] = starts[0]

    def pop_run(self, starts: Sequence[int]) -> list[tuple[int, VmKind, int, int]]:
        """Take out the areas that start at the first of `starts`, the next, and so on.

        It goes on as long as each begins where the one before it ends; there are none if the first
        is no area's start.  Returns what `pop()` does of each; in one go it is quicker.
        """
        chunk, at = self._find(starts[0])
        if at < 0:
            return []
        kinds, counts = self.kinds, self.counts
        columns = self._chunks[chunk]
        behind = at + len(starts)
        rows = zip(*(column[at:behind] for column in columns), strict=True)
        areas: list[tuple[int, VmKind, int, int]] = []
        end = starts[0]
        for wanted, (start, number, data, objects) in zip(starts, rows, strict=False):
            if start != wanted or start != end:
                break
            kind = kinds[number]
            areas.append((start, kind, data, objects))
            counts[number] -= 1
            end = start + kind[0]
        self.nbytes -= end - starts[0]
        for column in columns:
            del column[at : at + len(areas)]
        self._emptied(chunk, at)
        return areas

    def _area(self, chunk: int, at: int) -> VmapArea:
        starts, numbers, data, _ = self._chunks[chunk]
        return VmapArea(starts[at], self.kinds[numbers[at]], data[at])

    def walk(self, address: int = 0) -> Iterator[tuple[int, int, int]]:
        """(start, place of the kind in `kinds`, data) of all from `address` on, lowest first.

        Nothing may be added or taken out meanwhile.
        """
        chunk = max(bisect_right(self._firsts, address) - 1, 0)
        for starts, numbers, data, _ in self._chunks[chunk:]:
            if starts[0] >= address:
                yield from zip(starts, numbers, data, strict=True)
            else:
                at = bisect_right(starts, address - 1)
                yield from zip(starts[at:], numbers[at:], data[at:], strict=True)

    def objects(self) -> Iterator[int]:
        """What all areas take of slabs, lowest first."""
        for _, _, _, objects in self._chunks:
            yield from objects

    def chunks(self) -> Iterator[tuple[int, array[int]]]:
        """(first start, what kinds they are) of areas that follow each other, all areas in turn."""
        return ((starts[0], numbers) for starts, numbers, _, _ in self._chunks)

    def nth(self, index: int) -> int:
        """The start of the area that so many are below.

        Raises:
            IndexError: there are not so many.
        """
        for starts, _, _, _ in self._chunks:
            if index < len(starts):
                return starts[index]
            index -= len(starts)
        raise IndexError(index)

    def columns(self) -> Iterator[tuple[array[int], array[int]]]:
        """(starts, what kinds they are) of areas that follow each other, all areas in turn."""
        return ((starts, numbers) for starts, numbers, _, _ in self._chunks)

    def values(self) -> Iterator[VmapArea]:
        """All areas, lowest first."""
        for start, number, data in self.walk():
            yield VmapArea(start, self.kinds[number], data)

    def __iter__(self) -> Iterator[int]:
        """The starts, lowest first."""
        for starts, _, _, _ in self._chunks:
            yield from starts

    def __len__(self) -> int:
        """How many areas there are, from how many of each kind."""
        return sum(self.counts)

    def __repr__(self) -> str:
        return f"<BusyAreas areas={len(self)} bytes={self.nbytes}>"

    def state(self) -> BusyState:
        """All areas, and what there has been of kinds, as plain data."""
        rows = zip(self.walk(), self.objects(), strict=True)
        return {"kinds": [*self.kinds], "areas": [(*area, objects) for area, objects in rows]}

    def restore(self, state: BusyState) -> None:
        """Have these areas in use."""
        for column in (self.kinds, self.counts, self._firsts, self._chunks):
            column.clear()
        self._number_of.clear()
        self.nbytes = 0
        for number, kind in enumerate(state["kinds"]):
            if (
                kind.size <= 0
                or kind.nr_pages < 0
                or self._number_of.setdefault(kind, number) != number
            ):
                raise StateError(f"no kind of area: {kind}")
            self.kinds.append(kind)
            self.counts.append(0)
        for start, number, data, objects in state["areas"]:
            self.add(start, self.kinds[number], data, objects)

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
        assert self._firsts == [starts[0] for starts, _, _, _ in self._chunks]
        for starts, *others in self._chunks:
            assert 0 < len(starts) <= CHUNK
            assert {len(starts)} == {len(other) for other in others}
