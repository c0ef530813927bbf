"""A red-black tree of ranges, in which each knows the largest size in its subtree.

    - the root is black, and nothing red has a red child
    - all ways down from a range have the same number of black ones

It takes the very turns that Linux's does, so that after the same calls it has the same shape.

Linux: lib/rbtree.c, include/linux/rbtree_augmented.h
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

__all__ = ["FreeRange", "RangeTree"]


class FreeRange:
    """The addresses `start`..`end` - 1, and its place in the tree."""

    __slots__ = ("end", "largest", "left", "parent", "red", "right", "start", "va")

    def __init__(self, start: int, end: int, va: int = 0) -> None:
        self.start = start
        self.end = end
        self.largest = end - start
        """The largest size in the subtree."""
        self.left: FreeRange | None = None
        self.right: FreeRange | None = None
        self.parent: FreeRange | None = None
        self.red = True
        self.va = va
        """The number of its struct vmap_area."""

    def largest_below(self) -> int:
        """The largest size in the subtree, from its own and its children's."""
        largest = self.end - self.start
        left, right = self.left, self.right
        if left is not None and left.largest > largest:
            largest = left.largest
        if right is not None and right.largest > largest:
            largest = right.largest
        return largest

    def __repr__(self) -> str:
        return f"<FreeRange {self.start:#x}-{self.end - 1:#x}>"


class RangeTree:
    """Ranges by address."""

    def __init__(self) -> None:
        self.root: FreeRange | None = None
        self.count = 0
        """How many ranges there are."""

    def resized(self, node: FreeRange | None) -> None:
        """Tell those above that a range has another size now, or other children."""
        while node is not None:
            largest = node.largest_below()
            if largest == node.largest:
                return
            node.largest = largest
            node = node.parent

    def insert(self, new: FreeRange, node: FreeRange | None = None) -> None:
        """Put a range in, looking for its place below `node`, or the root."""
        self.count += 1
        node = node or self.root
        parent = None
        while node is not None:
            parent = node
            node = node.left if new.start < node.start else node.right
        new.parent = parent
        if parent is not None:
            if new.start < parent.start:
                parent.left = new
            else:
                parent.right = new
            self.resized(parent)
        else:
            self.root = new
        self._balance_inserted(new)

    def _balance_inserted(self, node: FreeRange) -> None:
        """A red range has come: no red one may have it as a child."""
        while True:
            parent = node.parent
            if parent is None:
                node.red = False
                return
            grandparent = parent.parent
            if not parent.red or grandparent is None:
                return
            left = parent is grandparent.left
            uncle = grandparent.right if left else grandparent.left
            if uncle is not None and uncle.red:
                parent.red = uncle.red = False
                grandparent.red = True
                node = grandparent
                continue
            if node is (parent.right if left else parent.left):
                self._rotate(parent, left)
                parent = node
            parent.red = False
            grandparent.red = True
            self._rotate(grandparent, not left)
            return

    def _rotate(self, node: FreeRange, left: bool) -> FreeRange:
        """Have a child in its place, and it below that: the right child when it goes left."""
        child = node.right if left else node.left
        assert child is not None
        if left:
            node.right = inner = child.left
            child.left = node
        else:
            node.left = inner = child.right
            child.right = node
        if inner is not None:
            inner.parent = node
        self._replace(node, child)
        node.parent = child
        child.largest = node.largest
        node.largest = node.largest_below()
        return child

    def _replace(self, old: FreeRange, new: FreeRange | None) -> None:
        parent = old.parent
        if parent is None:
            self.root = new
        elif parent.left is old:
            parent.left = new
        else:
            parent.right = new
        if new is not None:
            new.parent = parent

    def erase(self, old: FreeRange) -> None:
        """Take a range out: the next one comes in its place when it has two children."""
        self.count -= 1
        left, right = old.left, old.right
        if left is None or right is None:
            child, red, parent = left or right, old.red, old.parent
            self._replace(old, child)
        else:
            next_one = right
            while next_one.left is not None:
                next_one = next_one.left
            child, red, parent = next_one.right, next_one.red, next_one.parent
            if parent is old:
                parent = next_one
            else:
                self._replace(next_one, child)
                next_one.right = right
                right.parent = next_one
            next_one.left = left
            left.parent = next_one
            self._replace(old, next_one)
            next_one.red = old.red
            next_one.largest = old.largest
        self.resized(parent)
        if left is not None and right is not None:
            self.resized(next_one)
        if child is not None:
            child.red = False  # it is the only one below a black one
        elif not red and parent is not None:
            self._balance_erased(parent)

    def _balance_erased(self, parent: FreeRange) -> None:
        """A black range below `parent` has gone: one is missing on the way down to it."""
        node: FreeRange | None = None
        while True:
            left = parent.left is node
            sibling = parent.right if left else parent.left
            assert sibling is not None
            if sibling.red:
                sibling.red = False
                parent.red = True
                self._rotate(parent, left)
                sibling = parent.right if left else parent.left
                assert sibling is not None
            near, far = sibling.left, sibling.right
            if not left:
                near, far = far, near
            if far is None or not far.red:
                if near is None or not near.red:
                    sibling.red = True
                    if parent.red:
                        parent.red = False
                        return
                    node = parent
                    if node.parent is None:
                        return
                    parent = node.parent
                    continue
                far = sibling
                far.red = True
                sibling = self._rotate(sibling, not left)
            sibling.red = parent.red
            parent.red = far.red = False
            self._rotate(parent, left)
            return

    def __iter__(self) -> Iterator[FreeRange]:
        """All ranges, lowest first."""
        return self.walk(0)

    def __reversed__(self) -> Iterator[FreeRange]:
        """All ranges, highest first."""
        node, below = self.root, list[FreeRange]()
        while node is not None or below:
            while node is not None:
                below.append(node)
                node = node.right
            node = below.pop()
            yield node
            node = node.left

    def walk(self, address: int) -> Iterator[FreeRange]:
        """All ranges that end behind an address, lowest first."""
        node, above = self.root, list[FreeRange]()
        while node is not None:
            if node.end > address:
                above.append(node)
                node = node.left
            else:
                node = node.right
        while node is not None or above:
            while node is not None:
                above.append(node)
                node = node.left
            node = above.pop()
            yield node
            node = node.right

    def nth(self, index: int) -> FreeRange:
        """The range that so many are below; it goes along those, or those above if they are fewer.

        Raises:
            IndexError: there are not so many.
        """
        if not 0 <= index < self.count:
            raise IndexError(index)
        behind = self.count - 1 - index
        ranges = iter(self) if index < behind else reversed(self)
        return next(islice(ranges, min(index, behind), None))

    def __repr__(self) -> str:
        return f"<RangeTree root={self.root}>"

    def state(self) -> list[list[int]]:
        """All ranges as [start, size, whether red], each before those below it."""
        ranges, todo = [], [self.root]
        while todo:
            node = todo.pop()
            if node is not None:
                ranges.append([node.start, node.end - node.start, int(node.red)])
                todo += [node.right, node.left]
        return ranges

    def restore(self, state: list[list[int]]) -> None:
        """Have these ranges in these places; that it is a tree `check()` finds out."""
        self.root, self.count = None, len(state)
        nodes: list[FreeRange] = []
        right_of: list[FreeRange] = []
        """Those whose right side is still to come, the lowest one last."""
        for start, size, red in state:
            node = FreeRange(start, start + size)
            node.red = bool(red)
            parent = nodes[-1] if nodes else None
            if parent is not None and start > parent.start:
                while right_of and right_of[-1].start < start:
                    parent = right_of.pop()
                parent.right = node
            elif parent is not None:
                parent.left = node
            else:
                self.root = node
            node.parent = parent
            nodes.append(node)
            right_of.append(node)
        for node in reversed(nodes):
            node.largest = node.largest_below()

    def check(self) -> None:
        """Assert the invariants.  Slow: for tests.

        - ranges are in order, not empty, and no two touch
        - parents and children know each other; the root is black, and nothing red has a red child
        - as many black ones are on each way down
        - each knows the largest size in its subtree
        - `count` is how many there are
        """
        assert self.count == sum(1 for _ in self)
        end = -1
        for node in self:
            assert end < node.start < node.end
            end = node.end
            assert node.largest == node.largest_below()
            assert node.parent is not None or node is self.root
            for child in (node.left, node.right):
                assert child is None or child.parent is node
                assert child is None or not (node.red and child.red)
        assert self.root is None or not self.root.red
        blacks = set()
        todo = [(self.root, 0)]
        while todo:
            node_or_none, black = todo.pop()
            if node_or_none is None:
                blacks.add(black)
                continue
            black += not node_or_none.red
            todo += [(node_or_none.left, black), (node_or_none.right, black)]
        assert len(blacks) == 1
