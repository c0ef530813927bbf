"""Where the daemon's words go."""

import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from scullvfs.daemon.log import log_to_stderr, log_to_syslog


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    """The root logger as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers.clear()
    yield
    for handler in root.handlers:
        handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)


def test_log_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    """One line an event, marked as ours."""
    log_to_stderr()
    logging.getLogger("scullvfs.daemon.server").info("mounted on %s", "/mnt")
    assert capsys.readouterr().err == "scullvfs: mounted on /mnt\n"


def test_log_to_syslog(tmp_path: Path) -> None:
    """One datagram an event, from scullvfs and its pid, with the daemon's facility."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as syslog:
        syslog.bind(str(tmp_path / "log"))
        log_to_syslog(str(tmp_path / "log"))
        logging.getLogger("scullvfs").info("mounted")
        daemon_info = 3 << 3 | 6
        assert syslog.recv(1000) == f"<{daemon_info}>scullvfs[{os.getpid()}]: mounted\0".encode()


def test_log_to_syslog_that_is_not_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a syslog daemon the words are lost, and nothing else."""
    log_to_syslog(str(tmp_path / "log"))
    logging.getLogger("scullvfs").error("nobody hears this")
    assert capsys.readouterr().err == ""
