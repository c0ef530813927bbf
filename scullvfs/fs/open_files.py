"""The open files of a mount, and every call that is made through one.

A file handle is the number that the kernel gives back with each such call (Linux: struct
file).  What a call cannot do is an exception; whoever passes the call on from FUSE makes an
errno of it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from functools import partial
from typing import Final, TypeVar

from scullvfs.mm.access import Buffer, View
from scullvfs.mm.printk import Task
from scullvfs.mm.workqueue import Steps
from scullvfs.text import shown

from .privileges import PRIVILEGES, remove_privileges
from .tree import File, Handle

__all__ = ["NR_FILE", "OpenFiles"]

NR_FILE: Final = 8192
"""How many files may be open at once, but for root (Linux: include/linux/fs.h:NR_FILE).

Each takes some hundred bytes here that no limit of the caller's accounts for."""

T = TypeVar("T")


class OpenFiles:
    """All open files, by their handle.

    One call is served at a time, in one go, but for those that give steps: between two of these
    other calls may come.
    """

    def __init__(self) -> None:
        self._files: dict[int, Handle] = {}
        self._last = 0
        self.caller = 0
        """Process id of whose call is being served: that of a thread, as in every request."""

    def __len__(self) -> int:
        """How many files are open."""
        return len(self._files)

    def open(self, file: File, flags: int, pid: int, root: bool = False) -> int:
        """open(2) by a process; returns the handle.

        Raises:
            OSError: the file cannot be opened so; ENFILE, NR_FILE are open, and it is not root
                who asks (Linux: fs/file_table.c:alloc_empty_file()).
        """
        if len(self._files) >= NR_FILE and not root:
            raise OSError(errno.ENFILE, os.strerror(errno.ENFILE))
        self.caller = pid
        before = file.mtime_ns
        handle = file.open(flags, pid)
        if file.mode & PRIVILEGES and (flags & os.O_TRUNC or file.mtime_ns != before):
            remove_privileges(file, pid)
        handle.file, handle.opener, handle.flags = file, pid, flags
        self._last += 1
        self._files[self._last] = handle
        return self._last

    def opener(self, fh: int) -> int:
        """Who opened a file, for calls that come without their caller."""
        return self._files[fh].opener

    def read(self, fh: int, off: int, size: int, page_cache: bool, pid: int) -> View:
        """read(2), or a fill of the page cache; see `Handle.read()` and `read_pages()`."""
        self.caller = pid
        handle = self._files[fh]
        return handle.read_pages(off, size) if page_cache else handle.read(off, size)

    def write(self, fh: int, off: int, data: Buffer, flags: int | None, pid: int) -> int:
        """write(2); `flags` are those of the open file now, if they are known to have changed."""
        self.caller = pid
        handle = self._files[fh]
        if handle.file.mode & PRIVILEGES and handle.file.direct_io:
            remove_privileges(handle.file, pid)
        flags = handle.flags if flags is None else flags
        return handle.write(off, data, flags & os.O_APPEND != 0)

    def ioctl(self, fh: int, cmd: int, arg: int, data: bytes, pid: int) -> tuple[int, bytes]:
        """ioctl(2)."""
        self.caller = pid
        return self._files[fh].ioctl(cmd, arg, data)

    def lseek(self, fh: int, off: int, whence: int, pid: int) -> Steps[int]:
        """lseek(2) with SEEK_DATA and SEEK_HOLE."""
        self.caller = pid
        return self.on_behalf(pid, self._files[fh].lseek(off, whence))

    def fallocate(self, fh: int, mode: int, off: int, length: int, pid: int) -> Steps[None]:
        """fallocate(2)."""
        self.caller = pid
        return self.on_behalf(pid, self._files[fh].fallocate(mode, off, length))

    def on_behalf(self, pid: int, steps: Steps[T]) -> Steps[T]:
        """Some work, and whose it is, whoever else calls between its steps."""
        go_on: Callable[[], None] = partial(next, steps)
        while True:
            self.caller = pid
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

    def ino(self, fh: int) -> int:
        """The inode number of an open file."""
        return self._files[fh].file.ino

    def release(self, fh: int) -> None:
        """The last descriptor and the last mapping of an open file are gone."""
        self._files.pop(fh).release()

    def task(self) -> Task:
        """Whose call is being served, for the kernel log.

        A name is any bytes, and Linux cuts one at 15 of them, through a letter if need be.
        """
        try:
            if os.readlink("/proc/self") != str(os.getpid()):  # /proc counts another namespace's
                return Task(self.caller, "(unknown)")
            with open(f"/proc/{self.caller}/comm", "rb") as file:
                comm = shown(file.read().removesuffix(b"\n"))
        except OSError:
            comm = "(gone)"
        return Task(self.caller, comm)
