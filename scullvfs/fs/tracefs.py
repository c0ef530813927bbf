"""`sys/kernel/tracing/`: what is traced, and what was.

    trace, trace_pipe             what was recorded: left there; taken out, and waited for
    set_event, available_events   what is recorded; what could be
    events/SYSTEM/EVENT/          enable, filter, format, id; enable and filter in SYSTEM/, too
    set_event_pid                 whose events are recorded
    tracing_on, trace_marker      stops and goes on; records a text
    buffer_size_kb, per_cpu/      the ring: its size, how much is in it and was lost
    trace_clock, trace_options    what times and pointers look like
    saved_cmdlines                the names of who was seen
    current_tracer                nop: there are no functions to trace

Modes, texts and errnos are those of tracefs; who owns the mount owns the files.

Linux: kernel/trace/trace.c, kernel/trace/trace_events.c
"""

from __future__ import annotations

import errno
import re
import stat
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

from scullvfs.mm.layout import PAGE_SIZE, Layout
from scullvfs.mm.ring_buffer import MAX_BUFFER_KB, RECORD_BYTES
from scullvfs.mm.trace import CLOCKS, MAX_MARKER, Trace, TraceEventFile
from scullvfs.mm.trace_filter import FilterError, Refusal
from scullvfs.mm.trace_format import format_text

from .kstrtox import BLANKS, kstrtonumber, kstrtoul_from_user, strim
from .node import Directory, Node, refused
from .show_store import ShowStoreFile
from .trace_files import TraceFile, TracePipe

__all__ = ["tracefs"]

README: Final = """\
tracing of the emulated machine, by the files of Linux's tracefs

  echo vmalloc kmem > set_event   record what vmalloc and kmalloc do
  cat trace                       show what was recorded
  cat trace_pipe                  the same as it happens; what is shown is taken out
  echo > set_event                record no more
  echo > trace                    forget what was recorded

available_events lists what can be recorded.
events/SYSTEM/EVENT/filter takes an expression, such as: bytes_req > 4096 && comm == "dd"
events/SYSTEM/EVENT/format has the fields that it may ask for.
"""

GLOBAL_FILTER: Final = """\
### global filter ###
# Use this to set filters for multiple events.
# Only events with the given fields will be affected.
# If no events are modified, an error message will be displayed here
"""
"""Linux: kernel/trace/trace_events.c:DEFAULT_SYS_FILTER_MESSAGE"""

_ERRNOS: Final = {
    Refusal.INVALID: errno.EINVAL,
    Refusal.UNEXPECTED: errno.EPERM,
    Refusal.OPEN: errno.ENOENT,
    Refusal.QUOTE: errno.ESRCH,
}

MAX_WORD: Final = 127
"""Bytes of a word (Linux: EVENT_BUF_SIZE)."""
MAX_PID: Final = 1 << 30
"""Linux: kernel/trace/pid_list.c"""

Make = Callable[..., ShowStoreFile]
"""A file of these permissions, with what shows it and what is done at a write."""


def tracefs(trace: Trace, layout: Layout, uid: int, gid: int) -> Directory:
    """The directory `sys/kernel/tracing` of a machine."""

    def file(permissions: int, *args: object, **more: object) -> ShowStoreFile:
        return ShowStoreFile(permissions, uid, gid, *args, **more)  # type: ignore[arg-type]

    def directory(nodes: dict[str, Node]) -> Directory:
        return Directory.of(nodes, uid, gid)

    per_cpu: dict[str, Node] = {"stats": file(0o440, partial(_stats, trace))}
    nodes: dict[str, Node] = {
        "README": file(0o440, lambda: README),
        "available_events": file(0o440, lambda: _names(trace.files.values())),
        "available_tracers": file(0o440, lambda: "nop\n"),
        "buffer_size_kb": file(0o640, partial(_buffer_size, trace), partial(_resize, trace)),
        "buffer_total_size_kb": file(0o440, partial(_buffer_size, trace)),
        "current_tracer": file(0o640, lambda: "nop\n", partial(_only, b"nop")),
        "events": _events(trace, layout, file, directory),
        "per_cpu": directory({"cpu0": directory(per_cpu)}),
        "saved_cmdlines": file(0o440, partial(_cmdlines, trace)),
        "set_event": file(
            0o640,
            lambda: _names(file for file in trace.files.values() if file.enabled),
            partial(_set_event, trace),
            lambda: _switch(trace, trace.files.values(), on=False),
        ),
        "set_event_pid": file(
            0o640, partial(_pids, trace), partial(_set_pids, trace), partial(_clear_pids, trace)
        ),
        "trace": TraceFile(trace, uid, gid),
        "trace_clock": file(0o640, partial(_clocks, trace), partial(_set_clock, trace)),
        "trace_marker": file(0o220, None, partial(_mark, trace), longest=MAX_MARKER),
        "trace_options": file(0o640, partial(_options, trace), partial(_set_option, trace)),
        "trace_pipe": TracePipe(trace, uid, gid),
        "tracing_on": file(0o640, lambda: f"{trace.on:d}\n", partial(_set_on, trace)),
    }
    root = directory(nodes)
    root.mode = stat.S_IFDIR | 0o700
    return root


def _names(files: Iterable[TraceEventFile]) -> str:
    return "".join(f"{file.event.system}:{file.event.name}\n" for file in files)


# -- events/ -------------------------------------------------------------------------------


def _events(
    trace: Trace, layout: Layout, file: Make, directory: Callable[[dict[str, Node]], Directory]
) -> Directory:
    """The directory `events`."""
    systems: dict[str, dict[str, Node]] = {}
    for (system, name), event in trace.files.items():
        one = [event]
        systems.setdefault(system, {})[name] = directory(
            {
                "enable": file(0o640, partial(_enabled, one), partial(_enable, trace, one)),
                "filter": file(
                    0o640,
                    partial(_filter, event),
                    partial(_set_filter, trace, event),
                    longest=PAGE_SIZE,
                ),
                "format": file(0o440, partial(format_text, event.event, layout.pointer_size)),
                "id": file(0o440, partial("{}\n".format, event.event.id)),
            }
        )
    every = list(trace.files.values())
    nodes: dict[str, Node] = {
        "enable": file(0o640, partial(_enabled, every), partial(_enable, trace, every))
    }
    for system, events in systems.items():
        some = [event for event in every if event.event.system == system]
        nodes[system] = directory(
            {
                "enable": file(0o640, partial(_enabled, some), partial(_enable, trace, some)),
                "filter": file(
                    0o640,
                    lambda: GLOBAL_FILTER,
                    partial(_set_filters, trace, some),
                    longest=PAGE_SIZE,
                ),
                **events,
            }
        )
    return directory(nodes)


def _enabled(files: list[TraceEventFile]) -> str:
    """X where some are on and some are not."""
    on = {file.enabled for file in files}
    return "X\n" if len(on) > 1 else f"{on.pop():d}\n"


def _switch(trace: Trace, files: Iterable[TraceEventFile], on: bool) -> None:
    for file in files:
        trace.enable(file, on)


def _enable(trace: Trace, files: list[TraceEventFile], data: bytes) -> None:
    """Linux: event_enable_write(), system_enable_write()"""
    value = kstrtoul_from_user(data, 10)
    if value > 1:
        raise refused(errno.EINVAL)
    _switch(trace, files, bool(value))


def _filter(file: TraceEventFile) -> str:
    return f"{file.filter_text or 'none'}\n"


def _expression(data: bytes) -> str:
    """What was written, without blanks at its end; up to a NUL.

    Linux: event_filter_write()
    """
    if len(data) >= PAGE_SIZE:
        raise refused(errno.EINVAL)
    text = data.partition(b"\0")[0].decode("utf-8", "surrogateescape")
    return text.rstrip(" \t\n\v\f\r")


def _set_filter(trace: Trace, file: TraceEventFile, data: bytes) -> None:
    try:
        trace.set_filter(file, _expression(data))
    except FilterError as error:
        raise refused(_ERRNOS[error.refusal]) from error


def _set_filters(trace: Trace, files: list[TraceEventFile], data: bytes) -> None:
    """Each event that has the fields is filtered; what is wrong stands at each of the others.

    Linux: kernel/trace/trace_events_filter.c:process_system_preds()
    """
    text = _expression(data)
    for file in files:
        try:
            trace.set_filter(file, text)
        except FilterError:
            continue


def _get_word(data: bytes) -> tuple[bytes, int]:
    """The first word, "" if there are only blanks, and how many bytes have been looked at for it.

    Raises:
        OSError: EINVAL, it is longer than MAX_WORD.

    Linux: kernel/trace/trace.c:trace_get_user()
    """
    rest = data.lstrip(BLANKS)
    begin = len(data) - len(rest)
    word = re.split(rb"[\s\xa0\0]", rest[: MAX_WORD + 2], maxsplit=1)[0]
    if len(word) > MAX_WORD:
        raise refused(errno.EINVAL)
    return word, min(begin + len(word) + 1, len(data))


def _set_event(trace: Trace, data: bytes) -> int:
    """Switch those on that the first word means, or with a ! off.

    Linux: ftrace_event_write()
    """
    word, taken = _get_word(data)
    if word:
        pattern = word.decode("latin-1")
        trace.expand()
        if not trace.set_event(pattern.removeprefix("!"), on=not pattern.startswith("!")):
            raise refused(errno.EINVAL)
    return taken


# -- whose events --------------------------------------------------------------------------


def _pids(trace: Trace) -> str:
    return "".join(f"{pid}\n" for pid in sorted(trace.pids or ()))


def _set_pids(trace: Trace, data: bytes) -> int:
    """Add to those whose events are recorded; all of them, or if one is no pid, none.

    Linux: trace_pid_write()
    """
    pids, left = set(trace.pids or ()), data
    while left:
        word, taken = _get_word(left)
        left = left[taken:]
        if word:
            pids.add(_pid(word))
    trace.pids = frozenset(pids) if pids else None
    return len(data)


def _pid(word: bytes) -> int:
    try:
        return kstrtonumber(word, 0, MAX_PID - 1)
    except OSError:
        raise refused(errno.EINVAL) from None


def _clear_pids(trace: Trace) -> None:
    trace.pids = None


def _cmdlines(trace: Trace) -> str:
    return "".join(f"{pid} {comm}\n" for pid, comm in trace.cmdlines.items() if pid)


# -- the ring ------------------------------------------------------------------------------


def _set_on(trace: Trace, data: bytes) -> None:
    """Linux: rb_simple_write()"""
    trace.on = bool(kstrtoul_from_user(data, 10))
    if not trace.on:
        trace.wake()  # who has read something is at the end


def _mark(trace: Trace, data: bytes) -> int:
    """Linux: tracing_mark_write()"""
    if not trace.options["markers"]:
        raise refused(errno.EINVAL)
    if not trace.mark(data):
        raise refused(errno.EBADF)
    return len(data)


def _buffer_size(trace: Trace) -> str:
    if trace.expanded:
        return f"{trace.buffer_size_kb}\n"
    return f"{trace.buffer_size_kb} (expanded: {trace.usual_size_kb})\n"


def _resize(trace: Trace, data: bytes) -> None:
    """Linux: tracing_entries_write()"""
    kb = kstrtoul_from_user(data, 10)
    if not kb:
        raise refused(errno.EINVAL)
    if kb > MAX_BUFFER_KB:
        raise refused(errno.ENOMEM)
    trace.resize(kb)


def _stats(trace: Trace) -> str:
    """Linux: tracing_stats_read()"""
    books = trace.statistics()
    oldest = next((record.when for _, record in trace.records_from(0)), 0)
    times = (oldest, trace.now)
    if trace.clock == "counter":
        first, last = (str(time) for time in times)
    else:
        first, last = (f"{ns // 10**9:5d}.{ns % 10**9 // 1000:06d}" for ns in times)
    return (
        f"entries: {books.entries}\noverrun: {books.overrun}\ncommit overrun: 0\n"
        f"bytes: {books.entries * RECORD_BYTES}\noldest event ts: {first}\nnow ts: {last}\n"
        f"dropped events: 0\nread events: {books.read}\n"
    )


# -- how it reads --------------------------------------------------------------------------


def _only(word: bytes, data: bytes) -> None:
    """There is one such word."""
    if data.partition(b"\0")[0].strip() != word:
        raise refused(errno.EINVAL)


def _clocks(trace: Trace) -> str:
    names = (f"[{name}]" if name == trace.clock else name for name in CLOCKS)
    return " ".join(names) + "\n"


def _set_clock(trace: Trace, data: bytes) -> None:
    """Linux: tracing_clock_write()"""
    name = strim(data).decode("latin-1")
    if name not in CLOCKS:
        raise refused(errno.EINVAL)
    trace.set_clock(name)


def _options(trace: Trace) -> str:
    return "".join(f"{name if on else 'no' + name}\n" for name, on in trace.options.items())


def _set_option(trace: Trace, data: bytes) -> None:
    """Linux: trace_set_options()"""
    name = strim(data).decode("latin-1")
    on = not name.startswith("no")
    name = name if on else name.removeprefix("no")
    if name not in trace.options:
        raise refused(errno.EINVAL)
    trace.options[name] = on
