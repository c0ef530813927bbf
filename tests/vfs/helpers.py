"""The `scullvfs` command on real mounts: running it, and proof that nothing is left.

Every process that a test starts here carries a mark in its environment, daemons
included, so that the teardown finds what outlived its test. It ends and unmounts that,
and fails the test.
"""

from __future__ import annotations

import fcntl
import os
import select
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import scullvfs as package
from scullvfs.daemon.sd_notify import forget_service_manager
from scullvfs.mounts.health import PID_FILE
from scullvfs.mounts.mountinfo import mount_at
from scullvfs.mounts.unmount import unmount
from scullvfs.scull import COMMANDS

from . import warm

SOURCE = Path(package.__file__).parents[1]

COMMAND = [sys.executable, "-m", "scullvfs"]

DEADLINE = 30.0
"""Seconds after which a state that a test waits for will not come any more."""

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30
QUANTUM = 64 * KIB
"""Of a device that was mounted without options."""


def wait_until(state: Callable[[], object], what: str) -> None:
    """Wait for a state, never for a time."""
    deadline = time.monotonic() + DEADLINE
    while not state():
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.005)


def why_no_fuse(device: str = "/dev/fuse") -> str | None:
    """Why nothing can be mounted here, or None."""
    if shutil.which("fusermount3") is None:
        return "fusermount3 is not installed"
    try:
        os.close(os.open(device, os.O_RDWR))
    except OSError as error:
        return f"{device}: {error.strerror}"
    return None


def closed_to_others(path: Path) -> Path | None:
    """The first directory on the way to *path*, or itself, that only its owner may enter."""
    way = [*reversed(path.parents), path]
    return next((directory for directory in way if not directory.stat().st_mode & 0o001), None)


TELLING_ITS_PEAK = """
import resource, subprocess, sys

status = subprocess.call(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(status)
"""
"""A process begins with the peak of who has started it, so that has to be a small one."""


class Scullvfs:
    """The program as a user runs it, from this source tree, by this Python."""

    def __init__(self) -> None:
        self.mark = f"{warm.MARK}={uuid.uuid4()}"
        name, _, value = self.mark.partition("=")
        self.path = f"{SOURCE}:{os.environ.get('PYTHONPATH', '')}"
        self.env = {**os.environ, "PYTHONPATH": self.path, name: value}
        # What setuptools hooks into every Python that starts where it is installed is not ours.
        self.env["SETUPTOOLS_USE_DISTUTILS"] = "stdlib"
        forget_service_manager(self.env)  # one may have started the tests
        self.command = COMMAND
        self.warm = True
        """Whether a start may be that of a fork, which shares memory with others."""

    def __call__(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Run `scullvfs` with *arguments* to its end."""
        return self.run([*self.command, *map(str, arguments)])

    def quickly(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """The same without the start of a Python, unless another program stands in for ours."""
        ours = self.command == COMMAND and self.env.get("PYTHONPATH") == self.path
        if not (ours and self.warm):
            return self(*arguments)
        return warm.run(list(map(str, arguments)), self.env, DEADLINE)

    def run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        """Run any command to its end."""
        return subprocess.run(
            command,
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
        )

    def peak(self, *arguments: object) -> tuple[subprocess.CompletedProcess[str], int]:
        """Run `scullvfs` to its end; and the most memory it had, and what it waited for, in KiB."""
        command = [*self.command, *map(str, arguments)]
        done = self.run([sys.executable, "-c", TELLING_ITS_PEAK, *command])
        *lines, last = done.stdout.splitlines(keepends=True)
        done.stdout = "".join(lines)
        return done, int(last)

    def start(self, *arguments: object) -> subprocess.Popen[str]:
        """Run `scullvfs` with *arguments* beside the test."""
        return self.start_command([*self.command, *map(str, arguments)])

    def start_command(self, command: list[str]) -> subprocess.Popen[str]:
        """Run any command beside the test, with pipes at all its ends."""
        return subprocess.Popen(
            command,
            env=self.env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def processes(self) -> list[int]:
        """The pids of all that was started here and still runs."""
        return [
            int(process.name)
            for process in Path("/proc").glob("[0-9]*")
            if self.mark.encode() in _read(process / "environ").split(b"\0")
        ]

    def mounted(self, mountpoint: Path) -> bool:
        """Whether anything is mounted on *mountpoint*, dead or alive."""
        return mount_at(str(mountpoint)) is not None

    def pid(self, mountpoint: Path) -> int:
        """The pid of the daemon behind *mountpoint*."""
        return int((mountpoint / PID_FILE).read_bytes())


def end(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process, anybody's child, and wait until it has closed its files."""
    pidfd = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(pidfd, number)
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        assert poll.poll(DEADLINE * 1000), f"process {pid} has ended"
    finally:
        os.close(pidfd)


def _read(path: Path) -> bytes:
    """What is in a file of /proc; nothing if the process is a zombie, gone or not ours."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


@contextmanager
def program() -> Iterator[Scullvfs]:
    """The program; no process of it may outlive the context."""
    scullvfs = Scullvfs()
    try:
        yield scullvfs
        wait_until(lambda: not scullvfs.processes(), "all processes of the test are gone")
    finally:
        for pid in scullvfs.processes():
            os.kill(pid, signal.SIGKILL)


@contextmanager
def mount_point(scullvfs: Scullvfs, path: Path) -> Iterator[Path]:
    """A new, empty directory; no mount on it may outlive the context."""
    path.mkdir()
    left = []
    try:
        yield path
    finally:
        while scullvfs.mounted(path):
            left.append(mount_at(str(path)))
            subprocess.run(["fusermount3", "-u", "-z", path], check=True)
    assert left == []


@contextmanager
def mounted_on(scullvfs: Scullvfs, path: Path, options: str) -> Iterator[Path]:
    """A mount with these options, on a directory that is there; unmounted if need be."""
    done = scullvfs.quickly("mount", "-o", options, path)
    said = (done.returncode, done.stdout, done.stderr)
    assert said == (0, "", ""), said  # not rewritten here, so pytest would not show it
    yield path
    if scullvfs.mounted(path):
        unmount(str(path), lazy=False, timeout=DEADLINE)  # as the command, which takes its time


@contextmanager
def foreground(
    scullvfs: Scullvfs, path: Path, command: list[str]
) -> Iterator[subprocess.Popen[str]]:
    """A command that serves a mount on *path*; unmounted at the end, if need be, and waited for."""
    with scullvfs.start_command(command) as daemon:
        wait_until(lambda: scullvfs.mounted(path) or daemon.poll() is not None, "it is mounted")
        try:
            yield daemon
        finally:
            if scullvfs.mounted(path):
                subprocess.run(["fusermount3", "-u", "-z", path], check=True)


@contextmanager
def opened(path: Path, flags: int = os.O_RDWR) -> Iterator[int]:
    """A descriptor that is closed whatever happens: an open file keeps its mount busy."""
    fd = os.open(path, flags)
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def orphan(path: Path, flags: int = os.O_RDWR) -> Iterator[int]:
    """A descriptor whose daemon may be gone when it is closed; close(2) tells, and closes it."""
    fd = os.open(path, flags)
    try:
        yield fd
    finally:
        with suppress(OSError):
            os.close(fd)


def empty(mount: Path) -> None:
    """Empty all devices, with LDD3's order and qset."""
    with opened(mount / "scullv0", os.O_RDONLY) as fd:
        fcntl.ioctl(fd, COMMANDS["RESET"])
    for device in mount.glob("scullv[0-9]*"):
        os.truncate(device, 0)


def shell(command: str, **variables: object) -> subprocess.CompletedProcess[str]:
    """Run a command line in bash, with these variables set, in the C locale."""
    return subprocess.run(
        ["bash", "-c", command],
        env={**os.environ, "LC_ALL": "C", **{name: str(v) for name, v in variables.items()}},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )


def read_all(path: Path | int) -> bytes:
    """A device from its start to the end of file, one read(2) after the other."""
    if isinstance(path, Path):
        with opened(path, os.O_RDONLY) as fd:
            return read_all(fd)
    data = bytearray()
    while part := os.pread(path, MIB, len(data)):
        data += part
    return bytes(data)


def write_all(fd: int, data: bytes, pos: int = 0) -> None:
    """Write all of `data` in as many calls of pwrite(2) as it takes."""
    view = memoryview(data)
    while view:
        count = os.pwrite(fd, view, pos)
        view, pos = view[count:], pos + count
