"""What a name in the mount stands for, and its attributes: directories and symbolic links.

Regular files are in `file`, and the `tree` gives all of them their numbers.  No FUSE here: a node
is asked for its attributes, and what cannot be done is an `OSError`.
"""

from __future__ import annotations

import errno
import itertools
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from scullvfs.mm import outside
from scullvfs.mm.workqueue import Left, Steps

from .atime import DAY, Atime

__all__ = ["FOREVER", "NAME_MAX", "Directory", "LateDirectory", "Node", "Symlink", "refused"]

NAME_MAX: Final = 255
"""Bytes of a name at the most (Linux: include/uapi/linux/limits.h); FUSE lets longer ones by."""

FOREVER: Final = 3600
"""Seconds for which the kernel may remember what changes only through the kernel."""


def refused(number: int) -> OSError:
    """An error by its number."""
    return OSError(number, os.strerror(number))


class Node:
    """Something with an inode.

    Args:
        mode: type and permission bits, as in st_mode.
    """

    attr_timeout = FOREVER
    """Seconds for which the kernel may remember the attributes."""
    entry_timeout = FOREVER
    """Seconds for which the kernel may remember which node the name stands for."""
    atime_rule = Atime.NEVER
    """Given by the tree."""
    keeps_size = False
    """Whether the kernel keeps the size that it had when the name was looked up; given by the
    tree."""
    recorded = True
    """Whether what is read of it, and how long it is, belongs into a recording."""

    def __init__(self, mode: int, uid: int, gid: int) -> None:
        self.ino = self.generation = 0
        """Given by the tree."""
        self.mode = mode
        self.uid = uid
        self.gid = gid
        self.nlink = 1
        self.atime_ns = self.mtime_ns = self.ctime_ns = outside.time_ns()
        self.frozen = True
        """Whether permissions and owner cannot be changed."""

    @property
    def size(self) -> int:
        """st_size."""
        return 0

    @property
    def allocated(self) -> int:
        """Bytes that it takes: st_blocks * 512."""
        return 0

    @property
    def blksize(self) -> int:
        """st_blksize."""
        return 4096

    def modified(self) -> None:
        """Note that its content has changed."""
        self.mtime_ns = self.ctime_ns = outside.time_ns()

    def accessed(self) -> bool:
        """Note that it has been read; returns whether that has moved st_atime.

        Linux: fs/inode.c:atime_needs_update(), relatime_need_update()
        """
        if self.atime_rule is Atime.NEVER:
            return False
        now = outside.time_ns()
        later = self.mtime_ns < self.atime_ns > self.ctime_ns and now - self.atime_ns < DAY
        if later and self.atime_rule is Atime.RELATIVE:
            return False
        self.atime_ns = now
        return True

    def lookup(self, name: bytes) -> Node | None:
        """What stands for a name in it.

        "." is the node itself, of whatever kind: so the kernel finds again, by its number alone,
        what open_by_handle_at(2) and NFS name (Linux: fs/fuse/inode.c:fuse_get_dentry()).

        Raises:
            OSError: ENOTDIR, it has no names.
        """
        if name == b".":
            return self
        raise refused(errno.ENOTDIR)

    def looked_up(self, pid: int) -> None:
        """Hear that a process has looked the name up, and is going to open it or to ask more."""

    def changed(self) -> None:
        """Note that an attribute of it has changed."""
        self.ctime_ns = outside.time_ns()

    def truncate(self, length: int) -> Steps[Left]:
        """Set its size, where that can be done, in steps; the result is what is left to do.

        Raises:
            OSError: EINVAL, it cannot.
        """
        raise refused(errno.EINVAL)


class Directory(Node):
    """A directory.  Names are added while the tree is built, or as a `LateDirectory` has it."""

    def __init__(self, uid: int, gid: int) -> None:
        super().__init__(stat.S_IFDIR | 0o755, uid, gid)
        self.nlink = 2
        self.parent = self
        self.entries: dict[bytes, Node] = {}

    @classmethod
    def of(cls, nodes: Mapping[str, Node], uid: int, gid: int) -> Directory:
        """A directory with these names in it."""
        directory = cls(uid, gid)
        for name, node in nodes.items():
            directory.add(name, node)
        return directory

    def add(self, name: str, node: Node) -> None:
        """Put a node in."""
        self.entries[name.encode()] = node
        if isinstance(node, Directory):
            node.parent = self
            self.nlink += 1

    def lookup(self, name: bytes) -> Node | None:
        """The node of a name, None if it is not there."""
        node = self.entries.get(name)
        if node is None and name in (b".", b".."):
            return self if name == b"." else self.parent
        return node

    def __iter__(self) -> Iterator[tuple[bytes, Node]]:
        """The names in it with their nodes, "." and ".." first."""
        return itertools.chain([(b".", self), (b"..", self.parent)], self.entries.items())


class LateDirectory(Directory):
    """A directory whose names are made when somebody looks for one.

    Args:
        make: makes them.
        directories: how many of them are directories.
        count: how many nodes that are, with those below; they get numbers before they are made.
    """

    def __init__(
        self,
        uid: int,
        gid: int,
        make: Callable[[], Mapping[str, Node]],
        directories: int,
        count: int,
    ) -> None:
        super().__init__(uid, gid)
        self.nlink += directories
        self.count: Final = count
        self.on_made: Callable[[], None] = lambda: None
        """Called when they are made."""
        self._make: Callable[[], Mapping[str, Node]] | None = make

    @property
    def is_made(self) -> bool:
        """Whether somebody has looked."""
        return self._make is None

    def make_names(self) -> None:
        """Make them now, if nobody has looked yet."""
        if self._make is not None:
            make, self._make = self._make, None
            nlink, self.nlink = self.nlink, 2
            for name, node in make().items():
                self.add(name, node)
            assert self.nlink == nlink
            self.on_made()

    def lookup(self, name: bytes) -> Node | None:
        """The node of a name, None if it is not there."""
        self.make_names()
        return super().lookup(name)

    def __iter__(self) -> Iterator[tuple[bytes, Node]]:
        """The names in it with their nodes, "." and ".." first."""
        self.make_names()
        return super().__iter__()


class Symlink(Node):
    """A symbolic link."""

    def __init__(self, target: str, uid: int, gid: int) -> None:
        super().__init__(stat.S_IFLNK | 0o777, uid, gid)
        self._target = target.encode()

    @property
    def target(self) -> bytes:
        """What it leads to."""
        return self._target

    @property
    def size(self) -> int:
        """Length of the target."""
        return len(self.target)
