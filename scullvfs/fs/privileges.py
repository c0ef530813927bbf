"""What a caller may: its capabilities; and set-user-ID bits, which others lose by what they do.

Who changes the content of a file without CAP_FSETID takes its set-user-ID and set-group-ID bits
away.  Linux does it where a file is written, truncated or given away (Linux: fs/inode.c:
file_remove_privs()), on a FUSE mount by a SETATTR of its own.  Two changes it leaves to the file
system: a write past the page cache, and an open that empties the file.  These are here.
"""

from __future__ import annotations

import stat
from typing import Final

from scullvfs.mm import outside
from scullvfs.mm.sched import Task

from .node import Node

__all__ = ["CAP_SYS_ADMIN", "PRIVILEGES", "capable", "remove_privileges"]

PRIVILEGES: Final = stat.S_ISUID | stat.S_ISGID
"""The bits, of st_mode."""

# Linux: include/uapi/linux/capability.h
CAP_FSETID: Final = 4
CAP_SYS_ADMIN: Final = 21


def remove_privileges(node: Node, pid: int) -> None:
    """Take the bits from a file that a process is changing, unless that may leave them.

    Set-group-ID without the group's right to execute is no such bit.
    Linux: fs/fuse/dir.c:fuse_setattr()
    """
    bits = PRIVILEGES if node.mode & stat.S_IXGRP else stat.S_ISUID
    if node.mode & bits and not _is_root_with(pid, CAP_FSETID):
        node.mode &= ~bits
        node.changed()


def capable(task: Task, capability: int) -> bool:
    """Whether who calls has a capability (Linux: kernel/capability.c:capable()).

    Of root whose process cannot be looked at, as in another pid namespace, it is believed.
    """
    if task.uid:
        return False
    return not task.pid or _is_root_with(task.pid, capability)


def _is_root_with(pid: int, capability: int) -> bool:
    """Whether a process is root with a capability; one that is gone, or hidden, is not.

    A user namespace's root has all capabilities, but only within it, and another uid here.
    """
    return bool(outside.capabilities(pid) >> capability & 1)
