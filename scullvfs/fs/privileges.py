"""Set-user-ID and set-group-ID bits: who changes the content without CAP_FSETID takes them away.

Linux does it where a file is written, truncated or given away (Linux: fs/inode.c:
file_remove_privs()), on a FUSE mount by a SETATTR of its own.  Two changes it leaves to the file
system: a write past the page cache, and an open that empties the file.  These are here.
"""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Final

from .tree import Node

__all__ = ["PRIVILEGES", "remove_privileges"]

PRIVILEGES: Final = stat.S_ISUID | stat.S_ISGID
"""The bits, of st_mode."""

CAP_FSETID: Final = 4
"""Linux: include/uapi/linux/capability.h"""


def remove_privileges(node: Node, pid: int) -> None:
    """Take the bits from a file that a process is changing, unless that may leave them.

    Set-group-ID without the group's right to execute is no such bit.
    Linux: fs/fuse/dir.c:fuse_setattr()
    """
    bits = PRIVILEGES if node.mode & stat.S_IXGRP else stat.S_ISUID
    if node.mode & bits and not _may_leave(pid):
        node.mode &= ~bits
        node.changed()


def _may_leave(pid: int) -> bool:
    """Whether a process is root with CAP_FSETID; one that is gone, or hidden, is not.

    A user namespace's root has all capabilities, but only within it, and another uid here.
    """
    try:
        lines = Path(f"/proc/{pid}/status").read_bytes().split(b"\n")
    except OSError:
        return False
    status = dict(line.partition(b":\t")[::2] for line in lines)
    fsuid = int(status[b"Uid"].split()[3])
    return fsuid == 0 and bool(int(status[b"CapEff"], 16) >> CAP_FSETID & 1)
