"""Free ranges of addresses, in Linux's tree: where an aligned area goes depends on its shape.

A red-black tree by address, in which each range knows the largest size in its subtree:

                     [28..36)  largest 1000           To find the lowest range of 20 or more:
                    /                       \\          go left where the left side has one that
          [4..20)  16                  [60..70)  1000  large; else take this one if it fits; else
          /       \\                    /        \\     go right, or up again and right from there.
     [1..3)  2  [22..26)  4      [44..50)  6  [80..1080)

For whole pages that finds the lowest one that fits.  An area that has to be aligned goes into any
range of size + align - 1 bytes, so that is what left and right are asked for; a smaller one that
lies well is taken if the search comes by it, which depends on all that has been before.  So the
tree is kept as Linux keeps it, turn by turn, and covers the same addresses: nearly all of them, of
which the window is a part.

Linux: mm/vmalloc.c:find_vmap_lowest_match(), merge_or_add_vmap_area_augment(), va_clip();
lib/rbtree.c
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from .layout import PAGE_SIZE
from .rbtree import FreeRange, RangeTree
from .restoring import StateError

__all__ = ["FreeAreas", "NoSpareError"]


class NoSpareError(Exception):
    """A range would have been split, and there was no struct vmap_area for one of the parts."""


class FreeAreas:
    """Disjoint free ranges of the addresses `start`..`end` - 1, one of all of them at first.

    Each has a struct vmap_area, whose number comes with what is given back, or from `spare`.

    Args:
        limits: of the addresses that the tree covers, the window among them.
        va: that of the first range.
    """

    def __init__(
        self, start: int, end: int, limits: tuple[int, int] | None = None, va: int = 0
    ) -> None:
        self.start: Final = start
        self.end: Final = end
        low, high = limits or (start, end)
        self._tree = RangeTree()
        self._tree.insert(FreeRange(low, high, va))
        self.spare: int | None = None
        """For the range that there is one more of when one is split.

        Who takes something sees to it that there is one (Linux: mm/vmalloc.c:ne_fit_preload_node).
        """
        self.freed: list[int] = []
        """Those of ranges that are no more, in that order: who takes or adds frees them."""
        self._lowest: FreeRange | None = None
        """The range found last, if no lower one has `_fitted` bytes, which one call after another
        asks for; None when that is not known."""
        self._fitted = 0

    def take(self, size: int, align: int) -> int | None:
        """Take `size` bytes at a multiple of `align`, or None.

        Up to PAGE_SIZE it is the lowest one where they are free; of a larger `align`, see above.

        Raises:
            NoSpareError: it would split a range, and there is no `spare`; nothing has changed.

        Linux: mm/vmalloc.c:__alloc_vmap_area()
        """
        found, first = self._lowest, self.start
        if (
            found is None
            or size < self._fitted
            or align > 1
            or (found.start if found.start > first else first) + size > found.end
        ):
            found = self._lowest_match(size, align)
            if found is None:
                return None
            if align == 1:
                self._lowest, self._fitted = found, size
        start = found.start
        at = ((start if start > first else first) + align - 1) & -align
        if at + size > self.end:
            return None
        self._clip(found, at, size)
        return at

    def next_run(self, size: int) -> tuple[int, int]:
        """Where the next areas of `size` bytes are if they come one behind the other, and how many.

        None are, (0, 0), where that has to be looked for.
        """
        found = self._lowest
        if found is None or size < self._fitted or found.start < self.start:
            return 0, 0
        return found.start, max((min(found.end - 1, self.end) - found.start) // size, 0)

    def take_run(self, nbytes: int) -> None:
        """Take the first bytes of `next_run()`, all of them for whole areas.

        With a negative number those taken last are given back, if nothing has happened since.
        """
        found = self._lowest
        assert found is not None
        found.start += nbytes
        self._tree.resized(found)

    def _lowest_match(self, size: int, align: int) -> FreeRange | None:
        """Linux: mm/vmalloc.c:find_vmap_lowest_match()"""
        first, mask = self.start, align - 1
        length = size + mask if align > PAGE_SIZE else size
        node = self._tree.root
        while node is not None:
            start = node.start
            left = node.left
            if left is not None and left.largest >= length and first < start:
                node = left
                continue
            if (((start if start > first else first) + mask) & -align) + size <= node.end:
                return node
            right = node.right
            if right is not None and right.largest >= length:
                node = right
                continue
            while (node := node.parent) is not None:
                start = node.start
                if (((start if start > first else first) + mask) & -align) + size <= node.end:
                    return node
                right = node.right
                if right is not None and right.largest >= length and first <= start:
                    first = start + 1
                    node = right
                    break
        return None

    def take_at(self, start: int, size: int) -> bool:
        """Take `size` bytes from `start` on.  Returns whether all of them were free.

        Raises:
            NoSpareError: as `take()`.
        """
        if start < self.start or start + size > self.end:
            return False
        node = self._tree.root
        while node is not None and not node.start <= start < node.end:
            node = node.left if start < node.start else node.right
        if node is None or start + size > node.end:
            return False
        self._clip(node, start, size)
        return True

    def _clip(self, node: FreeRange, at: int, size: int) -> None:
        """Cut `size` bytes at `at` out of a range (Linux: mm/vmalloc.c:va_clip())."""
        end = at + size
        if node.start == at:
            if node.end == end:
                self._lowest = None
                # |<-------- taken -------->|
                self._tree.erase(node)
                self.freed.append(node.va)
                return
            # |<--- taken --->|  free   |
            node.start = end
            self._tree.resized(node)
        elif node.end == end:
            # |  free  |<---- taken --->|
            node.end = at
            self._tree.resized(node)
        else:
            # |  free  |<- taken ->|  free  |
            if self.spare is None:
                raise NoSpareError
            self._lowest = None
            low = FreeRange(node.start, at, self.spare)
            self.spare = None
            node.start = end
            self._tree.resized(node)
            self._tree.insert(low, node)

    def add(self, start: int, size: int, vas: Sequence[int] = (0,)) -> None:
        """Give a range back, joining it with its neighbours.

        Args:
            vas: of the areas that it consists of, which are given back in this order: each is
                joined with the one before.

        Raises:
            ValueError: a part of it is free already, or outside of the window.

        Linux: mm/vmalloc.c:__merge_or_add_vmap_area()
        """
        tree, end = self._tree, start + size
        self._lowest = None
        parent: FreeRange | None = None
        before: FreeRange | None = None
        after: FreeRange | None = None
        node = tree.root
        while node is not None:
            parent = node
            if start < node.start:
                after, node = node, node.left
            else:
                before, node = node, node.right
        if (
            (before is not None and before.end > start)
            or (after is not None and after.start < end)
            or start < self.start
            or end > self.end
        ):
            raise ValueError(f"{start:#x}-{end:#x} is free already, or no part of the window")
        if after is not None and after.start == end:
            if before is not None and before.end == start:
                # |<- before ->|  given back  |<- after ->|
                tree.erase(after)
                before.end = after.end
                tree.resized(before)
                self.freed += vas
                self.freed.append(after.va)
            else:
                # |  given back  |<- after ->|
                after.start = start
                tree.resized(after)
                self.freed += vas
        elif before is not None and before.end == start:
            # |<- before ->|  given back  |
            before.end = end
            tree.resized(before)
            self.freed += vas
        else:
            tree.insert(FreeRange(start, end, vas[0]), parent)
            self.freed += vas[1:]

    def __len__(self) -> int:
        """How many free ranges of the window there are."""
        return self._tree.count - self._below - self._above

    @property
    def _below(self) -> bool:
        """Whether the lowest range lies below the window."""
        return bool(self._tree.count) and self._tree.nth(0).end <= self.start

    @property
    def _above(self) -> bool:
        """Whether the highest range lies above the window."""
        return bool(self._tree.count) and self._tree.nth(self._tree.count - 1).start >= self.end

    def nth(self, index: int) -> int:
        """Where the free range of the window begins that so many of them are below.

        Raises:
            IndexError: there are not so many.
        """
        if not 0 <= index < len(self):
            raise IndexError(index)
        return max(self._tree.nth(index + self._below).start, self.start)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """The free ranges of the window as (start, size), lowest first."""
        return self.walk(self.start)

    def walk(self, address: int) -> Iterator[tuple[int, int]]:
        """(start, size) of those that end behind an address, lowest first."""
        for node in self._tree.walk(max(address, self.start)):
            start, end = max(node.start, self.start), min(node.end, self.end)
            if max(start, address) < end:
                yield start, end - start

    @property
    def largest(self) -> int:
        """Size of the largest free range of the window, 0 without any."""
        # Only the first and the last one can reach beyond it: both lie on the tree's sides.
        largest, root = 0, self._tree.root
        for side, inside in (("left", "right"), ("right", "left")):
            node = root
            while node is not None:
                size = min(node.end, self.end) - max(node.start, self.start)
                child = getattr(node, inside)
                if node is not root and child is not None and child.largest > size:
                    size = child.largest
                largest = max(largest, size)
                node = getattr(node, side)
        return largest

    def vas(self) -> list[int]:
        """The numbers of the struct vmap_areas of all ranges, and of the spare one."""
        return [node.va for node in self._tree] + ([] if self.spare is None else [self.spare])

    def __repr__(self) -> str:
        ranges = sum(1 for _ in self)
        return f"<FreeAreas {self.start:#x}-{self.end:#x} ranges={ranges} largest={self.largest}>"

    def state(self) -> list[list[int]]:
        """The tree as [start, size, whether red], each before those below it."""
        return self._tree.state()

    def restore(self, state: list[list[int]], vas: list[int]) -> None:
        """Have these ranges free, with what `vas()` has given."""
        if any(len(row) != 3 for row in state) or not 0 <= len(vas) - len(state) <= 1:
            raise StateError("no free ranges of addresses")
        self._lowest = None
        self._tree.restore(state)
        self._tree.check()
        for node, va in zip(self._tree, vas, strict=False):
            node.va = va
        self.spare = vas[-1] if len(vas) > len(state) else None
        self.freed = []

    def check(self) -> None:
        """Assert the invariants.  Slow: for tests.

        - ranges are in order, not empty, and no two touch
        - it is a red-black tree, and each range knows the largest size below it
        - no range below `_lowest` has `_fitted` bytes
        """
        self._tree.check()
        if self._lowest is not None:
            below = [size for start, size in self if start < self._lowest.start]
            assert self._lowest in list(self._tree)
            assert not below or max(below) < self._fitted
