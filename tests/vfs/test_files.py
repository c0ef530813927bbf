"""Positions, several descriptors, short reads and writes: the system calls of an open device."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from mmap import mmap
from pathlib import Path

import pytest

from ..scull.helpers import fails
from .helpers import MIB, QUANTUM, opened, read_all, write_all

FAR = 1 << 45
LAST = (1 << 63) - 1
"""The highest position of a file."""


@pytest.fixture
def other(scullv0: Path) -> Iterator[int]:
    """A second descriptor of the first device."""
    with opened(scullv0) as fd:
        yield fd


@pytest.mark.parametrize("pos", [0, 1, QUANTUM - 1, QUANTUM, 5 * QUANTUM + 9])
def test_write_ends_with_its_quantum(fd: int, pos: int) -> None:
    """write(2) goes to the end of the quantum at most, and the position with it."""
    os.lseek(fd, pos, os.SEEK_SET)
    count = QUANTUM - pos % QUANTUM
    assert os.write(fd, bytes(3 * QUANTUM)) == count
    assert os.lseek(fd, 0, os.SEEK_CUR) == pos + count
    assert os.fstat(fd).st_size == pos + count


@pytest.mark.parametrize("pos", [0, 1, QUANTUM - 1, QUANTUM, 5 * QUANTUM + 9])
def test_read_ends_with_its_quantum(fd: int, pos: int) -> None:
    """read(2) goes to the end of the quantum at most, and the position with it."""
    data = os.urandom(8 * QUANTUM)
    write_all(fd, data)
    os.lseek(fd, pos, os.SEEK_SET)
    count = QUANTUM - pos % QUANTUM
    assert os.read(fd, 3 * QUANTUM) == data[pos : pos + count]
    assert os.lseek(fd, 0, os.SEEK_CUR) == pos + count


@pytest.mark.parametrize("at_mount", [0, 4, 7, 8])
@pytest.mark.parametrize("order", [4, 5, 8, 9])
def test_calls_of_several_requests(mount: Callable[[str], Path], at_mount: int, order: int) -> None:
    """A call that the kernel cuts into requests ends with its quantum all the same.

    How large they are it takes from the order of the mount; it can be another one later.
    """
    quantum = 4096 << order
    buffer = mmap(-1, 5 * MIB)  # begins with a page, as dd's buffers do
    path = mount(f"mem=64M,order={at_mount}")
    (path / "sys/module/scullv/parameters/scullv_order").write_text(f"{order}\n")
    (path / "scullv0").write_bytes(b"")  # takes it over
    pages = range(0, quantum, 4096 * max(quantum >> 18, 1))
    with opened(path / "scullv0") as fd:
        for pos in [*pages, 1, 511, 512, 4095, 4097, quantum - 1]:
            assert os.pwritev(fd, [buffer], pos) == quantum - pos, pos
            assert os.preadv(fd, [buffer], pos) == quantum - pos, pos
        assert os.pwritev(fd, [buffer], quantum) == quantum


def test_read_hole(fd: int) -> None:
    """In a hole there is nothing to be read, and reading moves no position."""
    os.pwrite(fd, b"x", 3 * QUANTUM)
    assert os.read(fd, 100) == b""
    assert os.lseek(fd, 0, os.SEEK_CUR) == 0
    assert os.pread(fd, 100, 3 * QUANTUM) == b"x"
    assert os.pread(fd, 100, 3 * QUANTUM + 1) == b""
    assert os.fstat(fd).st_blocks * 512 == QUANTUM


def test_read_gaps_in_a_quantum(fd: int) -> None:
    """What was never written in a quantum is zeros."""
    os.pwrite(fd, b"x", 100)
    assert os.read(fd, QUANTUM) == bytes(100) + b"x"


def test_readv_writev(fd: int) -> None:
    """Several buffers at once are one call, up to the end of the quantum."""
    assert os.pwritev(fd, [b"a" * 10, b"b" * QUANTUM], 5) == QUANTUM - 5
    buffers = [bytearray(7), bytearray(7), bytearray(QUANTUM)]
    assert os.preadv(fd, buffers, 3) == QUANTUM - 3
    assert bytes(buffers[0] + buffers[1]) == b"\0\0" + b"a" * 10 + b"bb"


def test_lseek(fd: int) -> None:
    """SEEK_SET, SEEK_CUR and SEEK_END; the end is the size as it is now."""
    os.pwrite(fd, b"0123456789", 0)
    assert os.lseek(fd, 3, os.SEEK_SET) == 3
    assert os.read(fd, 2) == b"34"
    assert os.lseek(fd, -1, os.SEEK_CUR) == 4
    assert os.lseek(fd, -2, os.SEEK_END) == 8
    assert os.read(fd, 9) == b"89"
    assert os.lseek(fd, 7, os.SEEK_END) == 17
    assert os.read(fd, 9) == b""


@pytest.mark.parametrize(
    ("offset", "whence"),
    [
        (-1, os.SEEK_SET),
        (-11, os.SEEK_CUR),
        (-11, os.SEEK_END),
        (LAST, os.SEEK_CUR),
        (LAST, os.SEEK_END),
        (0, os.SEEK_DATA),
        (0, os.SEEK_HOLE),
        (0, 5),
    ],
)
def test_lseek_refused(fd: int, offset: int, whence: int) -> None:
    """Below 0, above the last position, to data or holes: EINVAL, and nothing moves."""
    os.write(fd, b"0123456789")
    with fails(errno.EINVAL):
        os.lseek(fd, offset, whence)
    assert os.lseek(fd, 0, os.SEEK_CUR) == 10


@pytest.mark.parametrize("pos", [1 << 31, 1 << 32, FAR])
def test_positions_far_out(fd: int, pos: int) -> None:
    """A device of 256 MiB of RAM has a byte at 32 TiB."""
    os.lseek(fd, pos, os.SEEK_SET)
    assert os.read(fd, 1) == b""
    assert os.write(fd, b"x") == 1
    assert os.pread(fd, 9, pos) == b"x"
    assert os.lseek(fd, 0, os.SEEK_END) == pos + 1 == os.fstat(fd).st_size
    assert os.fstat(fd).st_blocks * 512 == QUANTUM


@pytest.mark.parametrize("pos", [1 << 62, LAST - 1])
def test_positions_too_far_out(fd: int, pos: int) -> None:
    """There is nothing to be read, and no memory for all the items to be written behind."""
    os.write(fd, b"hello")
    assert os.lseek(fd, pos, os.SEEK_SET) == pos
    assert os.read(fd, 1) == b""
    with fails(errno.ENOMEM):
        os.write(fd, b"x")
    assert os.lseek(fd, 0, os.SEEK_CUR) == pos
    assert (os.fstat(fd).st_size, os.pread(fd, 9, 0)) == (5, b"hello")


def test_positions_end(fd: int) -> None:
    """At the last position of all nothing can be read or written."""
    assert os.lseek(fd, LAST, os.SEEK_SET) == LAST
    with fails(errno.EINVAL):
        os.read(fd, 1)
    with fails(errno.EINVAL):
        os.write(fd, b"x")


def test_descriptors_have_their_positions(fd: int, other: int) -> None:
    """Two opens share the bytes and not the position."""
    os.write(fd, b"hello")
    assert os.read(other, 2) == b"he"
    os.write(fd, b" world")
    assert os.read(other, 20) == b"llo world"
    assert [os.lseek(f, 0, os.SEEK_CUR) for f in (fd, other)] == [11, 11]


def test_descriptors_dup(fd: int) -> None:
    """A duplicate shares the position, and lives on when the first is closed."""
    first = os.dup(fd)
    os.write(first, b"hello")
    os.close(first)
    assert os.lseek(fd, 0, os.SEEK_CUR) == 5
    os.write(fd, b"!")
    assert os.pread(fd, 9, 0) == b"hello!"


def test_descriptors_after_a_trim(scullv0: Path, fd: int, other: int) -> None:
    """A trim is seen by all; their positions stay, and a write there leaves a hole."""
    write_all(fd, bytes(2 * QUANTUM))
    os.lseek(fd, 100_000, os.SEEK_SET)
    os.close(os.open(scullv0, os.O_WRONLY))
    assert [os.fstat(f).st_size for f in (fd, other)] == [0, 0]
    assert os.read(other, 9) == b""
    assert os.lseek(fd, 0, os.SEEK_CUR) == 100_000
    assert os.write(fd, b"x") == 1
    assert os.fstat(other).st_size == 100_001
    assert os.pread(other, 9, 0) == b""
    assert os.pread(other, 9, 99_999) == b"\0x"


def test_descriptors_between_processes(scullv0: Path, fd: int) -> None:
    """A child goes on where its parent was."""
    os.write(fd, b"parent ")
    pid = os.fork()
    if not pid:
        os.write(fd, b"child ")
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    os.write(fd, b"parent")
    assert read_all(scullv0) == b"parent child parent"


@pytest.mark.parametrize("length", [0, 1, QUANTUM, QUANTUM + 1])
def test_ftruncate(fd: int, other: int, length: int) -> None:
    """ftruncate(2) shortens for all, and frees; growing makes a hole, and zeros before it."""
    write_all(fd, b"x" * 4 * QUANTUM)
    os.ftruncate(fd, length)
    quanta = -(-length // QUANTUM)
    status = os.fstat(other)
    assert (status.st_size, status.st_blocks * 512) == (length, quanta * QUANTUM)
    os.ftruncate(fd, 4 * QUANTUM)
    assert os.fstat(other).st_size == 4 * QUANTUM
    assert read_all(other) == b"x" * length + bytes(quanta * QUANTUM - length)


def test_ftruncate_refused(fd: int, scullv0: Path) -> None:
    """Not below 0, and not through a descriptor that only reads."""
    with fails(errno.EINVAL):
        os.ftruncate(fd, -1)
    with opened(scullv0, os.O_RDONLY) as reader, fails(errno.EINVAL):
        os.ftruncate(reader, 0)


def test_append(scullv0: Path, other: int) -> None:
    """O_APPEND writes at the size, wherever the position is, and each call to its quantum's end."""
    os.pwrite(other, b"hello", 0)
    with opened(scullv0, os.O_RDWR | os.O_APPEND) as fd:
        assert os.write(fd, b" world") == 6
        os.lseek(fd, 0, os.SEEK_SET)
        assert os.write(fd, b"!") == 1
        assert read_all(scullv0) == b"hello world!"
        assert os.write(fd, bytes(2 * QUANTUM)) == QUANTUM - 12
        assert os.write(fd, bytes(2 * QUANTUM)) == QUANTUM


def test_append_after_a_trim(scullv0: Path, fd: int) -> None:
    """After another open has emptied the device, O_APPEND begins at 0."""
    write_all(fd, bytes(100_000))
    with opened(scullv0, os.O_RDWR | os.O_APPEND) as appender:
        os.write(appender, b"x")
        os.close(os.open(scullv0, os.O_WRONLY))
        os.write(appender, b"abc")
        os.write(appender, b"def")
    assert read_all(fd) == b"abcdef"


def test_append_set_later(fd: int) -> None:
    """O_APPEND counts as it is at the write, not at the open."""
    os.write(fd, b"hello")
    os.lseek(fd, 0, os.SEEK_SET)
    fcntl.fcntl(fd, fcntl.F_SETFL, os.O_APPEND)
    os.write(fd, b" world")
    fcntl.fcntl(fd, fcntl.F_SETFL, 0)
    os.lseek(fd, 0, os.SEEK_SET)
    os.write(fd, b"J")
    assert os.pread(fd, 20, 0) == b"Jello world"


@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_WRONLY])
def test_open_for_one_thing(scullv0: Path, flags: int) -> None:
    """What a device was not opened for is EBADF."""
    with opened(scullv0, flags) as fd, fails(errno.EBADF):
        os.read(fd, 1) if flags == os.O_WRONLY else os.write(fd, b"x")


@pytest.mark.parametrize(
    ("flags", "left"),
    [
        (os.O_RDONLY, 100_000),
        (os.O_RDWR, 100_000),
        (os.O_RDWR | os.O_CREAT, 100_000),
        (os.O_RDWR | os.O_APPEND, 100_000),
        (os.O_RDWR | os.O_TRUNC, 0),
        (os.O_WRONLY, 0),
        (os.O_WRONLY | os.O_APPEND, 0),
        (os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0),
    ],
)
def test_open_flags(scullv0: Path, fd: int, flags: int, left: int) -> None:
    """Opening for writing only, or with O_TRUNC, empties; all other ways do not."""
    write_all(fd, bytes(100_000))
    os.close(os.open(scullv0, flags))
    assert os.fstat(fd).st_size == left


def test_open_link(mnt: Path, fd: int) -> None:
    """scullv is scullv0."""
    os.write(fd, b"hello")
    assert os.readlink(mnt / "scullv") == "scullv0"
    assert read_all(mnt / "scullv") == b"hello"


def test_fsync_and_locks(fd: int) -> None:
    """There is nothing to sync; locks are the kernel's."""
    os.fsync(fd)
    os.fdatasync(fd)
    fcntl.flock(fd, fcntl.LOCK_EX)
    fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_fallocate_refused(fd: int) -> None:
    """A device allocates when it is written."""
    with fails(errno.ENODEV):
        os.posix_fallocate(fd, 0, 10)
