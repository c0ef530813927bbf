"""The ring of a trace: records, of which each new one pushes the oldest out when it is full.

Confessed: it holds as many records as there is room for here, which are fewer than Linux's, and the
texts of `trace_marker` are not counted in.

Linux: kernel/trace/ring_buffer.c
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final, NamedTuple, TypedDict

from .restoring import StateError
from .trace_events import TraceEvent, Values

__all__ = ["MAX_BUFFER_KB", "RECORD_BYTES", "RingBuffer", "RingState", "TraceRecord"]

SUBBUF: Final = 4080
"""Bytes of a sub-buffer, of which a ring is made (Linux: BUF_PAGE_SIZE)."""
SMALLEST: Final = 2 * SUBBUF
DEFAULT: Final = 1408 << 10
"""Bytes of the ring once an event was switched on; before that it is the smallest."""
MAX_BUFFER_KB: Final = 1 << 18
"""256 MiB: for more there is no memory."""
RECORD_BYTES: Final = 384
"""What a record takes here."""


class TraceRecord(NamedTuple):
    """What happened."""

    when: int
    """Nanoseconds since the machine was switched on, or its number."""
    pid: int
    comm: str
    event: TraceEvent
    values: Values


class RecordState(NamedTuple):
    """A record, with its event by name."""

    when: int
    pid: int
    comm: str
    system: str
    event: str
    values: list[int | str]


class RingState(TypedDict):
    """The records, and their counts."""

    expanded: bool
    nbytes: int
    written: int
    cleared: int
    read: int
    told: int
    records: list[RecordState]


class RingBuffer:
    """The records of one machine (Linux: struct trace_buffer)."""

    def __init__(self) -> None:
        self.expanded = False
        """Whether the ring has got its size, which it gets when it is first needed."""
        self._nbytes = SMALLEST
        self._records: deque[TraceRecord] = deque(maxlen=SMALLEST // RECORD_BYTES)
        self._written = 0
        self.cleared = 0
        """How often all records were thrown away: their numbers begin anew then."""
        self._read = 0
        self._told = 0
        """Of how many lost records `trace_pipe` has told."""

    def expand(self) -> None:
        """Have a ring of the usual size, if it never had one (tracing_update_buffers())."""
        if not self.expanded:
            self.resize(DEFAULT >> 10)

    @property
    def buffer_size_kb(self) -> int:
        """Its size in KiB, rounded down."""
        return self._nbytes >> 10

    @property
    def usual_size_kb(self) -> int:
        """What it becomes when it is first needed."""
        return DEFAULT >> 10

    def resize(self, kb: int) -> None:
        """Have a ring of so many KiB or some more, 1 to MAX_BUFFER_KB; the newest records stay.

        Linux: kernel/trace/ring_buffer.c:ring_buffer_resize()
        """
        self._nbytes = max(-(-(kb << 10) // SUBBUF) * SUBBUF, SMALLEST)
        self.expanded = True
        self._records = deque(self._records, self._nbytes // RECORD_BYTES)

    @property
    def capacity(self) -> int:
        """How many records it holds."""
        return self._records.maxlen or 0

    def skip(self, count: int) -> None:
        """Count records that would have been pushed out by those that are there."""
        self._written += count

    def clear(self) -> None:
        """Throw all records away, and begin to count anew."""
        self._records.clear()
        self._written = self._read = self._told = 0
        self.cleared += 1

    @property
    def entries(self) -> int:
        """Records in it."""
        return len(self._records)

    @property
    def written(self) -> int:
        """Records that have come since it was cleared."""
        return self._written

    @property
    def overrun(self) -> int:
        """Of these, those that newer ones have pushed out."""
        return self._written - self._read - len(self._records)

    def records_from(self, number: int) -> Iterator[tuple[int, TraceRecord]]:
        """The records from a number on, each with its number, counted as they were written."""
        first = self._written - len(self._records)
        begin = max(number - first, 0)
        return enumerate(islice(self._records, begin, None), first + begin)

    def __repr__(self) -> str:
        return f"<RingBuffer entries={self.entries} overrun={self.overrun}>"

    def ring_state(self) -> RingState:
        """All of it, as plain data."""
        return {
            "expanded": self.expanded,
            "nbytes": self._nbytes,
            "written": self._written,
            "cleared": self.cleared,
            "read": self._read,
            "told": self._told,
            "records": [
                RecordState(when, pid, comm, event.system, event.name, [*values])
                for when, pid, comm, event, values in self._records
            ],
        }

    def restore_ring(
        self, state: RingState, event_of: Callable[[str, str], TraceEvent | None]
    ) -> None:
        """Have these records.

        Args:
            event_of: gives the event of a system and name.
        """
        self._nbytes = state["nbytes"]
        if not SMALLEST <= self._nbytes <= MAX_BUFFER_KB + 1 << 10:
            raise StateError(f"a ring of {self._nbytes} bytes")
        self.expanded = state["expanded"]
        self._records = deque(maxlen=self._nbytes // RECORD_BYTES)
        for when, pid, comm, system, name, values in state["records"]:
            event = event_of(system, name)
            if event is None:
                raise StateError("a record of an event that there is not")
            self._records.append(TraceRecord(when, pid, comm, event, tuple(values)))
        self._written, self.cleared = state["written"], state["cleared"]
        self._read, self._told = state["read"], state["told"]

    def check(self) -> None:
        """Assert the invariants.  Slow: for tests.

        - no more records than there is room for, and none lost that did not come
        """
        assert len(self._records) <= self.capacity
        assert self.overrun >= 0
        assert 0 <= self._told <= self.overrun or not self._records
