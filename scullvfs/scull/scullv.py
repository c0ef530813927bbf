"""scullv: quanta from vmalloc(), contiguous in virtual addresses only."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Sequence
from typing import Final

from scullvfs.mm import PAGE_SIZE, PageFault
from scullvfs.mm.bad_free import bad_vfree

from .dev import ScullDev
from .family import SCULLV
from .oops import overrun_oops

__all__ = ["CALLER", "Device"]

CALLER: Final = "scullv_write [scullv]"
"""How /proc/vmallocinfo names the caller of vmalloc (as %ps prints it; there is no code to
point an offset into)."""


class Device(ScullDev):
    """A device of scullv (scullv: main.c)."""

    driver = SCULLV

    def _allocate(self, size: int, whole: bool) -> int | None:
        address = self.machine.vm.vmalloc(size, CALLER, whole)
        return address if whole else self._zeros(address, size)

    def _free_all(self, quanta: Iterable[int], size: int) -> None:
        self.machine.vm.vfree_bulk(quanta)

    def _free_garbage(self, quantum: int, trace: Sequence[str]) -> None:
        bad_vfree(self.machine, quantum)

    def _check_quantum(self, quantum: int, size: int) -> None:
        vm = self.machine.vm.find_vm_area(quantum)
        assert vm is not None
        assert vm.addr == quantum
        assert vm.size == size + PAGE_SIZE

    def _check_overrun(self, quantum: int, q_pos: int, count: int, write: bool) -> None:
        """Run from the quantum's start to the end of an access, and into what lies behind.

        Behind a quantum lies its guard page: however far an access overruns it, that is
        where it is caught, and no neighbour is touched.  A pointer to no quantum leads where it
        leads.
        """
        if not self._given.size(quantum):
            return
        try:
            self._memory.translate(quantum, q_pos + count, write)
        except PageFault as fault:
            overrun_oops(self.machine, self.name, quantum, self.quantum, fault)
            raise OSError(errno.EFAULT, "the quantum ends before the access") from fault
