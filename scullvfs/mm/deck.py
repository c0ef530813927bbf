"""Frames in a random order, without a list of them all.

A block of 2**n frames starts at a multiple of its size, so XOR with an offset below the size walks
through its frames.  A deck has some blocks, and deals one frame of each in turn:

    blocks      0x400 ^ a      0x1c00 ^ b     0x800 ^ c     a, b, c, and the order of the
    offset 5       1st            2nd            3rd         offsets are random
    offset 0       4th            5th            6th
"""

from __future__ import annotations

from array import array
from random import Random

__all__ = ["Deck"]


class Deck:
    """Clean frames of some random blocks, dealt one from each block in turn."""

    def __init__(self, blocks: list[int], order: int, rng: Random) -> None:
        size = 1 << order
        self._blocks = [pfn ^ rng.randrange(size) for pfn in blocks]
        self._offsets = rng.sample(range(size), size) if blocks else []

    @classmethod
    def of(cls, blocks: list[int], offsets: list[int]) -> Deck:
        """One that is dealt already: `pfn ^ offset` for each offset, the last first, and block."""
        deck = cls([], 0, Random(0))
        deck._blocks, deck._offsets = blocks, offsets
        return deck

    def __len__(self) -> int:
        return len(self._blocks) * len(self._offsets)

    def deal(self, count: int) -> array[int]:
        """At least `count` frames, unless fewer are left."""
        frames = array("I")
        while self._offsets and len(frames) < count:
            offset = self._offsets.pop()
            frames.extend([pfn ^ offset for pfn in self._blocks])
        return frames

    def __repr__(self) -> str:
        return f"<Deck frames={len(self)} of {len(self._blocks)} blocks>"

    def state(self) -> tuple[list[int], list[int]]:
        """The blocks, and the offsets in them that are still to come: what `of()` is given."""
        return list(self._blocks), list(self._offsets)

    def frames(self) -> list[int]:
        """What is still to be dealt."""
        return [pfn ^ offset for offset in self._offsets for pfn in self._blocks]
