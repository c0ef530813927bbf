"""Files whose text is made when they are opened, as those of procfs and sysfs are.

Their size is that of the text.  The kernel's own files say 0 or a page, and its sendfile(2) and
lseek(2) know about them; about those of a FUSE mount they know only the size, so with another
one tail prints nothing, and programs that copy with sendfile(2) make an empty file.

    open(2)  --> LOOKUP   the text is made; the kernel takes its length for i_size
             --> OPEN     the open file gets that text
    fstat(2) --> GETATTR  its length again, whatever has happened since

The kernel asks for LOOKUP at each path since it may not remember the name (`entry_timeout`).
OPEN without it (a file opened anew by way of /proc/self/fd) makes the text itself.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Final, NamedTuple

from scullvfs.mm import outside
from scullvfs.mm.access import Buffer, View
from scullvfs.mm.workqueue import Left, Steps

from .file import File, Handle
from .node import refused

__all__ = ["ShownFile", "TextFile", "WritableFile"]

FRESH: Final = 1_000_000_000
"""Nanoseconds for which a text waits for its OPEN."""


class _Made(NamedTuple):
    """A text that waits for the OPEN of a process that has looked the name up."""

    pid: int
    time: int
    text: bytes


class ShownFile(File):
    """A file with a text of the moment of its open.  A subclass has `text()`."""

    attr_timeout = 0
    entry_timeout = 0

    def __init__(self, permissions: int, uid: int, gid: int, *, writable: bool = False) -> None:
        super().__init__(permissions, uid, gid)
        self._writable = writable
        self._size = 0
        self._made: _Made | None = None

    def text(self) -> str:
        """Make the text."""
        raise NotImplementedError

    def _opened(self, text: bytes) -> Handle:
        return _ShownHandle(text)

    @property
    def size(self) -> int:
        """Length of the text that was made last."""
        return self._size

    def refresh(self) -> bytes:
        """Make the text, and have its size."""
        text = self.text().encode("utf-8", "surrogateescape")
        self._size = len(text)
        self.modified()
        return text

    def looked_up(self, pid: int) -> None:
        """Make the text for who is about to open the file or to ask for its size."""
        self._made = _Made(pid, outside.monotonic_ns(), self.refresh())

    def open(self, flags: int, pid: int = 0) -> Handle:
        """Open with the text that `pid` has looked up just now, or else with a new one.

        Raises:
            OSError: EACCES, a read-only file opened for writing (only root comes this far).
        """
        if flags & os.O_ACCMODE != os.O_RDONLY and not self._writable:
            raise refused(errno.EACCES)
        made, self._made = self._made, None
        if made is not None and made.pid == pid and outside.monotonic_ns() - made.time < FRESH:
            return self._opened(made.text)
        return self._opened(self.refresh())


class TextFile(ShownFile):
    """One that is only read, and whose text a function makes."""

    def __init__(self, show: Callable[[], str], permissions: int, uid: int, gid: int) -> None:
        super().__init__(permissions, uid, gid)
        self._show = show

    def text(self) -> str:
        """What there is to show now."""
        return self._show()


class WritableFile(ShownFile):
    """One that does something with what is written, wherever in it.  A subclass has `store()`."""

    def store(self, data: Buffer) -> int:
        """Take what is written; returns how many bytes of it."""
        raise NotImplementedError

    def truncate(self, length: int) -> Steps[Left]:
        """Nothing happens: `echo 4 > file` does that first (Linux: fs/kernfs/inode.c)."""
        yield from ()
        return None

    def _opened(self, text: bytes) -> Handle:
        return _WritableHandle(self, text) if self._writable else _ShownHandle(text)


class _ShownHandle(Handle):
    """An open file with a text, which stays as it was."""

    def __init__(self, text: bytes) -> None:
        self._text = text

    def read(self, pos: int, count: int) -> View:
        """A part of the text."""
        return self._text[pos : pos + count]


class _WritableHandle(_ShownHandle):
    """An open file that can be written to, too, which leaves its text as it was."""

    def __init__(self, file: WritableFile, text: bytes) -> None:
        super().__init__(text)
        self._file = file

    def write(self, pos: int, data: Buffer, append: bool) -> int:
        """Have the file take it."""
        return self._file.store(data)
