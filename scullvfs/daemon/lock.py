"""One mount at a time on one directory: what looks at a mount point and then mounts there is alone.

Without that, two that look at the same time both find it free, and the second mount comes to lie on
the first. The lock is a byte of /dev/fuse, which all that mount can open and no other program locks
(a lock of the directory itself may be the very one that a user's script holds around the mount).
"""

import fcntl
import os
import struct
import time
import zlib
from types import TracebackType
from typing import Final, Self

from scullvfs.errors import MountPointError
from scullvfs.host.requirements import DEV_FUSE
from scullvfs.mounts.place import resolve
from scullvfs.text import shown

__all__ = ["MountPointLock"]

PERIOD: Final = 0.01
"""Seconds between two attempts."""


class MountPointLock:
    """The right to mount on `path`, by whatever name; held until `release`, or the context's end.

    Where there is nothing to lock, as without FUSE, nothing is locked: the checks say why.

    Raises:
        MountPointError: another process has held it for TIMEOUT.
    """

    TIMEOUT: Final = 30.0
    """Seconds that the other mount has to be made, or to fail."""

    def __init__(self, path: str) -> None:
        self._fd: int | None = None
        try:
            byte = zlib.crc32(os.fsencode(resolve(path)))
            self._fd = os.open(DEV_FUSE, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return
        deadline = time.monotonic() + self.TIMEOUT
        while not _locked(self._fd, byte):
            if time.monotonic() > deadline:
                self.release()
                raise MountPointError(
                    f"another 'scullvfs mount' is at work on {shown(path)}, "
                    "and does not come to its end"
                )
            time.sleep(PERIOD)

    def release(self) -> None:
        """Let others mount there, or find that there is a mount now."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _e: BaseException | None, _t: TracebackType | None
    ) -> None:
        self.release()


def _locked(fd: int, byte: int) -> bool:
    """Try to lock it, by an open file description lock (fcntl(2)): that is no other file's."""
    try:
        fcntl.fcntl(
            fd, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0)
        )
    except BlockingIOError:
        return False
    except OSError:  # a kernel that has none
        return True
    return True
