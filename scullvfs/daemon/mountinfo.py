"""The mounts of this process, as /proc/self/mountinfo lists them.

Reading that list touches no mount, so it is safe where a mount is dead or hangs; what
needs the mount itself is in `probe`. `resolve` is here for the same reason: it finds the
true path of a mount point without a system call on the mount.
Used by every part of the daemon that looks for a mount.
"""

import errno
import os
import re
from dataclasses import dataclass
from typing import Final

from scullvfs.daemon.errors import NotMountedError

__all__ = [
    "FSTYPE",
    "MOUNTINFO",
    "Mount",
    "find_mount",
    "is_mounted",
    "mount_at",
    "read_mounts",
    "resolve",
    "scullvfs_mounts",
]

FSTYPE: Final = "fuse.scullvfs"
"""The type that findmnt shows for our mounts."""

MOUNTINFO: Final = "/proc/self/mountinfo"

MAX_SYMLINKS: Final = 40
"""Linux: include/linux/namei.h:MAXSYMLINKS"""


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of mountinfo (Linux: Documentation/filesystems/proc.rst, 3.5)."""

    device: str
    """major:minor of st_dev; of all that is mounted now, only this mount has it."""
    path: str
    """Where it is mounted."""
    fstype: str
    super_options: tuple[str, ...]
    root: str = "/"
    """What of the file system is seen here: all of it, unless a part is bound elsewhere."""

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
    """All mounts, oldest first."""
    with open(mountinfo, "rb") as lines:
        return [_parse(line) for line in lines.read().split(b"\n") if line]


def scullvfs_mounts() -> list[Mount]:
    """Every scullvfs mount of this mount namespace, oldest first; touches none of them."""
    return [mount for mount in read_mounts() if mount.is_scullvfs and mount.root == "/"]


def mount_at(path: str) -> Mount | None:
    """The uppermost mount on *path*, which must be resolved; None if there is none."""
    return next((mount for mount in reversed(read_mounts()) if mount.path == path), None)


def find_mount(path: str) -> Mount:
    """The uppermost mount on *path*, of whatever type.

    Raises:
        NotMountedError: there is none.
    """
    try:
        mount = mount_at(resolve(path))
    except OSError as error:
        raise NotMountedError(f"cannot look for {path}: {error.strerror}") from None
    if mount is None:
        raise NotMountedError(f"{path} is not mounted; 'findmnt -t fuse.scullvfs' lists what is")
    return mount


def is_mounted(mount: Mount) -> bool:
    """Whether *mount* is still there, and no other mount on top of it."""
    now = mount_at(mount.path)
    return now is not None and now.device == mount.device


def resolve(path: str) -> str:
    """The absolute path of *path* without symbolic links.

    Like `os.path.realpath`, but the last component is looked at only when nothing is
    mounted there.

    Raises:
        OSError: ENOENT, for an empty path; ELOOP, for a symbolic link that leads to itself.
    """
    if not path:
        raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    path = _absolute(path)
    mounted = {mount.path for mount in read_mounts()}
    for _ in range(MAX_SYMLINKS):
        parent, name = os.path.split(path.rstrip("/"))
        if name in ("", ".", ".."):
            return os.path.realpath(path)
        path = os.path.join(os.path.realpath(parent), name)
        if path in mounted or not os.path.islink(path):
            return path
        path = os.path.join(os.path.dirname(path), os.readlink(path))
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)


def _absolute(path: str) -> str:
    """*path*, and if this directory has no name any more, what the kernel finds from there.

    It still has its parent, so that `..` leads out of it.
    """
    try:
        return os.path.join(os.getcwd(), path)
    except FileNotFoundError:
        if os.path.isabs(path):
            return path
    parent, name = os.path.split(path.rstrip("/"))
    if name in ("", ".", ".."):
        parent, name = path, ""
    fd = os.open(parent or ".", os.O_PATH | os.O_DIRECTORY)
    try:
        return os.path.join(os.readlink(f"/proc/self/fd/{fd}"), name)
    finally:
        os.close(fd)


def _parse(line: bytes) -> Mount:
    """Linux: fs/proc_namespace.c:show_mountinfo()"""
    before, _, after = line.partition(b" - ")
    _, _, device, root, path = before.split(b" ")[:5]
    fstype, _, super_options = after.split(b" ")[:3]
    return Mount(
        device=device.decode(),
        path=os.fsdecode(_unescape(path)),
        fstype=os.fsdecode(_unescape(fstype)),
        super_options=tuple(os.fsdecode(super_options).split(",")),
        root=os.fsdecode(_unescape(root)),
    )


def _unescape(field: bytes) -> bytes:
    """Undo the kernel's octal escapes of blank, tab, newline and backslash."""
    return re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8)]), field)
