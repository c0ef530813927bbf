"""Files with a short text: what shows one is a function, and what a write means another.

Any of them can be opened for writing by who may; where there is nothing to write the write is
refused, and where there is nothing to read the read, as tracefs and debugfs have it (Linux:
kernel/trace/trace.c).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from scullvfs.mm.access import Buffer, View

from .file import Handle
from .node import refused
from .shown import WritableFile

__all__ = ["ShowStoreFile"]

Store = Callable[[bytes], "int | None"]
"""Takes what is written; returns how many bytes of it, None for all."""


class ShowStoreFile(WritableFile):
    """A file with a text.

    Args:
        show: makes the text; None for a file that cannot be read.
        store: takes what is written; None for a file that cannot be written.
        emptied: called when it is opened for writing with O_TRUNC.
        longest: bytes of a write that are looked at.
    """

    def __init__(
        self,
        permissions: int,
        uid: int,
        gid: int,
        show: Callable[[], str] | None,
        store: Store | None = None,
        emptied: Callable[[], None] | None = None,
        longest: int = 4096,
    ) -> None:
        super().__init__(permissions, uid, gid, writable=True)
        self._show = show
        self._store = store
        self._emptied = emptied
        self._longest = longest

    def text(self) -> str:
        """What there is to show now."""
        return self._show() if self._show is not None else ""

    def open(self, flags: int, pid: int = 0) -> Handle:
        """Open, and empty it if that is asked for."""
        writes = flags & os.O_ACCMODE != os.O_RDONLY
        if writes and flags & os.O_TRUNC and self._emptied is not None:
            self._emptied()
        handle = super().open(flags, pid)
        return handle if self._show is not None else _Unreadable(self)

    def store(self, data: Buffer) -> int:
        """Take what is written.

        Raises:
            OSError: EINVAL, it cannot be written to; or what it means is refused.
        """
        if self._store is None:
            raise refused(errno.EINVAL)
        try:
            taken = self._store(bytes(data[: self._longest]))
        finally:
            self.refresh()
        return len(data) if taken is None else taken


class _Unreadable(Handle):
    """An open file that takes what is written, and has nothing to read."""

    def __init__(self, file: ShowStoreFile) -> None:
        self._file = file

    def read(self, pos: int, count: int) -> View:
        """Refused."""
        raise refused(errno.EINVAL)

    def write(self, pos: int, data: Buffer, append: bool) -> int:
        """Have the file take it."""
        return self._file.store(data)
