"""The adapter: what it asks of the tree, and the errno of each error; there is no kernel here."""

from __future__ import annotations

import errno
import logging
import os
import stat
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pyfuse3
import pytest
import trio

from scullvfs.fs.file import File, Handle
from scullvfs.fs.node import Directory, Symlink
from scullvfs.fs.tree import Tree
from scullvfs.fuse.errors import errno_of
from scullvfs.fuse.operations import Operations
from scullvfs.mm import Machine, PageFault
from scullvfs.mm.sched import NOBODY
from scullvfs.mm.workqueue import Steps

from ..vfs.troubles import TROUBLES

CALLER = SimpleNamespace(pid=os.getpid(), uid=0, gid=0, umask=0o022)

ERRORS = [
    (OSError(errno.ENOMEM, "no memory"), errno.ENOMEM),
    (OSError(errno.EINVAL, "invalid"), errno.EINVAL),
    (FileNotFoundError(errno.ENOENT, "missing"), errno.ENOENT),
    (MemoryError(), errno.ENOMEM),
    (PageFault(0xFFFF_C900_0001_0000, True, "pte", (1, 2, 3, 0)), errno.EFAULT),
]
"""What the driver and the machine may raise, and what the caller gets."""

BUGS = [
    RuntimeError("a bug"),
    OSError("without an errno"),
    OSError(0, "success"),
    OSError(1000, "none"),
    KeyError(5),
    AssertionError(),
]
"""What nobody expects: EIO, and a traceback in the log."""


class FakeFile(File):
    """A file whose every operation raises `error`, if there is one."""

    def __init__(self) -> None:
        super().__init__(0o640, 3, 4)
        self.error: Exception | None = None
        self.asked: list[Any] = []

    def _ask(self, *what: Any) -> None:
        self.asked.append(what)
        if self.error is not None:
            raise self.error

    def open(self, flags: int, pid: int = 0) -> Handle:
        self._ask("open", flags)
        return FakeHandle(self)

    def truncate(self, length: int) -> Steps[None]:
        self._ask("truncate", length)
        yield


class FakeHandle(Handle):
    """An open file that passes everything on."""

    def __init__(self, file: FakeFile) -> None:
        self.ask = file._ask

    def read(self, pos: int, count: int) -> bytes:
        self.ask("read", pos, count)
        return b"bytes"

    def write(self, pos: int, data: Any, append: bool) -> int:
        self.ask("write", pos, bytes(data), append)
        return 3

    def ioctl(self, cmd: int, arg: int, data: bytes) -> tuple[int, bytes]:
        self.ask("ioctl", cmd, arg, data)
        return 7, b"out"


@pytest.fixture
def file() -> FakeFile:
    """The file that is asked: inode 2, "file" in the root."""
    return FakeFile()


@pytest.fixture
def operations(file: FakeFile) -> Operations:
    """file(2), directory(3), link(4)"""
    root = Directory(1, 2)
    root.add("file", file)
    root.add("directory", Directory(1, 2))
    root.add("link", Symlink("file", 1, 2))
    return Operations(Tree(root), Machine(mem=1 << 24))


def call(operation: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
    """Call an operation as pyfuse3 does."""
    return trio.run(operation, *arguments)


def refused(number: int, operation: Callable[..., Awaitable[Any]], *arguments: Any) -> None:
    """The operation answers with this errno."""
    with pytest.raises(pyfuse3.FUSEError) as caught:
        call(operation, *arguments)
    assert errno.errorcode[caught.value.errno] == errno.errorcode[number]


def handle(operations: Operations, flags: int = os.O_RDWR) -> int:
    """Open the file."""
    return int(call(operations.open, 2, flags, CALLER).fh)


def fields(**updates: bool) -> SimpleNamespace:
    """Which attributes setattr() is to set."""
    names = ("atime", "mtime", "mode", "uid", "gid", "size")
    return SimpleNamespace(**{f"update_{name}": updates.get(name, False) for name in names})


def setattr_size(operations: Operations, size: int) -> Any:
    """Truncate the file."""
    attributes = pyfuse3.EntryAttributes()
    attributes.st_size = size
    return call(operations.setattr, 2, attributes, fields(size=True), None, CALLER)


# errors


def test_errno_of_host_out_of_memory(caplog: pytest.LogCaptureFixture) -> None:
    """Python's own MemoryError is no bug; the log says whose memory it is."""
    assert errno_of(MemoryError()) == errno.ENOMEM
    (line,) = caplog.messages
    assert TROUBLES["log-memory"].fits(line)


@pytest.mark.parametrize(("error", "number"), [*ERRORS, *((bug, errno.EIO) for bug in BUGS)])
def test_errors(
    operations: Operations,
    file: FakeFile,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    number: int,
) -> None:
    """Each operation answers with the errno that stands for the error, and works afterwards."""
    fh = handle(operations)
    file.error = error
    refused(number, operations.open, 2, os.O_RDWR, CALLER)
    refused(number, operations.read, fh, 0, 10)
    refused(number, operations.write, fh, 0, b"data")
    with pytest.raises(pyfuse3.FUSEError) as caught:
        setattr_size(operations, 5)
    assert caught.value.errno == number
    expected = 4 if error in BUGS else 0
    assert len([r for r in caplog.records if r.exc_info and r.levelno >= logging.ERROR]) == expected

    file.error = None
    assert call(operations.read, fh, 0, 10) == b"bytes"
    assert call(operations.write, fh, 0, b"data") == 3
    call(operations.release, fh)


def test_errors_of_a_failed_open_leave_no_handle(operations: Operations, file: FakeFile) -> None:
    """Only what was opened is in the table, until it is released."""
    file.error = OSError(errno.EACCES, "no")
    refused(errno.EACCES, operations.open, 2, os.O_RDWR, CALLER)
    file.error = None
    fhs = [handle(operations) for _ in range(3)]
    assert len(set(fhs)) == 3
    for fh in fhs:
        call(operations.release, fh)
    assert len(operations.vfs) == 0


# what is asked


def test_requests_reach_the_file(operations: Operations, file: FakeFile) -> None:
    """Positions, counts and bytes arrive as they were sent, O_APPEND as it is at the write."""
    fh, appending = handle(operations, os.O_RDWR), handle(operations, os.O_RDWR | os.O_APPEND)
    call(operations.read, fh, 1 << 40, 10)
    call(operations.write, fh, 5, b"data")
    call(operations.write, appending, 6, b"more")
    operations.vfs.write(appending, 7, b"fcntl", os.O_RDWR)
    operations.vfs.write(fh, 8, b"fcntl", os.O_RDWR | os.O_APPEND)
    setattr_size(operations, 99)
    assert file.asked[2:] == [
        ("read", 1 << 40, 10),
        ("write", 5, b"data", False),
        ("write", 6, b"more", True),
        ("write", 7, b"fcntl", False),
        ("write", 8, b"fcntl", True),
        ("truncate", 99),
    ]


def test_ioctl(operations: Operations, file: FakeFile) -> None:
    """ioctl() is not pyfuse3's: it is called as it is, and its errors are the caller's to turn."""
    fh = handle(operations)
    assert operations.vfs.ioctl(fh, 0x4B04, 5, b"in") == (7, b"out")
    assert file.asked[-1] == ("ioctl", 0x4B04, 5, b"in")


def test_current_task(operations: Operations, file: FakeFile) -> None:
    """Who made the request is running, and nobody is where pyfuse3 does not say who did."""
    machine = operations._machine
    assert (machine.current.pid, machine.current.comm) == (0, "swapper/0")
    fh = handle(operations)
    task = machine.current
    assert task == (os.getpid(), CALLER.uid, CALLER.gid)
    with open("/proc/self/comm") as comm:
        assert task.comm == comm.read().strip()
    call(operations.read, fh, 0, 1)
    assert machine.current is NOBODY
    call(operations.lookup, 1, b"file", SimpleNamespace(pid=1 << 30, uid=5, gid=6))
    assert (machine.current, machine.current.comm) == ((1 << 30, 5, 6), "(gone)")


# names and attributes


def test_lookup(operations: Operations) -> None:
    """A name is found in its directory, and nowhere else."""
    for name, ino in ((b"file", 2), (b"directory", 3), (b"link", 4), (b".", 1), (b"..", 1)):
        assert call(operations.lookup, 1, name, CALLER).st_ino == ino
    refused(errno.ENOENT, operations.lookup, 1, b"missing", CALLER)
    refused(errno.ENOENT, operations.lookup, 3, b"file", CALLER)
    refused(errno.ENOTDIR, operations.lookup, 2, b"file", CALLER)
    assert call(operations.lookup, 3, b"..", CALLER).st_ino == 1
    refused(errno.ENAMETOOLONG, operations.lookup, 1, b"n" * 256, CALLER)
    refused(errno.ENOENT, operations.lookup, 1, b"n" * 255, CALLER)


def test_lookup_by_number(operations: Operations, caplog: pytest.LogCaptureFixture) -> None:
    """The kernel asks so for a file handle's node; one that is not there is no bug of ours."""
    entries = [call(operations.lookup, ino, b".", CALLER) for ino in (1, 2, 3, 4)]
    assert [entry.st_ino for entry in entries] == [1, 2, 3, 4]
    assert entries[0].generation == 0  # the kernel takes the root for bad otherwise
    assert {entry.generation for entry in entries[1:]} == {operations._tree.nodes[2].generation}
    assert entries[1].generation
    refused(errno.ESTALE, operations.lookup, 5, b".", CALLER)
    refused(errno.ESTALE, operations.lookup, 5, b"..", CALLER)
    assert caplog.records == []


def test_getattr(operations: Operations, file: FakeFile) -> None:
    """The attributes are the node's."""
    file.atime_ns, file.mtime_ns, file.ctime_ns = 1, 2, 3
    entry = call(operations.getattr, 2, CALLER)
    assert (entry.st_ino, entry.st_mode, entry.st_nlink) == (2, stat.S_IFREG | 0o640, 1)
    assert (entry.st_uid, entry.st_gid, entry.st_size, entry.st_blocks) == (3, 4, 0, 0)
    assert (entry.st_atime_ns, entry.st_mtime_ns, entry.st_ctime_ns) == (1, 2, 3)


def test_setattr(operations: Operations, file: FakeFile) -> None:
    """What is to be set is set, and nothing else but the time of change."""
    file.frozen = False
    file.ctime_ns = 0
    attributes = pyfuse3.EntryAttributes()
    attributes.st_mode, attributes.st_uid, attributes.st_gid = stat.S_IFREG | 0o600, 10, 20
    attributes.st_atime_ns, attributes.st_mtime_ns = 30, 40
    before = (file.mode, file.gid, file.atime_ns)
    call(operations.setattr, 2, attributes, fields(uid=True, mtime=True), None, CALLER)
    assert (file.mode, file.gid, file.atime_ns) == before
    assert (file.uid, file.mtime_ns) == (10, 40)
    assert file.ctime_ns > 0
    call(operations.setattr, 2, attributes, fields(mode=True, gid=True, atime=True), None, CALLER)
    assert (file.mode, file.gid, file.atime_ns) == (stat.S_IFREG | 0o600, 20, 30)
    assert file.asked == []


@pytest.mark.parametrize("name", ["mode", "uid", "gid"])
def test_setattr_frozen(operations: Operations, file: FakeFile, name: str) -> None:
    """Owner and permissions of a frozen node are EPERM, and then nothing is changed."""
    attributes = pyfuse3.EntryAttributes()
    what = fields(**{name: True, "size": True})
    refused(errno.EPERM, operations.setattr, 2, attributes, what, None, CALLER)
    assert file.asked == []


def test_open_directory_and_read_file_as_link(operations: Operations) -> None:
    """What is no file cannot be opened as one, and what is no link cannot be followed."""
    refused(errno.EISDIR, operations.open, 3, os.O_RDONLY, CALLER)
    refused(errno.EINVAL, operations.readlink, 2, CALLER)
    assert call(operations.readlink, 4, CALLER) == b"file"


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("create", (1, b"new", 0o644, os.O_RDWR)),
        ("mknod", (1, b"new", stat.S_IFREG, 0)),
        ("mkdir", (1, b"new", 0o755)),
        ("symlink", (1, b"new", b"file")),
        ("link", (2, 1, b"new")),
        ("rename", (1, b"file", 1, b"new", 0)),
        ("unlink", (1, b"file")),
        ("rmdir", (1, b"directory")),
    ],
)
def test_names_stay(operations: Operations, name: str, arguments: tuple[Any, ...]) -> None:
    """Making, renaming and removing names is EPERM."""
    refused(errno.EPERM, getattr(operations, name), *arguments, CALLER)


def test_statfs(operations: Operations) -> None:
    """The file system is the machine's RAM, and its files are the nodes."""
    machine = operations._machine
    data = call(operations.statfs, CALLER)
    assert (data.f_bsize, data.f_frsize, data.f_blocks) == (4096, 4096, (1 << 12) - 1)
    assert data.f_bfree == machine.page_alloc.nr_free
    assert data.f_bavail == data.f_bfree - machine.page_alloc.zones[0].wmark.min
    machine.vm.vmalloc(100 * 4096)
    assert data.f_bfree - call(operations.statfs, CALLER).f_bfree >= 100
    assert (data.f_files, data.f_ffree) == (4, 0)
