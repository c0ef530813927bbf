"""The files of the faults of a device: what is written, and what they say then."""

from __future__ import annotations

import errno
import os

import pytest

from scullvfs.fs.device_fault_files import scull_directory
from scullvfs.fs.devices import DeviceFile
from scullvfs.fs.file import File
from scullvfs.fs.node import Directory, Node
from scullvfs.fs.op_fault import OPERATIONS
from scullvfs.fs.tree import Tree

from ..scull.helpers import fails
from .device_files import new_file


def every(directory: Directory, path: str = "") -> dict[str, Node]:
    """All nodes below a directory, by their paths."""
    found: dict[str, Node] = {}
    for name, node in directory:
        if name not in (b".", b".."):
            at = path + name.decode()
            found[at] = node
            if isinstance(node, Directory):
                found |= every(node, f"{at}/")
    return found


@pytest.fixture
def file() -> DeviceFile:
    """A device; whose rules it follows its files do not tell."""
    return new_file()


@pytest.fixture
def root(file: DeviceFile) -> Directory:
    """The directory `scull` of one device."""
    return scull_directory([file], file.device.machine.faults, 1, 2)


def text(file: Node) -> str:
    """What a file says."""
    assert isinstance(file, File)
    return bytes(file.open(os.O_RDONLY).read(0, 100)).decode()


def store(file: Node, value: bytes) -> None:
    """Write to a file."""
    assert isinstance(file, File)
    assert file.open(os.O_WRONLY).write(0, value, append=False) == len(value)


def test_they_are_made_when_somebody_looks(file: DeviceFile, root: Directory) -> None:
    """Their numbers are kept for them, and nothing stands anywhere before."""
    behind = Directory(1, 2)
    top = Directory.of({"scull": root, "behind": behind}, 1, 2)
    tree = Tree(top)
    assert [node.nlink for _, node in root][2:] == [1, 2 + len(OPERATIONS)]
    assert "scullv0/read" not in file.device.machine.faults.attrs
    made = every(root)
    assert sorted(node.ino for node in made.values()) == [*range(3, behind.ino)]
    assert all(tree.nodes[node.ino] is node for node in made.values())
    assert made["scullv0"].nlink == 2 + len(OPERATIONS)
    assert all(node.calls.row == 0 for node in made.values() if isinstance(node, File))
    assert every(root) == made


@pytest.mark.parametrize(
    ("name", "value", "reads"),
    [
        ("write/errno", b"EIO\n", "EIO"),
        ("write/errno", b"5", "EIO"),
        ("write/errno", b"-28\n", "ENOSPC"),
        ("write/errno", b"EWOULDBLOCK", "EAGAIN"),
        ("write/errno", b"0", "0"),
        ("write/at", b"call 3\n", "call 3"),
        ("write/at", b"byte 0", "byte 0"),
        ("read/at", b"131072\n", "byte 131072"),
        ("fallocate/at", b"0x10", "byte 16"),
        ("open/at", b"call 9223372036854775807", "call 9223372036854775807"),
        ("open/at", b"0", "0"),
        ("short_read", b"random\n", "random"),
        ("short_write", b"17\0abc", "17"),
        ("delay_us", b"18446744073709551615", "18446744073709551615"),
        ("ioctl/delay_us", b"1000\n", "1000"),
    ],
)
def test_values(root: Directory, name: str, value: bytes, reads: str) -> None:
    """What is written in one way or another reads in one."""
    node = every(root)[f"scullv0/{name}"]
    store(node, value)
    assert text(node) == f"{reads}\n"


@pytest.mark.parametrize(
    ("name", "value", "number"),
    [
        ("write/errno", b"", errno.EINVAL),
        ("write/errno", b"eio", errno.EINVAL),
        ("write/errno", b"EVERYTHING", errno.EINVAL),
        ("write/errno", b"ENOSYS", errno.EINVAL),
        ("write/errno", b"38", errno.EINVAL),
        ("write/errno", b"512", errno.EINVAL),
        ("write/errno", b"99999999999", errno.ERANGE),
        ("write/errno", b"\xff", errno.EINVAL),
        ("write/at", b"call", errno.EINVAL),
        ("write/at", b"call 0", errno.EINVAL),
        ("write/at", b"call -1", errno.EINVAL),
        ("write/at", b"call  1", errno.EINVAL),
        ("write/at", b"bytes 1", errno.EINVAL),
        ("write/at", b"byte 9223372036854775808", errno.ERANGE),
        ("write/at", b" ", errno.EINVAL),
        ("open/at", b"7", errno.EINVAL),
        ("truncate/at", b"byte 7", errno.EINVAL),
        ("short_read", b"-1", errno.EINVAL),
        ("short_read", b"RANDOM", errno.EINVAL),
        ("short_write", b"9" * 65, errno.EINVAL),
        ("delay_us", b"-1", errno.EINVAL),
        ("delay_us", b"1.5", errno.EINVAL),
        ("delay_us", b"18446744073709551616", errno.ERANGE),
        ("reset", b"maybe", errno.EINVAL),
        ("reset", b"", errno.EINVAL),
    ],
)
def test_what_is_refused(root: Directory, name: str, value: bytes, number: int) -> None:
    """Changes nothing."""
    node = every(root)[f"scullv0/{name}"]
    assert isinstance(node, File)
    with fails(number):
        node.open(os.O_WRONLY).write(0, value, append=False)
    if name != "reset":
        assert text(node) == "0\n"


def test_reset_of_everything(file: DeviceFile, root: Directory) -> None:
    """All devices, and the machine's faults."""
    made = every(root)
    store(made["scullv0/write/errno"], b"EIO")
    tasks = file.device.machine.faults.tasks
    tasks.set_make_it_fail(os.getpid(), True)
    store(made["reset"], b"1")
    assert text(made["scullv0/write/errno"]) == "0\n"
    assert not tasks.make_it_fail
