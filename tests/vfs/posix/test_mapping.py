"""Mappings, copies within the kernel, O_DIRECT and locks, on tmpfs and on a device."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ..helpers import MIB
from .helpers import DATA, KEEP_SIZE, PUNCH_HOLE, QUANTUM, allocated, fails, fallocate

PAGE = mmap.PAGESIZE

# -- mmap ----------------------------------------------------------------------------------------


def test_shared_mapping_writes(path: Path, fd: int) -> None:
    """What is written through a shared mapping is read at once, by every descriptor."""
    os.write(fd, DATA)
    with mmap.mmap(fd, len(DATA)) as mapping:
        assert mapping[:] == DATA
        mapping[QUANTUM - 3 : QUANTUM + 3] = b"mapped"
        assert os.pread(fd, 6, QUANTUM - 3) == b"mapped"
        assert path.read_bytes() == DATA[: QUANTUM - 3] + b"mapped" + DATA[QUANTUM + 3 :]


def test_shared_mapping_sees_writes(fd: int) -> None:
    """What is written by write(2) is seen through every shared mapping at once."""
    os.write(fd, DATA)
    with mmap.mmap(fd, len(DATA)) as one, mmap.mmap(fd, 3 * PAGE, offset=2 * PAGE) as two:
        assert two[:] == DATA[2 * PAGE : 5 * PAGE]
        os.pwrite(fd, b"written", 3 * PAGE - 2)
        assert one[3 * PAGE - 2 : 3 * PAGE + 5] == two[PAGE - 2 : PAGE + 5] == b"written"
        two[0] = one[0]
        assert one[2 * PAGE] == DATA[0]


@pytest.mark.at_once
def test_shared_mapping_of_a_hole(fd: int) -> None:
    """A hole is zeros in a mapping; what is written there has space once it is synchronised."""
    os.ftruncate(fd, 20 * QUANTUM)
    with mmap.mmap(fd, 20 * QUANTUM) as mapping:
        mapping[5 * QUANTUM + 7] = 7
        mapping.flush()
        assert 0 < allocated(fd) <= QUANTUM
        assert os.lseek(fd, 0, os.SEEK_DATA) // QUANTUM == 5
        assert mapping[:] == (bytes(5 * QUANTUM + 7) + b"\7").ljust(20 * QUANTUM, b"\0")
    assert os.pread(fd, MIB, 0) == (bytes(5 * QUANTUM + 7) + b"\7").ljust(20 * QUANTUM, b"\0")


def test_shared_mapping_outlives_its_descriptor(path: Path) -> None:
    """A mapping goes on without a descriptor, and what is in it stays behind it."""
    path.write_bytes(bytes(len(DATA)))
    with open(path, "r+b") as file:
        mapping = mmap.mmap(file.fileno(), 0)
    mapping[:] = DATA
    assert path.read_bytes() == DATA
    mapping.close()
    assert path.read_bytes() == DATA


def test_shared_mapping_changes_mtime(mnt: Path) -> None:
    """A change through a mapping of a device has changed mtime when it is synchronised."""
    path = mnt / "scullv0"
    path.write_bytes(DATA)
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as mapping:
        os.utime(path, ns=(1, 1))
        mapping[5] ^= 1
        mapping.flush()
    assert path.stat().st_mtime_ns != 1


def test_private_mapping(fd: int) -> None:
    """What is written through a private mapping stays in it."""
    os.write(fd, DATA)
    with mmap.mmap(fd, len(DATA), access=mmap.ACCESS_COPY) as mapping:
        mapping[100:107] = b"private"
        assert mapping[100:107] == b"private"
        os.pwrite(fd, b"shared", 9 * QUANTUM)
        assert mapping[9 * QUANTUM : 9 * QUANTUM + 6] == b"shared"
    assert os.pread(fd, 107, 0) == DATA[:107]


def test_mapping_refused(opened: Callable[[int], int]) -> None:
    """A shared mapping for writing needs a descriptor for reading and writing."""
    read_only, write_only = opened(os.O_RDONLY), opened(os.O_WRONLY)
    os.write(write_only, DATA)
    for fd, access in [(read_only, mmap.ACCESS_WRITE), (write_only, mmap.ACCESS_READ)]:
        with fails(errno.EACCES):
            mmap.mmap(fd, len(DATA), access=access)


def test_truncate_while_mapped(fd: int) -> None:
    """Where a mapped file was cut, the mapping reads as zeros when it grows again."""
    os.write(fd, DATA)
    with mmap.mmap(fd, len(DATA)) as mapping:
        os.ftruncate(fd, 5000)
        assert mapping[: 2 * PAGE] == DATA[:5000].ljust(2 * PAGE, b"\0")
        os.ftruncate(fd, len(DATA))
        assert mapping[:] == DATA[:5000].ljust(len(DATA), b"\0")


def test_truncate_under_a_mapping_raises_sigbus(path: Path) -> None:
    """A page of a mapping that is no longer in the file cannot be touched."""
    path.write_bytes(DATA)
    touch = (
        "import mmap, os, sys\n"
        "fd = os.open(sys.argv[1], os.O_RDWR)\n"
        "mapping = mmap.mmap(fd, 0)\n"
        "os.ftruncate(fd, 100)\n"
        "print(mapping[0] + mapping[101], flush=True)\n"
        "mapping[8192]\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", touch, str(path)], stdout=subprocess.PIPE, check=False
    )
    assert (int(done.stdout), done.returncode) == (DATA[0], -signal.SIGBUS)


def test_punch_hole_while_mapped(fd: int) -> None:
    """A hole that is punched is zeros in a mapping at once."""
    os.write(fd, DATA)
    with mmap.mmap(fd, len(DATA)) as mapping:
        mapping[3 * QUANTUM] = 1
        fallocate(fd, PUNCH_HOLE | KEEP_SIZE, 100, 10 * QUANTUM)
        model = DATA[:100] + bytes(10 * QUANTUM) + DATA[100 + 10 * QUANTUM :]
        assert mapping[:] == model
        mapping[5 * QUANTUM] = 5
        assert os.pread(fd, 3, 5 * QUANTUM - 1) == b"\0\5\0"


# -- copies within the kernel --------------------------------------------------------------------


def test_sendfile(pair: tuple[Path, Path]) -> None:
    """sendfile(2) copies a file with a hole, until its end."""
    with open(pair[0], "r+b") as source, open(pair[1], "r+b") as target:
        source.write(DATA)
        source.truncate(60 * QUANTUM)
        done = 100
        while count := os.sendfile(target.fileno(), source.fileno(), done, 100_000):
            done += count
    assert done == 60 * QUANTUM
    assert pair[1].read_bytes() == DATA[100:].ljust(60 * QUANTUM - 100, b"\0")


def test_copy_file_range(pair: tuple[Path, Path]) -> None:
    """copy_file_range(2) copies between files, and moves the positions it uses."""
    with open(pair[0], "r+b", 0) as source, open(pair[1], "r+b", 0) as target:
        source.write(DATA)
        source.seek(10)
        done = 0
        while count := os.copy_file_range(source.fileno(), target.fileno(), MIB, offset_dst=done):
            done += count
        assert done == len(DATA) - 10
        assert (source.tell(), target.tell()) == (len(DATA), 0)
    assert pair[1].read_bytes() == DATA[10:]


def test_copy_file_range_in_one_file(fd: int) -> None:
    """Ranges of one file can be copied, unless they overlap."""
    os.write(fd, DATA)
    assert os.copy_file_range(fd, fd, 9000, offset_src=0, offset_dst=100_000) == 9000
    assert os.pread(fd, MIB, 0) == DATA[:100_000] + DATA[:9000] + DATA[109_000:]
    with fails(errno.EINVAL):
        os.copy_file_range(fd, fd, 9000, offset_src=0, offset_dst=5000)


def test_splice(pair: tuple[Path, Path]) -> None:
    """splice(2) moves bytes from a file through a pipe to another file."""
    pair[0].write_bytes(DATA)
    with open(pair[0], "rb", 0) as source, open(pair[1], "wb", 0) as target:
        out, into = os.pipe()
        while count := os.splice(source.fileno(), into, 30_000):
            while count:
                count -= os.splice(out, target.fileno(), count)
        os.close(out)
        os.close(into)
    assert pair[1].read_bytes() == DATA


@pytest.mark.parametrize(
    "advice",
    [
        os.POSIX_FADV_NORMAL,
        os.POSIX_FADV_SEQUENTIAL,
        os.POSIX_FADV_RANDOM,
        os.POSIX_FADV_WILLNEED,
        os.POSIX_FADV_NOREUSE,
        os.POSIX_FADV_DONTNEED,
    ],
)
def test_posix_fadvise(fd: int, advice: int) -> None:
    """Advice changes nothing that can be read."""
    os.write(fd, DATA)
    os.posix_fadvise(fd, 0, 0, advice)
    assert os.pread(fd, MIB, 0) == DATA


# -- O_DIRECT ------------------------------------------------------------------------------------


@pytest.fixture
def direct(opened: Callable[[int], int]) -> int:
    """The file, open with O_DIRECT."""
    try:
        return opened(os.O_RDWR | os.O_DIRECT)
    except OSError as error:
        assert error.errno == errno.EINVAL  # noqa: PT017
        pytest.skip("tmpfs knows O_DIRECT from Linux 6.6 on")


def test_direct_io_and_page_cache(fd: int, direct: int) -> None:
    """Direct reads see what the page cache has, mapped pages too, and the other way round."""
    os.write(fd, DATA[: 4 * QUANTUM])
    with mmap.mmap(fd, 4 * QUANTUM) as mapping, mmap.mmap(-1, 2 * PAGE) as buffer:
        mapping[PAGE : PAGE + 6] = b"mapped"
        assert os.preadv(direct, [buffer], PAGE) == 2 * PAGE
        assert buffer[:] == b"mapped" + DATA[PAGE + 6 : 3 * PAGE]
        buffer[:] = b"d" * 2 * PAGE
        assert os.pwritev(direct, [buffer], 3 * PAGE) == 2 * PAGE
        assert os.pread(fd, 2 * PAGE, 3 * PAGE) == mapping[3 * PAGE : 5 * PAGE] == buffer[:]


def test_direct_io_spans_quanta(fd: int, direct: int) -> None:
    """A direct write may extend the file by many quanta, a direct read ends with the file."""
    size = len(DATA) // PAGE * PAGE
    with mmap.mmap(-1, size + PAGE) as buffer:
        buffer[:size] = DATA[:size]
        assert os.pwritev(direct, [memoryview(buffer)[:size]], PAGE) == size
        assert os.pread(fd, MIB, 0) == bytes(PAGE) + DATA[:size]
        assert os.preadv(direct, [buffer], 2 * PAGE) == size - PAGE
        assert buffer[: size - PAGE] == DATA[PAGE:size]


# -- locks ---------------------------------------------------------------------------------------


def test_flock(opened: Callable[[int], int]) -> None:
    """flock(2) is between opens of a file."""
    one, two = opened(os.O_RDWR), opened(os.O_RDWR)
    fcntl.flock(one, fcntl.LOCK_SH)
    fcntl.flock(two, fcntl.LOCK_SH | fcntl.LOCK_NB)
    with fails(errno.EWOULDBLOCK):
        fcntl.flock(one, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.flock(two, fcntl.LOCK_UN)
    fcntl.flock(one, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_record_locks(opened: Callable[[int], int]) -> None:
    """Locks of ranges exclude each other where they overlap."""
    one, two = opened(os.O_RDWR), opened(os.O_RDWR)

    def lock(fd: int, kind: int, start: int, length: int) -> None:
        flock = struct.pack("hhqqi4x", kind, os.SEEK_SET, start, length, 0)
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, flock)

    lock(one, fcntl.F_WRLCK, 0, 100)
    lock(two, fcntl.F_WRLCK, 100, 100)
    with fails(errno.EAGAIN):
        lock(two, fcntl.F_RDLCK, 50, 100)
    lock(one, fcntl.F_UNLCK, 0, 0)
    lock(two, fcntl.F_RDLCK, 50, 100)


def test_record_lock_of_another_process(path: Path, fd: int) -> None:
    """lockf(3) keeps other processes out until its owner is gone."""
    hold = (
        "import fcntl, sys\n"
        "file = open(sys.argv[1], 'r+b')\n"
        "fcntl.lockf(file, fcntl.LOCK_EX)\n"
        "print('locked', flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"locked\n"
        with fails(errno.EAGAIN):
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        process.communicate()
    fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
