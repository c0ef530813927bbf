"""The one door: whatever anybody does with the tree is a call of a method here.

    lookup, getattr, readlink, readdir, statfs     look
    notify_change, truncate                        change attributes, and the size
    open, read, write, ioctl ... release           open a file, and use it (`open_files`)

Nodes are named by inode number, open files by handle, as requests name them; who calls has been
said in `Running.current`.  So who stands in this door sees all there is: a recording has every
call, and made again in the same order, by the same callers, they do the same.

Linux: fs/namei.c, fs/attr.c, fs/read_write.c
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple

from scullvfs.mm import Machine
from scullvfs.mm.gfp import GFP_HIGHUSER
from scullvfs.mm.workqueue import Left, Steps

from .file import File
from .node import NAME_MAX, Directory, Node, Symlink, refused
from .open_files import OpenFiles
from .tree import Tree

__all__ = ["METHODS", "Attributes", "Statfs", "Vfs"]

METHODS: Final = (
    *("lookup", "getattr", "notify_change", "truncate", "readlink", "readdir", "statfs"),
    *("open", "read", "write", "write_pages", "ioctl", "lseek", "fallocate", "poll", "release"),
)
"""The names of all calls."""


class Attributes(NamedTuple):
    """What is to be set of a node (Linux: struct iattr); None for what stays."""

    mode: int | None = None
    """Type and permission bits."""
    uid: int | None = None
    gid: int | None = None
    atime_ns: int | None = None
    mtime_ns: int | None = None

    @property
    def change_rights(self) -> bool:
        """Whether permissions or owner change."""
        return self.mode is not None or self.uid is not None or self.gid is not None


class Statfs(NamedTuple):
    """What there is of memory and nodes (Linux: struct kstatfs)."""

    blocks: int
    """Of PAGE_SIZE; so are the free ones."""
    bfree: int
    bavail: int
    files: int


class Vfs(OpenFiles):
    """Every call on a tree and the files that are open in it.

    What a method raises is the caller's errno: ESTALE everywhere, for the number of no node.
    """

    def __init__(self, tree: Tree, machine: Machine) -> None:
        super().__init__(machine.running, tree.calls)
        self._nodes: Final = tree.nodes
        self._pages: Final = machine.page_alloc
        self.on_switch: Callable[[], None] = lambda: None
        """Called when something else stands in the place of methods: who keeps some takes them
        anew."""

    def lookup(self, parent: int, name: bytes) -> Node:
        """What stands for a name in a directory.

        Raises:
            OSError: ENOENT; ENAMETOOLONG; ENOTDIR.
        """
        node = self._nodes[parent].lookup(name)
        if node is None:
            number = errno.ENAMETOOLONG if len(name) > NAME_MAX else errno.ENOENT
            raise refused(number)
        node.looked_up(self._running.current.pid)
        return node

    def getattr(self, ino: int) -> Node:
        """stat(2): a node, to be asked for its attributes."""
        return self._nodes[ino]

    def setattr_prepare(self, ino: int, attributes: Attributes) -> None:
        """See whether attributes can be changed, before anything is (Linux: fs/attr.c).

        Raises:
            OSError: EPERM, permissions and owner of that node stay.
        """
        if self._nodes[ino].frozen and attributes.change_rights:
            raise refused(errno.EPERM)

    def notify_change(self, ino: int, attributes: Attributes) -> Node:
        """chmod(2), chown(2), utimensat(2), and the end of a truncate(2); it was checked who may.

        Raises:
            OSError: as from `setattr_prepare()`.
        """
        self.setattr_prepare(ino, attributes)
        node = self._nodes[ino]
        for name, value in attributes._asdict().items():
            if value is not None:
                setattr(node, name, value)
        node.changed()
        return node

    def truncate(self, ino: int, length: int) -> Steps[Left]:
        """truncate(2), in steps; the result is what is left to do.

        Raises:
            OSError: EINVAL, it cannot be; or what the driver says.
        """
        task = self._running.current

        def truncated(left: Left) -> Left:
            return None if left is None else self._on_behalf(task, left)

        return self._steps(partial(self._nodes[ino].truncate, length), truncated)

    def open(self, ino: int, flags: int) -> tuple[int, Left]:
        """open(2); see `open_file()`.

        Raises:
            OSError: EISDIR, it is no file; and what that raises.
        """
        node = self._nodes[ino]
        if not isinstance(node, File):
            raise refused(errno.EISDIR)
        return self.open_file(node, flags)

    def readlink(self, ino: int) -> bytes:
        """readlink(2).

        Raises:
            OSError: EINVAL, it is no link.
        """
        node = self._nodes[ino]
        if not isinstance(node, Symlink):
            raise refused(errno.EINVAL)
        node.accessed()
        return node.target

    def readdir(self, ino: int) -> list[tuple[bytes, Node]]:
        """getdents(2): the names in a directory with their nodes, "." and ".." first.

        Raises:
            OSError: ENOTDIR.
        """
        node = self._nodes[ino]
        if not isinstance(node, Directory):
            raise refused(errno.ENOTDIR)
        node.accessed()
        return [*node]

    def statfs(self) -> Statfs:
        """statfs(2): the machine's RAM."""
        pages = self._pages
        return Statfs(
            pages.totalram_pages, pages.nr_free, pages.nr_available(GFP_HIGHUSER), len(self._nodes)
        )
