"""What is changed on one way is seen on all others at once, with `semantics=file`.

The ways: a path, descriptors, mappings, O_DIRECT, another process, ioctl, and sys/.  The
kernel keeps pages and attributes, the driver has the quanta; neither may lag behind.
"""

from __future__ import annotations

import errno
import fcntl
import json
import mmap
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scullvfs.mounts.health import STATUS_FILE

from ..helpers import MIB, shell
from .helpers import (
    DATA,
    KEEP_SIZE,
    PUNCH_HOLE,
    QUANTUM,
    ZERO_RANGE,
    allocated,
    fails,
    fallocate,
)

RESET, TORDER, TQSET = 0x4B00, 0x4B02, 0x4B08
"""Commands of scullv.h."""


@pytest.fixture
def device(mnt: Path) -> Path:
    """The first device, empty."""
    return mnt / "scullv0"


@pytest.fixture
def fd(device: Path) -> Iterator[int]:
    """The empty device, open for reading and writing."""
    fd = os.open(device, os.O_RDWR)
    yield fd
    os.close(fd)


@pytest.fixture
def small(mount: Callable[[str], Path]) -> Iterator[int]:
    """A device of a machine with 4 MiB of RAM, open for reading and writing."""
    fd = os.open(mount("semantics=file,order=1,mem=4M") / "scullv0", os.O_RDWR)
    yield fd
    os.close(fd)


def sysfs(device: Path, name: str) -> int:
    """A value in sys/class/scullv."""
    return int((device.parent / "sys/class/scullv" / device.name / name).read_text())


def attributes(status: os.stat_result) -> tuple[int, int, int, int]:
    """What the kernel remembers of a device."""
    return status.st_size, status.st_blocks, status.st_blksize, status.st_mtime_ns


# -- sizes ---------------------------------------------------------------------------------------


def test_truncate_by_path(device: Path, fd: int) -> None:
    """A truncate by path is seen by a descriptor, a mapping and in sys/ at once."""
    os.write(fd, DATA)
    with mmap.mmap(fd, len(DATA)) as mapping:
        assert mapping[-1] == DATA[-1]
        os.truncate(device, 5000)
        assert os.fstat(fd).st_size == sysfs(device, "size") == 5000
        assert os.pread(fd, MIB, 0) == DATA[:5000]
        assert mapping[4096:8192] == DATA[4096:5000].ljust(4096, b"\0")
        os.truncate(device, len(DATA))
        assert mapping[:] == os.pread(fd, MIB, 0) == DATA[:5000].ljust(len(DATA), b"\0")
    assert sysfs(device, "quanta") == 1


def test_open_truncating_in_another_process(device: Path, fd: int) -> None:
    """What a shell's > empties and fills is what an open descriptor and a mapping have."""
    os.write(fd, DATA)
    with mmap.mmap(fd, 4096) as mapping:
        assert mapping[:] == DATA[:4096]
        assert shell('> "$device" && echo new > "$device"', device=device).returncode == 0
        assert mapping[:] == b"new\n".ljust(4096, b"\0")
        assert os.pread(fd, 100, 0) == b"new\n"
        assert (os.fstat(fd).st_size, allocated(fd)) == (4, QUANTUM)


def test_attributes_are_never_stale(device: Path, fd: int) -> None:
    """Size, blocks and mtime are the same by path, by descriptor and through the link."""
    changes: list[Callable[[], object]] = [
        lambda: os.pwrite(fd, DATA, 100),
        lambda: os.truncate(device, 9000),
        lambda: fallocate(fd, 0, 0, 99999),
        lambda: fallocate(fd, PUNCH_HOLE | KEEP_SIZE, 0, 50000),
        lambda: shell('echo more >> "$device"', device=device),
        lambda: shell('echo new > "$device"', device=device),
    ]
    seen = [attributes(device.stat())]
    for change in changes:
        os.utime(fd, ns=(0, 0))
        change()
        seen.append(attributes(os.fstat(fd)))
        assert attributes(device.stat()) == seen[-1]
        assert attributes((device.parent / "scullv").stat()) == seen[-1]
        assert seen[-1][3] != 0
        assert seen[-1][:2] == (sysfs(device, "size"), sysfs(device, "quanta") * QUANTUM // 512)
        assert seen[-1] != seen[-2]


# -- geometry ------------------------------------------------------------------------------------


@pytest.mark.parametrize("trim", ["truncate", "ftruncate", "open"])
@pytest.mark.parametrize(
    ("command", "order", "qset"), [((TORDER, 3), 3, 3), ((TQSET, 7), 1, 7), ((RESET, 0), 4, 500)]
)
def test_geometry_changes_at_a_trim(
    device: Path, fd: int, command: tuple[int, int], order: int, qset: int, trim: str
) -> None:
    """After an ioctl everything is as it was, and after a trim in the new geometry."""
    try:
        os.write(fd, DATA)
        with mmap.mmap(fd, len(DATA)) as mapping:
            fcntl.ioctl(fd, *command)
            assert os.fstat(fd).st_blksize == QUANTUM
            assert mapping[:] == os.pread(fd, MIB, 0) == DATA
            if trim == "truncate":
                os.truncate(device, 0)
            elif trim == "ftruncate":
                os.ftruncate(fd, 0)
            else:
                os.close(os.open(device, os.O_RDONLY | os.O_TRUNC))
            assert os.fstat(fd).st_blksize == device.stat().st_blksize == 4096 << order
            assert (sysfs(device, "order"), sysfs(device, "qset")) == (order, qset)
            assert (os.fstat(fd).st_size, allocated(fd), os.pread(fd, 1, 0)) == (0, 0, b"")
            os.pwrite(fd, DATA[::-1], 0)
            assert mapping[:] == os.pread(fd, MIB, 0) == DATA[::-1]
            assert allocated(fd) == -(-len(DATA) // (4096 << order)) * (4096 << order)
    finally:
        fcntl.ioctl(fd, TORDER, 1)
        fcntl.ioctl(fd, TQSET, 3)
        for other in device.parent.glob("scullv[0-9]"):
            os.truncate(other, 0)


# -- processes and ways of writing ---------------------------------------------------------------

ECHO = """
import mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
mapping = mmap.mmap(fd, 0)
for line in sys.stdin:
    how, pos, text = line.split()
    pos, data = int(pos), text.encode()
    seen = mapping[pos : pos + len(data)].decode(), os.pread(fd, len(data), pos).decode()
    if how == "mapping":
        mapping[pos : pos + len(data)] = data[::-1]
    else:
        os.pwrite(fd, data[::-1], pos)
    print(*seen, flush=True)
"""
"""Says what it reads through a mapping and by pread(2), and writes its reverse."""


def test_two_processes(device: Path, fd: int) -> None:
    """Each sees what the other has just written, by write(2) and through a mapping."""
    os.ftruncate(fd, 20 * QUANTUM)
    with (
        mmap.mmap(fd, 0) as mapping,
        subprocess.Popen(
            [sys.executable, "-c", ECHO, str(device)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as other,
    ):
        assert other.stdin is not None
        assert other.stdout is not None
        for n, how in enumerate(["mapping", "write"] * 4):
            pos, text = QUANTUM * (n + 1) - 3, f"text{n}"
            if n % 4 < 2:
                os.pwrite(fd, text.encode(), pos)
            else:
                mapping[pos : pos + 5] = text.encode()
            other.stdin.write(f"{how} {pos} {text}\n")
            other.stdin.flush()
            assert other.stdout.readline() == f"{text} {text}\n"
            reverse = text.encode()[::-1]
            assert mapping[pos : pos + 5] == os.pread(fd, 5, pos) == reverse


def test_direct_io_sees_everything(device: Path, fd: int) -> None:
    """O_DIRECT asks the driver: cached writes, dirty mappings and holes are there already."""
    os.write(fd, DATA)
    direct = os.open(device, os.O_RDONLY | os.O_DIRECT)
    with mmap.mmap(fd, len(DATA)) as mapping, mmap.mmap(-1, len(DATA) // 4096 * 4096) as buffer:
        mapping[QUANTUM : QUANTUM + 5] = b"dirty"
        fallocate(fd, PUNCH_HOLE | KEEP_SIZE, 3 * QUANTUM, QUANTUM)
        os.pwrite(fd, b"cached", 9 * QUANTUM)
        assert os.preadv(direct, [buffer], 0) == len(buffer)
        assert buffer[:] == mapping[: len(buffer)] == os.pread(fd, len(buffer), 0)
        assert buffer[QUANTUM : QUANTUM + 5] == b"dirty"
        assert buffer[3 * QUANTUM : 4 * QUANTUM] == bytes(QUANTUM)
    os.close(direct)


def test_data_under_a_dirty_mapping(fd: int) -> None:
    """SEEK_DATA finds what was written through a mapping once it is synchronised."""
    os.ftruncate(fd, 20 * QUANTUM)
    with mmap.mmap(fd, 0) as mapping:
        mapping[5 * QUANTUM] = 1
        os.fsync(fd)
        assert os.lseek(fd, 0, os.SEEK_DATA) == 5 * QUANTUM
        assert allocated(fd) == QUANTUM


# -- out of memory -------------------------------------------------------------------------------


def test_write_out_of_memory(small: int) -> None:
    """A write that memory ends is short, the next is ENOMEM, and all before it is intact."""
    data = DATA * 20
    count = os.write(small, data)
    assert MIB < count < 4 * MIB
    assert count % QUANTUM == 0
    assert os.lseek(small, 0, os.SEEK_CUR) == os.fstat(small).st_size == allocated(small) == count
    with fails(errno.ENOMEM):
        os.write(small, data[count:])
    with fails(errno.ENOMEM):
        os.pwrite(small, b"x", 1 << 40)
    assert os.fstat(small).st_size == count
    assert os.pread(small, len(data), 0) == data[:count]
    os.posix_fadvise(small, 0, 0, os.POSIX_FADV_DONTNEED)
    assert os.pread(small, len(data), 0) == data[:count]
    assert os.pwrite(small, b"over", 7000) == 4
    os.ftruncate(small, 0)
    assert os.pwrite(small, DATA, 0) == len(DATA)


def test_fallocate_out_of_memory(small: int) -> None:
    """fallocate(2) does all or nothing, when it asks for too much and when it nearly fits."""
    device = Path(os.readlink(f"/proc/self/fd/{small}"))
    os.write(small, DATA)
    before = attributes(os.fstat(small))
    quanta = sysfs(device, "quanta")
    statfs = os.fstatvfs(small)
    nearly = allocated(small) + statfs.f_bfree * statfs.f_frsize  # but for page tables
    for mode in (0, KEEP_SIZE, ZERO_RANGE, ZERO_RANGE | KEEP_SIZE):
        for length in (nearly, 8 * MIB):
            with fails(errno.ENOMEM):
                fallocate(small, mode, 5000, length)
            assert attributes(os.fstat(small)) == before
            assert sysfs(device, "quanta") == quanta
            assert os.pread(small, MIB, 0) == DATA


def test_direct_write_out_of_memory(small: int) -> None:
    """A direct write that memory ends leaves the file as long as it was."""
    direct = os.open(f"/proc/self/fd/{small}", os.O_RDWR | os.O_DIRECT)
    os.write(small, DATA)
    with mmap.mmap(-1, 8 * MIB) as buffer, fails(errno.ENOMEM):
        os.pwritev(direct, [buffer], 100 * 4096)
    assert os.fstat(small).st_size == len(DATA)
    assert os.pread(small, MIB, 0) == DATA
    os.close(direct)


@pytest.mark.parametrize("reporter", ["msync", "fsync", "fdatasync"])
def test_mapping_out_of_memory(small: int, reporter: str) -> None:
    """What a mapping could not write for want of memory is an error of msync or fsync."""
    os.ftruncate(small, 8 * MIB)
    with mmap.mmap(small, 0) as mapping:
        mapping[: len(DATA)] = DATA
        mapping.flush()
        mapping[:] = bytes([7]) * len(mapping)
        with fails(errno.ENOMEM):
            if reporter == "msync":
                mapping.flush()
            else:
                getattr(os, reporter)(small)
    assert os.fstat(small).st_size == 8 * MIB
    assert MIB < allocated(small) < 4 * MIB
    os.ftruncate(small, MIB)
    os.fsync(small)
    assert os.pread(small, 2 * MIB, 0) == bytes([7]) * MIB


# -- what the kernel keeps -----------------------------------------------------------------------


def requests(device: Path) -> int:
    """How many the kernel has sent to the daemon."""
    count: int = json.loads((device.parent / STATUS_FILE).read_bytes())["requests"]
    return count


def test_a_write_is_one_request(device: Path) -> None:
    """The kernel does not ask for extended attributes before each."""
    with open(device, "wb", buffering=0) as file:
        file.write(bytes(4096))
        before = requests(device)
        for _ in range(100):
            file.write(bytes(4096))
        assert 100 <= requests(device) - before < 120


def test_what_was_written_is_read_from_the_page_cache(device: Path) -> None:
    """Neither the first read nor the next one asks the daemon for data."""
    data = os.urandom(4 * MIB)
    device.write_bytes(data)
    os.stat(device)
    before = requests(device)
    for _ in range(2):
        assert device.read_bytes() == data
    assert requests(device) - before < 4 * MIB // (128 << 10)
