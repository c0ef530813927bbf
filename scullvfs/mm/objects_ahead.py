"""The next objects of a cache, taken before anybody asks for them, and how that is undone.

They are those of the cpu's slab that follow each other, rising or falling.  Where these are its
last ones, and no list has another slab, new slabs follow, in frames that the caller says:

    the cpu's slab, used up   new slab                     new slab
    | ... | 40 | 41 |         | 0 | 1 |   ...   | 41 |     | 0 | 1 | ...
            `first`            `grown_at()` tells before which of them

(Linux: mm/slub.c:kmem_cache_alloc_bulk() fetches what it needs, too, but cannot give it back.)
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Final, NamedTuple

from .object_numbers import ObjectNumbers
from .slab import Slab
from .slub import SlabPage

__all__ = ["ObjectsAhead"]


class _Piece(NamedTuple):
    """Objects of one slab."""

    numbers: range
    addresses: range
    before: tuple[SlabPage, int] | None
    """For a new slab what undoes it."""


class ObjectsAhead:
    """Up to `most` objects, one or more; the cpu's slab has a free one.

    Args:
        may_grow: new slabs may follow.
    """

    def __init__(self, numbers: ObjectNumbers, slab: Slab, most: int, may_grow: bool) -> None:
        self._numbers: Final = numbers
        self._slab: Final = slab
        self._first: Final = numbers.next_listed(most)
        cache = numbers.cache
        grows = may_grow and len(self._first) == numbers.nr_free and cache.grows_by_a_frame
        self.reach: Final = most if grows else len(self._first)
        """So many can be taken."""
        self.pieces: Final[list[_Piece]] = []
        """Those that were taken."""

    def grown_at(self, count: int) -> range:
        """Before which ones of `count` objects there has to be a new slab."""
        return range(len(self._first), count, self._numbers.cache.objects)

    def take(self, count: int, frames: Sequence[int]) -> None:
        """Allocate `count` of them; the new slabs are in these frames, which are zeros."""
        self._take(self._first[:count], None)
        for pfn in frames:
            before = self._slab.grow_at(self._numbers.cache, pfn)
            self._take(self._numbers.next_listed(count - len(self)), before)

    def _take(self, numbers: range, before: tuple[SlabPage, int] | None) -> None:
        self._numbers.alloc_listed(numbers)
        self.pieces.append(_Piece(numbers, self._numbers.addresses(numbers), before))

    def __len__(self) -> int:
        """How many were taken."""
        return sum(len(piece.numbers) for piece in self.pieces)

    def numbers(self) -> array[int]:
        """The numbers of those that were taken."""
        return _joined([piece.numbers for piece in self.pieces])

    def addresses(self) -> array[int]:
        """Where they are."""
        return _joined([piece.addresses for piece in self.pieces])

    def undo(self, kept: int) -> None:
        """Have all but the first ones as if they had never been taken; nobody has any since."""
        at = len(self)
        for piece in reversed(self.pieces):
            at -= len(piece.numbers)
            keep = max(kept - at, 0)
            self._numbers.free_listed(piece.numbers[keep:])
            if keep or piece.before is None:
                break
            self._slab.shrink_to(self._numbers.cache, piece.before)


def _joined(ranges: list[range]) -> array[int]:
    words = array("Q")
    for each in ranges:
        words.extend(each)
    return words
