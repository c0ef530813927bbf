"""Tracing: which events go into the ring (`ring_buffer`), and what a record reads like.

    tracepoint ---on?---pid?---filter?---> | oldest | ... | newest |  ring, `buffer_size_kb`
                                              |                |
                     trace_pipe takes it -----+                +---- with the ring full, each new
                     trace leaves it there                           one pushes the oldest out

A record is a tuple: when, who (pid, name), which event, its values.  Text is made of it when
somebody reads (`trace_output`).  Times are the log's; with `trace_clock` at "counter" they are
numbers, and then the same calls give the same trace, whoever makes them when.

Confessed: there is one CPU's ring; what stands for flags of the context, preempt-depth and the
like, are dots.

Linux: kernel/trace/trace.c, kernel/trace/trace_events.c
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Final, NamedTuple, TypedDict

from .layout import Layout
from .printk import KernelLog
from .restoring import StateError
from .ring_buffer import RingBuffer, RingState, TraceRecord
from .sched import Running, Task
from .trace_events import EVENTS, PRINT, Printer, TraceEvent, Values
from .trace_filter import Filter
from .trace_output import HashedPointers, Pointers, heading, line
from .tracepoints import Recorder, Switch

__all__ = [
    "CLOCKS",
    "MAX_MARKER",
    "Trace",
    "TraceEventFile",
    "TraceState",
    "TraceStatistics",
]

MAX_MARKER: Final = 4054
"""Bytes of a text of `trace_marker`: more do not go into a sub-buffer."""

CLOCKS: Final = (
    "local",
    "global",
    "counter",
    "uptime",
    "perf",
    "mono",
    "mono_raw",
    "boot",
    "tai",
)
"""Names of the clocks.  All are the log's, but "counter", which counts records."""

OPTIONS: Final = {
    name.removeprefix("no"): not name.startswith("no")
    for name in (
        *("print-parent", "nosym-offset", "nosym-addr", "noverbose", "noraw", "nohex", "nobin"),
        *("noblock", "nofields", "trace_printk", "annotate", "nouserstacktrace"),
        *("nosym-userobj", "noprintk-msg-only", "context-info", "nolatency-format"),
        *("record-cmd", "norecord-tgid", "overwrite", "nodisable_on_free", "irq-info"),
        *("markers", "noevent-fork", "trace_printk_dest", "nopause-on-trace", "hash-ptr"),
        *("function-trace", "nofunction-fork", "nodisplay-graph", "nostacktrace"),
        *("notest_nop_accept", "notest_nop_refuse"),
    )
}
"""What can be said of the text, and whether it is on at first.  Of these `hash-ptr` and `markers`
do something; the others are kept, so that programs that set them go on."""

CMDLINES: Final = 6552
"""So many names of processes are kept (Linux: saved_cmdlines_size)."""
SAME_PROGRAM: Final = 500_000
"""Nanoseconds: a process that was seen so long ago may have become another program since."""
UNKNOWN: Final = "<...>"
"""In place of a name."""


class TraceStatistics(NamedTuple):
    """The ring's books."""

    entries: int
    """Records in it."""
    written: int
    """Records that have come since it was cleared."""
    overrun: int
    """Of these, those that newer ones have pushed out."""
    read: int
    """Of these, those that `trace_pipe` has taken."""
    enabled: int
    """Events that are on."""


class TraceEventFile:
    """An event on one machine (Linux: struct trace_event_file)."""

    def __init__(self, event: TraceEvent, switch: Switch | None) -> None:
        self.event: Final = event
        self.switch: Final = switch
        self.enabled = False
        self.filter: Filter | None = None
        self.filter_text = ""
        """The filter, or what was wrong with the one that was tried last."""

    def __repr__(self) -> str:
        on = "on" if self.enabled else "off"
        return f"<TraceEventFile {self.event.system}:{self.event.name} {on}>"


class EventState(NamedTuple):
    """An event that is on, or has a filter, or had one refused."""

    system: str
    name: str
    enabled: bool
    filtered: bool
    """Whether `filter_text` is a filter."""
    filter_text: str


class TraceState(TypedDict):
    """What is traced, and what was."""

    on: bool
    clock: str
    count: int
    options: list[str]
    pids: list[int] | None
    events: list[EventState]
    cmdlines: list[tuple[int, str]]
    ring: RingState


class Trace(RingBuffer):
    """The trace of one machine (Linux: struct trace_array).

    Args:
        log: whose clock it has.
        running: says whose event it is.
        points: event -> what switches it.
        seed: pointers are hashed with it.
        cpus: as the heading names them.
    """

    def __init__(
        self,
        log: KernelLog,
        running: Running,
        layout: Layout,
        points: Mapping[str, Switch],
        seed: int,
        cpus: int,
    ) -> None:
        super().__init__()
        self.files: Final[dict[tuple[str, str], TraceEventFile]] = {}
        """(Subsystem, name) -> event, in the order in which they are listed."""
        self.on = True
        """Whether anything is recorded."""
        self.pids: Collection[int] | None = None
        """Whose events are recorded; None for everybody's."""
        self.clock = "local"
        self.options: Final = dict(OPTIONS)
        """Name -> whether it is on: what `trace_options` has."""
        self.cpus: Final = cpus
        self.cmdlines: Final[dict[int, str]] = {}
        """Pid -> the name that its last record has."""
        self.waiting: Final[dict[Callable[[], None], None]] = {}
        """Are called once when there is a record, or none will come."""
        self._seen: dict[int, int] = {}
        """Pid -> when it was recorded last."""
        self._now: Final = log.local_clock
        self._running: Final = running
        self._layout: Final = layout
        self._plain: Final = Pointers(layout)
        self._hashed: Final = HashedPointers(layout, seed)
        self._count = 0
        self.add(EVENTS, points)

    def add(self, events: Iterable[TraceEvent], points: Mapping[str, Switch]) -> None:
        """Have more events; one without a switch never happens."""
        for event in events:
            file = TraceEventFile(event, points.get(event.name))
            self.files[event.system, event.name] = file

    # -- what is recorded --------------------------------------------------------------------

    def enable(self, file: TraceEventFile, on: bool) -> None:
        """Switch an event on or off."""
        if on:
            self.expand()
        if file.enabled != on:
            file.enabled = on
            if file.switch is not None:
                file.switch(_Recorder(self, file) if on else None)

    def set_event(self, pattern: str, on: bool) -> bool:
        """Switch those on or off that a word means: SYSTEM:EVENT, SYSTEM:*, *:EVENT, or a name.

        Returns whether there are any.
        Linux: kernel/trace/trace_events.c:ftrace_set_clr_event()
        """
        system, colon, name = pattern.partition(":")
        wanted = [
            file
            for (of, event), file in self.files.items()
            if (
                (system in ("", "*", of) and name in ("", "*", event))
                if colon
                else pattern in (of, event)
            )
        ]
        for file in wanted:
            self.enable(file, on)
        return bool(wanted)

    def set_filter(self, file: TraceEventFile, text: str) -> None:
        """Have only those recorded that a filter matches; "0" takes the filter away.

        Raises:
            FilterError: it is none; then there is no filter, and `filter_text` says what is wrong.
        """
        file.filter, file.filter_text = None, ""
        if text.strip() == "0":
            return
        try:
            file.filter = Filter(text, file.event, self._layout.pointer_size)
            file.filter_text = text
        except ValueError as error:
            file.filter_text = str(error)
            raise

    def is_wanted(self) -> bool:
        """Whether anything is recorded of who runs."""
        return self.on and (self.pids is None or self._running.current.pid in self.pids)

    def record(self, file: TraceEventFile, values: Values) -> None:
        """An event has happened; record it, if it is wanted."""
        if not self.is_wanted():
            return
        task = self._running.current
        pid = task.pid
        now = self._now()
        if now - self._seen.get(pid, -SAME_PROGRAM) < SAME_PROGRAM:
            comm = self.cmdlines[pid]
        else:
            comm = self._name(task)
        if file.filter is None or file.filter.matches(values, pid, comm):
            self._seen[pid] = now
            self._append(now, pid, comm, file.event, values)

    def _append(self, now: int, pid: int, comm: str, event: TraceEvent, values: Values) -> None:
        self._count += 1
        when = now if self.clock != "counter" else self._count
        self._records.append(TraceRecord(when, pid, comm, event, values))
        self._written += 1
        if self.waiting:
            self.wake()

    def mark(self, text: bytes) -> bool:
        """Record a text of a process's own; returns whether anything is recorded at all.

        Linux: kernel/trace/trace.c:tracing_mark_write()
        """
        if not self.on:
            return False
        task, now = self._running.current, self._now()
        line = text.decode("utf-8", "surrogateescape")
        comm = self._name(task)
        self._seen[task.pid] = now
        self._append(now, task.pid, comm, PRINT, (line if line.endswith("\n") else line + "\n",))
        return True

    def _name(self, task: Task) -> str:
        """The name of who runs, which is looked up now."""
        comm = task.comm if task.pid else "<idle>"
        if comm in ("(gone)", "(unknown)"):
            comm = self.cmdlines.get(task.pid, UNKNOWN)
        if len(self.cmdlines) >= CMDLINES and task.pid not in self.cmdlines:
            oldest = next(iter(self.cmdlines))
            del self.cmdlines[oldest]
            self._seen.pop(oldest, None)
        self.cmdlines[task.pid] = comm
        return comm

    # -- the ring ----------------------------------------------------------------------------

    @property
    def now(self) -> int:
        """What a record of now would say of when it was."""
        return self._count if self.clock == "counter" else self._now()

    def set_clock(self, name: str) -> None:
        """Have another of CLOCKS; records of the one before would not go with it."""
        self.clock = name
        self._count = 0
        self.clear()

    def take(self, count: int) -> str:
        """Take the oldest records out, as text of up to `count` bytes, but at least one line.

        "" if there is none.  Where records were lost before them, a line says so.
        """
        parts: list[str] = []
        length = 0
        while self._records:
            lost, line = self.overrun - self._told, self.line(self._records[0])
            if lost:
                line = f"CPU:0 [LOST {lost} EVENTS]\n{line}"
            length += len(line)
            if parts and length > count:
                break
            self._told += lost
            self._records.popleft()
            self._read += 1
            parts.append(line)
        return "".join(parts)

    def wake(self) -> None:
        """Wake all who wait."""
        waiting = list(self.waiting)
        self.waiting.clear()
        for wake in waiting:
            wake()

    # -- text --------------------------------------------------------------------------------

    @property
    def hash_ptr(self) -> bool:
        """Whether pointers are shown hashed, as Linux shows them unless it is told otherwise."""
        return self.options["hash-ptr"]

    @property
    def printer(self) -> Printer:
        """Prints pointers, as `hash_ptr` has it."""
        return self._hashed if self.hash_ptr else self._plain

    def heading(self) -> str:
        """What stands above all records."""
        return heading(len(self._records), self._written, self.cpus)

    def line(self, record: TraceRecord) -> str:
        """A record, as the kernel shows it."""
        return line(record, self.printer, counted=self.clock == "counter")

    # -- the books ---------------------------------------------------------------------------

    def statistics(self) -> TraceStatistics:
        """The books as they stand now."""
        enabled = sum(file.enabled for file in self.files.values())
        return TraceStatistics(len(self._records), self._written, self.overrun, self._read, enabled)

    def __repr__(self) -> str:
        books = self.statistics()
        return f"<Trace enabled={books.enabled} entries={books.entries} overrun={books.overrun}>"

    def state(self) -> TraceState:
        """What is traced, and what was recorded, as plain data; when that was is the clock's."""
        return {
            "on": self.on,
            "clock": self.clock,
            "count": self._count,
            "options": [name for name, on in self.options.items() if on],
            "pids": None if self.pids is None else sorted(self.pids),
            "events": [
                EventState(*name, file.enabled, file.filter is not None, file.filter_text)
                for name, file in self.files.items()
                if file.enabled or file.filter_text
            ],
            "cmdlines": [*self.cmdlines.items()],
            "ring": self.ring_state(),
        }

    def restore(self, state: TraceState) -> None:
        """Trace the same, and have the same records; who is traced has the same number."""
        if state["clock"] not in CLOCKS or not {*state["options"]} <= {*self.options}:
            raise StateError("no clock or option of a trace")
        for file in self.files.values():
            self.enable(file, False)
            file.filter, file.filter_text = None, ""
        for system, name, enabled, filtered, text in state["events"]:
            file = self.files[system, name]
            if filtered:
                self.set_filter(file, text)
            file.filter_text = text
            self.enable(file, enabled)
        self.on, self.clock, self._count = state["on"], state["clock"], state["count"]
        self.options.update((name, name in state["options"]) for name in self.options)
        self.pids = None if state["pids"] is None else frozenset(state["pids"])
        self.cmdlines.clear()
        self.cmdlines.update(state["cmdlines"][-CMDLINES:])
        self._seen.clear()
        events = {name: file.event for name, file in self.files.items()}
        events[PRINT.system, PRINT.name] = PRINT
        self.restore_ring(state["ring"], lambda system, name: events.get((system, name)))
        for record in self._records:
            self.line(record)  # it can be shown
        self.check()

    def check(self) -> None:
        """Assert the invariants.  Slow: for tests.

        - those of the ring; what is recorded by now is of events of this machine
        """
        super().check()
        events = {file.event for file in self.files.values()} | {PRINT}
        assert all(record.event in events for record in self._records)


class _Recorder(Recorder):
    """Records what one tracepoint sees."""

    def __init__(self, trace: Trace, file: TraceEventFile) -> None:
        self._trace = trace
        self._file = file

    def one(self, values: Values) -> None:
        self._trace.record(self._file, values)

    def many(self, count: int, values: Callable[[int], Iterator[Values]]) -> None:
        """Of more than there is room for, the first are only counted."""
        trace, file = self._trace, self._file
        if not trace.is_wanted():
            return
        skipped = max(count - trace.capacity, 0)
        for each in values(skipped):
            trace.record(file, each)
        if skipped and file.filter is None:
            trace.skip(skipped)
