"""`proc/TID/`: what is set of single tasks, of whom there is a directory, and who `self` is."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from threading import Event, Thread, get_native_id

import pytest

from scullvfs.fs.node import Symlink
from scullvfs.fs.tasks import BASE
from scullvfs.mm.sched import NOBODY, Task

from ..scull.helpers import fails
from .test_fail_function import Files


@pytest.fixture
def files() -> Files:
    """Of a machine with scullv loaded."""
    return Files()


@pytest.fixture
def child() -> Iterator[int]:
    """The pid of a process, which ends with the test."""
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(write)
        os.read(read, 1)
        os._exit(0)
    os.close(read)
    yield pid
    os.close(write)
    os.waitpid(pid, 0)


def test_who_has_a_directory(files: Files, child: int) -> None:
    """Everybody who is alive; names that are no such number are none."""
    assert files.node(f"proc/{child}") is not None
    assert files.node("proc/1") is not None
    for name in ("0", "-1", f"0{child}", "4194305", "99999999999999999999", "x", "\u0661", "1x"):
        assert files.node(f"proc/{name}") is None, name


def test_who_is_listed(files: Files, child: int) -> None:
    """Those that have something set; one that has died goes."""
    before = files.names("proc")
    assert {"self", "thread-self", "kmsg"} < before
    files.write(f"proc/{child}/fail-nth", b"5")
    files.write("proc/1/make-it-fail", b"1")
    assert files.names("proc") == before | {str(child), "1"}
    assert files.names(f"proc/{child}") == {"fail-nth", "make-it-fail"}
    files.write("proc/1/make-it-fail", b"0")
    files.write(f"proc/{child}/fail-nth", b"0")
    assert files.names("proc") == before


def test_dead(files: Files) -> None:
    """ESRCH for who has its files open; a number that is used again has nothing of it."""
    pid = os.fork()
    if not pid:
        os.execvp("sleep", ["sleep", "1000"])
    files.write(f"proc/{pid}/fail-nth", b"5")
    handle = files.file(f"proc/{pid}/fail-nth").open(os.O_RDWR)
    ino = files.file(f"proc/{pid}/fail-nth").ino
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    with fails(errno.ESRCH):
        handle.write(0, b"1", False)
    assert str(pid) not in files.names("proc")
    assert not files.machine.faults.tasks.fail_nth
    assert files.node(f"proc/{pid}") is None
    with fails(errno.ESTALE):
        files.tree.nodes[ino]


def test_books(files: Files, child: int) -> None:
    """A `fail_nth` is armed until it has failed, is taken back, or its task is no more."""
    faults = files.machine.faults
    assert faults.statistics() == {}
    files.write(f"proc/{child}/fail-nth", b"5")
    assert faults.statistics() == {"fail-nth": (0, True)}
    files.write(f"proc/{child}/fail-nth", b"0")
    files.write(f"proc/{child}/make-it-fail", b"1")
    assert faults.statistics() == {}
    pid = os.fork()
    if not pid:
        os.execvp("sleep", ["sleep", "1000"])
    files.write(f"proc/{pid}/fail-nth", b"5")
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    assert faults.statistics() == {}


def test_inode_numbers(files: Files, child: int) -> None:
    """A node is found again by its number, and is of the same task."""
    me = os.getpid()
    for tid in (child, me):
        for name in ("", "/fail-nth", "/make-it-fail"):
            node = files.node(f"proc/{tid}{name}")
            assert node is not None
            again = files.tree.nodes[node.ino]
            assert (again.ino, again.mode, again.generation) == (
                node.ino,
                node.mode,
                node.generation,
            )
            assert type(again) is type(node)
    assert len({ino for ino in files.tree.nodes if ino >= BASE}) == 0
    files.write(f"proc/{me}/fail-nth", b"7")
    again = files.tree.nodes[files.file(f"proc/{me}/fail-nth").ino]
    assert again.size == 2
    with fails(errno.ESTALE):
        files.tree.nodes[BASE | me << 2 | 3]
    with fails(errno.ESTALE):
        files.tree.nodes[BASE]


def test_modes(files: Files) -> None:
    """As recorded, 0644; a directory that all may enter."""
    for name in ("fail-nth", "make-it-fail"):
        node = files.file(f"proc/{os.getpid()}/{name}")
        assert (stat.S_IMODE(node.mode), node.uid, node.gid) == (0o644, 7, 8)
        assert node.entry_timeout == node.attr_timeout == 0
    parent = files.node(f"proc/{os.getpid()}")
    assert parent is not None
    assert parent.lookup(b"..") is files.node("proc")


def test_self(files: Files) -> None:
    """The process that looks, and its thread; nobody is ENOENT."""
    seen, done = list[int](), Event()

    def thread() -> None:
        seen.append(get_native_id())
        done.wait()

    worker = Thread(target=thread)
    worker.start()
    while not seen:
        pass
    link, of_thread = files.node("proc/self"), files.node("proc/thread-self")
    assert isinstance(link, Symlink)
    assert isinstance(of_thread, Symlink)
    files.machine.running.current = Task(seen[0], 0, 0)
    assert link.target == b"%d" % os.getpid()
    assert of_thread.target == b"%d" % seen[0]
    assert files.node(f"proc/{seen[0]}") is not None
    done.set()
    worker.join()
    files.machine.running.current = NOBODY
    with fails(errno.ENOENT):
        link.target  # noqa: B018


@pytest.mark.parametrize(
    ("name", "data", "result", "value"),
    [
        ("make-it-fail", b" 1 \n", 4, 1),
        ("make-it-fail", b"1           2", 12, 1),
        ("make-it-fail", b"1\0x", 3, 1),
        ("make-it-fail", b"0" * (1 << 20), 12, 0),
        ("make-it-fail", b"9" * (1 << 20), -errno.ERANGE, 0),
        ("make-it-fail", b"\0", -errno.EINVAL, 0),
        ("fail-nth", b"0x10\n", 5, 16),
        ("fail-nth", b" 1", -errno.EINVAL, 0),
        ("fail-nth", b"1\0x", 3, 1),
        ("fail-nth", b"4294967295", 10, 4294967295),
        ("fail-nth", b"4294967296", -errno.ERANGE, 0),
        ("fail-nth", b"0" * (1 << 20), 1 << 20, 0),
        ("fail-nth", b"7" * (1 << 20), -errno.ERANGE, 0),
        ("fail-nth", b"x" * (1 << 20), -errno.EINVAL, 0),
    ],
)
def test_numbers(files: Files, name: str, data: bytes, result: int, value: int) -> None:
    """What the recording has nothing of: of `make-it-fail` 12 bytes are looked at, and taken."""
    path = f"proc/{os.getpid()}/{name}"
    if result < 0:
        with fails(-result):
            files.write(path, data)
    else:
        assert files.write(path, data) == result
    assert files.read(path) == f"{value}\n"
