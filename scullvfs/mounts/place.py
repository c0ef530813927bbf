"""The mount that a path means, found without a system call on the mount itself.

A path may lead through somebody's FUSE mount whose daemon never answers, so what lies in one is
looked at by a child process (`probe`), which has some seconds. Used by every command that takes
a path of a mount.
"""

import errno
import os
from collections.abc import Mapping
from typing import Final

from scullvfs.errors import NotMountedError
from scullvfs.text import shown

from .mountinfo import FSTYPE, Mount, mount_at, read_mounts
from .probe import ask

__all__ = ["LOOK_TIMEOUT", "find_mount", "find_scullvfs", "lies_in_fuse", "resolve"]

MAX_SYMLINKS: Final = 40
"""Linux: include/linux/namei.h:MAXSYMLINKS"""

LOOK_TIMEOUT: Final = 5.0
"""Seconds that a file system in user space has to answer a look at a name in it."""


def find_mount(path: str) -> Mount:
    """The uppermost mount on `path`, of whatever type.

    Raises:
        NotMountedError: there is none.
    """
    try:
        mount = mount_at(resolve(path))
    except OSError as error:
        raise NotMountedError(f"cannot look for {shown(path)}: {error.strerror}") from None
    if mount is None:
        raise NotMountedError(f"{shown(path)} is not mounted; 'findmnt -t {FSTYPE}' lists what is")
    return mount


def find_scullvfs(path: str) -> Mount:
    """The scullvfs mount on `path`, dead or alive.

    Raises:
        NotMountedError: there is none.
    """
    mount = find_mount(path)
    if not mount.is_scullvfs:
        raise NotMountedError(
            f"{shown(path)} is not a scullvfs mount but of type {shown(mount.fstype)}"
        )
    if mount.root != "/":
        raise NotMountedError(
            f"{shown(path)} is only a part of a scullvfs mount, {shown(mount.root)}"
        )
    return mount


def resolve(path: str) -> str:
    """The absolute path of `path` without symbolic links.

    As `os.path.realpath`, but a mount point is taken as it is, without a look at it.

    Raises:
        OSError: ENOENT, for an empty path; ELOOP, for a symbolic link that leads to itself;
            ETIMEDOUT, for a path into a file system in user space that does not answer.
    """
    if not path:
        raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    mounts = {mount.path: mount for mount in read_mounts()}
    found, links = "/", 0
    names = _absolute(path).split("/")[::-1]
    while names:
        name = names.pop()
        if name == "..":
            found = os.path.dirname(found)
        elif name not in ("", "."):
            deeper = os.path.join(found, name)
            target = None if deeper in mounts else _readlink(deeper, mounts)
            if target is None:
                found = deeper
                continue
            if (links := links + 1) > MAX_SYMLINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            if target.startswith("/"):
                found = "/"
            names += target.split("/")[::-1]
    return found


def lies_in_fuse(path: str, mounts: Mapping[str, Mount] | None = None) -> bool:
    """Whether what is at `path`, which is resolved, is served from user space, and may hang."""
    if mounts is None:
        mounts = {mount.path: mount for mount in read_mounts()}
    while path not in mounts and path != "/":
        path = os.path.dirname(path)
    return path in mounts and mounts[path].fstype.startswith("fuse")


def _absolute(path: str) -> str:
    """`path`, and if this directory has no name any more, what the kernel finds from there.

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


def _readlink(path: str, mounts: Mapping[str, Mount]) -> str | None:
    """Where the symbolic link at `path` leads; None if there is none."""
    try:
        if not lies_in_fuse(path, mounts):
            return os.readlink(path)
        return os.fsdecode(ask(lambda: os.readlink(os.fsencode(path)), timeout=LOOK_TIMEOUT))
    except TimeoutError:
        raise
    except OSError:
        return None
