"""kvfree_rcu: memory that is freed later, when nobody can be reading it any more.

    kvfree_rcu() --> array of pointers, a page --full--> grace period --> vfree(), kfree(), each

What was given waits until a page is full of pointers, and a grace period later all of it is freed
at once.  Until then it is in use: its area is listed, its frames are held.

Confessed: nobody reads anything here meanwhile, and there is no time.  So a grace period has passed
as soon as a page is full, where Linux looks again after a jiffy then, and after five seconds
without; memory that is short does not make it sooner.  No page is kept for the next time.

Linux: kernel/rcu/tree.c:kvfree_call_rcu(), kfree_rcu_monitor()
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, TypedDict

from .gfp import __GFP_NOMEMALLOC as NOMEMALLOC
from .gfp import __GFP_NORETRY as NORETRY
from .gfp import __GFP_NOWARN as NOWARN
from .gfp import GFP_KERNEL
from .layout import PAGE_SHIFT, PAGE_SIZE, Layout
from .page_alloc import PageAllocator
from .restoring import Claims

if TYPE_CHECKING:
    from .vmalloc import Vmalloc

__all__ = ["KfreeRcuCpu", "KfreeRcuState", "KfreeRcuStatistics"]

HEADER_WORDS: Final = 5
"""Of a page of pointers: its links, its grace period, how many there are.

Linux: kernel/rcu/tree.c:struct kvfree_rcu_bulk_data
"""


class KfreeRcuStatistics(NamedTuple):
    """The books of what waits to be freed."""

    pointers: int
    """How many of them wait (Linux: krc_count())."""
    pages: int
    """Pages that have them."""


class KfreeRcuState(TypedDict):
    """All that waits."""

    bulk: tuple[list[int], list[int]]
    pages: tuple[int | None, int | None]
    heads: list[int]


class KfreeRcuCpu:
    """What waits to be freed on one machine (Linux: kernel/rcu/tree.c:struct kfree_rcu_cpu)."""

    def __init__(self, page_alloc: PageAllocator, vm: Vmalloc, layout: Layout) -> None:
        self.max_entries: Final = PAGE_SIZE // layout.pointer_size - HEADER_WORDS
        """Pointers that a page has room for (KVFREE_BULK_MAX_ENTR)."""
        self._page_alloc = page_alloc
        self._page_offset = layout.page_offset
        self._vm = vm
        self._bulk: Final[tuple[list[int], list[int]]] = ([], [])
        """What a page has: of kmalloc()'s, and of vmalloc()'s."""
        self._pages: Final[list[int | None]] = [None, None]
        """Kernel addresses of these pages; there is one where there are pointers."""
        self._heads: Final[list[int]] = []
        """What is linked by the struct rcu_heads in it, as there was no page."""

    def kvfree_rcu(self, address: int | None) -> None:
        """Free later what `kvmalloc()`, `vmalloc()` or `kmalloc()` gave; None is fine.

        It has a struct rcu_head in it, so this works without a page, too: the form that has two
        arguments in Linux.
        """
        if address is not None and not self._add(address):
            self._heads.append(address)
            self._monitor()

    def kvfree_rcu_mightsleep(self, address: int | None) -> None:
        """As `kvfree_rcu()`, of anything; without a page it waits for the grace period itself.

        Linux's form with one argument.
        """
        if address is not None and not self._add(address):
            self._vm.kvfree(address)

    def _add(self, address: int) -> bool:
        """Put a pointer into a page; False if there is none (add_ptr_to_bulk_krc_lock())."""
        channel = self._vm.is_vmalloc_addr(address)
        if self._pages[channel] is None:
            page = self._page_alloc.get_free_pages(GFP_KERNEL | NORETRY | NOMEMALLOC | NOWARN, 0)
            if page is None:
                return False
            self._pages[channel] = page
        self._bulk[channel].append(address)
        self._monitor()
        return True

    def _monitor(self) -> None:
        if self.statistics().pointers >= self.max_entries:
            self.kvfree_rcu_barrier()

    def kvfree_rcu_barrier(self) -> None:
        """Free all that waits now, in the order in which it came, vmalloc()'s last.

        Linux: kernel/rcu/tree.c:kvfree_rcu_barrier(), kfree_rcu_work()
        """
        for channel, bulk in enumerate(self._bulk):
            for address in bulk:
                self._vm.kvfree(address)
            bulk.clear()
            self._page_alloc.free_pages(self._pages[channel], 0)
            self._pages[channel] = None
        for address in self._heads:
            self._vm.kvfree(address)
        self._heads.clear()

    def statistics(self) -> KfreeRcuStatistics:
        """The books as they stand now."""
        slab, vmalloc = self._bulk
        pages = sum(page is not None for page in self._pages)
        return KfreeRcuStatistics(len(slab) + len(vmalloc) + len(self._heads), pages)

    def __repr__(self) -> str:
        return f"<KfreeRcuCpu pointers={self.statistics().pointers}>"

    def state(self) -> KfreeRcuState:
        """All that waits, as plain data."""
        slab, vmalloc = self._bulk
        return {
            "bulk": (list(slab), list(vmalloc)),
            "pages": (self._pages[0], self._pages[1]),
            "heads": list(self._heads),
        }

    def restore(self, state: KfreeRcuState, claims: Claims) -> None:
        """Have this wait, whose memory is there already."""
        for bulk, addresses in zip(self._bulk, state["bulk"], strict=True):
            bulk[:] = addresses
        self._pages[:] = state["pages"]
        self._heads[:] = state["heads"]
        claims.take_each(self.check())

    def check(self) -> set[int]:
        """Assert the invariants; return the frames that are held.  Slow: for tests.

        - no more waits than a page has room for, and none of it twice
        - there is a page where there are pointers, and only there
        """
        waiting = [*self._bulk[0], *self._bulk[1], *self._heads]
        assert len(waiting) == len(set(waiting)) < self.max_entries
        assert [page is not None for page in self._pages] == [bool(bulk) for bulk in self._bulk]
        return {
            (page - self._page_offset) >> PAGE_SHIFT for page in self._pages if page is not None
        }
