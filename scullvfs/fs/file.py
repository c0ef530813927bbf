"""Regular files, and what is open of them: what a call means, or how it is refused.

A file is asked for a handle at each open.  Subclasses of both define what they know; what cannot
be done is an `OSError`.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from select import POLLIN, POLLOUT, POLLRDNORM, POLLWRNORM
from typing import Final

from scullvfs.mm.access import Buffer, View
from scullvfs.mm.workqueue import Left, Steps

from .calls import UNCOUNTED
from .node import Node, refused

__all__ = ["READY", "File", "Handle", "only_read"]

READY: Final = POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM
"""What poll(2) finds of a file that never waits (Linux: include/linux/poll.h:DEFAULT_POLLMASK)."""


def only_read(flags: int) -> None:
    """Let by an open(2) with these flags for reading.

    Raises:
        OSError: EACCES, for writing (only root comes this far).
    """
    if flags & os.O_ACCMODE != os.O_RDONLY:
        raise refused(errno.EACCES)


class Handle:
    """An open file.  What it does not define is refused as the kernel refuses it.

    Any call, and `File.open()` and `truncate()`, may raise a `waiting.WouldWait`: it is answered
    later.
    """

    file: File
    """What is open; this and `flags` are set once it is."""
    flags = 0
    """What it was opened with: the flags of open(2)."""
    left: Left = None
    """What the open has left to do, if it has emptied the file."""
    looks = True
    """Whether reading or writing looks at the machine, beyond what the file itself has of it."""

    def read(self, pos: int, count: int) -> View:
        """Up to `count` bytes at `pos`, for read(2)."""
        raise refused(errno.EINVAL)

    def read_pages(self, pos: int, count: int) -> View:
        """`count` bytes at `pos`, fewer only at the end of the file, for the page cache."""
        return self.read(pos, count)

    def write(self, pos: int, data: Buffer, append: bool) -> int:
        """Write at `pos`, the end of the file as the kernel knows it if `append` is set.

        Returns how many bytes were taken.
        """
        raise refused(errno.EINVAL)

    def write_pages(self, pos: int, data: Buffer) -> int:
        """Write back what was written to mapped pages; all of it, or it is lost."""
        return self.write(pos, data, False)

    def ioctl(self, cmd: int, arg: int, data: bytes) -> tuple[int, bytes]:
        """ioctl(2): its result, and what is to be stored through its pointer."""
        raise refused(errno.ENOTTY)

    def lseek(self, off: int, whence: int) -> Steps[int]:
        """lseek(2) with SEEK_DATA or SEEK_HOLE, in steps."""
        raise refused(errno.EINVAL)

    def fallocate(self, mode: int, off: int, length: int) -> Steps[None]:
        """fallocate(2), in steps; an interrupt is raised in one as an `InterruptedError`."""
        raise refused(errno.ENODEV)

    def poll(self, wake: Callable[[], None] | None) -> int:
        """poll(2): what can be done without waiting, as POLLIN and so on.

        `wake`, where there is one, is called once when that may be more; the one of the poll before
        is not any more.
        """
        return READY

    def release(self) -> None:
        """The last descriptor and the last mapping of it are gone."""


class File(Node):
    """A regular file."""

    counted = False
    """Whether its calls are counted apart from those of other files."""
    calls = UNCOUNTED
    """What counts its calls; given by the tree."""
    direct_io = True
    """Whether each read and write comes here, past the kernel's page cache."""
    nonseekable = False
    """Whether lseek(2) and pread(2) are refused, as it has no positions."""
    shows_data = False
    """Whether what is read of it may be what programs have written to devices."""

    def __init__(self, permissions: int, uid: int, gid: int) -> None:
        super().__init__(stat.S_IFREG | permissions, uid, gid)

    def open(self, flags: int, pid: int = 0) -> Handle:
        """Open with the flags of open(2), for a process.

        Raises:
            OSError: it cannot be opened so.
        """
        raise NotImplementedError
