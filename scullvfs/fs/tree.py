"""The tree that a user sees in the mount: nodes, their inode numbers and attributes.

Nodes are made once, when the file system is assembled, and live as long as it.  No FUSE
here: `operations` asks a node for its attributes, and a file for a handle at each open.
What cannot be done is an `OSError`.
"""

from __future__ import annotations

import errno
import itertools
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from select import POLLIN, POLLOUT, POLLRDNORM, POLLWRNORM
from typing import Final

from scullvfs.mm import outside
from scullvfs.mm.access import Buffer, View
from scullvfs.mm.workqueue import Left, Steps

from .atime import DAY, Atime
from .calls import UNCOUNTED, CallTable

__all__ = [
    "FOREVER",
    "NAME_MAX",
    "READY",
    "ROOT_INO",
    "Directory",
    "File",
    "Handle",
    "LateDirectory",
    "Node",
    "Symlink",
    "Tree",
]

ROOT_INO: Final = 1
"""Inode number of the mount's root, given by FUSE."""

NAME_MAX: Final = 255
"""Bytes of a name at the most (Linux: include/uapi/linux/limits.h); FUSE lets longer ones by."""

FOREVER: Final = 3600
"""Seconds for which the kernel may remember what changes only through the kernel."""


READY: Final = POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM
"""What poll(2) finds of a file that never waits (Linux: include/linux/poll.h:DEFAULT_POLLMASK)."""


class Handle:
    """An open file.  What it does not define is refused as the kernel refuses it.

    Any call, and `File.open()` and `truncate()`, may raise a `waiting.WouldWait`: it is answered
    later.
    """

    file: File
    """What is open; this and `flags` are set once it is."""
    flags = 0
    """What it was opened with: the flags of open(2)."""
    left: Left = None
    """What the open has left to do, if it has emptied the file."""

    def read(self, pos: int, count: int) -> View:
        """Up to `count` bytes at `pos`, for read(2)."""
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    def read_pages(self, pos: int, count: int) -> View:
        """`count` bytes at `pos`, fewer only at the end of the file, for the page cache."""
        return self.read(pos, count)

    def write(self, pos: int, data: Buffer, append: bool) -> int:
        """Write at `pos`, the end of the file as the kernel knows it if `append` is set.

        Returns how many bytes were taken.
        """
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    def write_pages(self, pos: int, data: Buffer) -> int:
        """Write back what was written to mapped pages; all of it, or it is lost."""
        return self.write(pos, data, False)

    def ioctl(self, cmd: int, arg: int, data: bytes) -> tuple[int, bytes]:
        """ioctl(2): its result, and what is to be stored through its pointer."""
        raise OSError(errno.ENOTTY, os.strerror(errno.ENOTTY))

    def lseek(self, off: int, whence: int) -> Steps[int]:
        """lseek(2) with SEEK_DATA or SEEK_HOLE, in steps."""
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    def fallocate(self, mode: int, off: int, length: int) -> Steps[None]:
        """fallocate(2), in steps; an interrupt is raised in one as an `InterruptedError`."""
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))

    def poll(self, wake: Callable[[], None] | None) -> int:
        """poll(2): what can be done without waiting, as POLLIN and so on.

        `wake`, where there is one, is called once when that may be more; the one of the poll before
        is not any more.
        """
        return READY

    def release(self) -> None:
        """The last descriptor and the last mapping of it are gone."""


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
        raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))

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
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))


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

    def _made(self) -> None:
        if self._make is not None:
            make, self._make = self._make, None
            nlink, self.nlink = self.nlink, 2
            for name, node in make().items():
                self.add(name, node)
            assert self.nlink == nlink
            self.on_made()

    def lookup(self, name: bytes) -> Node | None:
        """The node of a name, None if it is not there."""
        self._made()
        return super().lookup(name)

    def __iter__(self) -> Iterator[tuple[bytes, Node]]:
        """The names in it with their nodes, "." and ".." first."""
        self._made()
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


class File(Node):
    """A regular file."""

    counted = False
    """Whether its calls are counted apart from those of other files."""
    calls = UNCOUNTED
    """What counts its calls; given by the tree."""
    direct_io = True
    """Whether each read and write comes here, past the kernel's page cache."""
    nonseekable = False
    """Whether lseek(2) and pread(2) are refused, as it has no positions."""
    shows_data = False
    """Whether what is read of it may be what programs have written to devices."""

    def __init__(self, permissions: int, uid: int, gid: int) -> None:
        super().__init__(stat.S_IFREG | permissions, uid, gid)

    def open(self, flags: int, pid: int = 0) -> Handle:
        """Open with the flags of open(2), for a process.

        Raises:
            OSError: it cannot be opened so.
        """
        raise NotImplementedError


class _Nodes(dict[int, Node]):
    """Inode number -> node."""

    def __init__(self) -> None:
        super().__init__()
        self.made: Callable[[int], Node | None] = lambda ino: None
        """Gives a node that is made whenever somebody asks for it (`tasks`)."""

    def __missing__(self, ino: int) -> Node:
        """A number of such a node, or from a file handle of another mount."""
        node = self.made(ino)
        if node is not None:
            return node
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))


class Tree:
    """All nodes by their inode number, from the root on.

    A node has the same number in each mount with the same options, so there is a generation
    beside it, which differs from mount to mount: a file handle of a former mount is stale.
    The root has none (Linux: fs/fuse/inode.c:fuse_get_root_inode()).

    Args:
        atime: when reading moves st_atime of what is no directory, and of a directory.
    """

    def __init__(
        self, root: Directory, atime: tuple[Atime, Atime] = (Atime.NEVER, Atime.NEVER)
    ) -> None:
        self.root: Final = root
        self._atime = atime
        self.nodes: Final = _Nodes()
        """Inode number -> node; ESTALE for one that is not there."""
        self._next = ROOT_INO
        """The number of the next node."""
        self._generation = int.from_bytes(os.urandom(4)) or 1  # the kernel keeps 32 bits of it
        self._number(root)
        root.generation = 0
        self.calls: Final = self._count(root)
        """The counters of all its files."""

    @property
    def made(self) -> list[int]:
        """The inode numbers of the late directories whose names are made."""
        return [
            ino
            for ino, node in self.nodes.items()
            if isinstance(node, LateDirectory) and node.is_made
        ]

    def adopt(self, node: Node, ino: int) -> None:
        """Make a node one of the tree's that is made whenever somebody asks for it."""
        node.ino, node.generation = ino, self._generation
        node.atime_rule = self._atime[isinstance(node, Directory)]
        if isinstance(node, File):
            node.calls = self.calls.row(0)

    def _count(self, root: Directory) -> CallTable:
        """Give a row of counters to each device, and one to all other files together."""
        counted = {
            name.decode(): node
            for name, node in root.entries.items()
            if isinstance(node, File) and node.counted
        }
        table = CallTable([*counted])
        for node in self.nodes.values():
            if isinstance(node, File):
                node.calls = table.row(0)
        for row, node in enumerate(counted.values(), start=1):
            node.calls = table.row(row)
        return table

    def _number(self, node: Node) -> None:
        node.ino = self._next
        self._next += 1
        node.generation = self._generation
        node.atime_rule = self._atime[isinstance(node, Directory)]
        self.nodes[node.ino] = node
        if isinstance(node, LateDirectory):
            node.on_made = partial(self._number_late, node, self._next)
            self._next += node.count
        elif isinstance(node, Directory):
            for child in node.entries.values():
                self._number(child)

    def _number_late(self, directory: LateDirectory, first: int) -> None:
        """Give the nodes in it the numbers that are kept for them."""
        behind, self._next = self._next, first
        for child in directory.entries.values():
            self._number(child)
        assert self._next == first + directory.count
        for ino in range(first, self._next):
            node = self.nodes[ino]
            if isinstance(node, File):
                node.calls = self.calls.row(0)
        self._next = behind
