"""Copying in the kernel: sendfile, splice, copy_file_range; and mmap, which a device has not."""

from __future__ import annotations

import errno
import mmap
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..scull.helpers import fails
from .helpers import MIB, QUANTUM, opened, read_all, wait_until, write_all

DATA = os.urandom(2 * QUANTUM) + bytes(QUANTUM) + os.urandom(2 * QUANTUM - 17)
"""Five quanta; the third one is going to be a hole."""


@pytest.fixture
def filled(fd: int) -> int:
    """The first device with DATA, its third quantum left out."""
    write_all(fd, DATA[: 2 * QUANTUM])
    write_all(fd, DATA[3 * QUANTUM :], 3 * QUANTUM)
    return fd


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    """A descriptor of an empty file elsewhere."""
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    yield fd
    os.close(fd)


def send(target: int, source: int, offset: int = 0) -> bytes:
    """sendfile(2) to the end; what has come."""
    while count := os.sendfile(target, source, offset, 10 * MIB):
        offset += count
    return read_all(target)


@pytest.mark.parametrize("offset", [0, 1, QUANTUM - 1, QUANTUM, 3 * QUANTUM, len(DATA) - 1])
def test_sendfile_from_device(filled: int, file: int, offset: int) -> None:
    """Through the page cache a hole is zeros, and the file ends where it ends."""
    assert send(file, filled, offset) == DATA[offset:]


def test_sendfile_sees_later_writes(filled: int, file: int) -> None:
    """What was sent once is not kept: a write, a truncate and a trim are seen by the next one."""
    send(file, filled)
    os.pwrite(filled, b"later", QUANTUM + 5)
    later = DATA[: QUANTUM + 5] + b"later" + DATA[QUANTUM + 10 :]
    os.ftruncate(file, 0)
    os.lseek(file, 0, os.SEEK_SET)
    assert send(file, filled) == later
    os.ftruncate(filled, QUANTUM + 7)
    os.ftruncate(file, 0)
    os.lseek(file, 0, os.SEEK_SET)
    assert send(file, filled) == later[: QUANTUM + 7]


def test_sendfile_after_a_trim(scullv0: Path, filled: int, file: int) -> None:
    """An open that empties the device leaves nothing to be sent, nor a byte of before later."""
    with opened(scullv0, os.O_RDONLY) as sender:
        send(file, sender)
    wait_until(lambda: emptied(scullv0), "the sender is released and the device emptied")
    os.ftruncate(file, 0)
    os.lseek(file, 0, os.SEEK_SET)
    with opened(scullv0, os.O_RDONLY) as sender:
        assert send(file, sender) == b""
    os.pwrite(filled, b"x", 99)
    assert send(file, filled) == bytes(99) + b"x"


def test_sendfile_counts_as_a_mapping(scullv0: Path, filled: int, file: int) -> None:
    """As long as a file is open that was sent from, only O_TRUNC empties, as with a mapped one."""
    with opened(scullv0, os.O_RDONLY) as sender:
        send(file, sender)
        os.close(os.open(scullv0, os.O_WRONLY))
        assert os.fstat(filled).st_size == len(DATA)
        os.close(os.open(scullv0, os.O_WRONLY | os.O_TRUNC))
        assert os.fstat(filled).st_size == 0
        os.pwrite(filled, b"x", 99)
        os.close(os.open(scullv0, os.O_WRONLY))
        assert os.fstat(filled).st_size == 100
    wait_until(lambda: emptied(scullv0), "the file is released and the device can be emptied")


def emptied(device: Path) -> bool:
    """Open for writing only; whether that has emptied the device."""
    os.close(os.open(device, os.O_WRONLY))
    return os.stat(device).st_size == 0


def test_sendfile_to_device(fd: int, file: int) -> None:
    """Into a device, too."""
    os.write(file, DATA)
    done = 0
    while count := os.sendfile(fd, file, done, 10 * MIB):
        done += count
    assert read_all(fd) == DATA


def test_splice_from_device(filled: int) -> None:
    """From a device into a pipe, over the end of a quantum in several calls."""
    reader, writer = os.pipe()
    data = b""
    while count := os.splice(filled, writer, 60_000, offset_src=len(data)):
        data += os.read(reader, count)
    assert data == DATA
    os.close(reader)
    os.close(writer)


def test_splice_to_device(fd: int) -> None:
    """From a pipe into a device."""
    reader, writer = os.pipe()
    os.write(writer, DATA[:10_000])
    done = 0
    while done < 10_000:
        done += os.splice(reader, fd, 10_000 - done, offset_dst=60_000 + done)
    assert os.pread(fd, QUANTUM, 0) == bytes(60_000) + DATA[: QUANTUM - 60_000]
    assert os.pread(fd, QUANTUM, QUANTUM) == DATA[QUANTUM - 60_000 : 10_000]
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize("target", ["scullv0", "scullv1"])
def test_copy_file_range_in_the_mount(mnt: Path, filled: int, target: str) -> None:
    """Within the mount it is EINVAL, as for any device, and nothing is written."""
    with open(mnt / target, "r+b", 0) as file, fails(errno.EINVAL):
        os.copy_file_range(filled, file.fileno(), 100, 0, 10 * QUANTUM)
    assert os.fstat(filled).st_size == len(DATA)


def test_copy_file_range_across(filled: int, file: int) -> None:
    """To another file system the kernel gives EXDEV, and programs copy by hand."""
    with fails(errno.EXDEV):
        os.copy_file_range(filled, file, 100, 0, 0)


def test_mmap_shared(filled: int) -> None:
    """A device cannot be mapped for sharing: its bytes are not in the page cache."""
    with fails(errno.ENODEV):
        mmap.mmap(filled, QUANTUM, mmap.MAP_SHARED)


def test_mmap_private(filled: int) -> None:
    """A private mapping shows the bytes, with zeros for a hole."""
    program = (  # on its own, since a page that cannot be had is a SIGBUS
        "import mmap, sys; "
        f"mapping = mmap.mmap({filled}, {len(DATA)}, {mmap.MAP_PRIVATE}, {mmap.PROT_READ}); "
        "sys.stdout.buffer.write(mapping)"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, pass_fds=[filled], stdout=subprocess.PIPE, check=True)
    assert done.stdout == DATA
