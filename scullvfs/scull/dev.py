"""A scullv device: what main.c of the driver does with it.

    byte ----> item (list) -----> quantum set -----> quantum -----> page frames
               pos / itemsize     rest / quantum     (vmalloc)

A quantum is PAGE_SIZE << order bytes, a quantum set has qset pointers to quanta, and a
list item covers quantum * qset bytes.  The quantum sets are arrays of pointers in the
emulated RAM, from kmalloc; each read and write follows them there.

What goes wrong is an `OSError` with the errno that the system call returns.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from scullvfs.mm import PAGE_SIZE, Machine, PageFault
from scullvfs.mm.ram import ZERO_PAGE
from scullvfs.mm.workqueue import Left, Steps, finish

from .items import ItemList
from .oops import overrun_oops
from .parameters import Parameters

if TYPE_CHECKING:
    from scullvfs.mm.access import Buffer, View

__all__ = ["CALLER", "SIZEOF_DEV", "DeviceStatistics", "ScullvDev"]

SIZEOF_DEV: Final = {4: 104, 8: 176}
"""sizeof(struct scullv_dev) by the size of a pointer."""

ZEROED: Final = 1 << 18
"""Bytes that are zeroed in one step."""
SEEN: Final = 4096
"""Places in a quantum set that are looked at in one step."""
FEW: Final = 10_000
"""So many quantum sets are sorted in a step."""

CALLER: Final = "scullv_write [scullv]"
"""How /proc/vmallocinfo names the caller of vmalloc (as %ps prints it; there is no code to
point an offset into)."""


class DeviceStatistics(NamedTuple):
    """A device's books."""

    order: int
    qset: int
    size: int
    """In bytes."""
    items: int
    quanta: int
    allocated: int
    """Bytes of all quanta."""
    trims: int


class ScullvDev:
    """One device (scullv: scullv.h:struct scullv_dev).

    Args:
        parameters: the module's, which it takes over when it is trimmed.
        index: its number, as in scullv0.
        address: kernel address of its structure, which is its first list item.
        quirk_ldd3: behind the first list item a quantum is one page long, as in the book.
    """

    def __init__(
        self,
        machine: Machine,
        parameters: Parameters,
        index: int,
        address: int,
        quirk_ldd3: bool = False,
    ) -> None:
        self.machine: Final = machine
        self.parameters: Final = parameters
        self.index: Final = index
        self.name: Final = f"scullv{index}"
        self.size = 0
        """Bytes: the highest position written to, or what truncate() set."""
        self.nr_quanta = 0
        """Quanta allocated."""
        self.allocated = 0
        """Bytes of all quanta."""
        self.trims = 0
        """How often it was trimmed: what is done in steps looks whether it was meanwhile."""
        self.items: Final = ItemList(machine.slab, address, SIZEOF_DEV[machine.layout.pointer_size])
        self._qsets: dict[int, int] = {}
        """Item -> kernel address of its quantum set; items in a hole have none."""
        self._memory = machine.memory
        self._load: Final = machine.memory.load
        self._slab = machine.slab
        self._vm = machine.vm
        self._pointer_size: Final = machine.layout.pointer_size
        self._quirk: Final = quirk_ldd3
        self._set_geometry()

    def _set_geometry(self) -> None:
        """Take the module's current order and qset over."""
        self.order = self.parameters.scullv_order
        self.qset = self.parameters.scullv_qset
        self.quantum = PAGE_SIZE << self.order
        """Bytes in a quantum."""
        self.itemsize = self.quantum * self.qset
        """Bytes that a list item covers."""
        self._part = max(1, min(64, 1024 >> self.order))
        """Quanta that are freed in one step."""

    # -- the file operations -----------------------------------------------------------------

    def open(self, flags: int, later: bool = False) -> Left:
        """Open with the flags of open(2): a write-only open, or O_TRUNC, empties the device.

        Returns what is left to do of that, None if the device is as it was; see `trim()`.

        scullv: main.c:scullv_open()
        """
        if flags & os.O_ACCMODE == os.O_WRONLY or flags & os.O_TRUNC:
            return self.trim(later)
        return None

    def read(self, pos: int, count: int) -> View:
        """Read up to `count` bytes at `pos`: to the end of the quantum or the size at most.

        In a hole, and at or past the size, there are none.  The list is extended to `pos`; where
        there is no memory for that (the driver would oops) it is a hole.  The result may be a
        view of RAM, to be used before anything else happens on the machine.

        scullv: main.c:scullv_read()
        """
        if pos > self.size or not self.items.extend_to(pos // self.itemsize + 1):
            return b""
        return self.peek(pos, count)

    def peek(self, pos: int, count: int) -> View:
        """As `read()`, but it adds no list items on the way."""
        # What _locate() does, without the call: here and in write() every request goes by.
        item, rest = divmod(pos, self.itemsize)
        s_pos, q_pos = divmod(rest, self.quantum)
        qset = self._qsets.get(item)
        quantum = self._load(qset + s_pos * self._pointer_size) if qset else 0
        count = min(count, self.size - pos, self.quantum - q_pos)
        if not quantum or count <= 0:
            return b""
        if self._quirk:
            self._check_overrun(quantum, q_pos, count, write=False)
        return self._memory.read(quantum + q_pos, count)

    def write(self, pos: int, data: Buffer) -> int:
        """Write to the end of the quantum at most; returns how many bytes that is.

        Raises:
            OSError: ENOMEM, no memory for the items, the quantum set or the quantum.  What
                was written before stays as it is.

        scullv: main.c:scullv_write()
        """
        item, rest = divmod(pos, self.itemsize)
        s_pos, q_pos = divmod(rest, self.quantum)
        qset = self._qsets.get(item) or self._add_qset(item)
        count = min(len(data), self.quantum - q_pos)
        slot = qset + s_pos * self._pointer_size
        quantum = self._load(slot) or self._add_quantum(slot, item, whole=count == self.quantum)
        if self._quirk and count:
            self._check_overrun(quantum, q_pos, count, write=True)
        if count:  # a write of nothing makes the quantum all the same
            self._memory.write(quantum + q_pos, data if count == len(data) else data[:count])
        if pos + count > self.size:
            self.size = pos + count
        return count

    def truncate(self, length: int) -> None:
        """Set the size to `length` bytes (0 or more).

        0 trims.  Below the size every quantum past it is freed and the rest of the last
        one zeroed; above it only the size grows.  The driver has no such operation.
        """
        finish(self.truncating(length, later=False))

    def truncating(self, length: int, later: bool = True) -> Steps[Left]:
        """As `truncate()`, in steps.  The first one sets the size, which no read goes beyond.

        With `later` most of the memory is left to the machine's `workqueue`, and the result is
        what does that.  Nobody may write to the device between the steps.
        """
        cut = length < self.size
        if not length:
            return self.trim(later)
        self.size = length
        return (yield from self._cut(length, later)) if cut else None

    def _clear(self, pos: int, count: int) -> None:
        """Make `count` bytes at `pos`, all of one quantum, zeros if it is there."""
        item, s_pos, q_pos = self._locate(pos)
        qset = self._qsets.get(item)
        quantum = self._load(qset + s_pos * self._pointer_size) if qset else 0
        count = min(count, self._quantum_size(item) - q_pos)
        if quantum and count > 0:
            self._memory.memset(quantum + q_pos, 0, count)

    def fill(self, pos: int) -> bool:
        """Have a quantum at `pos`, a new one full of zeros.  Returns whether it is new.

        Raises:
            OSError: ENOMEM, as for `write()`.
        """
        item, s_pos, _ = self._locate(pos)
        slot = (self._qsets.get(item) or self._add_qset(item)) + s_pos * self._pointer_size
        if self._load(slot):
            return False
        self._add_quantum(slot, item, whole=False)
        return True

    def trim(self, later: bool = False) -> Left:
        """Free everything, and take the module's order and qset over.

        With `later` the memory is left to the machine's `workqueue`, and nothing takes longer
        for a large device.  The result is steps after which it is free.
        scullv: main.c:scullv_trim()
        """
        qsets, self._qsets = self._qsets, {}
        works = self._free(qsets.values(), self.qset, self._part), self.items.cut(1)
        left = self._do(works, later)
        self.nr_quanta = self.allocated = 0
        self.size = 0
        self.trims += 1
        self._set_geometry()
        return left

    def free_quanta(self, item: int, s_pos: int, count: int, blank: bool = False) -> None:
        """Free `count` quanta of a list item, from place `s_pos` in its set on.

        With `blank` only those that hold nothing but zeros.
        """
        qset = self._qsets.get(item)
        if qset is None:
            return
        slot, size = qset + s_pos * self._pointer_size, self._quantum_size(item)
        freed: list[int] = []
        for quantum in self._memory.load_array(slot, count):
            if quantum and not (blank and not self._is_blank(quantum, size)):
                self._memory.store(slot, 0)
                freed.append(quantum)
            slot += self._pointer_size
        self._vm.vfree_bulk(freed)
        self.nr_quanta -= len(freed)
        self.allocated -= len(freed) * size

    def free_qset(self, item: int) -> None:
        """Free the quantum set of a list item if there is no quantum in it."""
        qset = self._qsets.get(item)
        if qset is not None and not any(self._memory.load_array(qset, self.qset)):
            del self._qsets[item]
            self._slab.kfree(qset)

    def punching(self, item: int, pos: int, end: int, blank: bool = False) -> Steps[None]:
        """Free the quanta of a list item that lie wholly in `pos`..`end` - 1; zero the rest of it.

        With `blank` only quanta are freed that hold nothing but zeros.
        """
        pos, end = max(pos, item * self.itemsize), min(end, (item + 1) * self.itemsize)
        first, last = -(-pos // self.quantum), end // self.quantum
        if first > last:  # all of it lies in one quantum
            yield from self.zeroing(pos, end)
            return
        yield from self.zeroing(pos, first * self.quantum)
        base = item * self.qset
        for s_pos, count in self._parts(first - base, last - base):
            self.free_quanta(item, s_pos, count, blank)
            yield
        yield from self.zeroing(last * self.quantum, end)

    def zeroing(self, pos: int, end: int) -> Steps[None]:
        """Zero what there is at `pos`..`end` - 1."""
        while pos < end:
            count = min(self.quantum - pos % self.quantum, end - pos, ZEROED)
            self._clear(pos, count)
            pos += count
            yield

    def _parts(self, first: int, end: int) -> Iterator[tuple[int, int]]:
        """The places `first`..`end` - 1 of a set, (first, count) of as many as a step goes over."""
        for s_pos in range(first, end, self._part):
            yield s_pos, min(self._part, end - s_pos)

    # -- inside ------------------------------------------------------------------------------

    def _locate(self, pos: int) -> tuple[int, int, int]:
        """List item, place in its quantum set, and offset in the quantum of byte `pos`."""
        item, rest = divmod(pos, self.itemsize)
        return item, *divmod(rest, self.quantum)

    def _add_qset(self, item: int) -> int:
        """Give an item its quantum set; the items up to it are added if they are missing.

        scullv: main.c:scullv_follow(), scullv_write()
        """
        if item >= self.items.count and not self.items.extend_to(item + 1):
            raise OSError(errno.ENOMEM, "no memory for the list items")
        qset = self._slab.kzalloc(self.qset * self._pointer_size)
        if qset is None:
            raise OSError(errno.ENOMEM, "no memory for the quantum set")
        self._qsets[item] = qset
        return qset

    def _add_quantum(self, slot: int, item: int, whole: bool) -> int:
        """Allocate a quantum of zeros for the pointer at `slot`, in the set of a list item.

        With `whole` the caller fills all of it at once, and the zeros are left out.
        """
        size = self._quantum_size(item)
        allocate = self._vm.vmalloc if whole and size == self.quantum else self._vm.vzalloc
        quantum = allocate(size, CALLER)
        if quantum is None:
            raise OSError(errno.ENOMEM, "no memory for the quantum")
        self._memory.store(slot, quantum)
        self.nr_quanta += 1
        self.allocated += size
        return quantum

    def _is_blank(self, quantum: int, size: int) -> bool:
        """Whether the `size` bytes of a quantum are zeros."""
        return all(
            bytes(self._memory.read(quantum + at, PAGE_SIZE)) == ZERO_PAGE
            for at in range(0, size, PAGE_SIZE)
        )

    def _do(self, works: Sequence[Steps[None]], later: bool) -> Left:
        """Do some works, one or more, now or later; returns what is left of them."""
        if not later:
            for work in works:
                finish(work)
            return None
        workqueue = self.machine.workqueue
        for work in works:
            workqueue.queue_work(work)
        return workqueue.flush_work(works[-1])

    def _free(self, qsets: Iterable[int], nr_slots: int, part: int) -> Steps[None]:
        """Free quantum sets of `nr_slots` places, and their quanta, `part` of them in a step.

        They are no part of the device any more, whose geometry may be another one meanwhile.
        """
        for qset in qsets:
            for first in range(0, nr_slots, part):
                slots = qset + first * self._pointer_size
                count = min(part, nr_slots - first)
                self._vm.vfree_bulk(filter(None, self._memory.load_array(slots, count)))
                yield
            self._slab.kfree(qset)

    def _quantum_size(self, item: int) -> int:
        """Bytes that a quantum of a list item is allocated with.

        LDD3 takes the order of the item, which is 0 in all but the first
        (scullv: main.c:scullv_write(), "PAGE_SIZE << dptr->order").
        """
        return PAGE_SIZE if self._quirk and item else self.quantum

    def _check_overrun(self, quantum: int, q_pos: int, count: int, write: bool) -> None:
        """Run from the quantum's start to the end of an access, and into what lies behind.

        Behind a quantum lies its guard page: however far an access overruns it, that is
        where it is caught, and no neighbour is touched.

        Raises:
            OSError: EFAULT, with a report in the kernel log.
        """
        try:
            self._memory.translate(quantum, q_pos + count, write)
        except PageFault as fault:
            overrun_oops(self.machine, self.name, quantum, self.quantum, fault)
            raise OSError(errno.EFAULT, "the quantum ends before the access") from fault

    def _cut(self, length: int, later: bool) -> Steps[Left]:
        """Take off every quantum that begins at `length` or later, and zero what is behind it.

        A trim meanwhile has taken everything off, and ends it.
        """
        last, s_pos, q_pos = self._locate(length)
        keep = s_pos + (q_pos > 0)  # quanta of the last item
        trims, nr_slots, part = self.trims, self.qset, self._part
        if keep:
            yield from self.zeroing(length, length - q_pos + self.quantum * (q_pos > 0))
            for first, count in self._parts(keep, nr_slots):
                if self.trims != trims:
                    return None
                self.free_quanta(last, first, count)
                yield
        detached: list[int] = []
        for item in self.items_from(last + (keep > 0)):
            if self.trims != trims:
                break
            qset = self._qsets.pop(item, None)
            if qset is not None:
                nr_quanta = nr_slots - self._memory.load_array(qset, nr_slots).count(0)
                self.nr_quanta -= nr_quanta
                self.allocated -= nr_quanta * self._quantum_size(item)
                detached.append(qset)
            yield
        works = [self._free(detached, nr_slots, part)]
        if self.trims == trims:
            works.append(self.items.cut(last + 1))
        return self._do(works, later)

    # -- looking at it -----------------------------------------------------------------------

    def items_with_qset(self) -> Collection[int]:
        """The numbers of the items that have a quantum set, in no order."""
        return self._qsets.keys()

    def qset_address(self, item: int) -> int:
        """The kernel address of an item's quantum set, 0 if it has none."""
        return self._qsets.get(item, 0)

    def items_from(self, first: int) -> Iterable[int]:
        """The numbers of the items from `first` on, rising; if few have a quantum set, of these.

        While it is gone through, items and sets may come and go.
        """
        if len(self._qsets) > FEW:
            return range(first, self.items.count)
        return sorted(item for item in self._qsets if item >= first)

    def quanta(self, item: int, first: int = 0, count: int | None = None) -> list[int]:
        """The kernel addresses of an item's quanta, 0 for each that is missing.

        All of them, or up to `count` from the `first` on.
        """
        qset = self._qsets.get(item)
        if not qset or first >= self.qset:
            return []
        count = self.qset - first if count is None else min(count, self.qset - first)
        return self._memory.load_array(qset + first * self._pointer_size, count)

    def count_quanta(self, item: int, first: int, count: int) -> int:
        """How many of `count` quanta of an item there are, from the `first` on."""
        qset, count = self._qsets.get(item), min(count, self.qset - first)
        if not qset or count <= 0:
            return 0
        return self._memory.count_array(qset + first * self._pointer_size, count)

    def places(self, item: int, s_pos: int) -> Iterator[tuple[int, list[int]]]:
        """An item's quanta from a place on, a step's work at a time: (first place, addresses).

        They are 0 where one is missing; one 0 in a list stands for all where there is no set.
        """
        while s_pos < self.qset:
            qset = self._qsets.get(item)
            if qset is None:
                yield s_pos, [0]
                return
            count = min(SEEN, self.qset - s_pos)
            yield s_pos, self._memory.load_array(qset + s_pos * self._pointer_size, count)
            s_pos += count

    def statistics(self) -> DeviceStatistics:
        """The books as they stand now."""
        return DeviceStatistics(
            order=self.order,
            qset=self.qset,
            size=self.size,
            items=self.items.count,
            quanta=self.nr_quanta,
            allocated=self.allocated,
            trims=self.trims,
        )

    def __repr__(self) -> str:
        return (
            f"<ScullvDev {self.name} order={self.order} qset={self.qset} size={self.size} "
            f"quanta={self.nr_quanta}>"
        )

    def state(self) -> dict[str, Any]:
        """All of it but what is in RAM, as plain data."""
        return {
            **self.statistics()._asdict(),
            "items": self.items.state(),
            "qsets": [list(pair) for pair in self._qsets.items()],
        }

    def check(self) -> None:
        """Assert the invariants.  Slow: for tests.

        - every quantum is an area of its own, of the right size, and they are `nr_quanta`
        - no quantum set lies behind the last item
        """
        self.items.check()
        found = 0
        for item in self._qsets:
            assert item < self.items.count
            for quantum in self.quanta(item):
                if quantum:
                    vm = self._vm.find_vm_area(quantum)
                    assert vm is not None
                    assert vm.addr == quantum
                    assert vm.size == self._quantum_size(item) + PAGE_SIZE
                    found += 1
        assert found == self.nr_quanta
