"""Reading, writing and opening, on tmpfs and on a device."""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ..helpers import MIB, shell
from .helpers import DATA, QUANTUM, allocated, fails, fallocate

# -- reading and writing -------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, QUANTUM - 1, QUANTUM, QUANTUM + 1, 6 * QUANTUM, len(DATA)])
@pytest.mark.parametrize("pos", [0, 1, QUANTUM - 1, 3 * QUANTUM])
def test_write_spans_quanta(fd: int, pos: int, count: int) -> None:
    """One call writes all of it, one call reads all of it."""
    assert os.pwrite(fd, DATA[:count], pos) == count
    assert os.fstat(fd).st_size == pos + count
    assert os.pread(fd, len(DATA), pos) == DATA[:count]
    assert os.pread(fd, pos, 0) == bytes(pos)


def test_read_moves_the_position(fd: int) -> None:
    """read(2) and write(2) go on where the last one ended; pread(2) and pwrite(2) do not move."""
    assert [os.write(fd, DATA[:9000]), os.write(fd, DATA[9000:30000])] == [9000, 21000]
    assert os.pwrite(fd, DATA[30000:], 30000) == len(DATA) - 30000
    assert os.lseek(fd, 0, os.SEEK_CUR) == 30000
    assert os.read(fd, 5) == DATA[30000:30005]
    assert os.pread(fd, 10, 0) == DATA[:10]
    assert os.lseek(fd, 0, os.SEEK_CUR) == 30005


def test_read_short_only_at_the_end(fd: int) -> None:
    """A read is short only where the file ends, and behind that there is nothing."""
    os.write(fd, DATA)
    for pos in range(0, len(DATA), 5000):
        assert os.pread(fd, 9999, pos) == DATA[pos : pos + 9999]
    assert os.pread(fd, 2 * MIB, 0) == DATA
    assert os.pread(fd, 100, len(DATA) - 7) == DATA[-7:]
    assert os.pread(fd, 100, len(DATA)) == b""
    assert os.pread(fd, 100, len(DATA) + QUANTUM) == b""


def test_write_larger_than_a_request(fd: int) -> None:
    """A system call may be larger than what fits into one request of FUSE."""
    data = random.Random(2).randbytes(3 * MIB + 12345)
    assert os.pwrite(fd, data, 777) == len(data)
    assert os.pread(fd, 2 * len(data), 777) == data


def test_write_over(fd: int) -> None:
    """What is written over is replaced, and nothing beside it."""
    model = bytearray(DATA)
    os.write(fd, DATA)
    for pos, count in [(0, 1), (100, QUANTUM), (QUANTUM - 1, 2), (20000, 50000)]:
        model[pos : pos + count] = bytes([pos % 251]) * count
        assert os.pwrite(fd, model[pos : pos + count], pos) == count
    assert os.pread(fd, 2 * len(DATA), 0) == model


def test_readv_writev(fd: int) -> None:
    """Vectors are one stretch of the file, whatever their parts."""
    cuts = [0, 1, 5000, 5000, 8192, 20000, len(DATA)]
    parts = [DATA[a:b] for a, b in itertools.pairwise(cuts)]
    assert os.writev(fd, parts) == len(DATA)
    assert os.pwritev(fd, [DATA[:3], DATA[3:10]], 3) == 10
    buffers = [bytearray(n) for n in (3, 10, 0, 30000, len(DATA))]
    assert os.preadv(fd, buffers, 0) == len(DATA)
    model = DATA[:3] + DATA[:10] + DATA[13:]
    assert b"".join(buffers)[: len(DATA)] == model
    os.lseek(fd, 13, os.SEEK_SET)
    assert os.readv(fd, [bytearray(QUANTUM), rest := bytearray(10)]) == QUANTUM + 10
    assert rest == DATA[13 + QUANTUM :][:10]


def test_hole_reads_as_zeros(fd: int) -> None:
    """What was never written reads as zeros, however far the hole goes."""
    os.pwrite(fd, b"far", 50 * QUANTUM + 100)
    assert os.pread(fd, MIB, 0) == bytes(50 * QUANTUM + 100) + b"far"
    os.pwrite(fd, b"mid", 20 * QUANTUM)
    assert os.pread(fd, 9, 20 * QUANTUM - 3) == b"\0\0\0mid\0\0\0"
    assert allocated(fd) < 10 * QUANTUM


def test_zero_bytes(fd: int) -> None:
    """A read or write of nothing does nothing."""
    assert os.pwrite(fd, b"", 5000) == 0
    assert os.pread(fd, 0, 0) == b""
    assert os.fstat(fd).st_size == 0


# -- opening and descriptors ---------------------------------------------------------------------


@pytest.mark.parametrize("mode", [os.O_RDONLY, os.O_WRONLY, os.O_RDWR])
def test_open_keeps_or_truncates(path: Path, mode: int) -> None:
    """O_TRUNC empties the file in every mode, and nothing else does."""
    path.write_bytes(DATA)
    os.close(os.open(path, mode))
    assert path.read_bytes() == DATA
    fd = os.open(path, mode | os.O_TRUNC)
    assert os.fstat(fd).st_size == 0
    os.close(fd)
    assert (path.stat().st_size, path.stat().st_blocks) == (0, 0)
    assert path.read_bytes() == b""


def test_open_write_only_writes_over(path: Path, opened: Callable[[int], int]) -> None:
    """A write-only descriptor changes what it writes."""
    path.write_bytes(DATA)
    os.pwrite(opened(os.O_WRONLY), b"over", 9000)
    assert path.read_bytes() == DATA[:9000] + b"over" + DATA[9004:]


def test_open_modes_are_kept(opened: Callable[[int], int]) -> None:
    """Reading needs an open for reading, writing and truncating one for writing."""
    read_only, write_only = opened(os.O_RDONLY), opened(os.O_WRONLY)
    with fails(errno.EBADF):
        os.write(read_only, b"x")
    with fails(errno.EBADF):
        os.read(write_only, 1)
    with fails(errno.EINVAL):
        os.ftruncate(read_only, 0)
    with fails(errno.EBADF):
        fallocate(read_only, 0, 0, 10)


def test_append(path: Path, opened: Callable[[int], int]) -> None:
    """O_APPEND writes at the end, wherever the position is, and moves it behind that."""
    fd = opened(os.O_RDWR | os.O_APPEND)
    os.write(fd, DATA[:100])
    os.lseek(fd, 7, os.SEEK_SET)
    assert os.write(fd, DATA[100:20000]) == 19900
    assert os.lseek(fd, 0, os.SEEK_CUR) == 20000
    assert os.pwrite(opened(os.O_WRONLY), b"!", 30000) == 1
    os.write(fd, b"end")
    assert path.read_bytes() == DATA[:20000] + bytes(10000) + b"!end"
    assert shell('echo more >> "$file" && tail -c 9 "$file"', file=path).stdout == "!endmore\n"


def test_append_by_fcntl(fd: int) -> None:
    """O_APPEND can be switched on and off while the file is open."""
    os.write(fd, b"0123456789")
    fcntl.fcntl(fd, fcntl.F_SETFL, os.O_APPEND)
    os.lseek(fd, 0, os.SEEK_SET)
    os.write(fd, b"end")
    fcntl.fcntl(fd, fcntl.F_SETFL, 0)
    os.lseek(fd, 0, os.SEEK_SET)
    os.write(fd, b"start")
    assert os.pread(fd, 100, 0) == b"start56789end"


def test_append_from_processes(path: Path) -> None:
    """Records that several processes append at once are all there, and whole."""
    append = (
        "import os, sys\n"
        "fd = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND)\n"
        "for _ in range(100): os.write(fd, sys.argv[2].encode() * 999 + b'\\n')\n"
    )
    command = [sys.executable, "-c", append, str(path)]
    writers = [subprocess.Popen([*command, letter]) for letter in "abc"]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    expected = [letter * 999 for letter in "abc" for _ in range(100)]
    assert sorted(path.read_text().splitlines()) == expected


def test_descriptors(opened: Callable[[int], int]) -> None:
    """Each open has a position of its own, a duplicate shares it; all see the same content."""
    one, two = opened(os.O_RDWR), opened(os.O_RDWR)
    copy = os.dup(one)
    os.write(one, DATA)
    assert os.read(two, 10) == DATA[:10]
    assert os.lseek(copy, 0, os.SEEK_CUR) == len(DATA)
    os.lseek(copy, 5, os.SEEK_SET)
    os.close(copy)
    assert os.write(one, b"x") == 1
    assert os.pread(two, 3, 4) == DATA[4:5] + b"x" + DATA[6:7]
    assert os.lseek(two, 0, os.SEEK_CUR) == 10
