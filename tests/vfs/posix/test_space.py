"""Positions, sizes and space: lseek, truncate, fallocate, stat, on tmpfs and on a device."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Callable
from pathlib import Path

import pytest

from ..helpers import MIB
from .helpers import (
    COLLAPSE_RANGE,
    DATA,
    INSERT_RANGE,
    KEEP_SIZE,
    LAST,
    PUNCH_HOLE,
    QUANTUM,
    ZERO_RANGE,
    allocated,
    fails,
    fallocate,
)


def segments(fd: int, whence: int) -> list[int]:
    """The starts of all data (SEEK_DATA) or holes (SEEK_HOLE), one after the other."""
    found, pos, size = [], 0, os.fstat(fd).st_size
    other = os.SEEK_DATA + os.SEEK_HOLE - whence
    while pos < size:
        try:
            found.append(os.lseek(fd, pos, whence))
            pos = os.lseek(fd, found[-1], other)
        except OSError as error:
            assert error.errno == errno.ENXIO  # noqa: PT017
            break
    return found


# -- positions -----------------------------------------------------------------------------------


def test_lseek(fd: int) -> None:
    """SEEK_SET, SEEK_CUR and SEEK_END go anywhere that is not negative."""
    os.write(fd, DATA)
    assert os.lseek(fd, 100, os.SEEK_SET) == 100
    assert os.lseek(fd, -30, os.SEEK_CUR) == 70
    assert os.lseek(fd, -1, os.SEEK_END) == len(DATA) - 1
    assert os.lseek(fd, MIB, os.SEEK_END) == len(DATA) + MIB
    assert os.lseek(fd, LAST, os.SEEK_SET) == LAST
    for off, whence in [(-1, os.SEEK_SET), (1, os.SEEK_CUR), (-len(DATA) - 1, os.SEEK_END), (0, 9)]:
        with fails(errno.EINVAL):
            os.lseek(fd, off, whence)
    assert os.lseek(fd, 0, os.SEEK_CUR) == LAST


@pytest.mark.parametrize("whence", [os.SEEK_DATA, os.SEEK_HOLE])
def test_lseek_data_and_hole_outside(fd: int, whence: int) -> None:
    """There is neither data nor a hole before the file, nor at its end or behind it."""
    os.write(fd, DATA)
    for off in (-1, len(DATA), len(DATA) + 1, LAST):
        with fails(errno.ENXIO):
            os.lseek(fd, off, whence)


@pytest.mark.at_once
def test_lseek_data_covers_what_was_written(fd: int) -> None:
    """What is outside of the data is zeros, and every byte written lies in data."""
    for pos, count in [(5, 1), (7 * QUANTUM, QUANTUM), (8 * QUANTUM, 5), (30 * QUANTUM - 1, 2)]:
        os.pwrite(fd, DATA[:count], pos)
    os.ftruncate(fd, 64 * QUANTUM)
    content = os.pread(fd, MIB, 0)
    data, holes = segments(fd, os.SEEK_DATA), segments(fd, os.SEEK_HOLE)
    assert data[0] == 0
    assert sorted(data + holes) == [n for pair in zip(data, holes, strict=True) for n in pair]
    outside = b"".join(
        content[hole:start] for hole, start in zip(holes, [*data[1:], len(content)], strict=True)
    )
    assert outside.strip(b"\0") == b""
    assert len(outside) >= 56 * QUANTUM
    for hole in holes:
        assert os.lseek(fd, hole, os.SEEK_HOLE) == hole


@pytest.mark.at_once
def test_lseek_hole_at_the_end(fd: int) -> None:
    """The end of the file counts as a hole; a file that is all hole has no data."""
    os.write(fd, DATA)
    assert os.lseek(fd, 3, os.SEEK_DATA) == 3
    assert os.lseek(fd, 3, os.SEEK_HOLE) == len(DATA)
    os.ftruncate(fd, 0)
    os.ftruncate(fd, MIB)
    assert os.lseek(fd, 5, os.SEEK_HOLE) == 5
    with fails(errno.ENXIO):
        os.lseek(fd, 0, os.SEEK_DATA)


# -- truncate ------------------------------------------------------------------------------------

SIZES = [0, 1, 4095, 4096, QUANTUM - 1, QUANTUM, QUANTUM + 1, 3 * QUANTUM, 5 * QUANTUM + 4096]


@pytest.mark.parametrize("size", [*SIZES, len(DATA), len(DATA) + 1, 50 * QUANTUM])
def test_truncate_and_grow_again(path: Path, fd: int, size: int) -> None:
    """What is cut off is gone: where the file grows again, it reads as zeros."""
    os.write(fd, DATA)
    os.truncate(path, size)
    kept = DATA[:size].ljust(size, b"\0")
    assert os.fstat(fd).st_size == size
    assert os.pread(fd, MIB, 0) == kept
    os.ftruncate(fd, 60 * QUANTUM)
    assert os.fstat(fd).st_size == 60 * QUANTUM
    assert os.pread(fd, MIB, 0) == kept.ljust(60 * QUANTUM, b"\0")


def test_truncate_then_write_behind(fd: int) -> None:
    """What was cut off does not come back when the file grows by a write, either."""
    os.write(fd, DATA)
    os.ftruncate(fd, 5000)
    os.pwrite(fd, b"end", 20000)
    assert os.pread(fd, MIB, 0) == DATA[:5000] + bytes(15000) + b"end"


@pytest.mark.at_once
def test_truncate_frees(fd: int) -> None:
    """Making a file smaller frees what is behind, emptying it frees all, growing costs nothing."""
    os.write(fd, DATA)
    assert allocated(fd) >= len(DATA)
    os.ftruncate(fd, 10 * QUANTUM)
    assert allocated(fd) == 10 * QUANTUM
    os.ftruncate(fd, 0)
    assert allocated(fd) == 0
    os.ftruncate(fd, LAST)
    assert allocated(fd) == 0
    assert os.fstat(fd).st_size == LAST
    assert os.pread(fd, 10, LAST - 15) == bytes(10)


def test_truncate_leaves_positions(opened: Callable[[int], int]) -> None:
    """A descriptor stands where it stood; a write there makes a hole."""
    one, two = opened(os.O_RDWR), opened(os.O_RDWR | os.O_TRUNC)
    os.write(one, DATA[:30000])
    os.ftruncate(two, 0)
    assert os.lseek(one, 0, os.SEEK_CUR) == 30000
    assert os.read(one, 10) == b""
    os.write(one, b"x")
    assert os.pread(two, MIB, 0) == bytes(30000) + b"x"


def test_truncate_refused(path: Path, fd: int) -> None:
    """There is no negative size."""
    os.write(fd, b"stays")
    with fails(errno.EINVAL):
        os.truncate(path, -1)
    with fails(errno.EINVAL):
        os.ftruncate(fd, -1)
    assert path.read_bytes() == b"stays"


# -- fallocate -----------------------------------------------------------------------------------


def test_fallocate_grows(fd: int) -> None:
    """Mode 0 allocates all of the range and grows the file to its end; content stays."""
    os.pwrite(fd, DATA[:100], 9000)
    fallocate(fd, 0, 5000, 20 * QUANTUM)
    assert os.fstat(fd).st_size == 5000 + 20 * QUANTUM
    assert allocated(fd) >= 20 * QUANTUM
    assert os.pread(fd, MIB, 0) == (bytes(9000) + DATA[:100]).ljust(5000 + 20 * QUANTUM, b"\0")
    fallocate(fd, 0, 0, 100)
    assert os.fstat(fd).st_size == 5000 + 20 * QUANTUM
    os.posix_fallocate(fd, 0, 30 * QUANTUM)
    assert os.fstat(fd).st_size == 30 * QUANTUM


def test_fallocate_keep_size(fd: int) -> None:
    """With KEEP_SIZE there is room behind the end, which stays where it is."""
    os.write(fd, b"start")
    fallocate(fd, KEEP_SIZE, 0, 20 * QUANTUM)
    assert os.fstat(fd).st_size == 5
    assert allocated(fd) == 20 * QUANTUM
    assert os.pread(fd, 100, 0) == b"start"
    os.ftruncate(fd, 100)
    assert os.pread(fd, 200, 0) == b"start".ljust(100, b"\0")


@pytest.mark.parametrize(
    ("pos", "length"),
    [
        (0, 1),
        (0, QUANTUM),
        (100, 5000),
        (QUANTUM - 1, 2),
        (QUANTUM, 4 * QUANTUM),
        (5000, 100_000),
        (0, len(DATA)),
        (len(DATA) - 10, 100),
        (len(DATA) + QUANTUM, QUANTUM),
        (QUANTUM, LAST - QUANTUM),
    ],
)
@pytest.mark.parametrize("mode", [PUNCH_HOLE | KEEP_SIZE, ZERO_RANGE | KEEP_SIZE])
def test_fallocate_zeros(fd: int, mode: int, pos: int, length: int) -> None:
    """A punched or zeroed range reads as zeros, and nothing else has changed."""
    os.write(fd, DATA)
    try:
        fallocate(fd, mode, pos, length)
    except OSError as error:
        if mode & PUNCH_HOLE:
            raise
        # tmpfs of Linux 6 knows no ZERO_RANGE; nor can anyone allocate up to the last byte.
        assert error.errno in (errno.EOPNOTSUPP, errno.ENOMEM)  # noqa: PT017
        assert os.pread(fd, MIB, 0) == DATA
        return
    zeros = bytes(max(0, min(length, len(DATA) - pos)))
    assert os.pread(fd, MIB, 0) == DATA[:pos] + zeros + DATA[pos + len(zeros) :]
    assert os.fstat(fd).st_size == len(DATA)


@pytest.mark.at_once
def test_fallocate_punch_frees(fd: int) -> None:
    """A hole takes no space, is found by SEEK_HOLE, and can be written again."""
    os.write(fd, DATA)
    fallocate(fd, PUNCH_HOLE | KEEP_SIZE, 2 * QUANTUM, 30 * QUANTUM)
    assert len(DATA) - 30 * QUANTUM <= allocated(fd) < len(DATA) - 29 * QUANTUM
    assert os.lseek(fd, 0, os.SEEK_HOLE) == 2 * QUANTUM
    assert os.lseek(fd, 2 * QUANTUM, os.SEEK_DATA) == 32 * QUANTUM
    os.pwrite(fd, b"back", 10 * QUANTUM)
    assert os.pread(fd, 6, 10 * QUANTUM - 1) == b"\0back\0"


def test_fallocate_zero_range_keeps_space(mnt: Path) -> None:
    """On a device ZERO_RANGE allocates what it zeroes, and grows the file without KEEP_SIZE."""
    fd = os.open(mnt / "scullv0", os.O_RDWR)
    os.write(fd, DATA)
    fallocate(fd, ZERO_RANGE | KEEP_SIZE, 100, 60 * QUANTUM)
    assert (os.fstat(fd).st_size, allocated(fd)) == (len(DATA), 61 * QUANTUM)
    assert os.pread(fd, MIB, 0) == DATA[:100].ljust(len(DATA), b"\0")
    fallocate(fd, ZERO_RANGE, 0, 50 * QUANTUM)
    assert os.fstat(fd).st_size == 50 * QUANTUM
    assert os.pread(fd, MIB, 0) == bytes(50 * QUANTUM)
    os.close(fd)


@pytest.mark.parametrize(
    "mode", [PUNCH_HOLE, COLLAPSE_RANGE, INSERT_RANGE, 0x40, 0x04, PUNCH_HOLE | ZERO_RANGE]
)
def test_fallocate_unsupported(fd: int, mode: int) -> None:
    """Other modes, and PUNCH_HOLE without KEEP_SIZE, are EOPNOTSUPP and change nothing."""
    os.write(fd, DATA)
    with fails(errno.EOPNOTSUPP):
        fallocate(fd, mode, QUANTUM, QUANTUM)
    assert os.pread(fd, MIB, 0) == DATA


def test_fallocate_refused(fd: int) -> None:
    """The range has to be in what a file can be, and not empty."""
    for pos, length in [(-1, 10), (0, 0), (0, -1)]:
        with fails(errno.EINVAL):
            fallocate(fd, 0, pos, length)
    with fails(errno.EFBIG):
        fallocate(fd, 0, 1 << 62, 1 << 62)


# -- limits and attributes -----------------------------------------------------------------------


def test_positions_refused(fd: int) -> None:
    """No byte lies before the start, or behind the last position there is."""
    with fails(errno.EINVAL):
        os.pread(fd, 1, -1)
    with fails(errno.EINVAL):
        os.pwrite(fd, b"x", -1)
    with fails(errno.EINVAL):
        os.pwrite(fd, b"xyz", LAST - 1)
    assert os.fstat(fd).st_size == 0


def test_size_limit(fd: int) -> None:
    """RLIMIT_FSIZE cuts a write short, and the next one is EFBIG, as is a larger truncate."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3 * QUANTUM, before[1]))
    try:
        assert os.write(fd, DATA) == 3 * QUANTUM
        with fails(errno.EFBIG):
            os.write(fd, b"x")
        with fails(errno.EFBIG):
            os.ftruncate(fd, 3 * QUANTUM + 1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert os.pread(fd, MIB, 0) == DATA[: 3 * QUANTUM]


@pytest.mark.at_once
def test_blocks_follow_the_data(fd: int) -> None:
    """st_blocks is never less than the data, and rises and falls with it."""
    seen = [allocated(fd)]
    for count in (1, 3 * QUANTUM, 10 * QUANTUM):
        os.pwrite(fd, DATA[:count], 0)
        seen.append(allocated(fd))
        assert seen[-1] >= count
    assert seen == sorted(set(seen))
    fallocate(fd, PUNCH_HOLE | KEEP_SIZE, 0, 5 * QUANTUM)
    assert allocated(fd) == 5 * QUANTUM


@pytest.mark.parametrize(
    ("change", "changes"),
    [
        (lambda fd: os.pwrite(fd, b"x", 5), True),
        (lambda fd: os.ftruncate(fd, 3), True),
        (lambda fd: os.ftruncate(fd, MIB), True),
        (lambda fd: fallocate(fd, PUNCH_HOLE | KEEP_SIZE, 0, QUANTUM), True),
        (lambda fd: os.pread(fd, 10, 0), False),
        (lambda fd: os.lseek(fd, 0, os.SEEK_DATA), False),
        (lambda fd: os.pwrite(fd, b"", 5), False),
    ],
)
def test_mtime(fd: int, change: Callable[[int], object], changes: bool) -> None:
    """A change of the content is a change of mtime and ctime; a look is not."""
    os.write(fd, DATA)
    os.utime(fd, ns=(1, 1))
    before = os.fstat(fd)
    assert before.st_mtime_ns == 1
    change(fd)
    after = os.fstat(fd)
    assert (after.st_mtime_ns != 1) == changes
    assert after.st_ctime_ns >= before.st_ctime_ns


def test_mtime_of_truncating_open(path: Path) -> None:
    """An open with O_TRUNC changes mtime, any other does not."""
    path.write_bytes(DATA)
    os.utime(path, ns=(1, 1))
    os.close(os.open(path, os.O_WRONLY))
    assert path.stat().st_mtime_ns == 1
    os.close(os.open(path, os.O_RDONLY | os.O_TRUNC))
    assert path.stat().st_mtime_ns != 1


def test_fsync(fd: int) -> None:
    """fsync and fdatasync find nothing to complain about."""
    os.write(fd, DATA)
    os.fsync(fd)
    os.fdatasync(fd)
