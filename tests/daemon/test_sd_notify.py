"""sd_notify(3), against a socket of the test's own."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from scullvfs.daemon.sd_notify import Notifier, forget_service_manager


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """A service manager: its $NOTIFY_SOCKET, and the socket."""
    address = str(tmp_path / "notify") if request.param == "path" else f"@scullvfs-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(address.replace("@", "\0"))
        listener.settimeout(10)
        yield address, listener


def test_notifier_sends(manager: tuple[str, socket.socket]) -> None:
    """One datagram, a line for each variable, to a path or an abstract name."""
    address, listener = manager
    notify = Notifier.from_environment({"NOTIFY_SOCKET": address})
    assert notify is not None
    notify(READY="1", STATUS="mounted on /mnt/s")
    assert listener.recv(4096) == b"READY=1\nSTATUS=mounted on /mnt/s"


def test_notifier_one_line_a_variable(manager: tuple[str, socket.socket]) -> None:
    """A mount point with a newline in its name cannot speak for the daemon."""
    address, listener = manager
    Notifier(address)(STATUS="mounted on /mnt/a\nERRNO=5")
    assert listener.recv(4096) == b"STATUS=mounted on /mnt/a ERRNO=5"


def test_notifier_nobody_listens(tmp_path: Path) -> None:
    """A service manager that is gone is no reason to fail."""
    Notifier(str(tmp_path / "nowhere"))(READY="1")


@pytest.mark.parametrize("address", ["", "relative", "vsock:2:1234"])
def test_notifier_no_manager(address: str) -> None:
    """Without an address that can be spoken to there is nobody to notify."""
    assert Notifier.from_environment({"NOTIFY_SOCKET": address}) is None
    assert Notifier.from_environment({}) is None


@pytest.mark.parametrize(
    ("usec", "pid", "seconds"),
    [
        ("30000000", "", 30.0),
        pytest.param("500000", str(os.getpid()), 0.5, id="this process"),
        pytest.param("500000", str(os.getppid()), None, id="another process"),
        ("", "", None),
        ("0", "", None),
        ("soon", "", None),
    ],
)
def test_notifier_watchdog(usec: str, pid: str, seconds: float | None) -> None:
    """The watchdog's period, if it is this process that is watched."""
    environment = {"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": usec, "WATCHDOG_PID": pid}
    notify = Notifier.from_environment(environment)
    assert notify is not None
    assert notify.watchdog == seconds


def test_forget_service_manager() -> None:
    """No child inherits the line."""
    environment = {"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "2", "PATH": "/bin"}
    Notifier.from_environment(environment)
    assert environment == {"PATH": "/bin"}
    forget_service_manager(environment)
    assert environment == {"PATH": "/bin"}
