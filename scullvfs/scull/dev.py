"""A device of the family: what main.c of its driver does with it.

    byte ----> item (list) -----> quantum set -----> quantum -----> page frames
               pos / itemsize     rest / quantum     (the member's memory)

A quantum set has qset pointers to quanta, and a list item covers quantum * qset bytes.  The
quantum sets are arrays of pointers in the emulated RAM; each read and write follows them there.
What all that consists of is in `quanta`, and in `checked` what is looked at before an access that
may lead elsewhere.

What goes wrong is an `OSError` with the errno that the system call returns.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypedDict

from scullvfs.mm import Machine, PageFault
from scullvfs.mm.restoring import Claims, StateError
from scullvfs.mm.workqueue import Left, Steps, finish

from .checked import CheckedQuanta
from .driver import INT_MAX
from .garbage import GivenState
from .ioctl import scull_ioctl
from .items import ItemsState
from .oops import driver_oops
from .parameters import Parameters

if TYPE_CHECKING:
    from scullvfs.mm.access import Buffer, View

__all__ = ["DeviceState", "DeviceStatistics", "ScullDev"]

ZEROED: Final = 1 << 18
"""Bytes that are zeroed in one step."""


class DeviceStatistics(NamedTuple):
    """A device's books."""

    measure: int
    """The order of a quantum, or its bytes, as the driver has it."""
    qset: int
    size: int
    """In bytes."""
    items: int
    quanta: int
    allocated: int
    """Bytes of all quanta."""
    trims: int


class DeviceState(TypedDict):
    """A device but for what is in RAM."""

    measure: int
    qset: int
    size: int
    quanta: int
    allocated: int
    trims: int
    items: ItemsState
    qsets: list[tuple[int, int]]
    """List item, and address of its quantum set."""
    given: GivenState


class ScullDev(CheckedQuanta):
    """One device (LDD3: struct scull_dev, struct scullv_dev ...).

    Args:
        parameters: the module's, which it takes over when it is trimmed.
        index: its number, as in scullv0.
        address: kernel address of its structure.
        quirk_ldd3: quanta are allocated with the mistakes of the book.
        shared: what the devices of the module have in common.
    """

    def __init__(
        self,
        machine: Machine,
        parameters: Parameters,
        index: int,
        address: int,
        quirk_ldd3: bool = False,
        shared: Any = None,
    ) -> None:
        self.index: Final = index
        self.name = f"{self.driver.name}{index}"
        self.size = 0
        """Bytes: the highest position written to, or what truncate() set."""
        self.trims = 0
        """How often it was trimmed: what is done in steps looks whether it was meanwhile."""
        self.tell_read: Callable[[int, int, int], None] | None = None
        """Hears of a read by the rules of a regular file: position, count, result."""
        super().__init__(machine, parameters, address, quirk_ldd3, shared)

    def _set_geometry(self, measure: int, qset: int) -> None:
        super()._set_geometry(measure, qset)
        self.end = self.itemsize * (INT_MAX + 1)
        """Behind so many bytes the number of a list item is no int any more."""

    # -- the file operations -----------------------------------------------------------------

    def open(self, flags: int, later: bool = False) -> Left:
        """Open with the flags of open(2): a write-only open, or O_TRUNC, empties the device.

        Returns what is left to do of that, None if the device is as it was; see `trim()`.

        scullv: main.c:scullv_open()
        """
        if flags & os.O_ACCMODE == os.O_WRONLY or flags & os.O_TRUNC:
            with suppress(OSError):  # of a fault alone (`faults`); nobody looks at it there
                return self.trim(later)
        return None

    def read(self, pos: int, count: int) -> View:
        """Read up to `count` bytes at `pos`: to the end of the quantum or the size at most.

        In a hole, and at or past the size, there are none.  The list is extended to `pos`; where
        there is no memory for that (the driver would oops) it is a hole.  The result may be a
        view of RAM, to be used before anything else happens on the machine.

        scullv: main.c:scullv_read(); scull: main.c:scull_read()
        """
        left = self.size - pos
        if left <= 0 and (left or not self.driver.head_is_item):
            return b""
        if pos >= self.end:
            try:
                pos, count = self._wrap(pos), min(count, left)
            except OSError:
                return b""
        try:  # as _extend_to() has it, without the call
            if not self.items.extend_to(pos // self.itemsize + 1):
                return b""
        except PageFault as fault:
            raise driver_oops(self.machine, self.driver.name, fault, "read") from fault
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
        address = quantum + q_pos
        if self._checked:
            address = self._check(quantum, q_pos, count, write=False)
        return self._memory.read(address, count)

    def write(self, pos: int, data: Buffer) -> int:
        """Write to the end of the quantum at most; returns how many bytes that is.

        Raises:
            OSError: ENOMEM, no memory for the items, the quantum set or the quantum.  What
                was written before stays as it is.

        scullv: main.c:scullv_write()
        """
        at = pos
        if pos >= self.end:
            at = self._wrap(pos)
        item, rest = divmod(at, self.itemsize)
        s_pos, q_pos = divmod(rest, self.quantum)
        qset = self._qsets.get(item) or self._add_qset(item)
        count = min(len(data), self.quantum - q_pos)
        slot = qset + s_pos * self._pointer_size
        quantum = self._load(slot) or self._add_quantum(slot, item, whole=count == self.quantum)
        if count:  # a write of nothing makes the quantum all the same
            data = data if count == len(data) else data[:count]
            if self._checked:
                self._write_checked(quantum, q_pos, data)
            else:
                self.copy_from_user(quantum + q_pos, data)
        if pos + count > self.size:
            self.size = pos + count
        return count

    def _wrap(self, pos: int) -> int:
        """The position that the driver takes a far one for, since it counts items in an int.

        2**32 items further is the same place (LDD3: main.c, `item = (long)*f_pos / itemsize`).

        Raises:
            OSError: ENOMEM, the number is negative as an int; there the driver makes items until
                memory is used up.
        """
        item, rest = divmod(pos, self.itemsize)
        item &= 0xFFFF_FFFF
        if item > INT_MAX:
            raise OSError(errno.ENOMEM, "no memory for the list items")
        return item * self.itemsize + rest

    ioctl = scull_ioctl

    # -- truncation ---------------------------------------------------------------------------

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
        count = min(count, self._quantum_size(item, self.quantum) - q_pos)
        if quantum and count > 0 and self.quirk_ldd3:
            address = self._follow(quantum, q_pos, count, write=True)
            with self._overrunning(quantum, q_pos, count, count):
                self._memory.memset(address, 0, count)
        elif quantum and count > 0:
            self._memory.memset(quantum + q_pos, 0, count)

    def trim(self, later: bool = False) -> Left:
        """Free everything, and take the module's order and qset over.

        With `later` the memory is left to the machine's `workqueue`, and nothing takes longer
        for a large device.  The result is steps after which it is free.
        scullv: main.c:scullv_trim()
        """
        qsets, self._qsets = self._qsets, {}
        left = self._given.leave_all() if self.quirk_ldd3 else {}
        works = self._free(qsets, self._geometry(), left), self.items.cut(0)
        steps = self._do(works, later)
        self.nr_quanta = self.allocated = 0
        self.size = 0
        self.trims += 1
        self._set_geometry(self.parameters.measure, self.parameters.qset)
        return steps

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

    def _cut(self, length: int, later: bool) -> Steps[Left]:
        """Take off every quantum that begins at `length` or later, and zero what is behind it.

        A trim meanwhile has taken everything off, and ends it.
        """
        last, s_pos, q_pos = self._locate(length)
        keep = s_pos + (q_pos > 0)  # quanta of the last item
        trims, geometry = self.trims, self._geometry()
        if keep:
            yield from self.zeroing(length, length - q_pos + self.quantum * (q_pos > 0))
            for first, count in self._parts(keep, geometry.qset):
                if self.trims != trims:
                    return None
                self.free_quanta(last, first, count)
                yield
        detached: dict[int, int] = {}
        left: dict[int, int] = {}
        self._cut_off = detached, geometry
        for item in self.items_from(last + (keep > 0)):
            if self.trims != trims:
                break
            qset = self._qsets.pop(item, None)
            if qset is not None:
                quanta = self._memory.load_array(qset, geometry.qset)
                if self.quirk_ldd3:  # not all of them need be any
                    nr_quanta = self._given.leave(quanta, left)
                else:
                    nr_quanta = len(quanta) - quanta.count(0)
                self.nr_quanta -= nr_quanta
                self.allocated -= nr_quanta * self._quantum_size(item, self.quantum)
                detached[item] = qset
            yield
        self._cut_off = None
        works = [self._free(detached, geometry, left)]
        if self.trims == trims:
            works.append(self.items.cut(last + 1))
        return self._do(works, later)

    # -- the books ---------------------------------------------------------------------------

    def statistics(self) -> DeviceStatistics:
        """The books as they stand now."""
        return DeviceStatistics(
            measure=self.measure,
            qset=self.qset,
            size=self.size,
            items=self.items.count,
            quanta=self.nr_quanta,
            allocated=self.allocated,
            trims=self.trims,
        )

    def __repr__(self) -> str:
        return (
            f"<ScullDev {self.name} {self.driver.word}={self.measure} qset={self.qset} "
            f"size={self.size} quanta={self.nr_quanta}>"
        )

    def state(self) -> DeviceState:
        """All of it but what is in RAM, as plain data; nobody may truncate it meanwhile."""
        return {
            "measure": self.measure,
            "qset": self.qset,
            "size": self.size,
            "quanta": self.nr_quanta,
            "allocated": self.allocated,
            "trims": self.trims,
            "items": self.items.state(),
            "qsets": [*self._qsets.items()],
            "given": self._given.state(),
        }

    def restore(self, state: DeviceState, claims: Claims) -> None:
        """Have the same content, whose memory is there already; nobody has it open."""
        measure, qset = state["measure"], state["qset"]
        self.parameters.check(measure, qset)
        if min(state["size"], state["trims"]) < 0:
            raise StateError(f"{self.name} has a size or trims below 0")
        self._set_geometry(measure, qset)
        self.items.restore(state["items"])
        self.size, self.trims = state["size"], state["trims"]
        self.nr_quanta, self.allocated = state["quanta"], state["allocated"]
        self._given.restore(state["given"])
        self._qsets = dict(state["qsets"])
        quanta = allocated = 0
        for item, address in self._qsets.items():
            assert 0 <= item < self.items.count
            assert self._slab.ksize(address) >= qset * self._pointer_size
            found = self.count_quanta(item, 0, qset)
            quanta += found
            allocated += found * self._quantum_size(item, self.quantum)
        # With the quirk the pointers may be overwritten.
        assert self.quirk_ldd3 or (quanta, allocated) == (self.nr_quanta, self.allocated)
        claims.take_each(self.frames())
