"""The files `trace` and `trace_pipe`: what was recorded, left there and taken out.

    cat trace          all that is in the ring, oldest first, below a heading; it stays there
    > trace            throws it away
    cat trace_pipe     takes it out, and waits for more; two readers share what comes

A read of `trace_pipe` that finds nothing is a `WouldWait`: who passes the call on answers it when
there is something, or with EAGAIN.

Linux: kernel/trace/trace.c
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from select import POLLIN, POLLRDNORM
from typing import Final

from scullvfs.mm.access import Buffer, View
from scullvfs.mm.trace import Trace
from scullvfs.mm.workqueue import Left, Steps

from .file import File, Handle
from .seq_file import START, Place, ScannedListing, SeqFile
from .waiting import WouldWait

__all__ = ["TraceFile", "TraceListing", "TracePipe"]

COUNTED: Final = 1024
"""Records whose text is counted for the size of `trace`, while others wait, up to 5 ms; with more
of them it is 0, as Linux's is always."""
_ERRORS: Final = "surrogateescape"


class TraceListing(ScannedListing):
    """The text of `trace`.

    A place is (0, 0) before the heading, and (1, number of a record or less).
    """

    def __init__(self, trace: Trace) -> None:
        super().__init__()
        self._trace = trace

    def state(self) -> object:
        """Which records there are, and how they read."""
        trace = self._trace
        return trace.cleared, trace.written, trace.entries, trace.hash_ptr

    def size(self) -> int:
        """Of the heading, and of all records if they are not too many."""
        return super().size() if self._trace.entries <= COUNTED else 0

    def lines(self, place: Place) -> Iterator[tuple[bytes, Place]]:
        """Each with the place behind it."""
        trace = self._trace
        if place == START:
            yield trace.heading().encode(), (1, 0)
        for number, record in trace.records_from(place[1]):
            yield trace.line(record).encode("utf-8", _ERRORS), (1, number + 1)


class TraceFile(SeqFile):
    """`trace`."""

    def __init__(self, trace: Trace, uid: int, gid: int) -> None:
        super().__init__(TraceListing(trace), 0o640, uid, gid)
        self._trace = trace

    def open(self, flags: int, pid: int = 0) -> Handle:
        """Open; for writing with O_TRUNC, throw all records away."""
        if flags & os.O_ACCMODE == os.O_RDONLY:
            return super().open(flags, pid)
        if flags & os.O_TRUNC:
            self._trace.clear()
        if flags & os.O_ACCMODE == os.O_WRONLY:
            return _Ignoring(None)
        return _Ignoring(super().open(os.O_RDONLY, pid))

    def truncate(self, length: int) -> Steps[Left]:
        """Nothing happens: it is the open that throws away (Linux: fs/libfs.c:simple_setattr())."""
        yield from ()
        return None


class _Ignoring(Handle):
    """An open `trace` that can be written to, which does nothing."""

    def __init__(self, reading: Handle | None) -> None:
        self._reading = reading or Handle()

    def read(self, pos: int, count: int) -> View:
        """As one that is open for reading."""
        return self._reading.read(pos, count)

    def write(self, pos: int, data: Buffer, append: bool) -> int:
        """Nothing happens (Linux: tracing_write_stub())."""
        return len(data)


class TracePipe(File):
    """`trace_pipe`."""

    attr_timeout = 0
    nonseekable = True

    def __init__(self, trace: Trace, uid: int, gid: int) -> None:
        super().__init__(0o440, uid, gid)
        self._trace = trace

    def open(self, flags: int, pid: int = 0) -> Handle:
        """Open; whoever writes is refused then."""
        return _PipeHandle(self._trace)


class _PipeHandle(Handle):
    """An open `trace_pipe` (Linux: tracing_read_pipe())."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._rest = b""
        """Of a line that did not fit into a read."""
        self._has_read = False
        self._wake: Callable[[], None] | None = None
        """Of who polls."""

    def _ready(self) -> bool:
        """Whether a read has something to give, or the end of the file.

        That is where tracing is switched off, for who has read something: `cat` begun before
        tracing goes on until it is stopped (Linux: tracing_wait_pipe()).
        """
        ended = self._has_read and not self._trace.on
        return bool(self._rest) or self._trace.entries > 0 or ended

    def read(self, pos: int, count: int) -> View:
        """Take whole lines out of the ring, wherever one reads.

        Raises:
            WouldWait: there is none.
        """
        if not self._ready():
            raise WouldWait(self._trace.waiting, partial(self.read, pos, count))
        if not self._rest:
            self._rest = self._trace.take(count).encode("utf-8", _ERRORS)
        text, self._rest = self._rest[:count], self._rest[count:]
        self._has_read = True
        return text

    def poll(self, wake: Callable[[], None] | None) -> int:
        """Readable where a read would not wait.

        Who finds it so is told of the next record, too: epoll(7) with EPOLLET does not ask again
        before (Linux: kernel/trace/ring_buffer.c:ring_buffer_poll_wait()).
        """
        self.release()
        if wake is not None:
            self._wake = wake
            self._trace.waiting[wake] = None
        return POLLIN | POLLRDNORM if self._ready() else 0

    def release(self) -> None:
        """Nobody polls any more."""
        if self._wake is not None:
            self._trace.waiting.pop(self._wake, None)
            self._wake = None
