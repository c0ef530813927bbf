"""What was allocated by hand: memory of a machine under names.

    name --> kind      which function gave it
             address   where it begins, and how many bytes it has
             source    for a mapping, the handle whose frames are mapped
             entries   page-table entries that were written for it
             frames    frames that were taken for it, with those of tables and slabs

A handle keeps no list of its frames: these stand in the page tables, or follow from the address.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from operator import attrgetter
from typing import Final, NamedTuple

from .layout import PAGE_SHIFT
from .machine import Machine
from .restoring import Claims, StateError

__all__ = ["MAX_HANDLES", "MAX_NAME", "Handle", "HandleState", "Handles", "HandlesStatistics"]

MAX_HANDLES: Final = 4096
"""How many there can be at once."""
MAX_NAME: Final = 31
"""Characters of a name at the most."""
SHOWN_RUNS: Final = 4
"""Of frames that do not follow each other so many runs are listed."""

HEADER: Final = (
    f"{'# name':15} {'kind':14} {'address':16} {'size':>10} {'entries':>7} {'frames':>6} memory"
)


@dataclass(slots=True, eq=False)
class Handle:
    """Memory that has a name."""

    name: str
    kind: str
    """The word that has made it, such as "vmalloc"."""
    address: int
    """0 or above; what Linux calls ZERO_SIZE_PTR, too."""
    size: int
    """Bytes that it has from there on."""
    pages: range = range(0)
    """Frames that are its own, got from the page allocator and known to nobody else."""
    phys: int | None = None
    """Physical address, where all of it is contiguous there."""
    source: Handle | None = None
    """Whose frames it maps."""
    entries: int = 0
    frames: int = 0
    users: int = 0
    """How many others map its frames."""
    serial: int = 0
    """Later ones have higher numbers."""
    line: bytes = b""
    """As the listing shows it; where its memory lies never changes."""


class HandleState(NamedTuple):
    """All of a `Handle`, as plain data."""

    name: str
    kind: str
    address: int
    size: int
    source: str | None
    entries: int
    frames: int
    phys: int | None
    pages: tuple[int, int]
    """The first of its own frames, and how many there are."""
    serial: int


class HandlesStatistics(NamedTuple):
    """The books of the handles."""

    handles: int
    """How many there are."""
    pages: int
    """Frames that they have from the page allocator itself."""


class Handles:
    """The handles on a machine's memory, by name."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._handles: Final[dict[str, Handle]] = {}
        self._listed: Final[list[Handle]] = []
        """The same ones, the oldest first, for a listing to go on in the middle."""
        self.last = 0
        """The number of the last one that came."""
        self._length = len(HEADER) + 1
        machine.holders.append(self.check)

    def __contains__(self, name: str) -> bool:
        return name in self._handles

    def __len__(self) -> int:
        return len(self._handles)

    def find(self, name: str) -> Handle | None:
        """The handle of a name."""
        return self._handles.get(name)

    def add(self, handle: Handle) -> None:
        """Keep one, under a name that none has."""
        assert handle.name not in self._handles
        self.last += 1
        handle.serial = self.last
        handle.line = self._line(handle)
        self._length += len(handle.line)
        self._handles[handle.name] = handle
        self._listed.append(handle)
        if handle.source is not None:
            handle.source.users += 1

    def remove(self, handle: Handle) -> None:
        """Forget one, whose memory is freed."""
        assert not handle.users
        del self._handles[handle.name]
        del self._listed[self._index(handle.serial)]
        self._length -= len(handle.line)
        if handle.source is not None:
            handle.source.users -= 1

    def frames_of(self, handle: Handle) -> Iterable[int]:
        """The frames that it has of its own, whole ones; those of a mapping are another's."""
        if handle.pages:
            return handle.pages
        area = self._machine.vm.find_vm_area(handle.address)
        return area.pages if area is not None and area.pages is not None else ()

    # -- the listing ---------------------------------------------------------------------------

    def size(self) -> int:
        """Bytes of the listing."""
        return self._length

    def seek(self, pos: int) -> tuple[tuple[int, int], int]:
        """The place of the line that has a byte of the listing, and where that line begins.

        A place is (0, 0) for the first line, then (0, number of the handle before).
        """
        at, place = 0, (0, 0)
        for line, behind in self.lines(place):
            if at + len(line) > pos:
                break
            at, place = at + len(line), behind
        return place, at

    def lines(self, place: tuple[int, int]) -> Iterator[tuple[bytes, tuple[int, int]]]:
        """The listing from a place on, each line with the place behind it."""
        _, done = place
        if not done:
            yield f"{HEADER}\n".encode(), (0, 1)
        listed = self._listed
        for index in range(self._index(done), len(listed)):
            handle = listed[index]
            yield handle.line, (0, handle.serial + 1)

    def _index(self, serial: int) -> int:
        """How many handles are older."""
        return bisect_left(self._listed, serial, key=attrgetter("serial"))

    def _line(self, handle: Handle) -> bytes:
        if handle.phys is not None:
            memory = f"phys {handle.phys:#x}-{handle.phys + handle.size - 1:#x}"
        elif handle.source is not None:
            memory = f"frames of {handle.source.name}"
        else:
            memory = _runs(self.frames_of(handle))
        address = self._machine.layout.pointer(handle.address)
        cost = f"{handle.entries:7} {handle.frames:6}"
        line = f"{handle.name:15} {handle.kind:14} {address:16} {handle.size:10} {cost} {memory}\n"
        return line.encode()

    # -- the books -----------------------------------------------------------------------------

    def statistics(self) -> HandlesStatistics:
        """The books as they stand now."""
        pages = sum(len(handle.pages) for handle in self._handles.values())
        return HandlesStatistics(len(self), pages)

    def __repr__(self) -> str:
        return f"<Handles {len(self)}>"

    def state(self) -> list[HandleState]:
        """All of them as plain data, the oldest first."""
        return [
            HandleState(
                handle.name,
                handle.kind,
                handle.address,
                handle.size,
                None if handle.source is None else handle.source.name,
                handle.entries,
                handle.frames,
                handle.phys,
                (handle.pages.start, len(handle.pages)),
                handle.serial,
            )
            for handle in self._handles.values()
        ]

    def restore(self, state: list[HandleState], last: int, claims: Claims) -> None:
        """Have these handles, on memory that is there already.

        Args:
            last: the number of the last one that came, which may be gone.
        """
        self._handles.clear()
        self._listed.clear()
        self._length = len(HEADER) + 1
        if len(state) > MAX_HANDLES:
            raise StateError("too many handles")
        for name, kind, address, size, source, entries, frames, phys, pages, serial in state:
            if name in self._handles or not 0 < len(name) <= MAX_NAME or address < 0 or size < 0:
                raise StateError(f"no handle {name}")
            if pages[1]:
                claims.take(*pages)
            of = None if source is None else self._handles[source]
            own = range(pages[0], pages[0] + pages[1])
            self.last = serial - 1  # so it gets the same number again
            self.add(Handle(name, kind, address, size, own, phys, of, entries, frames))
        if last < self.last:
            raise StateError("handles that are to come")
        self.last = last
        self.check()

    def check(self) -> set[int]:
        """Assert the invariants; return the frames that are theirs and nobody else's.

        - no frame belongs to two of them
        - each is used by as many as have it for a source
        - the listing has all of them, the oldest first, and is as long as its lines
        """
        held: set[int] = set()
        users: dict[Handle, int] = {}
        for handle in self._handles.values():
            assert not held.intersection(handle.pages)
            held.update(handle.pages)
            assert not handle.pages or handle.size == len(handle.pages) << PAGE_SHIFT
            if handle.source is not None:
                assert self._handles.get(handle.source.name) is handle.source
                users[handle.source] = users.get(handle.source, 0) + 1
        assert all(h.users == users.get(h, 0) for h in self._handles.values())
        assert self._listed == sorted(self._handles.values(), key=attrgetter("serial"))
        assert self._length == sum(len(line) for line, _ in self.lines((0, 0)))
        return held


def _runs(frames: Iterable[int]) -> str:
    """Frames in their order: those that follow each other as a range, and how many there are."""
    runs: list[list[int]] = []
    count = 0
    for pfn in frames:
        count += 1
        if runs and pfn == runs[-1][-1] + 1:
            runs[-1][1:] = [pfn]
        elif len(runs) <= SHOWN_RUNS:
            runs.append([pfn])
    if not runs:
        return "-"
    shown = " ".join("-".join(map(str, run)) for run in runs[:SHOWN_RUNS])
    more = f" ... ({count} in all)" if len(runs) > SHOWN_RUNS else ""
    return f"{'frames' if count > 1 else 'frame'} {shown}{more}"
