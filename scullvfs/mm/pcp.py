"""Blocks of 2, 4 and 8 frames on a per-cpu list: the last one freed is the next one given.

Linux: include/linux/mmzone.h, struct per_cpu_pages, its lists of orders 1 to 3
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from .restoring import Claims, StateError

__all__ = ["COSTLY_ORDER", "PcpBlocks"]

COSTLY_ORDER: Final = 3
"""Larger blocks are not listed (Linux: PAGE_ALLOC_COSTLY_ORDER)."""


class PcpBlocks:
    """A list for each order from 1 to COSTLY_ORDER.

    A block is clean if the host holds no memory for it, so that it reads as zeros.
    """

    def __init__(self) -> None:
        self._lists = [OrderedDict[int, bool]() for _ in range(COSTLY_ORDER + 1)]
        """For each order, first frame -> whether the block is clean; order 0 stays empty."""
        self.nr_pages = 0
        """Frames on all lists."""
        self.nr_dirty = 0
        """Those of blocks that are not clean."""

    def fill(self, fetched: list[int], order: int) -> None:
        """Put clean blocks on an empty list, the first of which is to be given first."""
        self._lists[order].update(dict.fromkeys(reversed(fetched), True))
        self.nr_pages += len(fetched) << order

    def free(self, pfn: int, order: int) -> None:
        """Put a block on its list."""
        self._lists[order][pfn] = False
        self.nr_pages += 1 << order
        self.nr_dirty += 1 << order

    def take(self, order: int) -> tuple[int, bool] | None:
        """The block that came last, and whether it is clean; None if there is none."""
        return self._pop(order, last=True) if self._lists[order] else None

    def _pop(self, order: int, last: bool) -> tuple[int, bool]:
        pfn, clean = self._lists[order].popitem(last)
        self.nr_pages -= 1 << order
        if not clean:
            self.nr_dirty -= 1 << order
        return pfn, clean

    def overwritten(self, frames: range) -> list[range]:
        """Somebody has written to some frames; returns those that are listed, not clean now."""
        found = []
        for order, listed in enumerate(self._lists):
            for pfn, clean in listed.items():
                part = range(max(pfn, frames.start), min(pfn + (1 << order), frames.stop))
                if part:
                    found.append(part)
                    listed[pfn] = False
                    self.nr_dirty += clean << order
        return found

    def drain(self, count: int, first: int = 1) -> Iterator[tuple[int, int, bool]]:
        """Take blocks of `count` frames or more off, those that have been listed for longest.

        Those of order `first` go first.  Gives (first frame, order, whether it is clean) of each.
        Linux: mm/page_alloc.c:free_pcppages_bulk()
        """
        for order in (*range(first, COSTLY_ORDER + 1), *range(1, first)):
            while self._lists[order] and count > 0:
                count -= 1 << order
                pfn, clean = self._pop(order, last=False)
                yield pfn, order, clean

    def counts(self) -> list[int]:
        """The blocks of each order, from 0 on."""
        return [len(listed) for listed in self._lists]

    def __contains__(self, pfn: int) -> bool:
        """Whether a block begins at that frame."""
        return any(pfn in listed for listed in self._lists)

    def __repr__(self) -> str:
        return f"<PcpBlocks frames={self.nr_pages}>"

    def frames(self) -> Iterable[int]:
        """All frames of all blocks."""
        for order, listed in enumerate(self._lists):
            for pfn in listed:
                yield from range(pfn, pfn + (1 << order))

    def release(self, release: Callable[[int, int], None]) -> None:
        """Have all blocks clean: the host's memory behind those that are not is given back.

        Args:
            release: called with (first frame, number of frames).
        """
        for order, listed in enumerate(self._lists):
            for pfn, clean in listed.items():
                if not clean:
                    release(pfn, 1 << order)
                    listed[pfn] = True
        self.nr_dirty = 0

    def state(self) -> list[list[int]]:
        """The first frames of each order's blocks, the last one of which is given next."""
        return [list(listed) for listed in self._lists]

    def restore(self, state: list[list[int]], claims: Claims) -> None:
        """Have these blocks on the lists, all of them clean."""
        self.nr_pages = self.nr_dirty = 0
        for order, (listed, blocks) in enumerate(zip(self._lists, state, strict=True)):
            if blocks and not order:
                raise StateError("single frames among the blocks")
            for pfn in blocks:
                claims.take(pfn, 1 << order)
            listed.clear()
            listed.update(dict.fromkeys(blocks, True))
            self.nr_pages += len(blocks) << order

    def check(self) -> None:
        """Assert that `nr_pages` and `nr_dirty` are the frames that there are."""
        sizes = [(len(listed) << order) for order, listed in enumerate(self._lists)]
        assert self.nr_pages == sum(sizes)
        assert self.nr_dirty == sum(
            list(listed.values()).count(False) << order for order, listed in enumerate(self._lists)
        )
