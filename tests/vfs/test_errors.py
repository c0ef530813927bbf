"""A bug of ours in a request: its caller gets EIO, the log the traceback, and the mount lives."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from ..scull.helpers import fails
from .helpers import DEADLINE, MIB, Scullvfs, foreground, opened, read_all, wait_until, write_all
from .troubles import TROUBLES, fails_as

BROKEN = """
import errno
from scullvfs.mm import PageFault
from scullvfs.scull import ScullDev

def read(self, pos, count):
    raise RuntimeError("reading is broken")

def write(self, pos, data):
    raise PageFault(0xffffc90000000000, True, "pte", (0,))

def truncating(self, length):
    raise OSError(errno.EDQUOT, "truncating is refused")

def ioctl(self, cmd, arg, data, capable):
    if arg:
        return 1 << 40, b""  # no int
    raise ZeroDivisionError("the ioctl is broken")

ScullDev.read, ScullDev.write, ScullDev.truncating = read, write, truncating
ScullDev.ioctl = ioctl

from scullvfs.cli import main
main()
"""


@pytest.mark.long
def test_broken_driver(scullvfs: Scullvfs, mountpoint: Path) -> None:
    """Each request is answered with its errno, and the daemon ends with status 0 as ever."""
    command = [sys.executable, "-c", BROKEN, "mount", "-f", "-o", "mem=16M", str(mountpoint)]
    with foreground(scullvfs, mountpoint, command) as daemon:
        with opened(mountpoint / "scullv0") as fd:
            with fails(errno.EIO):
                os.read(fd, 1)
            with fails(errno.EFAULT):
                os.write(fd, b"x")
            with fails(errno.EDQUOT):
                os.ftruncate(fd, 5)
            with fails(errno.EIO):
                fcntl.ioctl(fd, 0x4B04, 0)
            with fails(errno.EIO):
                fcntl.ioctl(fd, 0x4B04, 1)
        assert sorted(os.listdir(mountpoint))[0] == "proc"
        subprocess.run(["fusermount3", "-u", mountpoint], check=True)
        _, said = daemon.communicate(timeout=DEADLINE)
    assert daemon.returncode == 0
    assert said.count("RuntimeError: reading is broken") == 1
    assert said.count("ZeroDivisionError: the ioctl is broken") == 1
    assert said.count("OverflowError: ") == 1
    assert "EDQUOT" not in said
    assert "PageFault" not in said


KEEPING = """
from scullvfs.scull import ScullDev

kept = []

def write(self, pos, data):
    kept.append(data)
    return len(data)

def read(self, pos, count):
    try:
        return bytes(kept[-1])
    except ValueError as error:
        return str(error).encode()

ScullDev.read, ScullDev.write = read, write

from scullvfs.cli import main
main()
"""


@pytest.mark.long
def test_written_bytes_are_taken_back(scullvfs: Scullvfs, mountpoint: Path) -> None:
    """A driver that keeps what it was given has a ValueError, not the next request's bytes."""
    command = [sys.executable, "-c", KEEPING, "mount", "-f", "-o", "mem=16M", str(mountpoint)]
    with foreground(scullvfs, mountpoint, command), opened(mountpoint / "scullv0") as fd:
        assert os.write(fd, b"written") == 7
        assert b"released memoryview" in os.read(fd, 100)


BREAKABLE = """
import sys
from functools import wraps
from inspect import iscoroutinefunction
from pathlib import Path
from scullvfs.daemon import assemble
from scullvfs.fuse import operations

broken = Path(sys.argv.pop(1))

def breakable(name, handler):
    def trip():
        if broken.read_text() == name:
            raise LookupError(f"{name} is broken")

    @wraps(handler)
    def call(*args, **kwargs):
        trip()
        return handler(*args, **kwargs)

    @wraps(handler)
    async def request(*args):
        trip()
        return await handler(*args)

    return request if iscoroutinefunction(handler) else call

names = sys.argv.pop(1).split(",")

def with_breakable(kind):
    handlers = {name: breakable(name, getattr(kind, name)) for name in names if hasattr(kind, name)}
    return type("Broken", (kind,), handlers)

operations.Vfs = with_breakable(operations.Vfs)
assemble.Operations = with_breakable(operations.Operations)

from scullvfs.cli import main
main()
"""
"""Each of the handlers named raises as long as its name is in a file."""

Call = Callable[[Path, int], object]
"""A system call on a mount, and on a descriptor of its first device."""

CALLS: dict[str, Call] = {
    "lookup": lambda mnt, _: os.stat(mnt / "never seen"),
    "getattr": lambda mnt, _: os.stat(mnt / "scullv0"),
    "setattr": lambda mnt, _: os.chmod(mnt / "scullv0", 0o600),
    "readlink": lambda mnt, _: os.readlink(mnt / "scullv"),
    "opendir": lambda mnt, _: os.listdir(mnt),
    "readdir": lambda mnt, _: os.listdir(mnt),
    "open": lambda mnt, _: os.open(mnt / "scullv0", os.O_RDONLY),
    "read": lambda _, fd: os.pread(fd, 1, 0),
    "write": lambda _, fd: os.pwrite(fd, b"x", 0),
    "fsync": lambda _, fd: os.fsync(fd),
    "fsyncdir": lambda mnt, _: _sync_directory(mnt),
    "ioctl": lambda _, fd: fcntl.ioctl(fd, 0x4B04),
    "lseek": lambda _, fd: os.lseek(fd, 0, os.SEEK_DATA),
    "fallocate": lambda _, fd: os.posix_fallocate(fd, 0, 1),
    "statfs": lambda mnt, _: os.statvfs(mnt),
    "mkdir": lambda mnt, _: os.mkdir(mnt / "new"),
}
"""Handler -> a call that needs it."""

SILENT = "release"
"""Its caller is gone, and gets no errno."""


def _sync_directory(path: Path) -> None:
    with opened(path, os.O_RDONLY | os.O_DIRECTORY) as fd:
        os.fsync(fd)


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """What is broken at the moment; nothing at first."""
    path = tmp_path / "broken"
    path.write_text("")
    return path


@pytest.fixture
def breakable(
    scullvfs: Scullvfs, mountpoint: Path, broken: Path
) -> Iterator[subprocess.Popen[str]]:
    """A daemon whose handlers can be broken one by one, by the rules of a file as these use all."""
    names = ",".join([*CALLS, SILENT])
    options = ["mount", "-f", "-o", "mem=16M,semantics=file", str(mountpoint)]
    command = [sys.executable, "-c", BREAKABLE, str(broken), names, *options]
    with foreground(scullvfs, mountpoint, command) as daemon:
        yield daemon


@pytest.mark.long
def test_broken_handlers(breakable: subprocess.Popen[str], mountpoint: Path, broken: Path) -> None:
    """Whichever handler raises, its caller alone gets EIO, and all is well afterwards."""
    with opened(mountpoint / "scullv0") as fd:
        os.pwrite(fd, b"kept", 8192)
        for name, call in CALLS.items():
            broken.write_text(name)
            with fails_as("bug"):
                call(mountpoint, fd)
            broken.write_text("")
            assert os.pread(fd, 4, 8192) == b"kept", name
        another = os.open(mountpoint / "scullv1", os.O_RDONLY)
        broken.write_text(SILENT)
        os.close(another)
    subprocess.run(["fusermount3", "-u", mountpoint], check=True)
    _, said = breakable.communicate(timeout=DEADLINE)
    assert breakable.returncode == 0
    assert said.count(TROUBLES["log-bug"].message) >= len(CALLS)
    for name in [*CALLS, SILENT]:
        assert (
            f"LookupError: '{name} is broken'" in said or f"LookupError: {name} is broken" in said
        )


IDLE_WORK = """
import os, sys
from scullvfs.mm import Machine

broken, works = sys.argv.pop(1), Machine.idle_work

def idle_work(self):
    if os.path.exists(broken):
        raise RuntimeError("housekeeping is broken")
    return works(self)

Machine.idle_work = idle_work

from scullvfs.cli import main
main()
"""


@pytest.mark.long
def test_broken_housekeeping(scullvfs: Scullvfs, mountpoint: Path, broken: Path) -> None:
    """What fails between requests is logged, requests are served on, and it is tried again."""
    options = ["mount", "-f", "-o", "mem=256M", str(mountpoint)]
    command = [sys.executable, "-c", IDLE_WORK, str(broken), *options]
    device = mountpoint / "scullv0"
    with foreground(scullvfs, mountpoint, command) as daemon:
        assert daemon.stderr is not None
        wait_until(device.exists, "it answers")
        process = psutil.Process(daemon.pid)
        before = process.memory_info().rss
        with opened(device) as fd:
            write_all(fd, bytes(128 * MIB))
        os.truncate(device, 0)
        for _ in range(2):
            fits = TROUBLES["log-idle"].fits
            while not fits((line := daemon.stderr.readline()).strip().removeprefix("scullvfs: ")):
                assert line
        device.write_bytes(b"served")
        assert read_all(device) == b"served"
        broken.unlink()
        wait_until(
            lambda: process.memory_info().rss < before + 64 * MIB, "the memory is given back"
        )
        subprocess.run(["fusermount3", "-u", mountpoint], check=True)
        daemon.communicate(timeout=DEADLINE)
    assert daemon.returncode == 0
