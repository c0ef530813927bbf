"""The list items of a device: how many there are, and the kernel memory they take.

The driver keeps a device as a linked list of structures, each with a quantum set;
the first one is the device itself (not in scull, where all of them are made when needed):

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

from array import array
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, Final, TypedDict

from scullvfs.mm.page_alloc import MAX_PAGE_ORDER
from scullvfs.mm.restoring import StateError
from scullvfs.mm.slab import Slab
from scullvfs.mm.slub import ObjectRun
from scullvfs.mm.workqueue import Steps, finish

if TYPE_CHECKING:
    from .driver import Driver

__all__ = ["ItemList", "ItemsState"]

BULK: Final = 64
"""That many items and more at once are allocated as runs of whole pages."""
ITEMS: Final = -1
"""In place of an order: items from kmalloc(), one by one, that happen to lie side by side."""


class ItemsState(TypedDict):
    """How many items there are, and where."""

    count: int
    capacity: int
    starts: list[int]
    addresses: list[int]
    orders: list[int]


class ItemList:
    """The items, or those behind a first one that its creator owns.

    Args:
        first: kernel address of a first item that is always there; None if there is none.
        item_size: bytes of the structure of one.
        driver: whose list it is.
    """

    def __init__(self, slab: Slab, first: int | None, item_size: int, driver: Driver) -> None:
        self.driver: Final = driver
        self._slab = slab
        self._first = first
        self._item_size = item_size
        self._stride = slab.kmalloc_size_roundup(item_size)
        """From one item to the next, where they lie side by side."""
        self._least = int(first is not None)
        self.count = self._least
        """Items in the list, the first one included."""
        self._capacity = self._least
        """Items there is memory for."""
        # A chunk is a run, or items side by side.  In arrays, as there may be millions of items.
        self._starts = array("Q")
        """The number of each chunk's first item, rising."""
        self._addresses = array("Q")
        """Where each chunk is."""
        self._orders = array("b")
        """The order of each chunk that is a run, ITEMS for the others."""

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
                finish(self._free(*self._detach(before)))
                return False
            if not self._is_next(address):
                self._add_chunk(address, ITEMS)
            self._capacity += 1
        return True

    def _is_next(self, address: int) -> bool:
        """Whether an item lies behind those of the last chunk."""
        if not self._starts or self._orders[-1] != ITEMS:
            return False
        count = self._capacity - self._starts[-1]
        return address == self._addresses[-1] + count * self._stride

    def _add_run(self, missing: int) -> bool:
        runs = self._slab.alloc_runs(self._item_size, missing)
        if runs is None:
            return False
        for run in runs:
            self._add_chunk(run.address, run.order)
            self._capacity += run.nr_objects
        return True

    def _add_chunk(self, address: int, order: int) -> None:
        self._starts.append(self._capacity)
        self._addresses.append(address)
        self._orders.append(order)

    def truncate(self, count: int) -> None:
        """Keep `count` items, and free the memory of the others as far as possible.

        A first one that is always there stays in any case.  A run stays as long as one of its
        items does.
        """
        finish(self.cut(count))

    def cut(self, count: int) -> Steps[None]:
        """As `truncate()`: the others are off the list at once, and the steps free their memory."""
        count = max(count, self._least)
        self.count = min(self.count, count)
        return self._free(*self._detach(count))

    def _detach(self, count: int) -> tuple[array[int], array[int], array[int], int]:
        """Take the memory of the items from `count` on off, as far as possible.

        Returns the columns of what was taken, and the number behind its last item.
        """
        first, end = bisect_left(self._starts, count), self._capacity
        starts, addresses, orders = self._starts, self._addresses, self._orders
        taken = starts[first:], addresses[first:], orders[first:]
        del starts[first:], addresses[first:], orders[first:]
        if taken[0]:
            self._capacity = taken[0][0]
        if self._capacity > count and orders and orders[-1] == ITEMS:
            taken[0].insert(0, count)
            taken[1].insert(0, addresses[-1] + (count - starts[-1]) * self._stride)
            taken[2].insert(0, ITEMS)
            self._capacity = count
        return *taken, end

    def _free(
        self, starts: array[int], addresses: array[int], orders: array[int], end: int
    ) -> Steps[None]:
        while starts:
            start, address, order = starts.pop(), addresses.pop(), orders.pop()
            if order == ITEMS:
                for number in reversed(range(end - start)):
                    self._slab.kfree(address + number * self._stride)
                    yield
            else:
                self._slab.free_runs([ObjectRun(address, order, self._stride)])
                yield
            end = start

    def __repr__(self) -> str:
        return f"<ItemList count={self.count} capacity={self._capacity}>"

    def state(self) -> ItemsState:
        """How many items there are, and where, as plain data."""
        return {
            "count": self.count,
            "capacity": self._capacity,
            "starts": self._starts.tolist(),
            "addresses": self._addresses.tolist(),
            "orders": self._orders.tolist(),
        }

    def restore(self, state: ItemsState) -> None:
        """Have these items, whose memory is there already."""
        self.count, self._capacity = state["count"], state["capacity"]
        self._starts, self._addresses = array("Q", state["starts"]), array("Q", state["addresses"])
        self._orders = array("b", state["orders"])
        self.check()
        for address, order in zip(self._addresses, self._orders, strict=True):
            if order == ITEMS:
                self._slab.ksize(address)  # it is allocated
            elif not 0 <= order <= MAX_PAGE_ORDER or not self._slab.has_run(
                ObjectRun(address, order, self._stride)
            ):
                raise StateError(f"no list items at {address:#x}")

    def check(self) -> None:
        """Assert the invariants.

        - there is memory for all items; the chunks are in order
        """
        assert self._least <= self.count <= self._capacity
        assert len(self._starts) == len(self._addresses) == len(self._orders)
        assert self._starts.tolist() == sorted(set(self._starts))

    def address(self, item: int) -> int:
        """The kernel address of an item, 0 <= `item` < `count`."""
        if item == 0 and self._first is not None:
            return self._first
        at = bisect_right(self._starts, item) - 1
        address, order, index = self._addresses[at], self._orders[at], item - self._starts[at]
        if order == ITEMS:
            return address + index * self._stride
        return ObjectRun(address, order, self._stride).object(index)
