"""The list items of a device: how many there are, and the kernel memory they take.

The driver keeps a device as a linked list of `struct scullv_dev`, each with a quantum set;
the first one is the device itself:

    device            item 1            item 2
    +------+  next    +------+  next    +------+
    |      |--------->|      |--------->|      |---- NULL
    +------+          +------+          +------+
       | data            | data            | data (NULL in a hole)
    quantum set       quantum set         ...

A write far out makes all the items before it, a million of them for position 2**45.  They take
the RAM that they would take, in runs of whole pages, and no time to speak of; walking
the list is a look into the table of runs.

Confessed: what Linux keeps in the items (next, size ...) is not written into that RAM.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import Final

from scullvfs.mm.slab import ObjectRun, Slab
from scullvfs.mm.workqueue import Steps, finish

__all__ = ["ItemList"]

BULK: Final = 64
"""That many items and more at once are allocated as runs of whole pages."""


class ItemList:
    """The items behind the first one, which its creator owns.

    Args:
        first: kernel address of the first item.
        item_size: bytes of a `struct scullv_dev`.
    """

    def __init__(self, slab: Slab, first: int, item_size: int) -> None:
        self._slab = slab
        self._first = first
        self._item_size = item_size
        self.count = 1
        """Items in the list, the first one included."""
        self._capacity = 1
        """Items there is memory for."""
        self._starts: list[int] = []
        """The number of each chunk's first item, rising."""
        self._chunks: list[int | ObjectRun] = []
        """A chunk is one item's address, or a run of them."""

    def extend_to(self, count: int) -> bool:
        """Have at least `count` items.

        Returns False, and the list is as it was, when there is no memory for them.
        """
        if count > self._capacity:
            missing = count - self._capacity
            added = self._add_run(missing) if missing >= BULK else self._add_items(missing)
            if not added:
                return False
        self.count = max(self.count, count)
        return True

    def _add_items(self, missing: int) -> bool:
        before = self._capacity
        for _ in range(missing):
            address = self._slab.kmalloc(self._item_size)
            if address is None:
                finish(self._free(self._detach(before)))
                return False
            self._add_chunk(address, 1)
        return True

    def _add_run(self, missing: int) -> bool:
        runs = self._slab.kmem_cache_alloc_bulk(self._item_size, missing)
        if runs is None:
            return False
        for run in runs:
            self._add_chunk(run, run.nr_objects)
        return True

    def _add_chunk(self, chunk: int | ObjectRun, nr_items: int) -> None:
        self._starts.append(self._capacity)
        self._chunks.append(chunk)
        self._capacity += nr_items

    def truncate(self, count: int) -> None:
        """Keep `count` items, 1 or more, and free the memory of the others as far as possible.

        A run stays as long as one of its items does.
        """
        finish(self.cut(count))

    def cut(self, count: int) -> Steps[None]:
        """As `truncate()`: the others are off the list at once, and the steps free their memory."""
        self.count = min(self.count, count)
        return self._free(self._detach(count))

    def _detach(self, count: int) -> list[int | ObjectRun]:
        """Take the chunks that begin with item `count` or later off."""
        first = bisect_left(self._starts, count)
        chunks = self._chunks[first:]
        if chunks:
            self._capacity = self._starts[first]
            del self._starts[first:], self._chunks[first:]
        return chunks

    def _free(self, chunks: list[int | ObjectRun]) -> Steps[None]:
        while chunks:
            chunk = chunks.pop()
            if isinstance(chunk, ObjectRun):
                self._slab.kmem_cache_free_bulk([chunk])
            else:
                self._slab.kfree(chunk)
            yield

    def address(self, item: int) -> int:
        """The kernel address of an item, 0 <= `item` < `count`."""
        if item == 0:
            return self._first
        at = bisect_right(self._starts, item) - 1
        chunk = self._chunks[at]
        return chunk.object(item - self._starts[at]) if isinstance(chunk, ObjectRun) else chunk
