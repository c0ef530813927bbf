"""A recording that is being made: its lines until somebody takes them, and when one can begin.

    calls ---> Recorder ---> tape ---> lines, up to FULL bytes ---> who reads `record`
                              |          |
                              |        more: calls that can wait do, until some are taken out
                              |        up to LOST: and then it is over, with a line that says so
                              |
                            forms and values of MOST calls, whose lines are made together; what is
                            long, or somebody waits for, is made into lines at once

A mount that was used by nobody yet is the state that a recording begins with: a replay gets it from
the options alone.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from functools import partial
from typing import Final

from scullvfs.fs.record_file import ENOUGH, RecordFile
from scullvfs.fs.tree import Tree
from scullvfs.fs.vfs import Vfs
from scullvfs.fs.waiting import Waiters, wake_all
from scullvfs.mm import Machine

from .lines import PLAIN, Entry, Header, Sums, Writer
from .recorder import MOST, Recorder

__all__ = ["Recordings", "Stream"]

FULL: Final = 1 << 20
"""Bytes of lines from which on calls wait."""
LOST: Final = 8 << 20
"""Bytes that nobody has taken, by calls that cannot wait, from which on the recording ends."""


class Stream:
    """The lines of one recording."""

    def __init__(self, vfs: Vfs, machine: Machine, header: Header, writer: Writer) -> None:
        self.waiting: Final[Waiters] = {}
        self.length = 0
        self.ended = False
        self._tape: Final[list[Entry]] = []
        self._lines: Final[deque[memoryview]] = deque()
        self._sums: Final = Sums(writer)
        self._recorder: Final = Recorder(
            vfs, machine, self._tape, self._write, header.whole, writer.sum_of
        )
        self._add(self._sums.line(header.text()))
        self._recorder.attach()

    def _write(self) -> None:
        """Make the lines of what is on the tape."""
        if self._tape and not self.ended:
            lines = self._sums.lines(self._tape)
            self._tape.clear()
            self._add(lines)

    def _add(self, lines: bytes) -> None:
        before = self.length
        self._lines.append(memoryview(lines))
        self.length += len(lines)
        self._recorder.most = MOST
        if self.waiting and (not before or before < ENOUGH <= self.length):
            wake_all(self.waiting)
        self._recorder.is_full = self.length >= FULL
        if self.length >= LOST and not self.ended:
            self._finish('{"lost":true')

    def take(self, count: int) -> bytes:
        """Take up to `count` bytes out."""
        self._write()
        parts: list[memoryview] = []
        while self._lines and count:
            lines = self._lines.popleft()
            if len(lines) > count:
                self._lines.appendleft(lines[count:])
                lines = lines[:count]
            parts.append(lines)
            count -= len(lines)
        data = b"".join(parts)
        self.length -= len(data)
        if not self.length:
            self._recorder.most = 1  # so that who waits hears of it
        self._recorder.is_full = self.length >= FULL
        if self._recorder.room and not self._recorder.is_full:
            wake_all(self._recorder.room)
        return data

    def stop(self) -> None:
        """Record no more, and have an end mark behind what there is."""
        if not self.ended:
            self._recorder.flush()
            self._write()
        if not self.ended:
            self._finish(f'{{"end":{self._recorder.calls}')

    def _finish(self, mark: str) -> None:
        self.ended = True
        self._add(self._sums.line(mark))
        self._recorder.detach()
        wake_all(self.waiting)

    def __repr__(self) -> str:
        return f"<Stream calls={self._recorder.calls} length={self.length} ended={self.ended}>"


class Recordings:
    """Lets the files `record` and `record_data` of a tree begin recordings.

    Args:
        options: of the mount, as they stand behind `-o`.
        is_used: whether calls were made on the machine already, by nobody of the mount.
        whole: whether all recordings have the data, as what is written makes a difference.
        writer: how their lines are made.
    """

    def __init__(
        self,
        vfs: Vfs,
        tree: Tree,
        machine: Machine,
        options: str,
        *,
        is_used: bool = False,
        whole: bool = False,
        writer: Writer = PLAIN,
    ) -> None:
        self._is_used: Final = is_used
        self._vfs: Final = vfs
        self._tree: Final = tree
        self._machine: Final = machine
        self._options: Final = options
        self._whole: Final = whole
        self._writer: Final = writer
        self._stream: Stream | None = None
        self._rights: Final = self._devices_rights()
        for file in tree.nodes.values():
            if isinstance(file, RecordFile):
                file.begin = partial(self.begin, file.whole)
                file.current = lambda: self.current

    @property
    def current(self) -> Stream | None:
        """The recording that is being made."""
        return None if self._stream is None or self._stream.ended else self._stream

    def begin(self, whole: bool) -> Stream:
        """Record from now on.

        Raises:
            OSError: EBUSY, another is being made, or files are open; EOPNOTSUPP, somebody has used
                the mount, so that the machine may not be as its options make it.
        """
        if self.current is not None or len(self._vfs):
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        if not self._is_fresh():
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        header = Header(
            self._options,
            whole or self._whole,
            self._machine.times(),
            self._tree.made,
            self._vfs.opened + 1,  # with the open that is being made
        )
        self._stream = Stream(self._vfs, self._machine, header, self._writer)
        return self._stream

    def _devices_rights(self) -> list[tuple[int, int, int]]:
        return [
            (node.mode, node.uid, node.gid) for node in self._tree.nodes.values() if not node.frozen
        ]

    def _is_fresh(self) -> bool:
        """Whether there was no call that can have changed anything, by the counters of calls.

        To read a device makes list items; to read another file changes nothing.  To open one
        empties it, and it was empty.  An ioctl(2) that fails has done nothing: programs ask any
        file whether it is a terminal.
        """
        others, *devices = self._tree.calls.rows()
        done = [others[name]["calls"] for name in ("write", "truncate", "fallocate")]
        for device in devices:
            done += [
                kind["calls"] for name, kind in device.items() if name not in ("open", "ioctl")
            ]
            done.append(device["ioctl"]["calls"] - device["ioctl"]["errors"])
        return not any(done) and not self._is_used and self._devices_rights() == self._rights
