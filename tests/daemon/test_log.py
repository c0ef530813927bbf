"""Where the daemon's words go."""

import logging
import os
import re
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scullvfs.daemon.log import (
    can_be_kept,
    destination,
    fallback_file,
    log_to_stderr,
    log_to_syslog,
    unheard,
)
from scullvfs.options.table import LEVELS


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


@pytest.fixture
def fallback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that is written where no syslog listens."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "scullvfs.log"


def broken() -> None:
    """Log an exception with its traceback."""
    try:
        raise RuntimeError("broken")
    except RuntimeError:
        logging.getLogger("scullvfs").exception("unexpected")


def test_log_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    """One line an event, marked as ours; a warning says that it is one."""
    log_to_stderr("info")
    logging.getLogger("scullvfs.daemon.server").info("mounted on %s", "/mnt")
    logging.getLogger("scullvfs").warning("slow")
    logging.getLogger("scullvfs").error("refused")
    assert capsys.readouterr().err == (
        "scullvfs: mounted on /mnt\nscullvfs: warning: slow\nscullvfs: refused\n"
    )


@pytest.mark.parametrize("level", LEVELS)
def test_log_level(capsys: pytest.CaptureFixture[str], level: str) -> None:
    """What is of the level or above is logged."""
    log_to_stderr(level)
    for name in LEVELS:
        logging.getLogger("scullvfs").log(logging.getLevelName(name.upper()), name)
    said = [line.split()[-1] for line in capsys.readouterr().err.splitlines()]
    assert said == list(LEVELS[LEVELS.index(level) :])


def test_log_to_journal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where systemd has put the journal at stderr, each line has its priority before it."""
    with open(tmp_path / "journal", "w+") as journal:
        monkeypatch.setattr(sys, "stderr", journal)
        status = os.fstat(journal.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        log_to_stderr("debug")
        for name in LEVELS:
            logging.getLogger("scullvfs").log(logging.getLevelName(name.upper()), name)
        broken()
        journal.seek(0)
        first, *rest = journal.read().splitlines()[3:]
    assert [first, rest[0], rest[1]] == [
        "<3>error",
        "<3>unexpected",
        "<3>Traceback (most recent call last):",
    ]
    assert all(line.startswith("<3>") for line in rest)


def test_log_to_stderr_beside_the_journal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A stderr that was redirected is not the journal, though the variable is inherited."""
    monkeypatch.setenv("JOURNAL_STREAM", "1:2")
    log_to_stderr("info")
    logging.getLogger("scullvfs").info("mounted")
    assert capsys.readouterr().err == "scullvfs: mounted\n"


def test_log_to_syslog(tmp_path: Path) -> None:
    """One datagram an event, from scullvfs and its pid, with the daemon's facility."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as syslog:
        syslog.bind(str(tmp_path / "log"))
        log_to_syslog("info", str(tmp_path / "log"))
        logging.getLogger("scullvfs").info("mounted")
        daemon_info = 3 << 3 | 6
        assert syslog.recv(1000) == f"<{daemon_info}>scullvfs[{os.getpid()}]: mounted\0".encode()


def test_log_to_syslog_traceback(tmp_path: Path) -> None:
    """Each line of a traceback is a message of its own, since syslog escapes line ends."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as syslog:
        syslog.bind(str(tmp_path / "log"))
        log_to_syslog("info", str(tmp_path / "log"))
        broken()
        start = f"<{3 << 3 | 3}>scullvfs[{os.getpid()}]: ".encode()
        messages = [syslog.recv(1000)]
        while b"RuntimeError: broken" not in messages[-1]:
            messages.append(syslog.recv(1000))
    assert messages[0] == start + b"unexpected\0"
    assert len(messages) > 3
    assert all(m.startswith(start) and b"\n" not in m for m in messages)


def test_log_to_syslog_that_is_not_there(tmp_path: Path, fallback: Path) -> None:
    """Without a syslog daemon the words go to a file that only its user can read."""
    log_to_syslog("info", str(tmp_path / "log"))
    logging.getLogger("scullvfs").info("mounted")
    broken()
    first, second, *rest = fallback.read_text().splitlines()
    assert re.fullmatch(rf"[-\d]+ [:,\d]+ scullvfs\[{os.getpid()}\]: mounted", first)
    assert second.endswith(": unexpected")
    assert rest[-1].endswith(": RuntimeError: broken")
    assert fallback.stat().st_mode & 0o777 == 0o600


def test_log_to_syslog_that_goes_and_comes(tmp_path: Path, fallback: Path) -> None:
    """While a syslog daemon is restarted the file gets the words, and then again the daemon."""
    path = str(tmp_path / "log")
    log_to_syslog("info", path)
    for _ in range(2):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as syslog:
            syslog.bind(path)
            logging.getLogger("scullvfs").info("heard")
            assert b"heard" in syslog.recv(1000)
        os.unlink(path)
        logging.getLogger("scullvfs").info("missed")
    assert fallback.read_text().count("missed") == 2
    assert "heard" not in fallback.read_text()


def test_unheard(tmp_path: Path, fallback: Path) -> None:
    """Only a daemon without syslog and without a file is silent."""
    missing, there = tmp_path / "no-log", tmp_path / "log"
    assert unheard(str(missing)) is None
    assert not fallback.parent.exists()  # it was only tried
    assert destination(str(missing)) == str(fallback)
    fallback.mkdir(parents=True)
    said = unheard(str(missing))
    assert said == "its log is kept nowhere; 'scullvfs mount -f' shows it"
    assert len(f"scullvfs: warning: {said}") < 80
    there.touch()
    assert unheard(str(there)) is None
    assert destination(str(there)) == "the system log"
    log_to_syslog("info", str(missing))
    logging.getLogger("scullvfs").error("nobody hears this, and nothing else happens")


def test_can_be_kept(tmp_path: Path, fallback: Path) -> None:
    """As `unheard` finds, but nothing is left of it."""
    missing, there = str(tmp_path / "no-log"), tmp_path / "log"
    there.touch()
    assert can_be_kept(missing)
    assert not fallback.parent.exists()
    fallback.parent.mkdir()
    assert can_be_kept(missing)
    assert not any(fallback.parent.iterdir())
    fallback.symlink_to(tmp_path / "elsewhere")
    assert can_be_kept(missing)
    assert fallback.is_symlink()
    assert not fallback.exists()
    fallback.unlink()
    fallback.parent.rmdir()
    fallback.parent.touch()
    assert can_be_kept(str(there))
    assert not can_be_kept(missing)
    fallback.parent.unlink()
    fallback.mkdir(parents=True)
    assert not can_be_kept(missing)
    fallback.rmdir()
    fallback.write_text("said before\n")
    assert can_be_kept(missing)
    assert fallback.read_text() == "said before\n"


@pytest.mark.parametrize("state", ["/proc/nope", "/proc", "/sys/nope", "/dev/null"])
def test_can_be_kept_only_where_a_file_can_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    """Not where the permission bits let root write, and the file system lets nobody make a file."""
    monkeypatch.setenv("XDG_STATE_HOME", state)
    missing = str(tmp_path / "no-log")
    assert not can_be_kept(missing)
    assert unheard(missing) is not None


@pytest.mark.parametrize(
    ("state", "uid", "path"),
    [
        ("/s", 0, "/s/scullvfs.log"),
        ("relative", 0, "/var/log/scullvfs.log"),
        ("", 7, "/home/x/.local/state/scullvfs.log"),
    ],
)
def test_fallback_file(monkeypatch: pytest.MonkeyPatch, state: str, uid: int, path: str) -> None:
    """XDG's state directory where it is set, else root's place or the user's default."""
    monkeypatch.setenv("XDG_STATE_HOME", state)
    monkeypatch.setenv("HOME", "/home/x")
    monkeypatch.setattr(os, "getuid", lambda: uid)
    assert str(fallback_file()) == path


@pytest.mark.timeout(20)
def test_fallback_that_is_a_pipe(fallback: Path) -> None:
    """Nobody waits until somebody reads it."""
    fallback.parent.mkdir()
    os.mkfifo(fallback)
    assert unheard("/no/socket") is not None
    log_to_syslog("info", "/no/socket")
    logging.getLogger("scullvfs").error("lost")
