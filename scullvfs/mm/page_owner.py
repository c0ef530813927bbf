"""Who holds which page frames, since when, and by which call: Linux's page_owner.

A record says what an allocation was: order, flags, who was running, the time, the functions on the
way.  All frames of one call share it, and each block's first frame has its number:

    pfn        0    1    2    3    4    5    6 ...
    number     -    1    1    -    2    (2)  -           a block of two frames at 4
                    |    |         |
    records    1: order 0, GFP_KERNEL, dd, ...     2: order 1, ...

It is there where a machine is made with `page_owner`; on another one nobody asks for it, and it
costs nothing.  The time is the log's; which frames come does not depend on it.

Confessed: the functions are those that the machine has a name for (`call_trace`), and a bulk
allocation has one time for all its frames.

Linux: mm/page_owner.c
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import FrameType
from typing import Any, Final, NamedTuple, TypedDict

from scullvfs.plain import checked

from .buddy import MAX_PAGE_ORDER, PAGEBLOCK_ORDER
from .call_trace import CallTrace
from .gfp import __GFP_COMP as COMP
from .gfp import gfp_flags_string
from .layout import PAGE_SHIFT, Layout
from .page_alloc import PageAllocator
from .ram import Ram, lazy_array
from .restoring import Claims, StateError
from .sched import Running
from .workqueue import Workqueue

__all__ = ["Owner", "PageOwner", "PageOwnerState", "TrackedPageAllocator"]

DEPTH: Final = 16
"""Functions of a trace that are kept (Linux: PAGE_OWNER_STACK_DEPTH)."""
ZONES_WIDTH: Final = 2
"""Bits of a struct page's flags that are its zone, the highest ones."""
PG_HEAD: Final = 1 << 6
"""Linux: include/linux/page-flags.h:PG_head"""


class Owner(NamedTuple):
    """A record of an allocation (Linux: struct page_owner)."""

    order: int
    gfp_mask: int
    pid: int
    tgid: int
    comm: str
    ts_nsec: int
    """When it was, since the machine was switched on."""
    trace: tuple[str, ...]
    """The functions on the way, the innermost first."""


class PageOwnerState(TypedDict):
    """Who holds what."""

    records: list[Owner]
    blocks: list[tuple[int, int]]
    """First frame of each, and the place of its record."""


def _frames(books: PageOwnerState) -> list[list[int]]:
    """The first frames of the blocks of each record."""
    frames: list[list[int]] = [[] for _ in books["records"]]
    for pfn, place in books["blocks"]:
        frames[place].append(pfn)
    return frames


class PageOwner:
    """The records of one machine.

    Args:
        local_clock: gives nanoseconds since the machine was switched on.
        call_trace: gives the functions on the way.
        zone_of: gives the number of a frame's zone, and the migrate type of its pageblock.
        zone_shift: where in a struct page's flags the number of its zone is.
    """

    def __init__(
        self,
        nr_pages: int,
        running: Running,
        local_clock: Callable[[], int],
        call_trace: CallTrace,
        zone_of: Callable[[int], tuple[int, str]],
        zone_shift: int,
    ) -> None:
        self.nr_pages: Final = nr_pages
        self._running = running
        self._local_clock = local_clock
        self._call_trace = call_trace
        self._zone_of = zone_of
        self._zone_shift = zone_shift
        self._numbers: Final = lazy_array(nr_pages)
        """For each block's first frame the number of its record; 0 for all others."""
        self._lengths: Final = lazy_array(nr_pages)
        """Bytes of its text."""
        self._records: Final[list[Owner | None]] = [None]
        self._users: Final = array("Q", [0])
        """Blocks that a record is of."""
        self._unused: Final[list[int]] = []
        """Numbers of records that nobody has any more."""
        self._traces: Final[dict[tuple[str, ...], tuple[str, ...]]] = {}
        self.block_bytes: Final = array("Q", bytes(8 * ((nr_pages >> PAGEBLOCK_ORDER) + 1)))
        """Bytes of the text of each pageblock's frames."""
        self.nbytes = 0
        """Bytes of the text of all."""

    def set_page_owner(self, pfns: Iterable[int], order: int, gfp: int) -> None:
        """Blocks of 2**`order` frames were allocated (Linux: __set_page_owner())."""
        task = self._running.current
        trace = self._stack(sys._getframe(1))
        self._record(
            pfns,
            Owner(order, gfp, task.pid, task.tgid, task.comm, self._local_clock(), trace),
        )

    def _record(self, pfns: Iterable[int], owner: Owner) -> None:
        number = self._unused.pop() if self._unused else len(self._records)
        if number == len(self._records):
            self._records.append(None)
            self._users.append(0)
        self._records[number] = owner
        fixed = len(self._text(owner, 0, 0, "")) - len("00")
        for pfn in pfns:
            zone, migratetype = self._zone_of(pfn)
            length = (
                fixed
                + len(f"{pfn:x}{pfn >> PAGEBLOCK_ORDER}{migratetype}")
                + (len(self._flags(owner, zone)) - len(self._flags(owner, 0)) if zone else 0)
            )
            self._numbers[pfn] = number
            self._lengths[pfn] = length
            self._users[number] += 1
            self.block_bytes[pfn >> PAGEBLOCK_ORDER] += length
            self.nbytes += length

    def reset_page_owner(self, pfns: Iterable[int]) -> None:
        """The blocks that begin at these frames were freed (Linux: __reset_page_owner())."""
        for pfn in pfns:
            number = self._numbers[pfn]
            if not number:
                continue
            self._numbers[pfn] = 0
            self.block_bytes[pfn >> PAGEBLOCK_ORDER] -= self._lengths[pfn]
            self.nbytes -= self._lengths[pfn]
            self._users[number] -= 1
            if not self._users[number]:
                self._records[number] = None
                self._unused.append(number)

    def split_page_owner(self, pfn: int, order: int) -> None:
        """A block is as many single frames from now on (Linux: __split_page_owner())."""
        owner = self.owner(pfn)
        if owner is not None:
            self.reset_page_owner((pfn,))
            self._record(range(pfn, pfn + (1 << order)), owner._replace(order=0))

    def owner(self, pfn: int) -> Owner | None:
        """The record of the block that begins at a frame."""
        return self._records[self._numbers[pfn]]

    def owned_from(self, pfn: int) -> Iterator[int]:
        """The first frames of all blocks from a frame on; pageblocks without any take no time."""
        while pfn < self.nr_pages:
            end = min((pfn >> PAGEBLOCK_ORDER) + 1 << PAGEBLOCK_ORDER, self.nr_pages)
            if self.block_bytes[pfn >> PAGEBLOCK_ORDER]:
                numbers = self._numbers[pfn:end].tolist()
                yield from (at for at, number in enumerate(numbers, pfn) if number)
            pfn = end

    def length(self, pfn: int) -> int:
        """Bytes of the text of the block that begins at a frame."""
        return self._lengths[pfn]

    def text(self, pfn: int) -> bytes:
        """The paragraph of the block that begins at a frame, which is allocated.

        Linux: mm/page_owner.c:print_page_owner()
        """
        owner = self.owner(pfn)
        assert owner is not None
        return self._text(owner, pfn, *self._zone_of(pfn))

    def _text(self, owner: Owner, pfn: int, zone: int, migratetype: str) -> bytes:
        order, gfp, pid, tgid, comm, ts_nsec, trace = owner
        names = gfp_flags_string(gfp) if gfp else ""
        lines = [
            f"Page allocated via order {order}, mask {gfp:#x}({names}), "
            f"pid {pid}, tgid {tgid} ({comm}), ts {ts_nsec} ns",
            f"PFN {pfn:#x} type Unmovable Block {pfn >> PAGEBLOCK_ORDER} type {migratetype} "
            f"Flags {self._flags(owner, zone)}",
            *(f" {function}" for function in trace),
            "\n",
        ]
        return "\n".join(lines).encode("utf-8", "surrogateescape")

    def _flags(self, owner: Owner, zone: int) -> str:
        """The flags of a struct page (Linux: lib/vsprintf.c:format_page_flags())."""
        head = bool(owner.order and owner.gfp_mask & COMP)
        names = "head|" if head else ""
        return f"{PG_HEAD * head | zone << self._zone_shift:#x}({names}zone={zone})"

    def _stack(self, frame: FrameType | None) -> tuple[str, ...]:
        """The functions on the way here (Linux: mm/page_owner.c:save_stack())."""
        trace = tuple(self._call_trace.functions(frame)[:DEPTH])
        return self._traces.setdefault(trace, trace)

    def __repr__(self) -> str:
        return f"<PageOwner blocks={sum(self._users)} records={len(self._records) - 1}>"

    def times(self, most: int) -> list[int]:
        """When the first `most` records of `state()` were made."""
        return [owner.ts_nsec for owner in self.state()["records"][:most]]

    def set_times(self, times: Sequence[int]) -> None:
        """Have the first records of `state()` be of other times: of the machine that this was."""
        books = self.state()
        first = zip(books["records"], _frames(books), times, strict=False)
        for owner, pfns, when in first:
            self.reset_page_owner(pfns)
            self._record(pfns, owner._replace(ts_nsec=when))

    def state(self) -> PageOwnerState:
        """All blocks and records, as plain data; the times are the clock's."""
        places: dict[int, int] = {}
        blocks = [
            (pfn, places.setdefault(self._numbers[pfn], len(places))) for pfn in self.owned_from(0)
        ]
        records = [self._records[number] for number in places]
        return {"records": [each for each in records if each is not None], "blocks": blocks}

    def restore(self, state: Any) -> None:
        """Have these records.

        Raises:
            ValueError: they are none.
        """
        books = checked(PageOwnerState, state)
        self.reset_page_owner([*self.owned_from(0)])
        claims = Claims(self.nr_pages)
        for owner, pfns in zip(books["records"], _frames(books), strict=True):
            if not 0 <= owner.order <= MAX_PAGE_ORDER or not pfns or owner.gfp_mask < 0:
                raise StateError("a record of no allocation")
            for pfn in pfns:
                claims.take(pfn, 1 << owner.order)
            self._record(pfns, owner)

    def check(self, free: set[int]) -> None:
        """Assert the invariants.  Slow: for tests.

        - all frames but frame 0 and those that are `free`, or were taken before there were records,
          lie in exactly one block with a record
        - the books are what is there
        """
        held: set[int] = set()
        users = [0] * len(self._records)
        for pfn in self.owned_from(0):
            owner = self.owner(pfn)
            assert owner is not None
            assert self._lengths[pfn] == len(self.text(pfn))
            block = {*range(pfn, pfn + (1 << owner.order))}
            assert not held & block
            held |= block
            users[self._numbers[pfn]] += 1
        assert held == {*range(1, self.nr_pages)} - free
        assert users == self._users.tolist()
        assert self.nbytes == sum(self.block_bytes)
        assert self.nbytes == sum(self._lengths[pfn] for pfn in self.owned_from(0))


class TrackedPageAllocator(PageAllocator):
    """A page allocator that has its `owner`."""

    def __init__(
        self,
        ram: Ram,
        layout: Layout,
        shuffle: bool,
        seed: int,
        workqueue: Workqueue,
        cpus: int,
        fragment: int,
        init_on_alloc: bool,
        running: Running,
        local_clock: Callable[[], int],
        call_trace: CallTrace,
    ) -> None:
        super().__init__(ram, layout, shuffle, seed, workqueue, cpus, fragment, init_on_alloc)
        shift = 8 * layout.pointer_size - ZONES_WIDTH
        self.owner: Final = PageOwner(
            ram.nr_pages, running, local_clock, call_trace, self._zone_of, shift
        )

    def _zone_of(self, pfn: int) -> tuple[int, str]:
        number = int(pfn >= self._lowmem.buddy.end_pfn)
        return number, self.zones[number].buddy.pageblock_type(pfn)

    def alloc_pages_bulk(self, gfp: int, nr_pages: int, whole: bool = False) -> array[int] | None:
        """As there, with a record."""
        frames = super().alloc_pages_bulk(gfp, nr_pages, whole)
        if frames is not None:
            self.owner.set_page_owner(frames, 0, gfp)
        return frames

    def alloc_pages(self, gfp: int, order: int, whole: bool = False) -> int | None:
        """As there, with a record."""
        pfn = super().alloc_pages(gfp, order, whole)
        if pfn is not None:
            self.owner.set_page_owner((pfn,), order, gfp)
        return pfn

    def split_page(self, page: int, order: int) -> None:
        """As there; each frame has a record then."""
        self.owner.split_page_owner(page, order)

    def alloc_pages_exact(self, size: int, gfp: int) -> int | None:
        """As there; each page that is kept has a record."""
        virt = super().alloc_pages_exact(size, gfp)
        if virt is not None:
            pfn, pages = (virt - self._page_offset) >> PAGE_SHIFT, -(-size >> PAGE_SHIFT)
            order = max(pages - 1, 0).bit_length()
            self.owner.split_page_owner(pfn, order)
            self.owner.reset_page_owner(range(pfn + pages, pfn + (1 << order)))
        return virt

    def put_frames(self, frames: array[int]) -> None:
        """As there; what is freed has no record."""
        super().put_frames(frames)
        self.owner.reset_page_owner(frames)

    def put_block(self, page: int, order: int) -> None:
        """As there; what is freed has no record."""
        super().put_block(page, order)
        self.owner.reset_page_owner((page,))

    def check(self) -> set[int]:
        """As there; what is neither free nor holds free frames apart has a record."""
        free = super().check()
        self.owner.check(free | self.unevictable())
        return free
