"""The tree of the mount: nodes, inode numbers, links, and what stands where."""

from __future__ import annotations

import errno
import stat
from collections.abc import Callable

import pytest

from scullvfs.fs.devices import DeviceFile
from scullvfs.fs.file import File, Handle
from scullvfs.fs.node import Directory, Node, Symlink
from scullvfs.fs.root import build_tree
from scullvfs.fs.tree import Tree
from scullvfs.mm import Machine
from scullvfs.scull import Module

from ..scull.helpers import fails


@pytest.fixture
def tree() -> Tree:
    """root(1): a(2), dir(3): b(4), sub(5): c(6); link(7)"""
    root, directory, sub = (Directory(1, 2) for _ in range(3))
    root.add("a", File(0o600, 1, 2))
    root.add("dir", directory)
    directory.add("b", File(0o600, 1, 2))
    directory.add("sub", sub)
    sub.add("c", File(0o600, 1, 2))
    root.add("link", Symlink("dir/b", 1, 2))
    return Tree(root)


def test_inode_numbers(tree: Tree) -> None:
    """The root has FUSE's number 1, the others follow, each directory before what is in it."""
    assert list(tree.nodes) == [1, 2, 3, 4, 5, 6, 7]
    assert all(node.ino == ino for ino, node in tree.nodes.items())
    assert tree.nodes[1] is tree.root
    directory = tree.root.entries[b"dir"]
    assert isinstance(directory, Directory)
    assert [node.ino for node in tree.root.entries.values()] == [2, 3, 7]
    assert [node.ino for node in directory.entries.values()] == [4, 5]


def test_nlink(tree: Tree) -> None:
    """A directory is linked by its name, its ".", and the ".." of each directory in it."""
    assert [tree.nodes[ino].nlink for ino in range(1, 8)] == [3, 1, 3, 1, 2, 1, 1]


def test_dot_and_dot_dot(tree: Tree) -> None:
    """The first names of a directory are itself and what it is in; the root is in itself."""
    listed = [(name, node.ino) for name, node in tree.root]
    assert listed == [(b".", 1), (b"..", 1), (b"a", 2), (b"dir", 3), (b"link", 7)]
    sub = tree.nodes[5]
    assert isinstance(sub, Directory)
    assert [(name, node.ino) for name, node in sub] == [(b".", 5), (b"..", 3), (b"c", 6)]


def test_types(tree: Tree) -> None:
    """st_mode has the type; a link is as long as its target."""
    assert [stat.filemode(tree.nodes[ino].mode) for ino in (1, 2, 7)] == [
        *("drwxr-xr-x", "-rw-------", "lrwxrwxrwx")
    ]
    assert [tree.nodes[ino].size for ino in (1, 2, 7)] == [0, 0, 5]


def test_handle_refuses() -> None:
    """What a file does not define is refused as the kernel refuses it."""
    refusals: list[tuple[Callable[[Handle], object], int]] = [
        (lambda handle: handle.read(0, 1), errno.EINVAL),
        (lambda handle: handle.read_pages(0, 1), errno.EINVAL),
        (lambda handle: handle.write(0, b"x", append=False), errno.EINVAL),
        (lambda handle: handle.ioctl(0x5401, 0, b""), errno.ENOTTY),
        (lambda handle: handle.lseek(0, 3), errno.EINVAL),
        (lambda handle: handle.fallocate(0, 0, 1), errno.ENODEV),
    ]
    for call, number in refusals:
        with fails(number):
            call(Handle())


def test_node_times() -> None:
    """A change of the content is one of the node, and not the other way round."""
    node = Node(stat.S_IFREG, 0, 0)
    node.mtime_ns = node.ctime_ns = 0
    node.changed()
    assert node.mtime_ns == 0 < node.ctime_ns
    node.ctime_ns = 0
    node.modified()
    assert node.mtime_ns == node.ctime_ns > 0


def test_build_tree() -> None:
    """The devices, the link to the first one, and proc, all with the owner that was asked for."""
    module = Module(Machine(mem=1 << 24), scullv_devs=12)
    tree = build_tree(module.machine, [module], uid=3, gid=4, mode=0o640)
    names = [name.decode() for name in tree.root.entries]
    assert names[:14] == [*(f"scullv{n}" for n in range(12)), "scullv", "proc"]
    assert {(node.uid, node.gid) for node in tree.nodes.values()} == {(3, 4)}
    devices = [node for node in tree.nodes.values() if isinstance(node, DeviceFile)]
    assert [file.device for file in devices] == module.devices
    assert {stat.filemode(file.mode) for file in devices} == {"-rw-r-----"}
    link = tree.root.entries[b"scullv"]
    assert isinstance(link, Symlink)
    assert link.target == b"scullv0"


def test_only_devices_change_their_owner() -> None:
    """Permissions of all but the devices are as they are."""
    module = Module(Machine(mem=1 << 24))
    tree = build_tree(module.machine, [module], uid=0, gid=0, mode=0o664)
    thawed = [node for node in tree.nodes.values() if not node.frozen]
    assert all(isinstance(node, DeviceFile) for node in thawed)
    assert len(thawed) == 4
