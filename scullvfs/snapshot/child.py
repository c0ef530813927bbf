"""A process that writes a snapshot while the daemon goes on.

    daemon      |--- serves ---|fork|--------------- serves ---------------->
                                  |            ^ reads from the pipe, when somebody reads the file
    child                         +-- books, RAM, as they were at the fork --> pipe, and ends

fork(2) makes a copy of all that there is in one go, which costs the daemon as long as it takes to
copy its page tables: some ten milliseconds a GiB of RAM that is written to.  A frame is copied when
one of the two writes to it.  So the picture is consistent, however long it takes to be read.

The daemon has one thread, so the child is whole.  It has no descriptor but the pipe's, so what the
daemon ends is ended; it ends itself when nobody reads.
"""

from __future__ import annotations

import fcntl
import gc
import os
import signal
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NoReturn

from scullvfs.inherited import close_all_but

__all__ = ["begin"]

PIPE_BYTES: Final = 1 << 20
"""Of the pipe, where this user may have as much (Linux: /proc/sys/fs/pipe-max-size)."""
NICE: Final = 5
"""So much the child is nicer than the daemon, which others wait for."""

Write = Callable[[bytes | memoryview], object]


def begin(write: Callable[[Write], None]) -> tuple[int, int]:
    """Have a child call `write` with what writes into a pipe.

    Returns its pid, and what can be read from without waiting.  Its exit status is 0 if all was
    written.

    Raises:
        OSError: there are no descriptors, no processes or no memory for it.
    """
    receiver, sender = os.pipe2(os.O_CLOEXEC)
    with suppress(OSError):
        fcntl.fcntl(sender, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    os.set_blocking(receiver, False)
    # None may come to the child before it has let go of what wakes the daemon.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        pid = os.fork()
        if pid == 0:
            _child(write, sender)
    except BaseException:
        os.close(receiver)
        raise
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        os.close(sender)
    return pid, receiver


def _child(write: Callable[[Write], None], sender: int) -> NoReturn:
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        gc.disable()  # it would touch all that there is
        close_all_but(sender)
        with suppress(OSError):
            os.nice(NICE)
        with open(sender, "wb", buffering=PIPE_BYTES) as pipe:
            write(pipe.write)
        status = 0
    except BaseException:
        # Not to the log, whose descriptor is closed: there the daemon says that it has failed.
        os.write(2, traceback.format_exc().encode(errors="replace"))
    finally:
        os._exit(status)
