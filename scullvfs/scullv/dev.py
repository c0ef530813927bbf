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
from collections.abc import Collection
from typing import TYPE_CHECKING, Final

from scullvfs.mm import PAGE_SIZE, PageFault

from .items import ItemList
from .oops import report_overrun

if TYPE_CHECKING:
    from scullvfs.mm.access import Buffer, View

    from .module import Module

__all__ = ["CALLER", "ScullvDev"]

CALLER: Final = "scullv_write [scullv]"
"""How /proc/vmallocinfo names the caller of vmalloc (as %ps prints it; there is no code to
point an offset into)."""


class ScullvDev:
    """One device (scullv: scullv.h:struct scullv_dev).

    Args:
        index: its number, as in scullv0.
        address: kernel address of its structure, which is its first list item.
    """

    def __init__(self, module: Module, index: int, address: int) -> None:
        machine = module.machine
        self.module: Final = module
        self.index: Final = index
        self.size = 0
        """Bytes: the highest position written to, or what truncate() set."""
        self.nr_quanta = 0
        """Quanta allocated."""
        self.allocated = 0
        """Bytes of all quanta."""
        self.items: Final = ItemList(machine.slab, address, module.sizeof_dev)
        self._qsets: dict[int, int] = {}
        """Item -> kernel address of its quantum set; items in a hole have none."""
        self._memory = machine.memory
        self._slab = machine.slab
        self._vm = machine.vm
        self._pointer_size: Final = machine.layout.pointer_size
        self._quirk: Final = module.quirk_ldd3
        self._set_geometry()

    def _set_geometry(self) -> None:
        """Take the module's current order and qset over."""
        self.order = self.module.scullv_order
        self.qset = self.module.scullv_qset
        self.quantum = PAGE_SIZE << self.order
        """Bytes in a quantum."""
        self.itemsize = self.quantum * self.qset
        """Bytes that a list item covers."""

    # -- the file operations -----------------------------------------------------------------

    def open(self, flags: int, later: bool = False) -> None:
        """Open with the flags of open(2): a write-only open, or O_TRUNC, empties the device.

        With `later` its memory is left to `Vmalloc.delayed_vfree_work()`.

        scullv: main.c:scullv_open()
        """
        if flags & os.O_ACCMODE == os.O_WRONLY or flags & os.O_TRUNC:
            self.trim(later)

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
        quantum = self._memory.load(qset + s_pos * self._pointer_size) if qset else 0
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
        quantum = self._memory.load(slot) or self._add_quantum(
            slot, item, whole=count == self.quantum
        )
        if self._quirk and count:
            self._check_overrun(quantum, q_pos, count, write=True)
        if count:  # a write of nothing makes the quantum all the same
            self._memory.write(quantum + q_pos, data if count == len(data) else data[:count])
        if pos + count > self.size:
            self.size = pos + count
        return count

    def truncate(self, length: int, later: bool = False) -> None:
        """Set the size to `length` bytes (0 or more).

        0 trims.  Below the size every quantum past it is freed and the rest of the last
        one zeroed; above it only the size grows.  The driver has no such operation.
        With `later` the memory is left to `Vmalloc.delayed_vfree_work()`.
        """
        if not length:
            self.trim(later)
        elif length < self.size:
            self._cut(length, later)
        self.size = length

    def clear(self, pos: int, count: int, free: bool = True) -> None:
        """Make `count` bytes at `pos`, all of one quantum, zeros.

        With `free` a whole quantum is freed.
        """
        item, s_pos, q_pos = self._locate(pos)
        qset = self._qsets.get(item)
        if qset is None:
            return
        slot = qset + s_pos * self._pointer_size
        quantum = self._memory.load(slot)
        if quantum and free and count == self.quantum:
            self._free_quantum(slot, item)
        elif quantum:
            count = min(count, self._quantum_size(item) - q_pos)
            if count > 0:
                self._memory.memset(quantum + q_pos, 0, count)

    def fill(self, pos: int) -> bool:
        """Have a quantum at `pos`, a new one full of zeros.  Returns whether it is new.

        Raises:
            OSError: ENOMEM, as for `write()`.
        """
        item, s_pos, _ = self._locate(pos)
        slot = (self._qsets.get(item) or self._add_qset(item)) + s_pos * self._pointer_size
        if self._memory.load(slot):
            return False
        self._add_quantum(slot, item, whole=False)
        return True

    def trim(self, later: bool = False) -> None:
        """Free everything, and take the module's order and qset over.

        With `later` the quanta are left to `Vmalloc.delayed_vfree_work()`.
        scullv: main.c:scullv_trim()
        """
        vfree = self._vm.vfree_atomic if later else self._vm.vfree_bulk
        for qset in self._qsets.values():
            vfree(filter(None, self._memory.load_array(qset, self.qset)))
            self._slab.kfree(qset)
        self._qsets.clear()
        self.items.truncate(1)
        self.nr_quanta = self.allocated = 0
        self.size = 0
        self._set_geometry()

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

    def _free_quantum(self, slot: int, item: int, later: bool = False) -> None:
        vfree = self._vm.vfree_atomic if later else self._vm.vfree_bulk
        vfree([self._memory.load(slot)])
        self._memory.store(slot, 0)
        self.nr_quanta -= 1
        self.allocated -= self._quantum_size(item)

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
            report_overrun(self, quantum, fault)
            raise OSError(errno.EFAULT, "the quantum ends before the access") from fault

    def _cut(self, length: int, later: bool) -> None:
        """Free every quantum that begins at `length` or later, and zero what is behind it."""
        last, s_pos, q_pos = self._locate(length)
        for item in [item for item in self._qsets if item >= last]:
            keep = s_pos + (q_pos > 0) if item == last else 0
            self._cut_qset(item, keep, later)
        if q_pos:
            self.clear(length, self.quantum - q_pos)
        self.items.truncate(last + 1)

    def _cut_qset(self, item: int, keep: int, later: bool) -> None:
        """Free the quanta of a set but the first `keep`, and the set itself if it keeps none."""
        qset = self._qsets[item]
        for s_pos, quantum in enumerate(self._memory.load_array(qset, self.qset)):
            if quantum and s_pos >= keep:
                self._free_quantum(qset + s_pos * self._pointer_size, item, later)
        if not keep:
            del self._qsets[item]
            self._slab.kfree(qset)

    # -- looking at it -----------------------------------------------------------------------

    def items_with_qset(self) -> Collection[int]:
        """The numbers of the items that have a quantum set, in no order."""
        return self._qsets.keys()

    def qset_address(self, item: int) -> int:
        """The kernel address of an item's quantum set, 0 if it has none."""
        return self._qsets.get(item, 0)

    def quanta(self, item: int) -> list[int]:
        """The kernel addresses of an item's quanta, 0 for each that is missing."""
        qset = self._qsets.get(item)
        return self._memory.load_array(qset, self.qset) if qset else []

    def check(self) -> None:
        """Assert the invariants.  Slow: for tests.

        - every quantum is an area of its own, of the right size, and they are `nr_quanta`
        - no quantum set lies behind the last item
        """
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
