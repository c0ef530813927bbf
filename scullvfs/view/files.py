"""The files of a mount, read by a process that may hang on them: the child of `asked`.

Whatever is in them is bytes that anybody may have chosen.  So nothing is read without a bound, and
what makes no sense is one error, `nonsense()`, for whatever reason: a mount that calls itself so,
or one that has changed between two reads.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

__all__ = ["Files", "nonsense"]

MOST: Final = 256 << 20
"""Bytes of a file that are read: eight for each frame of 128 GiB."""
PART: Final = 1 << 20
LONGEST: Final = 512
"""Bytes of a line."""


def nonsense(what: str) -> OSError:
    """What was read makes no sense."""
    return OSError(errno.EBADMSG, what)


class Files:
    """Those below the root of a mount.

    Args:
        root: a path that leads there (`mounts.probe.enter`).
    """

    def __init__(self, root: str) -> None:
        self._root = root

    @contextmanager
    def opened(self, name: str) -> Iterator[int]:
        """A descriptor of a file, for reading.

        Raises:
            OSError: as open(2).
        """
        fd = os.open(f"{self._root}/{name}", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            yield fd
        finally:
            os.close(fd)

    def stat(self, name: str) -> os.stat_result:
        """What a file says of itself.

        Raises:
            OSError: as stat(2).
        """
        return os.stat(f"{self._root}/{name}", follow_symlinks=False)

    def size(self, name: str) -> int:
        """Bytes that a file says to have."""
        return self.stat(name).st_size

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        try:
            self.stat(name)
        except FileNotFoundError:
            return False
        return True

    def parts(self, name: str) -> Iterator[bytes]:
        """All of a file, a MiB at a time at the most.

        Raises:
            OSError: as read(2); EBADMSG, it has no end.
        """
        with self.opened(name) as fd:
            length = 0
            while part := os.read(fd, PART):
                length += len(part)
                if length > MOST:
                    raise nonsense(f"{name} is too long")
                yield part

    def read(self, name: str) -> bytes:
        """All of a file."""
        return b"".join(self.parts(name))

    def lines(self, name: str) -> Iterator[bytes]:
        """The lines of a file, without their ends, as far as they are asked for.

        Raises:
            OSError: as read(2); EBADMSG, it has no end.
        """
        with self.opened(name) as fd, open(fd, "rb", PART, closefd=False) as file:
            length = 0
            while line := file.readline(LONGEST):
                length += len(line)
                if length > MOST:
                    raise nonsense(f"{name} is too long")
                yield line.rstrip(b"\n")

    def number(self, name: str) -> int:
        """The number that a file of sysfs has; 0 or more.

        Raises:
            OSError: as read(2); EBADMSG, it is no number.
        """
        text = self.read(name).strip()
        if not re.fullmatch(rb"[0-9]{1,19}", text):
            raise nonsense(f"{name} has no number")
        return int(text)
