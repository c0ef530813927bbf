"""scullp: quanta from __get_free_pages(), contiguous in physical memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from scullvfs.mm.bad_free import bad_free_pages
from scullvfs.mm.gfp import GFP_KERNEL
from scullvfs.mm.layout import PAGE_SHIFT, PAGE_SIZE
from scullvfs.mm.page_alloc import MAX_PAGE_ORDER
from scullvfs.mm.slab_order import get_order

from .dev import ScullDev
from .family import SCULLP

__all__ = ["Device"]


class Device(ScullDev):
    """A device of scullp (scullp: main.c)."""

    driver = SCULLP

    def _allocate(self, size: int, whole: bool) -> int | None:
        page_alloc = self.machine.page_alloc
        address = page_alloc.get_free_pages(GFP_KERNEL, get_order(size), whole)
        return address if whole else self._zeros(address, size)

    def _free_all(self, quanta: Iterable[int], size: int) -> None:
        order, free_pages = get_order(size), self.machine.page_alloc.free_pages
        for quantum in quanta:
            free_pages(quantum, order)

    def _free_garbage(self, quantum: int, trace: Sequence[str]) -> None:
        bad_free_pages(self.machine, quantum, trace)

    def whose(self, address: int) -> str | None:
        """Also by an address inside: a quantum begins at a multiple of its size."""
        for order in range(MAX_PAGE_ORDER + 1):
            start = address & -(PAGE_SIZE << order)
            if self._given.size(start) > address - start:
                return super().whose(start)
        return super().whose(address)

    def _check_quantum(self, quantum: int, size: int) -> None:
        """Whose its frames are `Machine.check()` finds out."""
        assert not self.machine.memory.virt_to_phys(quantum) % size

    def _frames(self, quantum: int, size: int) -> range:
        pfn = self.machine.memory.virt_to_pfn(quantum)
        return range(pfn, pfn + (size >> PAGE_SHIFT))
