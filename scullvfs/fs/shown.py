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
from time import monotonic
from typing import Final, NamedTuple

from scullvfs.mm.access import View

from .tree import File, Handle

__all__ = ["ShownFile", "ShownHandle"]

FRESH: Final = 1.0
"""Seconds for which a text waits for its OPEN."""


class _Made(NamedTuple):
    """A text that waits for the OPEN of a process that has looked the name up."""

    pid: int
    time: float
    text: bytes


class ShownFile(File):
    """A file with a text of the moment of its open.  A subclass has `text()` and `opened()`."""

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

    def opened(self, text: bytes) -> Handle:
        """Make an open file of a text."""
        return ShownHandle(text)

    @property
    def size(self) -> int:
        """Length of the text that was made last."""
        return self._size

    def refresh(self) -> bytes:
        """Make the text, and have its size."""
        text = self.text().encode()
        self._size = len(text)
        self.modified()
        return text

    def looked_up(self, pid: int) -> None:
        """Make the text for who is about to open the file or to ask for its size."""
        self._made = _Made(pid, monotonic(), self.refresh())

    def open(self, flags: int, pid: int = 0) -> Handle:
        """Open with the text that `pid` has looked up just now, or else with a new one.

        Raises:
            OSError: EACCES, a read-only file opened for writing (only root comes this far).
        """
        if flags & os.O_ACCMODE != os.O_RDONLY and not self._writable:
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        made, self._made = self._made, None
        if made is not None and made.pid == pid and monotonic() - made.time < FRESH:
            return self.opened(made.text)
        return self.opened(self.refresh())


class ShownHandle(Handle):
    """An open file with a text, which stays as it was."""

    def __init__(self, text: bytes) -> None:
        self._text = text

    def read(self, pos: int, count: int) -> View:
        """A part of the text."""
        return self._text[pos : pos + count]
