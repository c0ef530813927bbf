"""Who is running: each call is its caller's, whoever opened the file and whoever called before."""

from __future__ import annotations

import fcntl
import mmap
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from .helpers import MIB, QUANTUM, Scullvfs, foreground, opened
from .troubles import fails_as

TELLING = """
import sys
from scullvfs.fs import devices
from scullvfs.mm.printk import KERN_INFO

def telling(name, handler):
    def call(self, *args):
        machine = self._device.machine
        text = f"{{name}}: {{machine.current}} {{machine.current.comm}}"
        machine.log.printk(KERN_INFO, text)
        return handler(self, *args)
    return call

for name in ("read", "read_pages", "write", "ioctl", "lseek", "fallocate"):
    handler = getattr(devices.AccessingHandle, name)
    setattr(devices.AccessingHandle, name, telling(name, handler))
{change}
from scullvfs.cli import main
main()
"""
"""A driver that logs each call, with who the kernel log takes for the running task."""

LOOPS = {"loop": "", "plain loop": "import scullvfs.fuse, pyfuse3; pyfuse3.__version__ = '4.0'"}

Call = Callable[[int], object]

CALLS: dict[str, Call] = {
    "read": lambda fd: direct(fd, lambda: os.preadv(fd, [mmap.mmap(-1, 4096)], 0)),
    "read_pages": lambda fd: os.pread(fd, 1, 0),
    "write": lambda fd: os.pwrite(fd, b"x", 0),
    "ioctl": lambda fd: fcntl.ioctl(fd, 0x4B04),
    "lseek": lambda fd: os.lseek(fd, 0, os.SEEK_DATA),
    "fallocate": lambda fd: os.posix_fallocate(fd, 0, 1),
}
"""Method of an open device -> a call that comes there."""


def direct(fd: int, call: Callable[[], object]) -> object:
    """A call past the page cache."""
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    fcntl.fcntl(fd, fcntl.F_SETFL, flags | os.O_DIRECT)
    try:
        return call()
    finally:
        fcntl.fcntl(fd, fcntl.F_SETFL, flags)


IDS = (4321, 8765) if os.geteuid() == 0 else (os.getuid(), os.getgid())
"""User and group of a caller."""


def by(name: str, call: Callable[[], object], ids: tuple[int, int] | None = None) -> int:
    """Make a call in a process of this name, and of this user and group; its pid."""
    pid = os.fork()
    if pid == 0:
        try:
            Path("/proc/self/comm").write_text(name)
            if ids is not None:
                os.setresgid(*[ids[1]] * 3)
                os.setresuid(*[ids[0]] * 3)
            call()
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0
    return pid


def log(mount: Path) -> str:
    """What the emulated kernel has said, without levels and times."""
    return re.sub(r"^<\d>\[.*?\] ", "", (mount / "proc/kmsg").read_text(), flags=re.MULTILINE)


@pytest.mark.long
@pytest.mark.parametrize("change", LOOPS)
def test_caller_of_each_call(scullvfs: Scullvfs, mountpoint: Path, change: str) -> None:
    """The second of two processes, on a descriptor that a third one has opened, is it."""
    program = TELLING.format(change=LOOPS[change])
    words = "mem=16M,semantics=file" + ",allow_other" * (os.geteuid() == 0)
    options = ["mount", "-f", "-o", words, str(mountpoint)]
    with (
        foreground(scullvfs, mountpoint, [sys.executable, "-c", program, *options]),
        opened(mountpoint / "scullv0") as fd,
    ):
        os.pwrite(fd, bytes(QUANTUM), 0)
        for name, call in CALLS.items():
            by("before", lambda: os.pwrite(fd, b"x", 0))
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            pid = by("caller of it", lambda call=call: call(fd), IDS)  # type: ignore[misc]
            assert log(mountpoint).splitlines()[-1] == (
                f"{name}: Task(pid={pid}, uid={IDS[0]}, gid={IDS[1]}) caller of it"
            )


@pytest.mark.parametrize("what", ["read", "write"])
def test_caller_of_an_overrun(mount: Callable[[str], Path], what: str) -> None:
    """The report of an oops names who made the call, not who opened the file."""
    mnt = mount("mem=16M,quirks=ldd3,qset=1")
    with opened(mnt / "scullv0") as fd:
        os.pwrite(fd, b"x", QUANTUM)
        os.ftruncate(fd, 2 * QUANTUM)
        by("before", lambda: os.pwrite(fd, b"x", 0))

        def overrun() -> None:
            with fails_as("overrun"):
                if what == "read":
                    os.pread(fd, 8192, QUANTUM)
                else:
                    os.pwrite(fd, b"x", QUANTUM + 8192)

        pid = by("the culprit", overrun)
    assert f"\nCPU: 0 UID: {os.geteuid()} PID: {pid} Comm: the culprit Tainted: " in log(mnt)


def test_caller_of_a_failed_fallocate(mount: Callable[[str], Path]) -> None:
    """So does the line about an allocation that failed."""
    mnt = mount("mem=16M,order=11,qset=1,semantics=file")
    with opened(mnt / "scullv0") as fd:
        by("before", lambda: os.posix_fallocate(fd, 0, 1))

        def allocate() -> None:
            with fails_as("no-ram"):
                os.posix_fallocate(fd, 8 * MIB, 1)

        by("a large one", allocate)
    assert re.search(r"^a large one: vmalloc error", log(mnt), re.MULTILINE), log(mnt)
