"""Faults of a device, set through its files; and a process that makes one call."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scullvfs.scull import COMMANDS

from .helpers import opened, wait_until

__all__ = ["CALLS", "DATA", "HOUR", "Caller", "calling", "everything", "faults", "fill", "put"]

DATA = bytes(range(251)) * 1000
"""Something to store."""

HOUR = 3_600_000_000
"""In microseconds."""

SYSCALLS = {
    "open": 257,
    "read": 17,
    "write": 18,
    "ioctl": 16,
    "llseek": 8,
    "fallocate": 285,
    "truncate": 76,
}
"""Operation -> the number of the system call that the program below makes, on x86_64."""
CALLS = tuple(SYSCALLS)

PROGRAM = """
import ctypes, os, signal, sys
name, path, count = sys.argv[1], sys.argv[2].encode(), int(sys.argv[3])
signal.signal(signal.SIGUSR1, lambda *_: None)
signal.siginterrupt(signal.SIGUSR1, True)
libc = ctypes.CDLL(None, use_errno=True)
libc.lseek.restype = ctypes.c_long
fd = -1 if name in ("open", "truncate") else os.open(path, os.O_RDWR)
off, size, buffer = ctypes.c_long(0), ctypes.c_long(count), ctypes.create_string_buffer(count)
calls = {
    "open": lambda: libc.open(path, os.O_RDWR | os.O_TRUNC),
    "read": lambda: libc.pread(fd, buffer, size, off),
    "write": lambda: libc.pwrite(fd, b"w" * count, size, off),
    "ioctl": lambda: libc.ioctl(fd, QORDER, 0),
    "llseek": lambda: libc.lseek(fd, off, os.SEEK_HOLE),
    "fallocate": lambda: libc.fallocate(fd, 0, off, ctypes.c_long(count)),
    "truncate": lambda: libc.truncate(path, size),
}
if fd >= 0:
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
signal.signal(signal.SIGINT, signal.SIG_DFL)
print("ready", flush=True)
result = calls[name]()
number = ctypes.get_errno() if result < 0 else 0
print("open" if name == "open" and result >= 0 else result, number, flush=True)
""".replace("QORDER", str(COMMANDS["QORDER"]))


def faults(mount: Path, device: str = "scullv0") -> Path:
    """The directory with a device's faults."""
    return mount / "sys/kernel/debug/scull" / device


def put(mount: Path, values: dict[str, object], device: str = "scullv0") -> None:
    """Set some of them, by the names of their files, one after the other."""
    for name, value in values.items():
        (faults(mount, device) / name).write_text(f"{value}\n")


def everything(mount: Path) -> None:
    """Put everything of all devices back."""
    (mount / "sys/kernel/debug/scull/reset").write_text("1\n")


class Caller:
    """A process that makes a call."""

    def __init__(self, process: subprocess.Popen[str], call: str) -> None:
        self.process = process
        self.pid = process.pid
        self._call = call

    def waits(self) -> None:
        """Wait until it is in the call."""
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"
        path = Path(f"/proc/{self.pid}/syscall")
        number = str(SYSCALLS[self._call])
        wait_until(lambda: path.read_text().split()[0] == number, f"it waits in {self._call}")

    def result(self) -> str:
        """What the call gave, as "4096", or the name of its errno."""
        assert self.process.stdout is not None
        words = self.process.stdout.read().split()[-2:]
        number = int(words[1])
        return errno.errorcode[number] if number else words[0]


@contextmanager
def calling(path: Path, call: str, count: int = 4096) -> Iterator[Caller]:
    """A process that makes a call on a file at once; killed at the end if it is still there."""
    command = [sys.executable, "-c", PROGRAM, call, str(path), str(count)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Caller(process, call)
        finally:
            process.kill()


def fill(device: Path, data: bytes = DATA) -> None:
    """Write all of something, whatever one call takes; the page cache forgets it."""
    with opened(device) as fd:
        done = 0
        while done < len(data):
            done += os.pwrite(fd, data[done:], done)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
