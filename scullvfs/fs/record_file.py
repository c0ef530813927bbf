"""`sys/kernel/debug/record` and `record_data`: every call on the mount, as it is made.

    cat record > run.scull      begins a recording, and waits for calls, as trace_pipe does
    echo 0 > record             ends it: the rest comes, an end mark, and the end of the file

Who reads `record_data` gets what is written to the devices, too.  One recording at a time can be
made, and it ends with the open file that it is read through.  What it is made of, and from when on
one can be made, is not known here: `begin` is given from above.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import Final, Protocol

from scullvfs.mm.access import Buffer, View
from scullvfs.mm.workqueue import Left, Steps

from .file import File, Handle
from .kstrtox import kstrtobool_from_user
from .node import refused
from .waiting import Waiters, WouldWait

__all__ = ["ENOUGH", "LONGEST", "RecordFile", "Recording"]

ENOUGH: Final = 1 << 16
"""Bytes for which a reader is woken at once."""
LONGEST: Final = 0.1
"""Seconds that less than that waits for more: a reader who is woken costs more than a call."""


class Recording(Protocol):
    """A recording that is being made."""

    @property
    def waiting(self) -> Waiters:
        """Who is woken when there is something for one who waits, and when that is enough."""

    @property
    def length(self) -> int:
        """Bytes that can be taken."""

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""

    def take(self, count: int) -> bytes:
        """Take up to `count` of them out."""

    def stop(self) -> None:
        """Record no more, and have an end mark behind what there is."""


class RecordFile(File):
    """One of the two.

    Args:
        whole: whether it has the data.
    """

    attr_timeout = 0
    nonseekable = True
    recorded = False

    def __init__(self, whole: bool, uid: int, gid: int) -> None:
        super().__init__(0o600, uid, gid)
        self.whole: Final = whole
        self.begin: Callable[[], Recording] = partial(_none, errno.ENODEV)
        """Begins a recording.  An OSError says why not: EBUSY, another is made, or files are open;
        EOPNOTSUPP, the machine is not as it was when it was mounted."""
        self.current: Callable[[], Recording | None] = lambda: None
        """The one that is being made."""

    def truncate(self, length: int) -> Steps[Left]:
        """Nothing happens: `echo 0 > record` does that first."""
        yield from ()
        return None

    def open(self, flags: int, pid: int = 0) -> Handle:
        """Begin a recording, unless it is opened for writing alone.

        Raises:
            OSError: what `begin` raises.
        """
        return _Handle(self, None if flags & os.O_ACCMODE == os.O_WRONLY else self.begin())


def _none(number: int) -> Recording:
    raise refused(number)


class _Handle(Handle):
    """An open one."""

    def __init__(self, file: RecordFile, recording: Recording | None) -> None:
        self._file = file
        self._recording = recording

    def read(self, pos: int, count: int) -> View:
        """What has been recorded, wherever one reads.

        Raises:
            OSError: EBADF, it is open for writing; WouldWait, there is not enough yet.
        """
        recording = self._recording
        if recording is None:
            raise refused(errno.EBADF)
        return self._read(recording, count, 0.0)

    def _read(self, recording: Recording, count: int, until: float) -> View:
        if recording.ended or recording.length >= ENOUGH or (until and monotonic() >= until):
            return recording.take(count)
        if recording.length and not until:
            until = monotonic() + LONGEST
        raise _More(recording, count, partial(self._read, recording, count, until), until)

    def write(self, pos: int, data: Buffer, append: bool) -> int:
        """End the recording that is made, by a false boolean.

        Raises:
            OSError: EINVAL, another value; ENODATA, there is none.
        """
        if kstrtobool_from_user(bytes(data[:64])) is not False:
            raise refused(errno.EINVAL)
        recording = self._file.current()
        if recording is None:
            raise refused(errno.ENODATA)
        recording.stop()
        return len(data)

    def release(self) -> None:
        """End what was recorded through it."""
        if self._recording is not None:
            self._recording.stop()


class _More(WouldWait):
    """There is not enough to read yet."""

    def __init__(
        self, recording: Recording, count: int, again: Callable[[], View], until: float
    ) -> None:
        super().__init__(recording.waiting, again)
        self.until = until or self.until
        self._recording = recording
        self._count = count

    def gone(self) -> View:  # type: ignore[override]
        """What is left, and the end mark: the mount ends."""
        self._recording.stop()
        return self._recording.take(self._count)
