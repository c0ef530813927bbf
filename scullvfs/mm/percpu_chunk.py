"""A chunk of the per-cpu allocator: what of a unit is in use, and the lowest place that fits.

Its free ranges are in two lists, by address.  Small gaps between objects get very many, and most
searches would go by all of them in vain.  So it is remembered from where on a size can fit at all:

    starts   | 8 |    40 |        96 |  ...        a search for 24 bytes at a multiple of 16
    ends     | 12|    64 |       512 |  ...        goes by these, the next one begins at 96

That holds until something is freed.

Linux: mm/percpu.c:struct pcpu_chunk, pcpu_alloc_area(), pcpu_free_area()
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import pairwise
from operator import sub
from typing import Final, TypedDict

__all__ = ["Chunk", "ChunkState"]


class ChunkState(TypedDict):
    """A chunk."""

    base: int
    objects: list[tuple[int, int]]
    """Place and size of each, by place."""
    populated: list[int]
    records: list[int]


class Chunk:
    """A chunk, of which nothing is in use at first.

    Args:
        base: address of the first CPU's unit.
        unit_size: bytes of a unit.
        records: kernel addresses of what Linux keeps of it.
    """

    def __init__(self, base: int, unit_size: int, records: list[int]) -> None:
        self.base: Final = base
        self.unit_size: Final = unit_size
        self.records: Final = records
        self.objects: Final[dict[int, int]] = {}
        """Place in a unit -> size."""
        self.populated: Final[set[int]] = set()
        """Pages of a unit that there are frames for."""
        self.slot = 0
        """Where it is by the room that it has."""
        self._starts = [0]
        self._ends = [unit_size]
        self._largest = (unit_size, 0)
        """Of the largest free range the size, and where it begins; of several the first one."""
        self._others = 0
        """No other one is larger than this."""
        self._from: Final[dict[tuple[int, int], int]] = {}
        """(bits of a size, alignment) -> below which place no object of so many bits fits."""

    @property
    def room(self) -> int:
        """Bytes of the largest free range (Linux: pcpu_block_md.contig_hint)."""
        return self._largest[0]

    def free_ranges(self) -> list[tuple[int, int]]:
        """(place, size) of each, by place."""
        return [(start, end - start) for start, end in zip(self._starts, self._ends, strict=True)]

    def take(self, size: int, align: int) -> int | None:
        """The lowest place that fits; None where the largest free range has none.

        Linux does not look further then, either (mm/percpu.c:pcpu_find_block_fit()).
        """
        room, start = self._largest
        if (-start) % align + size > room:
            return None
        kind = (size.bit_length(), align)
        least, mask, known = 1 << kind[0] - 1, align - 1, False
        starts, ends = self._starts, self._ends
        for index in range(bisect_left(starts, self._from.get(kind, 0)), len(starts)):
            at = (starts[index] + mask) & -align
            if not known and at + least <= ends[index]:
                self._from[kind], known = starts[index], True
            if at + size <= ends[index]:
                break
        self._cut(index, at, size)
        self.objects[at] = size
        return at

    def _cut(self, index: int, at: int, size: int) -> None:
        """Take a part out of a free range."""
        start, end = self._starts[index], self._ends[index]
        before = [start] if start < at else []
        behind = [at + size] if at + size < end else []
        self._starts[index : index + 1] = before + behind
        self._ends[index : index + 1] = [at] * len(before) + [end] * len(behind)
        if start == self._largest[1]:
            largest, other = (end - at - size, at + size), (at - start, start)
            if largest[0] <= other[0]:
                largest, other = other, largest
            if largest[0] > max(self._others, other[0]):
                self._largest, self._others = largest, max(self._others, other[0])
            else:
                self._find_largest()

    def _find_largest(self) -> None:
        sizes = list(map(sub, self._ends, self._starts))
        room = max(sizes, default=0)
        self._largest, self._others = (0, 0), 0
        if room:
            index = sizes.index(room)
            sizes[index] = 0
            self._largest, self._others = (room, self._starts[index]), max(sizes)

    def give_back(self, at: int) -> None:
        """Free the object that is there.

        Raises:
            KeyError: there is none.
        """
        end = at + self.objects.pop(at)
        index, start = bisect_left(self._starts, at), at
        low = high = index
        if index and self._ends[index - 1] == at:
            low, start = index - 1, self._starts[index - 1]
        if index < len(self._starts) and self._starts[index] == end:
            high, end = index + 1, self._ends[index]
        self._starts[low:high], self._ends[low:high] = [start], [end]
        self._from.clear()
        room, first = self._largest
        if (start - end, start) < (-room, first):
            self._largest = (end - start, start)
            if not start <= first < end:
                self._others = room
        else:
            self._others = max(self._others, end - start)

    def __repr__(self) -> str:
        return f"<Chunk {self.base:#x} objects={len(self.objects)} room={self.room}>"

    def state(self) -> ChunkState:
        """All of it, as plain data."""
        return {
            "base": self.base,
            "objects": sorted(self.objects.items()),
            "populated": sorted(self.populated),
            "records": list(self.records),
        }

    @classmethod
    def restored(cls, state: ChunkState, unit_size: int) -> Chunk:
        """The chunk of a state."""
        chunk = cls(state["base"], unit_size, list(state["records"]))
        chunk.objects.update(state["objects"])
        chunk.populated.update(state["populated"])
        ranges = [(0, 0), *state["objects"], (unit_size, 0)]
        free = [(at + size, after) for (at, size), (after, _) in pairwise(ranges)]
        chunk._starts = [start for start, end in free if start != end]
        chunk._ends = [end for start, end in free if start != end]
        chunk._find_largest()
        chunk.check()
        return chunk

    def check(self) -> None:
        """Assert the invariants.  Slow: for tests.

        - objects and free ranges cover a unit, and overlap nowhere; free ones do not touch
        - the largest free range is known, and how large the others are at the most
        """
        free = self.free_ranges()
        ranges = sorted([*free, *self.objects.items()])
        ends = [start + size for start, size in ranges]
        assert [start for start, _ in ranges] == [0, *ends[:-1]]
        assert ends[-1] == self.unit_size
        assert all(start + size < after for (start, size), (after, _) in pairwise(free))
        sizes = sorted(((size, -start) for start, size in free), reverse=True)
        room, first = sizes[0] if sizes else (0, 0)
        assert self._largest == (room, -first)
        assert all(size <= self._others for size, _ in sizes[1:])
