"""The open files of a mount, and every call that is made through one.

A file handle is the number that the kernel gives back with each such call (Linux: struct
file): a number of its own, and in the lowest bits the row of the file's counters (`calls`).  What a
call cannot do is an exception; whoever passes the call on from FUSE makes an
errno of it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Final, TypeVar

from scullvfs.mm.access import Buffer, View
from scullvfs.mm.sched import Running, Task
from scullvfs.mm.vmalloc_ahead import VmallocAhead
from scullvfs.mm.workqueue import Left, Steps

from .calls import ROW_BITS, CallTable, Counting, Kind, Statistics
from .file import File, Handle
from .node import refused
from .privileges import PRIVILEGES, remove_privileges
from .waiting import WouldWait

__all__ = ["NR_FILE", "OpenFiles"]

NR_FILE: Final = 8192
"""How many files may be open at once, but for root (Linux: include/linux/fs.h:NR_FILE).

Each takes some hundred bytes here that no limit of the caller's accounts for."""

T = TypeVar("T")


class OpenFiles:
    """All open files, by their handle.

    One call is served at a time, in one go, but for those that give steps: between two of these
    other calls may come.

    Args:
        running: who calls, as whoever passes a call on has said there before.
        calls: the counters of the tree that the files are in.
    """

    def __init__(self, running: Running, calls: CallTable) -> None:
        self._running: Final = running
        self._calls: Final = calls
        self._files: dict[int, Handle] = {}
        self.opened = 0
        """How many files have been opened; handles are numbered by it."""
        self.ahead: VmallocAhead | None = None
        """Makes areas while requests are served, and before anybody looks undoes them."""

    def __len__(self) -> int:
        """How many files are open."""
        return len(self._files)

    def open_file(self, file: File, flags: int) -> tuple[int, Left]:
        """open(2); returns the handle, and what the open has left to do.

        Raises:
            OSError: the file cannot be opened so; ENFILE, NR_FILE are open, and it is not root
                who asks (Linux: fs/file_table.c:alloc_empty_file()).
        """
        task = self._running.current
        if len(self._files) >= NR_FILE and task.uid != 0:
            raise refused(errno.ENFILE)
        opened = partial(self._opened, file, flags, task)
        try:
            handle = file.open(flags, task.pid)
        except WouldWait as wait:
            raise wait.then(opened) from None
        return opened(handle)

    def _opened(self, file: File, flags: int, task: Task, handle: Handle) -> tuple[int, Left]:
        """The rest of `open_file()`, which may come later."""
        left, handle.left = handle.left, None
        if left is not None and file.mode & PRIVILEGES:
            remove_privileges(file, task.pid)
        handle.file, handle.flags = file, flags
        self.opened += 1
        fh = self.opened << ROW_BITS | file.calls.row
        self._files[fh] = handle
        return fh, None if left is None else self._on_behalf(task, left)

    def statistics(self) -> dict[str, Statistics]:
        """Name of each device -> what was asked of it since the mount, and what that cost."""
        return self._calls.statistics()

    def counting(self, fh: int, kind: Kind) -> AbstractContextManager[Counting]:
        """Count a call that nobody else counts."""
        return self._files[fh].file.calls.counting(kind)

    def read(self, fh: int, off: int, size: int, page_cache: bool) -> View:
        """read(2), or a fill of the page cache; see `Handle.read()` and `read_pages()`."""
        handle = self._files[fh]
        if handle.looks and self.ahead is not None:
            self.ahead.undo()
        return handle.read_pages(off, size) if page_cache else handle.read(off, size)

    def write(self, fh: int, off: int, data: Buffer, flags: int | None) -> int:
        """write(2); `flags` are those of the open file now, if they are known to have changed."""
        handle = self._files[fh]
        if handle.looks and self.ahead is not None:
            self.ahead.undo()
        if handle.file.mode & PRIVILEGES and handle.file.direct_io:
            remove_privileges(handle.file, self._running.current.pid)
        flags = handle.flags if flags is None else flags
        return handle.write(off, data, flags & os.O_APPEND != 0)

    def write_pages(self, fh: int, off: int, data: Buffer, flags: int | None) -> int:
        """What was written to mapped pages; see `Handle.write_pages()`."""
        return self._files[fh].write_pages(off, data)

    def ioctl(self, fh: int, cmd: int, arg: int, data: bytes) -> tuple[int, bytes]:
        """ioctl(2)."""
        return self._files[fh].ioctl(cmd, arg, data)

    def poll(self, fh: int, wake: Callable[[], None] | None) -> int:
        """poll(2); see `Handle.poll()`."""
        return self._files[fh].poll(wake)

    def lseek(self, fh: int, off: int, whence: int) -> Steps[int]:
        """lseek(2) with SEEK_DATA and SEEK_HOLE."""
        return self._steps(partial(self._files[fh].lseek, off, whence))

    def fallocate(self, fh: int, mode: int, off: int, length: int) -> Steps[None]:
        """fallocate(2)."""
        return self._steps(partial(self._files[fh].fallocate, mode, off, length))

    def _steps(
        self, call: Callable[[], Steps[Any]], then: Callable[[Any], Any] = lambda result: result
    ) -> Steps[Any]:
        """The work that a call gives, now or later, and what its result becomes."""
        task = self._running.current

        def work(steps: Steps[Any]) -> Steps[Any]:
            return then((yield from self._on_behalf(task, steps)))

        try:
            return work(call())
        except WouldWait as wait:
            raise wait.then(work) from None

    def _on_behalf(self, task: Task, steps: Steps[T]) -> Steps[T]:
        """Some work, and whose it is, whoever else calls between its steps."""
        go_on: Callable[[], None] = partial(next, steps)
        while True:
            self._running.current = task
            try:
                go_on()
            except StopIteration as end:
                result: T = end.value
                return result
            go_on = partial(next, steps)
            try:
                yield
            except BaseException as error:  # that the caller was interrupted, say
                go_on = partial(steps.throw, error)

    def inos(self) -> dict[int, int]:
        """Handle of each open file -> its inode number."""
        return {fh: handle.file.ino for fh, handle in self._files.items()}

    def file(self, fh: int) -> File:
        """What is open."""
        return self._files[fh].file

    def release(self, fh: int) -> None:
        """The last descriptor and the last mapping of an open file are gone."""
        self._files.pop(fh).release()
