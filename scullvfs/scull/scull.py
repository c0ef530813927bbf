"""scull: quanta from kmalloc()."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from scullvfs.mm.bad_free import bad_kfree

from .dev import ScullDev
from .family import SCULL

__all__ = ["Device"]


class Device(ScullDev):
    """A device of scull (scull: main.c)."""

    driver = SCULL

    def _allocate(self, size: int, whole: bool) -> int | None:
        return self.machine.slab.kmalloc(size, whole=whole)  # the driver zeroes nothing

    def _free_all(self, quanta: Iterable[int], size: int) -> None:
        for quantum in quanta:
            self.machine.slab.kfree(quantum)

    def _free_garbage(self, quantum: int, trace: Sequence[str]) -> None:
        bad_kfree(self.machine, quantum, trace)

    def _check_quantum(self, quantum: int, size: int) -> None:
        assert self.machine.slab.ksize(quantum) == self.machine.slab.kmalloc_size_roundup(size)
