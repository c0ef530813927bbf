"""A file that is there as a whole, or not at all: written beside its place, and then put there."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

from scullvfs.errors import ScullvfsError
from scullvfs.text import shown

__all__ = ["whole_file"]


@contextmanager
def whole_file(path: str) -> Iterator[BinaryIO]:
    """What is written into it is at `path` when the block ends, and on the disk.

    If the block raises anything, what was there before stays. A link stays a link, and a file that
    is there has its permissions after, too.

    Raises:
        ScullvfsError: it cannot be written, or is there and no file; also of an OSError of the
            block's own.
    """
    place = os.path.realpath(path)
    directory, name = os.path.split(place)
    draft = os.path.join(directory, f".{name[:64]}.{secrets.token_hex(4)}")
    try:
        if os.path.isdir(place):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if os.path.lexists(place) and not os.path.isfile(place):
            raise ScullvfsError(f"cannot write {shown(path)}: it is there, and is no file")
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            with open(fd, "wb") as file:
                if os.path.exists(place):
                    os.fchmod(fd, stat.S_IMODE(os.stat(place).st_mode))
                yield file
                file.flush()
                os.fsync(fd)
            os.replace(draft, place)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(draft)
            raise
        _sync_directory(directory)
    except OSError as error:
        raise ScullvfsError(f"cannot write {shown(path)}: {error.strerror}") from None


def _sync_directory(directory: str) -> None:
    """Have it on the disk which files are in it, where the file system can do that."""
    with suppress(OSError):
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
