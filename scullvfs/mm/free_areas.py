"""Free ranges of addresses: the lowest one that fits, found without looking at them all.

The ranges are kept in address order, in chunks of some hundred.  Above the chunks stands a
tournament: each place holds the larger of the two sizes below it, down to each chunk's
largest range.

                       rest                 To find the lowest range of 20 pages or more:
                 +------+------+            from the top, go left where the left side
                40            rest          has one that large, else right.
             +---+---+      +---+---+
            17      40      3      rest     largest size in the chunk
         chunk 0 chunk 1 chunk 2 chunk 3    (the rest of the window is the last range)

Linux keeps a red-black tree whose nodes know the largest size below them, and walks it in
the same way (mm/vmalloc.c:find_vmap_lowest_match()); in Python, lists that C code searches
and shifts are faster than a tree of objects.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from typing import Final

__all__ = ["FreeAreas"]

CHUNK: Final = 96
"""A chunk is split in two when it has twice as many ranges."""


class FreeAreas:
    """Disjoint free ranges of the addresses `start`..`end` - 1, one of all of them at first."""

    def __init__(self, start: int, end: int) -> None:
        self.start: Final = start
        self.end: Final = end
        self._starts: list[list[int]] = [[start]]
        self._sizes: list[list[int]] = [[end - start]]
        self._firsts: list[int] = [start]
        """Each chunk's first start."""
        self._reindex()

    def take(self, size: int, align: int, least: int = 0) -> int | None:
        """Take `size` bytes at the lowest multiple of `align` where they are free, or None.

        Only ranges of `least` bytes or more are looked at.
        """
        least = max(least, size)
        for chunk in range(self._first_chunk_with(least), len(self._starts)):
            starts, sizes = self._starts[chunk], self._sizes[chunk]
            for i, free in enumerate(sizes):
                if free >= least:
                    at = (starts[i] + align - 1) & -align
                    if at + size <= starts[i] + free:
                        self._carve(chunk, i, at, size)
                        return at
        return None  # only an alignment makes it look into more than one chunk

    def take_at(self, start: int, size: int) -> bool:
        """Take `size` bytes from `start` on.  Returns whether all of them were free."""
        chunk = bisect_right(self._firsts, start) - 1
        if chunk < 0:
            return False
        i = bisect_right(self._starts[chunk], start) - 1
        if start + size > self._starts[chunk][i] + self._sizes[chunk][i]:
            return False
        self._carve(chunk, i, start, size)
        return True

    def _first_chunk_with(self, size: int) -> int:
        """The first chunk with a range of `size` bytes or more; the number of chunks if none."""
        tree, width = self._tree, self._width
        if tree[1] < size:
            return len(self._starts)
        place = 1
        while place < width:
            place *= 2
            if tree[place] < size:
                place += 1
        return place - width

    def _carve(self, chunk: int, i: int, at: int, size: int) -> None:
        """Cut `size` bytes at `at` out of a range (Linux: mm/vmalloc.c:va_clip())."""
        starts, sizes = self._starts[chunk], self._sizes[chunk]
        start, free = starts[i], sizes[i]
        lead = at - start
        tail = free - lead - size
        if not lead and not tail:
            # |<-------- taken -------->|
            self._delete(chunk, i)
        elif not lead:
            # |<--- taken --->|  free   |
            starts[i], sizes[i] = at + size, tail
            if not i:
                self._firsts[chunk] = at + size
            self._shrunk(chunk, free)
        else:
            # |  free  |<---- taken --->|
            sizes[i] = lead
            self._shrunk(chunk, free)
            if tail:
                # |  free  |<- taken ->|  free  |
                self._insert(chunk, i + 1, at + size, tail)

    def add(self, start: int, size: int) -> None:
        """Give a range back, joining it with its neighbours.

        Raises:
            ValueError: a part of it is free already, or outside of the window.
        """
        chunk = max(bisect_right(self._firsts, start) - 1, 0)
        if not self._starts:
            self._starts, self._sizes = [[start]], [[size]]
            self._reindex()
            return
        starts, sizes = self._starts[chunk], self._sizes[chunk]
        i = bisect_right(starts, start)
        before_end = starts[i - 1] + sizes[i - 1] if i else self.start
        if i < len(starts):
            after = chunk, i
        else:
            after = chunk + 1, 0
        has_after = after[0] < len(self._starts)
        after_start = self._starts[after[0]][after[1]] if has_after else self.end
        if before_end > start or start + size > after_start:
            raise ValueError(
                f"{start:#x}-{start + size:#x} is free already, or no part of the window"
            )
        if has_after and start + size == after_start:
            size += self._sizes[after[0]][after[1]]
            if not (i and before_end == start):
                # |  given back  |<- after ->|
                self._starts[after[0]][after[1]] = start
                self._sizes[after[0]][after[1]] = size
                if not after[1]:
                    self._firsts[after[0]] = start
                self._grown(after[0], size)
                return
            # |<- before ->|  given back  |<- after ->|
            self._delete(*after)
        if i and before_end == start:
            # |<- before ->|  given back  |
            sizes[i - 1] += size
            self._grown(chunk, sizes[i - 1])
        else:
            self._insert(chunk, i, start, size)

    def _insert(self, chunk: int, i: int, start: int, size: int) -> None:
        starts, sizes = self._starts[chunk], self._sizes[chunk]
        starts.insert(i, start)
        sizes.insert(i, size)
        if not i:
            self._firsts[chunk] = start
        if len(starts) < 2 * CHUNK:
            self._grown(chunk, size)
            return
        self._starts[chunk : chunk + 1] = starts[:CHUNK], starts[CHUNK:]
        self._sizes[chunk : chunk + 1] = sizes[:CHUNK], sizes[CHUNK:]
        self._reindex()

    def _delete(self, chunk: int, i: int) -> None:
        starts, sizes = self._starts[chunk], self._sizes[chunk]
        size = sizes.pop(i)
        del starts[i]
        if not starts:
            del self._starts[chunk], self._sizes[chunk]
            self._reindex()
            return
        self._firsts[chunk] = starts[0]
        self._shrunk(chunk, size)

    def _reindex(self) -> None:
        """Make what stands beside the chunks anew, when there are more or fewer of them."""
        largest = [max(sizes) for sizes in self._sizes]
        self._firsts = [starts[0] for starts in self._starts]
        self._width = 1 << max(len(largest) - 1, 0).bit_length()
        """The places `_width`.. of `_tree` are the chunks; the one above place n is n // 2."""
        self._tree = [0] * self._width + largest + [0] * (self._width - len(largest))
        for place in range(self._width - 1, 0, -1):
            self._tree[place] = max(self._tree[2 * place : 2 * place + 2])

    def _grown(self, chunk: int, size: int) -> None:
        """A range of the chunk has now this size, and none has become smaller."""
        if size > self._tree[self._width + chunk]:
            self._set_largest(chunk, size)

    def _shrunk(self, chunk: int, was: int) -> None:
        """A range of the chunk that had this size is smaller now, or gone."""
        if was == self._tree[self._width + chunk]:
            self._set_largest(chunk, max(self._sizes[chunk]))

    def _set_largest(self, chunk: int, size: int) -> None:
        tree, place = self._tree, self._width + chunk
        tree[place] = size
        while place > 1:
            size = max(size, tree[place ^ 1])
            place >>= 1
            if tree[place] == size:
                break
            tree[place] = size

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """The free ranges as (start, size), lowest first."""
        for starts, sizes in zip(self._starts, self._sizes, strict=True):
            yield from zip(starts, sizes, strict=True)

    @property
    def largest(self) -> int:
        """Size of the largest free range, 0 without any."""
        return self._tree[1]

    def __repr__(self) -> str:
        ranges = sum(map(len, self._starts))
        return f"<FreeAreas {self.start:#x}-{self.end:#x} ranges={ranges} largest={self.largest}>"

    def state(self) -> list[list[int]]:
        """The free ranges as [start, size], lowest first."""
        return [list(pair) for pair in self]

    def check(self) -> None:
        """Assert the invariants.  Slow: for tests.

        - ranges are in order, not empty, inside the window, and no two touch
        - no chunk is empty; what stands beside the chunks is what they hold
        """
        end = self.start - 1
        for start, size in self:
            assert end < start
            assert size > 0
            end = start + size
        assert end <= self.end
        assert all(self._starts)
        assert self._firsts == [starts[0] for starts in self._starts]
        tree, width = self._tree, self._width
        assert tree[width : width + len(self._sizes)] == [max(sizes) for sizes in self._sizes]
        assert not any(tree[width + len(self._sizes) :])
        assert all(tree[n] == max(tree[2 * n], tree[2 * n + 1]) for n in range(1, width))
