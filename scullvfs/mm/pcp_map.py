"""The single frames on a per-cpu list, as the blocks that they would make if all had gone back.

To put frames into a map (`FreeMap`) and to take them out takes some time each, and most come and go
many times before anybody asks.  So the map lags behind the list, by what a device of 128 MiB has:
who empties it and fills it again has nothing to do with the map.

    hot    |  in the map  |      not yet        |    the last one freed is on top
           0           mapped               len(hot)

What was taken from the list below `mapped` is noted, and taken out of the map many at a time.
"""

from __future__ import annotations

from array import array
from typing import Final

from .free_map import FreeMap

__all__ = ["PcpMap"]

LAG: Final = 1 << 15
"""The map lags behind by so many frames at the most: some milliseconds' work for who asks."""
MAPPED: Final = 4096
"""So many are put into it, or taken out, at once: some tenths of a millisecond's work."""
RECOUNTED: Final = 16
"""Chunks of the map that `recount()` counts: some tenths of a millisecond's work."""


class PcpMap:
    """The map of one per-cpu list."""

    def __init__(self, end_pfn: int) -> None:
        self._end_pfn = end_pfn
        self.clear()

    def clear(self) -> None:
        """Have no frame in it, as there is none on the list."""
        self.mapped = 0
        """So many frames, from the bottom of the list, are in the map."""
        self._map = FreeMap(self._end_pfn)
        self._unmapped = array("I")
        """Frames that are in the map, and were taken since."""

    def taken(self, frames: array[int], left: int) -> None:
        """All but the `left` lowest frames were taken; the lowest of them are the last here."""
        count = self.mapped - left
        if count > 0:
            self.mapped = left
            self._unmapped.extend(frames[-count:])
            if len(self._unmapped) > MAPPED:
                self._forget()

    def drained(self, frames: array[int]) -> None:
        """The lowest frames were taken."""
        self._unmapped.extend(frames[: self.mapped])
        self.mapped = max(self.mapped - len(frames), 0)
        self._forget()

    def freed(self, hot: array[int], end: int) -> None:
        """Frames were freed: of those below place `end` put some into the map, if they are many."""
        if end - self.mapped > LAG:
            self._map_to(hot, end - LAG + MAPPED)

    def _forget(self) -> None:
        """Have no frame in the map that was taken."""
        self._map.discard(self._unmapped)
        self._unmapped = array("I")

    def _map_to(self, hot: array[int], end: int) -> None:
        """Have the `end` lowest frames in the map, and none that was taken."""
        self._forget()
        self._map.add(hot[self.mapped : end])
        self.mapped = end

    @property
    def is_counted(self) -> bool:
        """Whether `recount()` has nothing to do."""
        return not self._map.pending

    def recount(self) -> None:
        """Do a slice of what `blocks()` would have to count."""
        self._map.recount(RECOUNTED, RECOUNTED << 4)

    def blocks(self, hot: array[int]) -> list[int]:
        """How many blocks of each order the frames of the list make, joined as far as can be."""
        if self._unmapped or self.mapped < len(hot):
            self._map_to(hot, len(hot))
        return self._map.blocks()

    def __repr__(self) -> str:
        return f"<PcpMap mapped={self.mapped}>"

    def check(self, hot: array[int]) -> None:
        """Assert that it has the frames that it says, and those taken since.  Slow: for tests."""
        assert 0 <= self.mapped <= len(hot)
        self._map.check()
        assert self._map.frames() == {*hot[: self.mapped], *self._unmapped}
