"""The tree that a user sees in the mount: its nodes by their inode numbers, and what counts them.

Nodes are made once, when the file system is assembled, and live as long as it; but for those of
a `LateDirectory`, which have numbers from the start, and those that are made at each look-up
(`tasks`), which are adopted.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from functools import partial
from typing import Final

from .atime import Atime
from .calls import CallTable
from .file import File
from .node import Directory, LateDirectory, Node, refused

__all__ = ["ROOT_INO", "Tree"]

ROOT_INO: Final = 1
"""Inode number of the mount's root, given by FUSE."""


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
        raise refused(errno.ESTALE)


class Tree:
    """All nodes by their inode number, from the root on.

    A node has the same number in each mount with the same options, so there is a generation
    beside it, which differs from mount to mount: a file handle of a former mount is stale.
    The root has none (Linux: fs/fuse/inode.c:fuse_get_root_inode()).

    Args:
        atime: when reading moves st_atime of what is no directory, and of a directory.
        keeps_sizes: whether the kernel keeps the size of a file that it had at a look.
    """

    def __init__(
        self,
        root: Directory,
        atime: tuple[Atime, Atime] = (Atime.NEVER, Atime.NEVER),
        keeps_sizes: bool = False,
    ) -> None:
        self.root: Final = root
        self._atime = atime
        self._keeps_sizes = keeps_sizes
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
        node.keeps_size = self._keeps_sizes
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
        node.keeps_size = self._keeps_sizes
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
