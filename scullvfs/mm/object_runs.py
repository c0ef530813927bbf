"""Objects by the page: what Linux has not, so that a million of them cost a handful of steps."""

from __future__ import annotations

from .errors import KernelBug
from .gfp import __GFP_NOWARN as GFP_NOWARN
from .gfp import GFP_KERNEL
from .layout import PAGE_SHIFT, PAGE_SIZE
from .page_alloc import MAX_PAGE_ORDER
from .slab_common import SlabCommon
from .slub import ObjectRun

__all__ = ["ObjectRuns"]


class ObjectRuns(SlabCommon):
    """alloc_runs and free_runs of one machine."""

    def alloc_runs(self, size: int, count: int) -> list[ObjectRun] | None:
        """Allocate at least `count` objects of `size` bytes (1 to PAGE_SIZE), as whole pages.

        However many they are, it takes a handful of steps: the pages come as the largest
        blocks there are, and nobody touches them.  None, and nothing is allocated, when
        there is not enough memory.  Linux has no such function.
        """
        if self._workqueue.pending:
            self._workqueue.flush()
        size = self.kmalloc_size_roundup(size)
        left = -(-count // (PAGE_SIZE // size))
        if left > self._page_alloc.nr_available(GFP_KERNEL):
            return None
        runs: list[ObjectRun] = []
        order = MAX_PAGE_ORDER
        while left:
            order = min(order, left.bit_length() - 1)
            pfn = self._alloc_pages(order, GFP_KERNEL | GFP_NOWARN)
            if pfn is not None:
                runs.append(ObjectRun(self._page_offset + (pfn << PAGE_SHIFT), order, size))
                left -= 1 << order
            elif order:
                order -= 1
            else:
                self._free_run_pages(runs)
                return None
        self._runs.update((run.address, run) for run in runs)
        for run in runs:
            self._count_run(run, 1)
        return runs

    def free_runs(self, runs: list[ObjectRun]) -> None:
        """Free what `alloc_runs()` gave.

        Raises:
            KernelBug: it did not give one of them, or it is freed already.
        """
        if self._workqueue.pending:
            self._workqueue.flush()
        for run in runs:
            if not self.has_run(run):
                raise KernelBug(f"free_runs: not an allocated run: {run.address:#x}")
        for run in runs:
            del self._runs[run.address]
            self._count_run(run, -1)
        self._free_run_pages(runs)

    def has_run(self, run: ObjectRun) -> bool:
        """Whether `alloc_runs()` gave it, and it is not freed."""
        return self._runs.get(run.address) == run

    def _count_run(self, run: ObjectRun, sign: int) -> None:
        """A run has come, or with a `sign` of -1 gone; it counts for its cache's slabs."""
        cache, objects = self._caches[run.size], sign * run.nr_objects
        cache.run_objects += objects
        cache.run_slabs += sign << max(run.order - cache.order, 0)
        self._count(objects, objects * run.size, sign << run.order)

    def _free_run_pages(self, runs: list[ObjectRun]) -> None:
        for run in runs:
            self._free_pages(self._pfn(run.address), run.order)
