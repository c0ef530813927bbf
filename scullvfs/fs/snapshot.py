"""The file `snapshot`: a read of it is a machine, as it was when the file was opened.

    cat snapshot > machine.snap         what `scullvfs snapshot save` does, and looks at it, too

Who opens it waits for what is done to a file in slices just now (`mm.workqueue`), a large truncate
say, of which half is no picture of a device.  From then on others are served: what is read comes
from a process of its own.  One can be open at a time.
"""

from __future__ import annotations

import errno
import logging
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import Final

from scullvfs.mm.access import View

from .file import File, Handle
from .node import refused
from .waiting import WouldWait

__all__ = ["Begin", "SnapshotFile"]

log = logging.getLogger(__name__)

Begin = Callable[[], tuple[int, int]]
"""Starts a process that writes a snapshot, of this moment; gives its pid, and what it is read from,
without waiting.  That process ends with status 0 if all was written."""

PAUSE: Final = 0.001
"""Seconds after which one looks again for what comes: with a pipe that is full by then, nobody who
reads is slower than by looking more often."""


class _NotYet(WouldWait):
    """Somebody looks again after a pause; whether it is to be waited for O_NONBLOCK says."""

    def __init__(self, again: Callable[[], object]) -> None:
        super().__init__({}, again)
        self.until = monotonic() + PAUSE


class SnapshotFile(File):
    """`snapshot`.

    Args:
        begin: starts what writes it.
        busy: whether something is being done in slices.
    """

    attr_timeout = 0
    nonseekable = True
    recorded = False

    def __init__(self, begin: Begin, busy: Callable[[], bool], uid: int, gid: int) -> None:
        super().__init__(0o400, uid, gid)
        self.begin = begin
        self._busy: Final = busy
        self.is_open = False
        self._killed: list[int] = []
        """Processes that were ended before their end, and are to be waited for."""

    def end(self, pid: int) -> None:
        """End a process; who waits for it now would wait until all of its memory is given back."""
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        self._killed.append(pid)
        self._reap()

    def _reap(self) -> None:
        self._killed = [pid for pid in self._killed if not os.waitpid(pid, os.WNOHANG)[0]]

    def open(self, flags: int, pid: int = 0) -> Handle:
        """Open, and have the picture taken.

        Raises:
            WouldWait: something is being done in slices.
            OSError: EBUSY, somebody has it open; ENOMEM, EAGAIN, EMFILE, no other process can be
                started.
        """
        self._reap()
        if self.is_open:
            raise refused(errno.EBUSY)
        if self._busy():
            raise _NotYet(partial(self.open, flags, pid))
        return _SnapshotHandle(self, *self.begin())


class _SnapshotHandle(Handle):
    """An open `snapshot`."""

    def __init__(self, file: SnapshotFile, pid: int, fd: int) -> None:
        file.is_open = True
        self._file: Final = file
        self._pid = pid
        self._fd: Final = fd

    def read(self, pos: int, count: int) -> View:
        """The next bytes, wherever one reads.

        Raises:
            WouldWait: they are to come.
            OSError: EIO, what writes it has failed, as the log says.
        """
        try:
            data = os.read(self._fd, count)
        except BlockingIOError:
            raise _NotYet(partial(self.read, pos, count)) from None
        if not data and self._pid:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            if not pid:
                raise _NotYet(partial(self.read, pos, count))
            self._pid = 0
            if status:
                code = os.waitstatus_to_exitcode(status)
                log.error("what writes a snapshot has ended before its end, with status %d", code)
                raise refused(errno.EIO)
        return data

    def release(self) -> None:
        """Nobody reads any more."""
        self._file.is_open = False
        os.close(self._fd)
        if self._pid:
            self._file.end(self._pid)
