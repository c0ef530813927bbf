"""Writes that run over the end of what their writer has, and whose memory they reach.

Such a write happens in RAM as any other.  What the parts of the machine know beside RAM has to hear
of it, as otherwise they would go on as if nothing had been:

    what lies there             what comes of it
    somebody's bytes            they are others
    a free frame                whoever gets it with __GFP_ZERO gets zeros all the same (`zone`)
    a free object of a slab     its slab's list of free objects is broken (`slab_common`)
    a page table                its entries lead nowhere (`overwritten_tables`)

Beside that it is written down who overwrote whom, as no kernel could.  All of it costs something
only when such a write happens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypedDict

from .access import KernelMemory
from .layout import PAGE_SHIFT, PAGE_SIZE, Layout
from .overwritten_tables import OverwrittenTables
from .page_alloc import PageAllocator
from .pgtable import PageTables
from .slab import Slab
from .slub import USED
from .vmap import VmapSpace

__all__ = ["Overrun", "OverrunState", "Overruns", "OverrunsState"]

MAX_RECORDS: Final = 64
"""So many memories that were overrun are remembered, each with some others that it reached."""
MAX_VICTIMS: Final = 16
MAX_SPANS: Final = 64
LOOKED_AT: Final = 1024
"""Frames of one write that are looked at for whose they are."""


class OverrunState(TypedDict):
    """All of an `Overrun`."""

    name: str
    length: int
    accessed: int
    victims: list[str]
    more_victims: bool
    spans: list[tuple[int, int]]


class OverrunsState(TypedDict):
    """What is remembered."""

    records: list[OverrunState]
    missed: int


class Overrun:
    """What was written over the end of one memory.

    Args:
        name: whose it is, such as "scullp0: quantum ffff888000123000".
        length: bytes that it has, 0 if there is no such memory.
    """

    def __init__(self, name: str, length: int) -> None:
        self.name: Final = name
        self.length = length
        self.accessed = 0
        """Bytes that it was taken for."""
        self.victims: Final[dict[str, None]] = {}
        """Whose memory it was."""
        self.more_victims = False
        self._spans: list[tuple[int, int]] = []
        """Start and end of what was written, in physical addresses, none of which overlap."""

    @property
    def nbytes(self) -> int:
        """Bytes of others that were overwritten, each counted once."""
        return sum(end - start for start, end in self._spans)

    def add(self, start: int, end: int) -> None:
        """So much more was overwritten; of what lies in pieces the last ones are not counted."""
        spans: list[tuple[int, int]] = []
        for first, last in sorted([*self._spans, (start, end)]):
            if spans and first <= spans[-1][1]:
                spans[-1] = spans[-1][0], max(spans[-1][1], last)
            else:
                spans.append((first, last))
        self._spans = spans[:MAX_SPANS]

    def met(self, victim: str) -> None:
        """It was this one's memory."""
        if len(self.victims) < MAX_VICTIMS or victim in self.victims:
            self.victims[victim] = None
        else:
            self.more_victims = True

    def __str__(self) -> str:
        what = f"is {self.length} bytes long" if self.length else "is none of its memory"
        victims = ", ".join([*self.victims, *(["others"] if self.more_victims else [])])
        return (
            f"{self.name} {what}, accessed as {self.accessed}: "
            f"overwrote {self.nbytes} bytes: {victims}"
        )

    def __repr__(self) -> str:
        return f"<Overrun {self}>"

    def state(self) -> OverrunState:
        """All of it, as plain data."""
        return {
            "name": self.name,
            "length": self.length,
            "accessed": self.accessed,
            "victims": [*self.victims],
            "more_victims": self.more_victims,
            "spans": [*self._spans],
        }

    @classmethod
    def restored(cls, state: OverrunState) -> Overrun:
        """The one of a state."""
        overrun = cls(state["name"], state["length"])
        overrun.accessed = state["accessed"]
        overrun.victims.update(dict.fromkeys(state["victims"][:MAX_VICTIMS]))
        overrun.more_victims = state["more_victims"]
        overrun._spans = state["spans"][:MAX_SPANS]
        return overrun


class Overruns:
    """All of a machine's, as far as they are remembered."""

    def __init__(
        self,
        page_alloc: PageAllocator,
        slab: Slab,
        pgtable: PageTables,
        memory: KernelMemory,
        vmap_space: VmapSpace,
        layout: Layout,
    ) -> None:
        self._page_alloc = page_alloc
        self._slab = slab
        self._pgtable = pgtable
        self._memory = memory
        self._vmap_space = vmap_space
        self._layout = layout
        self._records: Final[dict[str, Overrun]] = {}
        self._missed = 0
        """Writes over the end of what is not remembered."""
        self.owners: Final[list[Callable[[int], str | None]]] = []
        """Each says what of its own lies at an address, if anything."""

    @contextmanager
    def watching(
        self, name: str, length: int, accessed: int, address: int, count: int
    ) -> Iterator[None]:
        """While it lasts, `count` bytes (1 or more) at `address` are written, all another's.

        Args:
            name: whose memory is overrun, such as "scullp0: quantum ffff888000123000".
            length: bytes that it has, 0 if the address is nobody's.
            accessed: bytes that it is taken for.

        Raises:
            PageFault: there is nothing at a part of it; nothing is to be written.
        """
        runs = [
            (start, start + n)
            for start, n in self._memory.translate(address, count, write=True)
            if self._page_alloc.pfn_valid((start + n - 1) >> PAGE_SHIFT)
        ]
        tables: dict[int, list[int]] = {}
        for start, end in runs:
            tables |= self._pgtable.tables_in(_frames(start, end))
        yield
        free: set[int] = set()
        for start, end in runs:
            self._slab.overwritten(start, end)
            free |= self._page_alloc.overwritten(_frames(start, end))
        if tables:
            OverwrittenTables.become(self._pgtable).overwritten(tables)
            self._memory.tables_changed()
        self._record(name, length, accessed, runs, free)

    def _record(
        self,
        name: str,
        length: int,
        accessed: int,
        runs: list[tuple[int, int]],
        free: set[int],
    ) -> None:
        if name not in self._records and len(self._records) >= MAX_RECORDS:
            self._missed += 1
            return
        record = self._records.setdefault(name, Overrun(name, length))
        record.length = max(record.length, length)
        record.accessed = max(record.accessed, accessed)
        for start, end in runs:
            record.add(start, end)
            if not record.more_victims:
                for victim in self._victims(start, end, free):
                    record.met(victim)

    def _victims(self, start: int, end: int, free: set[int]) -> Iterator[str]:
        """Whose memory lies at some physical addresses, lowest first."""
        unknown: list[int] = []
        for pfn in _frames(start, end)[:LOOKED_AT]:
            if pfn in free:
                yield "free pages"
                continue
            first, last = max(start, pfn << PAGE_SHIFT), min(end, (pfn + 1) << PAGE_SHIFT)
            victims = list(self._in_frame(pfn, first, last))
            yield from victims
            if not victims:
                unknown.append(pfn)
        if unknown:
            yield from self._areas(set(unknown))

    def _in_frame(self, pfn: int, first: int, last: int) -> Iterator[str]:
        """Whose memory lies at addresses of one frame; nobody's if that takes a search."""
        slab, linear = self._slab, self._layout.page_offset
        page, run = slab.find_slab(pfn), slab.find_run(pfn)
        if page is not None:
            size, base, name = page.cache.size, page.pfn << PAGE_SHIFT, page.cache.name
            for index in range((first - base) // size, (last - 1 - base) // size + 1):
                if index >= page.objects:
                    yield f"the rest of a slab of {name}"
                elif page.links[index] == USED:
                    yield self._owner(page.address + index * size) or (
                        f"{name} object {self._pointer(page.address + index * size)}"
                    )
                else:
                    yield f"free {name} objects"
        elif run is not None:
            yield f"kmalloc-{run.size} objects"
        elif pfn in self._pgtable.tables_in(range(pfn, pfn + 1)):
            yield "page table"
        elif not pfn:
            yield "page 0"
        else:
            large = slab.find_large(pfn)
            address = linear + ((large[0] if large else pfn) << PAGE_SHIFT)
            owner = self._owner(address)
            if owner or large:
                yield owner or f"large kmalloc object {self._pointer(address)}"

    def _areas(self, frames: set[int]) -> Iterator[str]:
        """The areas of vmalloc that some frames are in, as far as they are in one."""
        phys_mask = self._layout.phys_mask
        for address, entry in self._pgtable.mappings():
            pfn = (entry & phys_mask) >> PAGE_SHIFT
            if pfn in frames:
                frames.discard(pfn)
                area = self._vmap_space.busy.find(address)
                start = address if area is None else area.va_start
                yield self._owner(start) or f"vmalloc area {self._pointer(start)}"
        if frames:
            yield "pages in use"

    def _owner(self, address: int) -> str | None:
        return next(filter(None, (owner(address) for owner in self.owners)), None)

    def _pointer(self, address: int) -> str:
        return self._layout.pointer(address)

    def report(self) -> list[str]:
        """A line for each memory that was overrun; none if there was none."""
        lines = [str(record) for record in self._records.values()]
        if self._missed:
            lines.append(f"{self._missed} more writes over the end of something")
        return lines

    def statistics(self) -> dict[str, int]:
        """How many are remembered, and how many writes are not."""
        return {"records": len(self._records), "missed": self._missed}

    def __repr__(self) -> str:
        return f"<Overruns {len(self._records)}>"

    def state(self) -> OverrunsState:
        """What is remembered, as plain data."""
        return {
            "records": [record.state() for record in self._records.values()],
            "missed": self._missed,
        }

    def restore(self, state: OverrunsState) -> None:
        """Remember this."""
        self._records.clear()
        for each in state["records"][:MAX_RECORDS]:
            self._records[each["name"]] = Overrun.restored(each)
        self._missed = state["missed"]


def _frames(start: int, end: int) -> range:
    """The frames that physical addresses `start`..`end` - 1 lie in."""
    return range(start >> PAGE_SHIFT, (end + PAGE_SIZE - 1) >> PAGE_SHIFT)
