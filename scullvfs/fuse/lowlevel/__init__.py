"""Between pyfuse3 and libfuse: what pyfuse3 leaves out, and a quick way for reads and writes.

    python ----> pyfuse3 ----> fuse_session_new() in _interpose ----> the one in libfuse
                                  |
                                  + puts ioctl ... into the table of operations, and its own
                                    read and write in the place of pyfuse3's

The dynamic linker resolves pyfuse3's call to the first library that has the name, so
`_interpose` has to be loaded before pyfuse3, and globally.  Importing this package does that;
`scullvfs.fuse` does it before anything else.  What stands between the two knows no Python:
session.c has the table of operations, loop.c waits for requests, and scatterlist.c knows the
memory that they are answered with.  module.c is their way into Python, with handlers.c, what is
called there, request.c, a request that is answered later, and poll.c, who polls.  lines.c, with
crc32.c and base64.c, writes the lines of a recording.  build.py compiles
them.

The operations call straight into Python, and answer at once: a read with the page frames that
the driver names, which the host's kernel copies from where they are; a write from the buffer
that libfuse received it in.  pyfuse3 would make a coroutine and a copy of each, and does not
pass on what tells the page cache's reads from a system call's.

Where `_interpose` is missing or the call went by it, `hooked()` is false, and the mount
works without: ioctl(2) gives ENOTTY, SEEK_DATA and fallocate(2) what the kernel makes of
it, a read that would wait gives EAGAIN, who waits for a delay cannot be interrupted, files cannot
be copied within the mount in the kernel (sendfile, splice and copy_file_range stop at the end of a
quantum), and a read takes three times as long.
"""

from __future__ import annotations

import os
import sys
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from types import ModuleType
from typing import Any, Final, Protocol

from scullvfs.fs.waiting import WouldWait
from scullvfs.mm import scatterlist
from scullvfs.mm.access import Buffer, View
from scullvfs.mm.sched import Running, Task

from ..errors import errno_of

__all__ = [
    "MISSING",
    "Handlers",
    "Request",
    "Served",
    "hooked",
    "request",
    "requests",
    "serve",
    "serve_with",
    "sg_copy_from_buffer",
    "sum_of",
    "write_lines",
]


MISSING: Final = (
    "the low-level operations are not available: no ioctl, SEEK_DATA or fallocate, cp within "
    "the mount is cut at the end of a quantum, and reads and writes take longer; install "
    "scullvfs with gcc, pkg-config and libfuse3-dev present"
)
"""What to say when they are not hooked in."""


class Served(IntEnum):
    """How a call of `serve()` ended (loop.c: enum scullvfs_outcome)."""

    OTHER = 0
    """With something for pyfuse3: another request, or the end of the mount."""
    TURN = 1
    """The time is over, and there may be more to do."""
    IDLE = 2
    """No request came."""
    CLOSED = 3
    """The session is to end."""


class Request(Protocol):
    """A request that takes long (request.c).  It is answered once."""

    def interrupted(self) -> bool:
        """Whether its caller had a signal meanwhile or was killed, or the session is to end."""

    def on_interrupt(self, wake: Callable[[], object]) -> None:
        """Call something, in place of what was given before, when its caller is interrupted.

        That is at once where he was already.
        """

    def reply(self, result: object) -> None:
        """Answer it, as its handler would have returned: a read with data, a write with a count, an
        ioctl with result and data, an lseek with a position, a fallocate with whatever."""

    def fail(self, error: BaseException) -> None:
        """Answer it with the errno of an exception."""


@dataclass(frozen=True, slots=True)
class Handlers:
    """What serves the operations.  Each raises an OSError with the errno to answer.

    Whose call it is has been said in `running.current` before.
    """

    running: Running
    counters: array[int]
    """Where calls are counted, as `fs.calls` has it: the row is in the lowest bits of `fh`."""

    read: Callable[[int, int, int, bool], View]
    """(fh, off, size, page_cache): read(2), or with `page_cache` a fill of the page cache,
    which no system call asked for.  The result is used at once, so it may be a view of what
    changes later."""
    write: Callable[[int, int, Buffer, int | None], int]
    """(fh, off, data, flags): write(2) to an open file that has these `flags` now.  `data` is
    released when it returns: a ValueError for who keeps it.  A slice of it must not be kept."""
    write_pages: Callable[[int, int, Buffer, int], int]
    """The same of the page cache, which writes mapped pages back, and takes a short count for
    all; no open file has these `flags`."""
    ioctl: Callable[[int, int, int, bytes], tuple[int, bytes]]
    """(fh, cmd, arg, data): ioctl(2); `data` is what the kernel fetched as `cmd` says.
    Result, and what to store."""
    lseek: Callable[[Request, int, int, int], None]
    """(request, fh, off, whence): lseek(2) with SEEK_DATA or SEEK_HOLE; the kernel does the
    others.  Answers by `request`, at once or later, unless it raises."""
    fallocate: Callable[[Request, int, int, int, int], None]
    """(request, fh, mode, off, length): fallocate(2), answered likewise."""
    hold: Callable[[Request, WouldWait, int], None]
    """(request, wait, flags): a read, write or ioctl whose handler raised `wait`, of an open file
    that has these `flags` now.  Answers later, or raises."""
    poll: Callable[[int, Callable[[], None] | None], int]
    """(fh, wake): poll(2), what can be done without waiting; `wake` is to be called once, if it is
    any, when that may be more."""


def _load() -> ModuleType | None:
    flags = sys.getdlopenflags()
    sys.setdlopenflags(os.RTLD_NOW | os.RTLD_GLOBAL)
    try:
        from . import _interpose
    except ImportError:
        return None
    finally:
        sys.setdlopenflags(flags)
    extension: ModuleType = _interpose
    return extension


_extension = _load()


def hooked() -> bool:
    """Whether the operations are in place.  Known once pyfuse3.init() has returned."""
    return _extension is not None and bool(_extension.hooked())


def requests() -> int | None:
    """Requests that the kernel has sent until now; None where nobody counts them."""
    if _extension is None or not hooked():
        return None
    count: int = _extension.requests()
    return count


def serve_with(
    handlers: Handlers,
    max_write: int,
    copy_file_range_errno: int,
    auto_inval_data: bool,
    writeback: bool = False,
) -> None:
    """Let `handlers` serve the operations from now on.

    Args:
        max_write: bytes that the kernel puts into one request at the most, of reads and of
            writes; 4 KiB to 1 MiB.
        copy_file_range_errno: what copy_file_range(2) within the mount gives, 1..999; with
            EOPNOTSUPP the kernel copies by itself.
        auto_inval_data: whether the kernel drops what it has cached of a file when the file's
            st_mtime is not what it was, which it is after each write, too.
        writeback: whether the kernel keeps what is written to files behind its page cache, and
            writes it back later.  Size and times of regular files are its own then.

    Raises:
        ValueError: a number out of its range, or counters that are no whole rows; nothing has
            changed.
    """
    if _extension is not None:
        _extension.serve_with(
            handlers,
            errno_of,
            WouldWait,
            handlers.running,
            Task,
            handlers.counters,
            max_write,
            copy_file_range_errno,
            auto_inval_data,
            writeback,
        )


class _Deaf:
    """A request of which nobody hears whether it was interrupted."""

    def interrupted(self) -> bool:
        return False

    def on_interrupt(self, wake: Callable[[], object]) -> None:
        pass

    def reply(self, result: object) -> None:
        raise AssertionError("pyfuse3 answers it")

    def fail(self, error: BaseException) -> None:
        raise AssertionError("pyfuse3 answers it")


@contextmanager
def request() -> Iterator[Request]:
    """The open or setattr whose handler has begun and not waited yet; pyfuse3 answers it, later.

    Raises:
        ValueError: it has waited, and other requests have come.
    """
    if _extension is None:
        yield _Deaf()
        return
    current = _extension.request()
    try:
        yield current
    finally:
        current.forget()


def serve(end: int, spin_ns: int, sleep_ms: int) -> Served:
    """Serve reads and writes as they come, where `hooked()`.

    Args:
        end: when it returns at the latest, as `time.monotonic_ns()` tells time.
        spin_ns: for how long to poll for a request without sleeping.
        sleep_ms: for how long to sleep then until one comes, in milliseconds.

    Raises:
        OSError: the descriptor of the session cannot be made one that does not block.
    """
    assert _extension is not None
    outcome: int = _extension.serve(end, spin_ns, sleep_ms)
    return _SERVED[outcome]


_SERVED: Final = tuple(Served)

sg_copy_from_buffer = (
    scatterlist.sg_copy_from_buffer if _extension is None else _extension.sg_copy_from_buffer
)
"""`scatterlist.sg_copy_from_buffer()`, in C where there is the extension."""

write_lines: Final[Callable[[list[tuple[Any, ...]], int], tuple[bytes, int]] | None] = (
    None if _extension is None else _extension.write_lines
)
"""`recording.lines.write_lines()`, in C."""
sum_of: Final[Callable[[View], int] | None] = (
    _extension.sum_of if _extension is not None and _extension.sums_quickly() else None
)
"""`recording.lines.sum_of()`, in C; None where the CPU has nothing that makes it quicker."""
