"""Has in the log what the page cache could not write back.

The kernel tells programs of it at fsync(2), msync(2) and close(2), once, and nobody may look.
"""

from __future__ import annotations

import logging
from time import monotonic_ns
from typing import Final

from scullvfs.fs.devices import DeviceFile
from scullvfs.fs.file import File
from scullvfs.mm.ratelimit import RatelimitState

__all__ = ["Lost"]

INTERVAL: Final = 5_000_000_000
"""Nanoseconds in which there is one line a file at the most: a request has a mebibyte or less."""

log = logging.getLogger(__name__)


class Lost:
    """What could not be written back."""

    def __init__(self) -> None:
        self._said: Final[dict[int, RatelimitState]] = {}
        """By inode number: the lines there were of late."""

    def tell(self, file: File, pos: int, count: int, error: Exception) -> None:
        """Say that `count` bytes at `pos` are lost."""
        now, more = self._said.setdefault(file.ino, RatelimitState(INTERVAL, 1)).ratelimit(
            monotonic_ns()
        )
        if now:
            log.error(
                "%s: %d bytes at %d could not be written back and are lost: %s%s",
                file.device.name if isinstance(file, DeviceFile) else file.ino,
                count,
                pos,
                getattr(error, "strerror", None) or error,
                f"; so were {more} requests before" if more else "",
            )
