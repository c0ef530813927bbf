"""The daemon stopped, killed and born again: nobody hangs, and nothing lives on by mistake."""

from __future__ import annotations

import faulthandler
import mmap
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from scullvfs.mounts import mountpoint as mountpoint_module
from scullvfs.mounts.mountinfo import read_mounts

from .helpers import MIB, Scullvfs, end, opened, orphan, read_all, wait_until, write_all
from .troubles import fails_as, refusal

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root binds mounts")

CLIENT = """
import os, sys
path, how = sys.argv[1:]
fd = os.open(path, os.O_RDWR)
block = bytes(1 << 16)
os.write(fd, block)
print("ready", flush=True)
try:
    while True:
        if how == "read":
            os.pread(fd, 1 << 16, 0)
        elif how == "write":
            os.pwrite(fd, block, 0)
        else:
            os.stat(path)
except OSError as error:
    print(error.errno, flush=True)
try:
    os.pread(fd, 1, 0)
except OSError as error:
    print(error.errno, flush=True)
"""
"""Calls over and over until one fails; says with which errno, and what the next call gives."""


@contextmanager
def clients(mount: Path, hows: list[str]) -> Iterator[list[subprocess.Popen[str]]]:
    """Programs at work on a mount."""
    running = [
        subprocess.Popen(
            [sys.executable, "-c", CLIENT, mount / f"scullv{number % 4}", how],
            stdout=subprocess.PIPE,
            text=True,
        )
        for number, how in enumerate(hows)
    ]
    try:
        for client in running:
            assert client.stdout is not None
            assert client.stdout.readline() == "ready\n"
        yield running
    finally:
        for client in running:
            client.kill()
            client.communicate()


STOPS = 20

ENDS: list[Callable[[int], None]] = [
    lambda pid: os.kill(pid, signal.SIGKILL),
    lambda pid: os.kill(pid, signal.SIGTERM),
]


@pytest.mark.long
@pytest.mark.parametrize("end", ENDS, ids=["SIGKILL", "SIGTERM"])
def test_end_under_load(scullvfs: Scullvfs, mounted: Path, end: Callable[[int], None]) -> None:
    """Each client's call fails at once, and so do all after it."""
    pid = scullvfs.pid(mounted)
    with clients(mounted, ["read", "write", "read", "write", "stat"]) as running:
        end(pid)
        *working, looking = [client.communicate(timeout=60)[0].split() for client in running]
    dying, dead = "103", "107"  # ECONNABORTED, ENOTCONN
    for first, after in working:
        assert first in (dying, dead)
        assert after == dead
    # Where the mount is gone by now, its path leads to the empty directory: ENOENT.
    assert looking[0] in (dying, dead, "2")
    wait_until(lambda: not scullvfs.processes(), "the daemon is gone")


def test_call_being_served(scullvfs: Scullvfs, mounted: Path) -> None:
    """A call that waits for the daemon when that is killed is aborted."""
    pid = scullvfs.pid(mounted)
    with orphan(mounted / "scullv0") as fd:
        os.kill(pid, signal.SIGSTOP)
        waiting = os.fork()
        if waiting == 0:
            try:
                with fails_as("daemon-dies"):
                    os.pwrite(fd, b"x", 0)
                os._exit(0)
            finally:
                os._exit(1)
        wait_until(lambda: is_asleep(waiting), "the call waits")
        os.kill(pid, signal.SIGKILL)
        assert os.waitpid(waiting, 0)[1] == 0


def is_asleep(pid: int) -> bool:
    """Whether a process waits in FUSE (Linux: fs/fuse/dev.c:request_wait_answer())."""
    return "request_wait_answer" in Path(f"/proc/{pid}/wchan").read_text() or (
        Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "SD"
        and Path(f"/proc/{pid}/syscall").read_text().split()[0] == "18"  # pwrite64
    )


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_open_files(scullvfs: Scullvfs, mounted: Path, number: signal.Signals) -> None:
    """What was open before fails, however the daemon ended; a dead mount keeps its name."""
    with orphan(mounted / "scullv0") as fd, orphan(mounted, os.O_RDONLY) as directory:
        write_all(fd, b"data")
        end(scullvfs.pid(mounted), number)
        calls: list[Callable[[], object]] = [
            lambda: os.pread(fd, 1, 0),
            lambda: os.pwrite(fd, b"x", 0),
            lambda: os.ftruncate(fd, 0),
            lambda: os.fstat(fd),
            lambda: os.stat("scullv1", dir_fd=directory),
        ]
        for call in calls:
            with fails_as("daemon-killed"):
                call()
    assert scullvfs.mounted(mounted) == (number == signal.SIGKILL)


def test_mapping(scullvfs: Scullvfs, mount: Callable[[str], Path]) -> None:
    """A mapping keeps the pages that it has; the others are SIGBUS."""
    mnt = mount("mem=16M,semantics=file")
    with orphan(mnt / "scullv0") as fd:
        write_all(fd, b"x" * MIB)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        with mmap.mmap(fd, MIB, prot=mmap.PROT_READ) as mapping:
            mapping.madvise(mmap.MADV_RANDOM)  # no page is read ahead
            assert mapping[0] == ord("x")
            kill(scullvfs, mnt)
            assert mapping[0] == ord("x")
            toucher = os.fork()
            if toucher == 0:
                faulthandler.disable()  # it would tell of the bus error
                os._exit(mapping[-1])
            assert os.waitstatus_to_exitcode(os.waitpid(toucher, 0)[1]) == -signal.SIGBUS


def test_cached_reads(scullvfs: Scullvfs, mount: Callable[[str], Path]) -> None:
    """An open file gives what the page cache has; nothing else works."""
    mnt = mount("mem=16M,semantics=file")
    with orphan(mnt / "scullv0") as fd:
        write_all(fd, b"x" * 8192)
        kill(scullvfs, mnt)
        assert os.pread(fd, 10, 0) == b"x" * 10
        assert os.pread(fd, 10, 8182) == b"x" * 10
        calls: list[Callable[[], object]] = [
            lambda: os.pwrite(fd, b"x", 0),
            lambda: os.fstat(fd),
            lambda: os.fsync(fd),
            lambda: os.open(mnt / "scullv0", os.O_RDONLY),
        ]
        for call in calls:
            with fails_as("daemon-killed"):
                call()


def kill(scullvfs: Scullvfs, mounted: Path) -> None:
    """Make a dead mount."""
    end(scullvfs.pid(mounted), signal.SIGKILL)


@pytest.mark.long
def test_remount_stale(scullvfs: Scullvfs, mounted: Path) -> None:
    """A dead mount makes room for a new one, though a file of it is still open."""
    with orphan(mounted / "scullv0") as fd:
        kill(scullvfs, mounted)
        refusal(scullvfs("mount", mounted), "dead-mount")
        done = scullvfs("mount", "-o", "mem=16M,remount_stale", mounted)
        assert (done.returncode, done.stderr) == (0, "")
        with fails_as("daemon-killed"):
            os.pread(fd, 1, 0)
        (mounted / "scullv0").write_bytes(b"new")
    assert sum(mount.path == str(mounted) for mount in read_mounts()) == 1


@pytest.mark.long
def test_remount_stale_nothing_there(scullvfs: Scullvfs, mountpoint: Path) -> None:
    """An empty directory is as good, so the option can stand in fstab."""
    assert scullvfs("mount", "-o", "mem=16M,remount_stale", mountpoint).returncode == 0
    assert scullvfs("umount", mountpoint).returncode == 0


@pytest.mark.long
def test_remount_stale_alive(scullvfs: Scullvfs, mounted: Path) -> None:
    """A mount that lives stays."""
    (mounted / "scullv0").write_bytes(b"kept")
    refusal(scullvfs("mount", "-o", "remount_stale", mounted), "living-mount")
    assert (mounted / "scullv0").read_bytes() == b"kept"


@pytest.mark.long
def test_remount_stale_stopped(scullvfs: Scullvfs, mounted: Path) -> None:
    """One that is stopped is not dead, and goes on as if nothing had been."""
    (mounted / "scullv0").write_bytes(b"kept")
    pid = scullvfs.pid(mounted)
    impatient = Scullvfs()
    impatient.env = scullvfs.env
    impatient.command = [
        sys.executable,
        "-c",
        f"import {mountpoint_module.__name__} as m; m.ALIVE_TIMEOUT = 0.3\n"
        "from scullvfs.cli import main; main()",
    ]
    os.kill(pid, signal.SIGSTOP)
    try:
        refusal(impatient("mount", "-o", "remount_stale", mounted), "stopped-mount")
    finally:
        os.kill(pid, signal.SIGCONT)
    assert (mounted / "scullv0").read_bytes() == b"kept"
    assert scullvfs.pid(mounted) == pid


@pytest.mark.long
def test_stop_and_continue_under_load(scullvfs: Scullvfs, mount: Callable[[str], Path]) -> None:
    """Whatever is written while the daemon is stopped again and again arrives."""
    mnt = mount("mem=256M")
    pid = scullvfs.pid(mnt)
    data = [os.urandom(24 * MIB) for _ in range(2)]
    writers = []
    for number, content in enumerate(data):
        writer = os.fork()
        if writer == 0:
            try:
                with opened(mnt / f"scullv{number}") as fd:
                    write_all(fd, content)
                os._exit(0)
            finally:
                os._exit(1)
        writers.append(writer)
    for _ in range(STOPS):
        os.kill(pid, signal.SIGSTOP)
        time.sleep(0.02)  # for the writers to wait in a call
        os.kill(pid, signal.SIGCONT)
        os.stat(mnt / "scullv2")  # answered: the daemon goes on
    assert [os.waitpid(writer, 0)[1] for writer in writers] == [0, 0]
    assert [read_all(mnt / f"scullv{n}") for n in range(2)] == data


def test_parent_renamed(scullvfs: Scullvfs, mounted: Path) -> None:
    """The daemon takes its mount down wherever that is by now."""
    pid = scullvfs.pid(mounted)
    before = mounted.parent
    after = before.with_name(before.name + "-renamed")
    before.rename(after)
    try:
        moved = after / mounted.name
        assert scullvfs.pid(moved) == pid
        end(pid, signal.SIGTERM)
        assert not scullvfs.mounted(moved)
    finally:
        after.rename(before)


@needs_root
def test_bound_elsewhere(scullvfs: Scullvfs, mounted: Path, tmp_path: Path) -> None:
    """Nor does a second name of it stay behind dead."""
    pid = scullvfs.pid(mounted)
    other = tmp_path / "other name"
    other.mkdir()
    subprocess.run(["mount", "--bind", mounted, other], check=True)
    assert scullvfs.mounted(other)
    end(pid, signal.SIGTERM)
    assert not scullvfs.mounted(other)
    assert not scullvfs.mounted(mounted)
