"""The device files: scullv0, scullv1, ..., and those of the other drivers.

What an open does to a device by the driver's rules depends on whether it may be mapped, which the
kernel does not tell; a device is taken for mapped while an open file is there through which the
page cache has read:

                           write-only open: trims
                                +------+
                                |      v
          +-------------------------------+  the page cache reads   +---------------------------+
          |  not mapped                   |------------------------>|  mapped                   |
          |  (`DeviceFile.mapped` empty)  |<------------------------|  write-only opens: as     |
          +-------------------------------+  the last open file of  |  any other                |
                                |      ^     those is released      +---------------------------+
                                |      |                                  |       ^
                                +------+                                  +-------+
                          open with O_TRUNC: trims                 open with O_TRUNC: trims

By the rules of a regular file it is as on the right side always.  A trim, and what a truncate cuts
off, goes this way (`scull.dev`):

     in use ----> no part of the device any more, ----> free
            at    but not free: in the machine's
           once   `workqueue`
                  |
                  +-- by the call itself, in slices, before it returns (`fuse.operations`)
                  +-- in idle time, where the caller was interrupted
                  +-- by an allocation that would fail otherwise (`mm.page_alloc`)
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from functools import partial
from typing import Final

from scullvfs.mm.access import Buffer, View
from scullvfs.mm.replacing import Layer, Replaced, replace
from scullvfs.mm.workqueue import Left, Steps
from scullvfs.scull import ScullDev, posix

from .atime import Atime
from .calls import Statistics
from .file import File, Handle
from .node import refused
from .privileges import CAP_SYS_ADMIN, capable

__all__ = ["FILE_RULES", "DeviceFile", "PosixFile"]

# Linux: include/uapi/linux/falloc.h
FALLOC_FL_KEEP_SIZE: Final = 0x01
FALLOC_FL_PUNCH_HOLE: Final = 0x02
FALLOC_FL_ZERO_RANGE: Final = 0x10


class DeviceFile(File):
    """A device as a regular file, by the driver's rules.

    The kernel would hand a character device node to its own drivers, so it cannot be one.
    """

    counted = True
    direct_io = True
    shows_data = True
    attr_timeout = 0  # an open may change the size under the kernel's feet
    trim_of_nothing_modifies = False
    """Whether to empty it when it is empty moves st_mtime."""

    def __init__(self, device: ScullDev, permissions: int, uid: int, gid: int) -> None:
        super().__init__(permissions, uid, gid)
        self.device: Final = device
        self.frozen = False
        self.handles: Final[set[Handle]] = set()
        """Its open files."""
        self.mapped: Final[set[Handle]] = set()
        """Those that the page cache has read through, which is what mapping does."""
        self._replaced: Final[dict[str, Callable[[Replaced], Replaced]]] = {}

    def statistics(self) -> Statistics:
        """What was asked of it since the mount, and what that cost."""
        return self.calls.statistics()

    @property
    def is_writable(self) -> bool:
        """Whether an open file of it may write."""
        return any(handle.flags & os.O_ACCMODE != os.O_RDONLY for handle in self.handles)

    @property
    def size(self) -> int:
        """The device's size: SEEK_END goes by it, and `wc -c`."""
        return self.device.size

    @property
    def allocated(self) -> int:
        """Bytes of its quanta."""
        return self.device.allocated

    @property
    def blksize(self) -> int:
        """A quantum: what one call moves at most."""
        return self.device.quantum

    def open(self, flags: int, pid: int = 0) -> Handle:
        """Open, as the driver does with the flags that it gets to see.

        Whether an open empties the device it alone decides; a set of rules may hide from it how
        the file is opened, and then only O_TRUNC does.
        """
        size = self.device.size
        shown = flags & ~os.O_ACCMODE | os.O_RDWR if self._hides_access() else flags
        left = self.device.open(shown, later=True)
        if left is not None and (size or self.trim_of_nothing_modifies):
            self.modified()
        handle = self._opened(flags)
        handle.left = left
        self.handles.add(handle)
        for name, wrap in self._replaced.items():
            replace(handle, name, Layer.ENTRY, wrap)
        return handle

    def replace_in_handles(self, name: str, wrap: Callable[[Replaced], Replaced] | None) -> None:
        """Have something stand in the place of a method of all open files, later ones included.

        Args:
            wrap: makes it of the method; None takes it away.
        """
        if wrap is None:
            self._replaced.pop(name, None)
        else:
            self._replaced[name] = wrap
        for handle in self.handles:
            replace(handle, name, Layer.ENTRY, wrap)

    def _hides_access(self) -> bool:
        """Whether it is mapped: then a write-only open does not empty it.

        The kernel does not tell of mappings.  What has been read into the page cache is taken
        for mapped until its open file is gone, and a mapping holds that.
        """
        return bool(self.mapped)

    def _opened(self, flags: int) -> Handle:
        return DeviceHandle(self)

    def truncate(self, length: int) -> Steps[Left]:
        """Set the device's size."""
        left = yield from self.device.truncating(length)
        self.modified()
        return left


class DeviceHandle(Handle):
    """An open device."""

    looks = False

    def __init__(self, file: DeviceFile) -> None:
        self._file = file
        self._device = file.device

    def read(self, pos: int, count: int) -> View:
        """Read by the driver's rules."""
        return self._device.read(pos, count)

    def read_pages(self, pos: int, count: int) -> View:
        """A short read would be the end of the file to the page cache, so it spans quanta."""
        self._file.mapped.add(self)
        return posix.read_span(self._device, pos, count)

    def write(self, pos: int, data: Buffer, append: bool) -> int:
        """Write by the driver's rules."""
        if append:
            # The kernel appends at the size that it remembers, and it does not know that an
            # open has emptied the device; nothing else makes a device smaller behind its back.
            pos = min(pos, self._device.size)
        count = self._device.write(pos, data)
        self._file.modified()
        return count

    def fallocate(self, mode: int, off: int, length: int) -> Steps[None]:
        """Refused as for any device; for a hole so that cp --sparse=always goes on without it."""
        if mode & FALLOC_FL_PUNCH_HOLE:
            raise refused(errno.EOPNOTSUPP)
        return super().fallocate(mode, off, length)

    def write_pages(self, pos: int, data: Buffer) -> int:
        """Write all of it, over any number of quanta, or it has failed.

        The kernel does not look at how much was written, and drops the pages as if they were
        (Linux: fs/fuse/file.c:fuse_writepage_end()).

        Raises:
            OSError: ENOMEM, not all of it has found memory; what has is written.
        """
        count = posix.write_span(self._device, pos, data)
        self._file.modified()
        if count < len(data):
            raise refused(errno.ENOMEM)
        return count

    def release(self) -> None:
        """It is no more, nor is a mapping of it."""
        self._file.handles.discard(self)
        self._file.mapped.discard(self)

    def ioctl(self, cmd: int, arg: int, data: bytes) -> tuple[int, bytes]:
        """The driver's commands."""
        current = self._device.machine.running.current
        return self._device.ioctl(cmd, arg, data, partial(capable, current, CAP_SYS_ADMIN))


class PosixFile(DeviceFile):
    """A device by the rules of a regular file, behind the kernel's page cache."""

    direct_io = False
    attr_timeout = 1  # every change comes through the kernel, which knows then
    trim_of_nothing_modifies = True

    def __init__(self, device: ScullDev, permissions: int, uid: int, gid: int) -> None:
        super().__init__(device, permissions, uid, gid)
        device.zeroes = not device.machine.init_on_alloc  # where they are not zeros anyway
        device.is_cached = True

    def _hides_access(self) -> bool:
        """Always."""
        return True

    def _opened(self, flags: int) -> Handle:
        """To open for reading alone counts as reading.

        What the page cache has the kernel reads without a word, and it has what was written.
        """
        mode = flags & os.O_ACCMODE
        # Of a file that can only be written the page cache reads what is beside that.
        if flags & os.O_NOATIME or self.atime_rule is Atime.NEVER or mode == os.O_WRONLY:
            return PosixHandle(self)
        if mode == os.O_RDONLY:
            self.accessed()
        return AccessingHandle(self)


class PosixHandle(DeviceHandle):
    """An open device by the rules of a regular file."""

    def read(self, pos: int, count: int) -> View:
        """Read up to the size."""
        return posix.read_span(self._device, pos, count)

    def write(self, pos: int, data: Buffer, append: bool) -> int:
        """Write all of it, as long as there is memory."""
        count = posix.write_span(self._device, pos, data)
        self._file.modified()
        return count

    def lseek(self, off: int, whence: int) -> Steps[int]:
        """Find data and holes, quantum by quantum."""
        if whence == os.SEEK_DATA:
            return posix.seek_data(self._device, off)
        if whence == os.SEEK_HOLE:
            return posix.seek_hole(self._device, off)
        return super().lseek(off, whence)

    def fallocate(self, mode: int, off: int, length: int) -> Steps[None]:
        """Allocate quanta, punch holes, zero."""
        what, keep_size = mode & ~FALLOC_FL_KEEP_SIZE, bool(mode & FALLOC_FL_KEEP_SIZE)
        if what == 0:
            steps = posix.allocate(self._device, off, length, keep_size)
        elif what == FALLOC_FL_PUNCH_HOLE:
            steps = posix.punch_hole(self._device, off, length)
        elif what == FALLOC_FL_ZERO_RANGE:
            steps = posix.zero_range(self._device, off, length, keep_size)
        else:
            raise refused(errno.EOPNOTSUPP)
        return self._modifying(steps)

    def _modifying(self, steps: Steps[None]) -> Steps[None]:
        try:
            yield from steps
        except InterruptedError:
            self._file.modified()  # in part
            raise
        self._file.modified()


class AccessingHandle(PosixHandle):
    """One whose reads move st_atime."""

    def __init__(self, file: PosixFile) -> None:
        super().__init__(file)
        self._strict = file.atime_rule is Atime.STRICT

    def read(self, pos: int, count: int) -> View:
        """Read up to the size."""
        file = self._file
        # That a day has passed an open notices, which asks for the time anyhow.
        if self._strict or not file.mtime_ns < file.atime_ns > file.ctime_ns:
            file.accessed()
        return posix.read_span(self._device, pos, count)

    def read_pages(self, pos: int, count: int) -> View:
        """Read for the page cache, which asks for what somebody reads, and some more."""
        self._file.accessed()
        return super().read_pages(pos, count)


FILE_RULES: Final[dict[str, type[DeviceFile]]] = {"device": DeviceFile, "file": PosixFile}
"""The values of the mount option `semantics`, and the files that follow them."""
