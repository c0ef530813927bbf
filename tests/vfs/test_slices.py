"""Calls that take long: others are served meanwhile, and one that is ended early leaves no mess."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .helpers import DEADLINE, MIB, Scullvfs, foreground, opened, read_all, wait_until
from .posix.helpers import KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE, fails, fallocate
from .troubles import TROUBLES

OPTIONS = "semantics=file,order=0,qset=50,mem=1200M"
QUANTA = 100 * MIB // 4096
"""Allocated in a second or so: for a call that is waited for."""
MANY = 1000 * MIB // 4096
"""For a call that is ended in the middle: this one takes many seconds on any machine."""

FALLOCATE = """
import ctypes, os, signal, sys
signal.signal(signal.SIGUSR1, lambda *_: None)
libc = ctypes.CDLL(None, use_errno=True)
fd = os.open(sys.argv[1], os.O_RDWR)
length = ctypes.c_int64(int(sys.argv[3]))
print(flush=True)
failed = libc.fallocate(fd, int(sys.argv[2]), ctypes.c_int64(0), length)
sys.exit(ctypes.get_errno() if failed else 0)
"""
"""fallocate(2) with a mode and a length; its exit status is the errno."""


@pytest.fixture
def mnt(mount: Callable[[str], Path]) -> Path:
    """A mount with the rules of a file and small quanta."""
    return mount(OPTIONS)


@contextmanager
def calling(
    device: Path, mode: int, length: int = QUANTA * 4096
) -> Iterator[subprocess.Popen[str]]:
    """A process in fallocate(2), or about to be."""
    command = [sys.executable, "-c", FALLOCATE, str(device), str(mode), str(length)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()


def shown(device: Path, name: str) -> int:
    """What sys/ says of a device."""
    return int((device.parent / f"sys/class/scullv/{device.name}/{name}").read_text())


def meminfo(mnt: Path) -> dict[str, int]:
    """proc/meminfo in kB."""
    lines = (mnt / "proc/meminfo").read_text().splitlines()
    return {line.split(":")[0]: int(line.split()[1]) for line in lines}


def wait_in_the_middle(
    device: Path, process: subprocess.Popen[str], quanta: int, before: int = 0
) -> None:
    """Wait until more quanta are there than before, not all, and the call still goes on."""

    def between() -> bool:
        assert process.poll() is None, "it was done in one go"
        return before < shown(device, "quanta") < quanta

    wait_until(between, "the call is half done")


@contextmanager
def allocating(device: Path, mode: int = 0) -> Iterator[subprocess.Popen[str]]:
    """A process in the middle of a fallocate(2) that goes on for a long time."""
    before = shown(device, "quanta")
    with calling(device, mode, MANY * 4096) as process:
        wait_in_the_middle(device, process, MANY, before)
        yield process


@contextmanager
def punching(device: Path) -> Iterator[subprocess.Popen[str]]:
    """A process in the middle of punching a hole, which is soon done: then in that of another."""
    for _ in range(10):
        with opened(device) as fd:
            fallocate(fd, 0, 0, QUANTA * 4096)
        with calling(device, PUNCH_HOLE | KEEP_SIZE) as process:
            while process.poll() is None:
                if 0 < shown(device, "quanta") < QUANTA:
                    yield process
                    return
    raise AssertionError("each time it was done in one go")


@pytest.mark.parametrize("mode", [0, KEEP_SIZE, ZERO_RANGE])
def test_allocate_lets_others_in(mnt: Path, mode: int) -> None:
    """A file of sys/ is read in the middle of it, and another device written to."""
    device = mnt / "scullv0"
    with allocating(device, mode) as process:
        (mnt / "scullv1").write_bytes(b"served")
        assert read_all(mnt / "scullv1") == b"served"
        assert process.poll() is None


@pytest.mark.long
@pytest.mark.parametrize("mode", [0, KEEP_SIZE, ZERO_RANGE])
def test_allocate(mnt: Path, mode: int) -> None:
    """In many slices, and all of it is there."""
    device = mnt / "scullv0"
    with calling(device, mode) as process:
        assert process.wait(DEADLINE) == 0
    assert shown(device, "quanta") == QUANTA
    assert device.stat().st_size == (0 if mode == KEEP_SIZE else QUANTA * 4096)


@pytest.mark.long
def test_punch_and_cut_let_others_in(mnt: Path) -> None:
    """They free the quanta, and others see the number fall."""
    device = mnt / "scullv0"
    with punching(device) as process:
        assert process.wait(DEADLINE) == 0
    assert shown(device, "quanta") == 0
    with opened(device) as fd:
        fallocate(fd, 0, 0, QUANTA * 4096)
    full = meminfo(mnt)["MemFree"]
    with subprocess.Popen(["truncate", "-s", "4096", device]) as truncate:
        seen = []
        while truncate.poll() is None:
            seen.append(meminfo(mnt)["MemFree"])
    assert truncate.returncode == 0
    assert len({free for free in seen if full < free < full + QUANTA * 4}) > 1
    assert (shown(device, "quanta"), shown(device, "items")) == (1, 1)


def test_interrupted(mnt: Path) -> None:
    """A signal that is handled: EINTR, and nothing has changed."""
    device = mnt / "scullv0"
    device.write_bytes(b"kept")
    before = meminfo(mnt)
    with allocating(device) as process:
        process.send_signal(signal.SIGUSR1)
        assert process.wait(DEADLINE) == getattr(errno, TROUBLES["fallocate-interrupted"].outcome)
    assert (shown(device, "quanta"), shown(device, "items"), shown(device, "size")) == (1, 1, 4)
    assert read_all(device) == b"kept"
    after = meminfo(mnt)
    assert after["VmallocUsed"] == before["VmallocUsed"]
    assert after["Slab"] < before["Slab"] + 600  # a cache keeps some empty slabs
    assert after["MemFree"] > before["MemFree"] - 3000  # page tables stay until the next purge


@pytest.mark.parametrize("mode", [0, ZERO_RANGE])
def test_not_enough_memory(mount: Callable[[str], Path], mode: int) -> None:
    """It fails half-way, as items and sets take memory, too: of these nothing stays either."""
    mnt = mount("semantics=file,order=0,qset=1,mem=64M")
    device = mnt / "scullv0"
    with opened(device) as fd:
        os.pwrite(fd, b"kept", 4090)
        before = meminfo(mnt)
        with fails(errno.ENOMEM):
            fallocate(fd, mode, 4090, before["MemFree"] * 1024)
        assert [shown(device, name) for name in ("items", "quanta", "size")] == [1, 1, 4094]
        assert os.pread(fd, 10, 4090) == b"kept"
    assert meminfo(mnt)["Slab"] < before["Slab"] + 600  # each cache keeps some empty slabs
    (mnt / "sys/kernel/debug/validate").write_text("1")


@pytest.mark.long
@pytest.mark.parametrize("mode", [0, ZERO_RANGE])
def test_killed(mnt: Path, mode: int) -> None:
    """The process is gone, and so is what it had allocated."""
    device = mnt / "scullv0"
    with allocating(device, mode) as process:
        process.kill()
        assert process.wait(DEADLINE) == -signal.SIGKILL
    assert (shown(device, "quanta"), shown(device, "items")) == (0, 1)
    (mnt / "sys/kernel/debug/validate").write_text("1")


@pytest.mark.long
def test_punch_killed(mnt: Path) -> None:
    """A hole that is punched in part is one."""
    device = mnt / "scullv0"
    for _ in range(10):
        with punching(device) as process:
            process.kill()
            process.wait(DEADLINE)
        left = shown(device, "quanta")
        if left:  # else it was done before it was killed
            break
    assert process.returncode == -signal.SIGKILL
    assert 0 < left < QUANTA
    (mnt / "sys/kernel/debug/validate").write_text("1")


@pytest.mark.long
def test_truncate_killed(mnt: Path) -> None:
    """The device is empty, and what the call had not freed yet is freed without it."""
    device = mnt / "scullv0"
    before = meminfo(mnt)["MemFree"]
    with opened(device) as fd:
        fallocate(fd, 0, 0, QUANTA * 4096)
    full = meminfo(mnt)["MemFree"]
    with subprocess.Popen(["truncate", "-s", "0", device]) as process:
        wait_until(lambda: meminfo(mnt)["MemFree"] > full, "something is freed")
        process.kill()
    assert shown(device, "quanta") == 0
    wait_until(lambda: meminfo(mnt)["MemFree"] > before - 1024, "all is freed")
    (mnt / "sys/kernel/debug/validate").write_text("1")


@pytest.mark.long
def test_several_at_once(mnt: Path) -> None:
    """On two devices they go on side by side, on one device one after the other."""
    one, two = mnt / "scullv0", mnt / "scullv1"
    half = QUANTA // 2 * 4096
    with (
        calling(one, 0, half) as first,
        calling(two, 0, half) as second,
        calling(one, KEEP_SIZE, half) as third,
    ):
        wait_until(lambda: shown(one, "quanta") and shown(two, "quanta"), "both go on")
        assert [process.wait(DEADLINE) for process in (first, second, third)] == [0] * 3
    assert [shown(device, "quanta") for device in (one, two)] == [QUANTA // 2] * 2


@pytest.mark.long
def test_waiting_and_killed(mnt: Path) -> None:
    """Who waits for another call on the same device can be killed, and that call goes on.

    Where the kernel has the other wait (for the lock of the inode), it is gone after that call.
    """
    device = mnt / "scullv0"
    with calling(device, 0, 2 * QUANTA * 4096) as process:
        wait_in_the_middle(device, process, 2 * QUANTA)
        with calling(device, KEEP_SIZE) as waiting:
            waiting.kill()
            assert waiting.wait(DEADLINE) == -signal.SIGKILL
        assert process.wait(DEADLINE) == 0
    assert shown(device, "quanta") == 2 * QUANTA


@pytest.mark.long
def test_emptied_meanwhile(mnt: Path) -> None:
    """An open with O_TRUNC comes after it: the device is empty, and takes the new order."""
    device = mnt / "scullv0"
    with allocating(device) as process:
        (mnt / "sys/module/scullv/parameters/scullv_order").write_text("2")
        with opened(device, os.O_RDWR | os.O_TRUNC) as fd:
            assert process.wait(DEADLINE) == 0
            assert os.fstat(fd).st_size == 0
            assert (shown(device, "quanta"), shown(device, "size")) == (0, 0)
            assert os.pwrite(fd, b"new", 5) == 3
            assert os.pread(fd, 100, 0) == bytes(5) + b"new"
    assert (shown(device, "quanta"), shown(device, "order")) == (1, 2)
    (mnt / "sys/kernel/debug/validate").write_text("1")


@contextmanager
def called_upon(
    scullvfs: Scullvfs, mountpoint: Path, quanta: int
) -> Iterator[tuple[subprocess.Popen[str], subprocess.Popen[str]]]:
    """A daemon in the foreground, and a process whose call it is in the middle of."""
    command = [*scullvfs.command, "mount", "-f", "-o", OPTIONS, str(mountpoint)]
    with foreground(scullvfs, mountpoint, command) as daemon:
        device = mountpoint / "scullv0"
        wait_until(device.exists, "it answers")
        with calling(device, 0, quanta * 4096) as process:
            wait_in_the_middle(device, process, quanta)
            yield daemon, process


@pytest.mark.long
def test_end_of_the_daemon(scullvfs: Scullvfs, mountpoint: Path) -> None:
    """It ends as ever, and does not finish the call first."""
    with called_upon(scullvfs, mountpoint, MANY) as (daemon, process):
        daemon.terminate()
        assert process.wait(DEADLINE) in (errno.EINTR, errno.ECONNABORTED, errno.ENOTCONN)
        said = daemon.communicate(timeout=DEADLINE)[1]
    assert daemon.returncode == 0, said
    assert "Traceback" not in said


@pytest.mark.long
def test_lazy_unmount(scullvfs: Scullvfs, mountpoint: Path) -> None:
    """The call goes on as its file is open, and the daemon ends after it."""
    with called_upon(scullvfs, mountpoint, 2 * QUANTA) as (daemon, process):
        subprocess.run(["fusermount3", "-u", "-z", mountpoint], check=True)
        assert process.wait(DEADLINE) == 0
        assert daemon.wait(DEADLINE) == 0


@pytest.mark.long
def test_watchdog(scullvfs: Scullvfs, mountpoint: Path, tmp_path: Path) -> None:
    """The service manager hears of the daemon while one call goes on."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(DEADLINE)
        command = [
            *("env", f"NOTIFY_SOCKET={tmp_path / 'notify'}", "WATCHDOG_USEC=20000"),
            *(*scullvfs.command, "mount", "-f", "-o", OPTIONS, str(mountpoint)),
        ]
        with foreground(scullvfs, mountpoint, command):
            while b"READY=1" not in manager.recv(1000):
                pass
            device = mountpoint / "scullv0"
            with allocating(device) as process:
                manager.setblocking(False)
                while True:  # what it said before
                    try:
                        manager.recv(1000)
                    except BlockingIOError:
                        break
                manager.settimeout(DEADLINE)
                assert manager.recv(1000) == b"WATCHDOG=1"
                assert process.poll() is None
