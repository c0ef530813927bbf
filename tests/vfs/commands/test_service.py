"""A daemon under a service manager, which is a socket of the test's own."""

import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ..helpers import DEADLINE

Wait = Callable[[Callable[[], object], str], None]


class Manager:
    """A service manager that hears what its service says, line by line."""

    def __init__(self, directory: Path) -> None:
        self.address = str(directory / "notify")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.address)
        self._socket.settimeout(DEADLINE)

    def __enter__(self) -> "Manager":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def heard(self) -> list[str]:
        """The lines of the next datagram."""
        return self._socket.recv(4096).decode().split("\n")

    def silent(self) -> bool:
        """Whether nothing waits to be heard."""
        self._socket.setblocking(False)
        try:
            self.heard()
        except BlockingIOError:
            return True
        finally:
            self._socket.settimeout(DEADLINE)
        return False


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    """The service manager of the test."""
    with Manager(tmp_path) as manager:
        yield manager


@contextmanager
def service(
    scullvfs: Any, manager: Manager, mountpoint: Path, **environment: str
) -> Iterator[subprocess.Popen[str]]:
    """`scullvfs mount -f` as a service; killed at the end if it still runs."""
    scullvfs.env |= {"NOTIFY_SOCKET": manager.address, **environment}
    with scullvfs.start("mount", "-f", "-o", "mem=16M,devs=2", mountpoint) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()


def test_service_ready_and_stopping(scullvfs: Any, manager: Manager, mountpoint: Path) -> None:
    """READY when the mount answers, STOPPING at its end, with a STATUS each."""
    with service(scullvfs, manager, mountpoint) as process:
        assert manager.heard() == [
            "READY=1",
            f"STATUS=mounted on {mountpoint}: 2 devices, mem=16M, arch=x86_64",
        ]
        assert os.listdir(mountpoint / "sys/class/scullv") == ["scullv0", "scullv1"]
        process.terminate()
        assert manager.heard() == ["STOPPING=1", f"STATUS=unmounting {mountpoint}"]
        assert process.wait() == 0
    assert manager.silent()


@pytest.mark.long
def test_service_unmounted_from_outside(scullvfs: Any, manager: Manager, mountpoint: Path) -> None:
    """An unmount ends the service as a stop does."""
    with service(scullvfs, manager, mountpoint) as process:
        assert manager.heard()[0] == "READY=1"
        assert scullvfs("umount", mountpoint).returncode == 0
        assert manager.heard()[0] == "STOPPING=1"
        assert process.wait() == 0


@pytest.mark.long
def test_service_many_signals(
    scullvfs: Any, manager: Manager, mountpoint: Path, wait: Wait
) -> None:
    """More of them than one, whichever thread they come to, change nothing about its end."""
    with service(scullvfs, manager, mountpoint) as process:
        assert manager.heard()[0] == "READY=1"

        def ended() -> bool:
            process.send_signal(signal.SIGINT)
            return process.poll() is not None

        wait(ended, "the daemon has ended")
        assert process.stderr is not None
        said = process.stderr.read()
        assert (process.returncode, scullvfs.mounted(mountpoint)) == (0, False), said


@pytest.mark.long
def test_service_watchdog(scullvfs: Any, manager: Manager, mountpoint: Path, wait: Wait) -> None:
    """A sign of life again and again, but none while the loop stands still."""
    with service(scullvfs, manager, mountpoint, WATCHDOG_USEC="100000") as process:
        heard = [manager.heard()[0] for _ in range(8)]
        assert sorted(set(heard)) == ["READY=1", "WATCHDOG=1"]
        assert heard.count("READY=1") == 1
        process.send_signal(signal.SIGSTOP)
        wait(lambda: "T (stopped)" in Path(f"/proc/{process.pid}/status").read_text(), "it stands")
        wait(manager.silent, "nothing more is to be heard")
        assert manager.silent()
        process.send_signal(signal.SIGCONT)
        assert manager.heard() == ["WATCHDOG=1"]


def test_service_refused(scullvfs: Any, manager: Manager, mountpoint: Path) -> None:
    """A mount that cannot be made is never ready."""
    (mountpoint / "file").touch()
    with service(scullvfs, manager, mountpoint) as process:
        assert process.wait() == 3
    assert manager.silent()


@pytest.mark.long
def test_service_in_the_background(scullvfs: Any, manager: Manager, mountpoint: Path) -> None:
    """A daemon in the background does not speak for the service whose process started it."""
    scullvfs.env["NOTIFY_SOCKET"] = manager.address
    assert scullvfs("mount", "-o", "mem=16M", mountpoint).returncode == 0
    assert b"NOTIFY_SOCKET" in Path(f"/proc/{scullvfs.pid(mountpoint)}/environ").read_bytes()
    assert scullvfs("umount", mountpoint).returncode == 0
    assert manager.silent()
