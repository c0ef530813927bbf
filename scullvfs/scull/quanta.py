"""What a device consists of: list items, quantum sets, quanta.

    item (list) -----> quantum set -----> quantum -----> page frames
                       qset pointers      of some size   from the member's allocator

The quantum sets are arrays of pointers in the emulated RAM, from kmalloc.  Where a quantum comes
from is what the members of the family differ by, and each has a class for it, which gives
`Quanta` five things: its row, `_allocate()`, `_free_all()`, `_free_garbage()` and
`_check_quantum()`; and `load()`, `_frames()` where they are needed.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple

from scullvfs.mm import PAGE_SIZE, Machine, PageFault
from scullvfs.mm.ram import ZERO_PAGE
from scullvfs.mm.workqueue import Steps

from .garbage import Given
from .items import ItemList
from .oops import driver_oops

if TYPE_CHECKING:
    from scullvfs.mm.access import Buffer

    from .driver import Driver
    from .parameters import Parameters

__all__ = ["Geometry", "Quanta"]

SEEN: Final = 4096
"""Places in a quantum set that are looked at in one step."""
FEW: Final = 10_000
"""So many quantum sets are sorted in a step."""


class Geometry(NamedTuple):
    """What the items of a list have in common."""

    qset: int
    quantum: int
    """Bytes."""
    part: int
    """Quanta that are freed in one step."""


class Quanta:
    """The list of a device with all that hangs on it.

    Args:
        parameters: the module's, which it takes over when it is emptied.
        address: kernel address of the device's structure.
        quirk_ldd3: quanta are allocated with LDD3's mistakes.
        shared: what `load()` gave.
    """

    driver: ClassVar[Driver]
    """The member's row."""

    def __init__(
        self,
        machine: Machine,
        parameters: Parameters,
        address: int,
        quirk_ldd3: bool,
        shared: Any,
    ) -> None:
        self.machine: Final = machine
        self.shared: Final = shared
        self.parameters: Final = parameters
        self.nr_quanta = 0
        """Quanta allocated."""
        self.allocated = 0
        """Bytes of all quanta."""
        pointer_size = machine.layout.pointer_size
        self.items: Final = ItemList(
            machine.slab,
            address if self.driver.head_is_item else None,
            self.driver.sizeof_item[pointer_size],
            self.driver,
        )
        self._qsets: dict[int, int] = {}
        """Item -> kernel address of its quantum set; items in a hole have none."""
        self._cut_off: tuple[Mapping[int, int], Geometry] | None = None
        """The quantum sets that a truncate has taken off until now; it frees them at its end."""
        self._memory = machine.memory
        self._load: Final = machine.memory.load
        self._store: Final = machine.memory.store
        self.copy_from_user: Callable[[int, Buffer], None] = machine.memory.write
        """What copies from a process, unless something stands in its place (`faults`)."""
        self._slab = machine.slab
        self._pointer_size: Final = pointer_size
        self.quirk_ldd3: Final = quirk_ldd3
        self.is_cached = False
        """Whether it is the page cache that copies from and to processes, and not the driver."""
        self.zeroes = False
        """Whether each new quantum is zeros, though the driver leaves in it what was there."""
        self._given: Final = Given()
        """What was allocated, with the quirk; its arrays of pointers may be overwritten."""
        self._set_geometry(parameters.measure, parameters.qset)

    def _set_geometry(self, measure: int, qset: int) -> None:
        """Have quanta and list items of so many bytes."""
        self.measure = measure
        """The order of a quantum, or its bytes, as the driver has it."""
        self.qset = qset
        self.quantum = self.driver.quantum(self.measure)
        """Bytes in a quantum."""
        self.itemsize = self.quantum * self.qset
        """Bytes that a list item covers."""
        self._part = max(1, min(64, (PAGE_SIZE << 10) // self.quantum))
        """Quanta that are freed in one step."""

    # -- what a member has -------------------------------------------------------------------

    @classmethod
    def load(cls, machine: Machine, parameters: Parameters, quirk_ldd3: bool) -> Any:
        """Make what all devices of the module share, if there is anything.

        Raises:
            OSError: ENOMEM.
        """
        return None

    @classmethod
    def unload(cls, machine: Machine, shared: Any) -> None:
        """Take it away."""

    def _allocate(self, size: int, whole: bool) -> int | None:
        """The kernel address of `size` new bytes, as the driver has them; None without memory.

        With `whole` the caller fills all of them at once, so what is in them does not matter.
        """
        raise NotImplementedError

    def _zeros(self, address: int | None, size: int) -> int | None:
        """Fill what was just allocated with zeros, if it is not: the driver's own memset()."""
        if address is not None and not self.machine.init_on_alloc:
            self._memory.memset(address, 0, size)
        return address

    def _free_all(self, quanta: Iterable[int], size: int) -> None:
        """Free quanta that `_allocate()` gave with that size."""
        raise NotImplementedError

    def _free_garbage(self, quantum: int, trace: Sequence[str]) -> None:
        """Say in the kernel log what comes of freeing a pointer that `_allocate()` has not given.

        Args:
            trace: the functions that led to it, the innermost first.
        """
        raise NotImplementedError

    def _check_quantum(self, quantum: int, size: int) -> None:
        """Assert that there is such a quantum.  Slow: for tests."""
        raise NotImplementedError

    def _frames(self, quantum: int, size: int) -> range:
        """The frames of a quantum, where no allocator knows them for its own."""
        return range(0)

    def _quantum_size(self, item: int, quantum: int) -> int:
        """Bytes that a quantum of a list item is allocated with.

        LDD3 takes the order of the item, which is 0 in all but the first
        (scullv: main.c:scullv_write(), "PAGE_SIZE << dptr->order").
        """
        return PAGE_SIZE if self.quirk_ldd3 and item and self.driver.by_order else quantum

    def _room(self, size: int) -> int:
        """Bytes that there are where `size` were asked for."""
        return size

    def _zero(self, quantum: int) -> None:
        """Fill a new quantum with zeros in the driver's own way, with the quirk."""

    # -- coming and going --------------------------------------------------------------------

    def _add_qset(self, item: int) -> int:
        """Give an item its quantum set; the items up to it are added if they are missing.

        Raises:
            OSError: ENOMEM.

        scullv: main.c:scullv_follow(), scullv_write()
        """
        if item >= self.items.count and not self._extend_to(item + 1):
            raise OSError(errno.ENOMEM, "no memory for the list items")
        try:
            size = self.qset * self._pointer_size
            qset = self._zeros(self._slab.kmalloc(size), size)
        except PageFault as fault:
            raise driver_oops(self.machine, self.driver.name, fault, "write") from fault
        if qset is None:
            raise OSError(errno.ENOMEM, "no memory for the quantum set")
        self._qsets[item] = qset
        return qset

    def _extend_to(self, count: int) -> bool:
        """Have so many items; False without memory.

        Raises:
            OSError: EFAULT, the memory of the list items is overwritten.
        """
        try:
            return self.items.extend_to(count)
        except PageFault as fault:
            raise driver_oops(self.machine, self.driver.name, fault, "write") from fault

    def _add_quantum(self, slot: int, item: int, whole: bool) -> int:
        """Allocate a quantum for the pointer at `slot`, in the set of a list item.

        With `whole` the caller fills all of it at once.

        Raises:
            OSError: ENOMEM.
        """
        size = self._quantum_size(item, self.quantum) if self.quirk_ldd3 else self.quantum
        try:
            quantum = self._allocate(size, whole and size == self.quantum)
        except PageFault as fault:
            raise driver_oops(self.machine, self.driver.name, fault, "write") from fault
        if quantum is None:
            raise OSError(errno.ENOMEM, "no memory for the quantum")
        if self.zeroes and not whole:
            self._memory.memset(quantum, 0, size)
        self._store(slot, quantum)
        self.nr_quanta += 1
        self.allocated += size
        if self.quirk_ldd3:
            self._given.add(quantum, size)
            self._zero(quantum)
        return quantum

    def fill(self, pos: int) -> bool:
        """Have a quantum at `pos`, a new one full of zeros.  Returns whether it is new.

        Raises:
            OSError: ENOMEM, as for a write.
        """
        item, s_pos, _ = self._locate(pos)
        slot = (self._qsets.get(item) or self._add_qset(item)) + s_pos * self._pointer_size
        if self._load(slot):
            return False
        self._add_quantum(slot, item, whole=False)
        return True

    def free_quanta(self, item: int, s_pos: int, count: int, blank: bool = False) -> None:
        """Free `count` quanta of a list item, from place `s_pos` in its set on.

        With `blank` only those that hold nothing but zeros.
        """
        qset = self._qsets.get(item)
        if qset is None:
            return
        slot, size = qset + s_pos * self._pointer_size, self._quantum_size(item, self.quantum)
        freed: list[int] = []
        for quantum in self._memory.load_array(slot, count):
            if quantum and not (blank and not self._is_blank(quantum, size)):
                self._memory.store(slot, 0)
                freed.append(quantum)
            slot += self._pointer_size
        if self.quirk_ldd3:
            freed = self._genuine(freed, size)
        self._free_all(freed, size)
        self.nr_quanta -= len(freed)
        self.allocated -= len(freed) * size

    def free_qset(self, item: int) -> None:
        """Free the quantum set of a list item if there is no quantum in it."""
        qset = self._qsets.get(item)
        if qset is not None and not any(self._memory.load_array(qset, self.qset)):
            del self._qsets[item]
            self._slab.kfree(qset)

    def _geometry(self) -> Geometry:
        return Geometry(self.qset, self.quantum, self._part)

    def _genuine(
        self, quanta: Iterable[int], size: int, left: dict[int, int] | None = None
    ) -> list[int]:
        """Those of some pointers that are quanta; the others are garbage, as the log says.

        Args:
            left: what is no part of the device any more, if they are of that.
        """
        genuine, garbage = self._given.take(quanta, size, left)
        for pointer in garbage:
            self._free_garbage(pointer, [f"{self.driver.name}_trim [{self.driver.name}]"])
        return genuine

    def _free(
        self, qsets: Mapping[int, int], geometry: Geometry, left: dict[int, int]
    ) -> Steps[None]:
        """Free the quantum sets of some items, and their quanta, a part of them in a step.

        They are no part of the device any more, which may have another geometry meanwhile.

        Args:
            left: with the quirk, what was given for all of them.
        """
        nr_slots, quantum, part = geometry
        for item, qset in qsets.items():
            size = self._quantum_size(item, quantum)
            for first in range(0, nr_slots, part):
                slots = qset + first * self._pointer_size
                count = min(part, nr_slots - first)
                quanta = filter(None, self._memory.load_array(slots, count))
                if self.quirk_ldd3:
                    self._free_all(self._genuine(quanta, size, left), size)
                else:
                    self._free_all(quanta, size)
                yield
            self._slab.kfree(qset)

    def _is_blank(self, quantum: int, size: int) -> bool:
        """Whether the `size` bytes of a quantum are zeros, which what is no quantum's are not."""
        if self.quirk_ldd3 and self._given.size(quantum) != size:
            return False
        try:
            return all(
                bytes(self._memory.read(quantum + at, min(PAGE_SIZE, size - at)))
                == ZERO_PAGE[: size - at]
                for at in range(0, size, PAGE_SIZE)
            )
        except PageFault:  # its page tables are overwritten
            return False

    # -- looking at it -----------------------------------------------------------------------

    def _locate(self, pos: int) -> tuple[int, int, int]:
        """List item, place in its quantum set, and offset in the quantum of byte `pos`."""
        item, rest = divmod(pos, self.itemsize)
        return item, *divmod(rest, self.quantum)

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

    def frames(self) -> Iterator[int]:
        """All frames of quanta that no allocator knows for its own."""
        if self.quirk_ldd3:
            for quantum, size in self._given.all():
                yield from self._frames(quantum, size)
            return
        parts: list[tuple[Mapping[int, int], Geometry]] = [(self._qsets, self._geometry())]
        if self._cut_off is not None:
            parts.append(self._cut_off)
        for qsets, geometry in parts:
            for item, qset in qsets.items():
                size = self._quantum_size(item, geometry.quantum)
                for quantum in filter(None, self._memory.load_array(qset, geometry.qset)):
                    yield from self._frames(quantum, size)

    def check(self) -> None:
        """Assert the invariants.  Slow: for tests.

        - every quantum is memory of its own, of the right size, and they are `nr_quanta`
        - no quantum set lies behind the last item
        - with the quirk: every pointer is to what was allocated, and nothing of that is lost
        """
        self.items.check()
        found: set[int] = set()
        for item in self._qsets:
            assert item < self.items.count
            for quantum in filter(None, self.quanta(item)):
                if self.quirk_ldd3:
                    size = self._quantum_size(item, self.quantum)
                    assert self._given.size(quantum) == size, "a pointer is overwritten"
                self._check_quantum(quantum, self._quantum_size(item, self.quantum))
                assert quantum not in found, "a quantum is in the list twice"
                found.add(quantum)
        assert len(found) == self.nr_quanta
        if self.quirk_ldd3:
            assert len(self._given) == self.nr_quanta, "the pointer to a quantum is overwritten"
            lost = self._given.lost() if self._cut_off is None else []
            assert not lost, "the pointer to a quantum was overwritten"
