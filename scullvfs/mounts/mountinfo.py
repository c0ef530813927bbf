"""The mounts of this process, as /proc/self/mountinfo lists them.

Reading that list touches no mount, so it is safe where a mount is dead or hangs; what
needs the mount itself is in `probe`, and `place` finds the mount that a path means.
Used by every part of the daemon that looks for a mount.
"""

import os
import re
from typing import Final, NamedTuple

from scullvfs.errors import ScullvfsError
from scullvfs.text import shown

__all__ = [
    "FSTYPE",
    "MOUNTINFO",
    "SUBTYPE",
    "Mount",
    "is_mounted",
    "mount_at",
    "read_mounts",
    "scullvfs_mounts",
]

SUBTYPE: Final = "scullvfs"
"""The type of our mounts, as libfuse is told."""

FSTYPE: Final = f"fuse.{SUBTYPE}"
"""The type that findmnt shows for our mounts."""

MOUNTINFO: Final = "/proc/self/mountinfo"


class Mount(NamedTuple):
    """One line of mountinfo (Linux: Documentation/filesystems/proc.rst, 3.5)."""

    st_dev: str
    """major:minor of what stat(2) calls so; of all that is mounted now, only this mount has it."""
    path: str
    """Where it is mounted."""
    fstype: str
    super_options: tuple[str, ...]
    root: str = "/"
    """What of the file system is seen here: all of it, unless a part is bound elsewhere."""
    source: str = ""
    """What is mounted, in the words of who mounted it: `fsname=`."""
    id: int = 0
    """The kernel's number of this mount, in this mount namespace."""

    @property
    def is_scullvfs(self) -> bool:
        """Whether it is one of ours, alive or dead."""
        return self.fstype == FSTYPE

    @property
    def user_id(self) -> int:
        """The uid that mounted it; FUSE mounts only."""
        return self._number("user_id=")

    @property
    def group_id(self) -> int:
        """The gid that mounted it; FUSE mounts only."""
        return self._number("group_id=")

    def _number(self, prefix: str) -> int:
        return next(
            int(option.removeprefix(prefix))
            for option in self.super_options
            if option.startswith(prefix)
        )


def read_mounts(mountinfo: str | os.PathLike[str] = MOUNTINFO) -> list[Mount]:
    """All mounts, oldest first.

    Raises:
        ScullvfsError: there is no such list, since /proc is missing.
    """
    try:
        with open(mountinfo, "rb") as lines:
            return [_parse(line) for line in lines.read().split(b"\n") if line]
    except FileNotFoundError:
        raise ScullvfsError(
            f"{shown(mountinfo)} is missing; run 'mount -t proc proc /proc'"
        ) from None


def scullvfs_mounts() -> list[Mount]:
    """Every scullvfs mount of this mount namespace, oldest first; touches none of them."""
    return [mount for mount in read_mounts() if mount.is_scullvfs and mount.root == "/"]


def mount_at(path: str) -> Mount | None:
    """The uppermost mount on `path`, which must be resolved; None if there is none."""
    return next((mount for mount in reversed(read_mounts()) if mount.path == path), None)


def is_mounted(mount: Mount) -> bool:
    """Whether `mount` is still there, and no other mount on top of it."""
    now = mount_at(mount.path)
    return now is not None and now.st_dev == mount.st_dev


def _parse(line: bytes) -> Mount:
    """Linux: fs/proc_namespace.c:show_mountinfo()"""
    before, _, after = line.partition(b" - ")
    mount_id, _, st_dev, root, path = before.split(b" ")[:5]
    fstype, source, super_options = after.split(b" ")[:3]
    return Mount(
        st_dev=st_dev.decode(),
        path=os.fsdecode(_unescape(path)),
        fstype=os.fsdecode(_unescape(fstype)),
        super_options=tuple(os.fsdecode(super_options).split(",")),
        root=os.fsdecode(_unescape(root)),
        source=os.fsdecode(_unescape(source)),
        id=int(mount_id),
    )


def _unescape(field: bytes) -> bytes:
    """Undo the kernel's octal escapes of blank, tab, newline, backslash and number sign."""
    return re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8)]), field)
