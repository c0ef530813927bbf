"""When reading moves st_atime, by the words of the mount's options.

The kernel never moves that of a FUSE file system's nodes (Linux: fs/fuse/inode.c:fuse_iget(),
S_NOATIME), so the rule that it has for others is kept here (Linux: fs/inode.c:touch_atime()).
"""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum, auto
from typing import Final

__all__ = ["DAY", "Atime", "atime_rules"]

DAY: Final = 24 * 60 * 60 * 1_000_000_000
"""Nanoseconds after which RELATIVE moves it in any case."""


class Atime(Enum):
    """What reading does to st_atime."""

    NEVER = auto()
    RELATIVE = auto()
    """Move it if it is not later than st_mtime and st_ctime, or a day old."""
    STRICT = auto()
    """Move it, each time."""


def atime_rules(flags: Collection[str]) -> tuple[Atime, Atime]:
    """The rule for files, and that for directories, under these flags of mount(8).

    Linux: fs/namespace.c:path_mount()
    """
    if "ro" in flags:
        return Atime.NEVER, Atime.NEVER
    if "strictatime" in flags:
        rule = Atime.STRICT
    else:
        rule = Atime.NEVER if "noatime" in flags else Atime.RELATIVE
    return rule, Atime.NEVER if "nodiratime" in flags else rule
