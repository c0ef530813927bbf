"""The errnos of a mount in use, as the table of docs/troubleshooting.md has them.

What each call leaves behind is tested beside what it is about; here it is that the page is true.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scullvfs.scull import COMMANDS

from .helpers import KIB, MIB, QUANTUM, opened, write_all
from .troubles import fails_as

Call = Callable[[Path, int], object]
"""A system call on a mount, and on a descriptor of its first device."""

UNKNOWN = 0x4B7F
SEEK_DATA_AT = 1 << 30


def set_order(_: Path, fd: int) -> object:
    """An order that the driver cannot have."""
    return fcntl.ioctl(fd, COMMANDS["TORDER"], 19)


def parameter(text: str) -> Call:
    """Writing to a parameter."""

    def write(mnt: Path, _: int) -> int:
        with opened(mnt / "sys/module/scullv/parameters/scullv_order", os.O_WRONLY) as fd:
            return os.write(fd, text.encode())

    return write


def ioctl_of_proc(mnt: Path, _: int) -> None:
    """The driver's command on another file."""
    with opened(mnt / "proc/meminfo", os.O_RDONLY) as fd:
        fcntl.ioctl(fd, COMMANDS["QORDER"])


def bad_pointer(_: Path, fd: int) -> object:
    """Get, with a number where the pointer is to be."""
    return fcntl.ioctl(fd, COMMANDS["GORDER"], 8)


def map_shared(_: Path, fd: int) -> object:
    """mmap(2) as Python does it by default."""
    write_all(fd, bytes(4 * KIB))
    return mmap.mmap(fd, 4 * KIB)


CALLS: list[tuple[str, Call]] = [
    ("bad-pointer", bad_pointer),
    ("ioctl-unknown", lambda _, fd: fcntl.ioctl(fd, UNKNOWN)),
    ("ioctl-unknown", ioctl_of_proc),
    ("ioctl-range", set_order),
    ("parameter-range", parameter("19\n")),
    ("parameter-text", parameter("four\n")),
    ("parameter-overflow", parameter(f"{1 << 31}\n")),
    ("read-only", lambda mnt, _: os.open(mnt / "proc/meminfo", os.O_WRONLY)),
    ("names", lambda mnt, _: os.unlink(mnt / "scullv1")),
    ("fixed-mode", lambda mnt, _: os.chmod(mnt / "proc", 0o700)),
    ("no-name", lambda mnt, _: os.stat(mnt / "scullv4")),
    ("seek-hole", lambda _, fd: os.lseek(fd, 0, os.SEEK_HOLE)),
    ("punch-hole", lambda _, fd: fallocate(fd, 3)),
    ("allocate", lambda _, fd: os.posix_fallocate(fd, 0, 1)),
    ("map-shared", map_shared),
    ("truncate-negative", lambda _, fd: os.ftruncate(fd, -1)),
    ("xattr", lambda mnt, _: os.getxattr(mnt / "scullv0", "user.x")),
    ("xattr", lambda mnt, _: os.setxattr(mnt / "scullv0", "user.x", b"1")),
]


def fallocate(fd: int, mode: int) -> None:
    """fallocate(2), which Python has only without a mode."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    if libc.fallocate(fd, mode, 0, 4096):
        raise OSError(ctypes.get_errno(), "fallocate")


@pytest.mark.parametrize(("trouble", "call"), CALLS, ids=lambda value: str(value)[:20])
def test_errno(mnt: Path, fd: int, trouble: str, call: Call) -> None:
    """The call fails as its row says."""
    with fails_as(trouble):
        call(mnt, fd)


@pytest.fixture
def file_fd(mount: Callable[[str], Path]) -> Iterator[int]:
    """A device by the rules of a file, with 64 KiB in it."""
    with opened(mount("mem=16M,semantics=file") / "scullv0") as fd:
        write_all(fd, bytes(QUANTUM))
        yield fd


def test_errno_of_file(file_fd: int) -> None:
    """Those that only the rules of a file have."""
    with fails_as("seek-past-end"):
        os.lseek(file_fd, SEEK_DATA_AT, os.SEEK_DATA)


@pytest.mark.parametrize("semantics", ["device", "file"])
def test_errno_of_a_limit(mount: Callable[[str], Path], semantics: str) -> None:
    """Python ignores SIGXFSZ."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with opened(mount(f"mem=16M,semantics={semantics}") / "scullv0") as fd:
        resource.setrlimit(resource.RLIMIT_FSIZE, (QUANTUM, before[1]))
        try:
            with fails_as("too-large"):
                os.ftruncate(fd, QUANTUM + 1)
            with fails_as("too-large"):
                os.pwrite(fd, b"x", QUANTUM)
            assert os.pwrite(fd, b"xy", QUANTUM - 1) == 1
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(
    ("trouble", "options", "pos"),
    [
        ("no-ram", "mem=8M", 0),
        ("no-addresses", "mem=256M,arch=i386", 0),
        ("quantum-too-large", "mem=16M,order=11,qset=1", 0),
        ("overrun", "mem=16M,quirks=ldd3,qset=1", QUANTUM),
    ],
)
def test_errno_of_memory(
    mount: Callable[[str], Path], trouble: str, options: str, pos: int
) -> None:
    """Writing goes on until it cannot."""
    with opened(mount(options) / "scullv0") as fd, fails_as(trouble):
        for _ in range(4096):
            pos += os.pwrite(fd, bytes(QUANTUM), pos)
        assert pos < 256 * MIB
