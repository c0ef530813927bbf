"""What an answer, or none, says of a mount; real mounts are in tests/vfs."""

import errno
import os
import signal
from pathlib import Path

import pytest

from scullvfs.errors import BusyError, NotMountedError, RefusedError, ScullvfsError
from scullvfs.mounts import health
from scullvfs.mounts.health import (
    Health,
    Inquiry,
    State,
    first_look,
    how_is,
    is_dead,
    no_answer,
    state_of,
    trouble_of,
)
from scullvfs.mounts.mountinfo import Mount, read_mounts

DEADLINE = 30.0


def proc() -> Mount:
    """A mount that is there for sure, as one of this user's."""
    (first, *_) = (mount for mount in read_mounts() if mount.path == "/proc")
    options = (f"user_id={os.getuid()}", f"group_id={os.getgid()}")
    return Mount(first.st_dev, first.path, first.fstype, options, id=first.id)


@pytest.mark.parametrize(
    ("number", "state"),
    [
        (errno.ENOTCONN, State.DEAD),
        (errno.ECONNABORTED, State.DEAD),
        (errno.ETIMEDOUT, State.HUNG),
        (errno.EACCES, State.CLOSED),
        (errno.EPERM, State.CLOSED),
        (errno.EIO, State.UNKNOWN),
    ],
)
def test_state_of(number: int, state: State) -> None:
    """Each errno means one thing, whoever hears it."""
    assert state_of(OSError(number, os.strerror(number))) == state


@pytest.mark.parametrize(
    ("number", "kind", "words"),
    [
        (errno.ETIMEDOUT, BusyError, "the daemon of /mnt does not answer within 10 s"),
        (errno.ENOTCONN, NotMountedError, "/mnt was unmounted meanwhile"),
        (errno.EACCES, RefusedError, "you may not try the mount on /mnt; its owner and root may"),
        (errno.EROFS, RefusedError, "/mnt is mounted read-only"),
        (errno.ENOENT, NotMountedError, "/mnt has no proc/it, or is gone"),
        (errno.ESTALE, NotMountedError, "/mnt has no proc/it, or is gone"),
    ],
)
def test_trouble_of(number: int, kind: type[ScullvfsError], words: str) -> None:
    """One line for each state of a mount, whatever was to be done to it."""
    trouble = trouble_of(OSError(number, os.strerror(number)), "/mnt", "try", "proc/it")
    assert type(trouble) is kind
    assert str(trouble).startswith(words)


def test_trouble_of_what_is_still_there() -> None:
    """Only what is mounted can be cleared away."""
    trouble = trouble_of(OSError(errno.ENOTCONN, ""), "/", "try")
    assert str(trouble) == "the mount on / is dead; 'scullvfs umount /' clears it away"


def test_trouble_of_something_else() -> None:
    """What is the matter of the question, and where nobody says which file has to be there."""
    assert trouble_of(OSError(errno.EINVAL, ""), "/mnt", "try", "proc/it") is None
    assert trouble_of(FileNotFoundError(errno.ENOENT, ""), "/mnt", "try") is None


def test_how_is_another_mount() -> None:
    """What has no such file has answered, but not with it, and the kernel's word is kept."""
    assert how_is(proc(), timeout=DEADLINE) == Health(
        State.UNKNOWN, reason=os.strerror(errno.ENOENT)
    )


def test_how_is_a_mount_that_is_covered() -> None:
    """The path leads to another mount, which is not asked."""
    there = proc()
    covered = Mount("0:0", there.path, there.fstype, there.super_options, id=there.id + 1_000_000)
    assert how_is(covered, timeout=DEADLINE).state == State.HIDDEN


def test_first_look() -> None:
    """Where there is no such file, nothing is ready."""
    health = Inquiry(proc(), first_look).health(DEADLINE)
    assert health == Health(State.UNKNOWN, reason=os.strerror(errno.ENOENT))


def test_running(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it says is handed on as it is."""
    monkeypatch.setattr(health, "_said", lambda *_: b"-1 +")
    assert how_is(proc(), timeout=DEADLINE) == Health(State.RUNNING, b"-1 +")


def test_what_the_daemon_says(tmp_path: Path) -> None:
    """A line without its end, if it is no longer than such a file can be."""
    file = tmp_path / health.PID_FILE
    file.parent.mkdir(parents=True)
    file.write_bytes(b"12\n")
    assert health.pid_of_daemon(str(tmp_path)) == b"12"
    file.write_bytes(b"1" * 65536)
    assert health.pid_of_daemon(str(tmp_path)) == b"1" * 65536
    file.write_bytes(b"1" * 65537)
    with pytest.raises(OSError, match=os.strerror(errno.E2BIG)):
        health.pid_of_daemon(str(tmp_path))


def test_hung(monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer is an answer, too."""
    monkeypatch.setattr(health, "_said", lambda *_: signal.pause())
    assert how_is(proc(), timeout=0.05).state == State.HUNG


def test_how_is_without_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who cannot ask does not know, and goes on."""

    def fork() -> int:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(os, "fork", fork)
    assert how_is(proc(), timeout=DEADLINE) == Health(
        State.UNKNOWN, reason=os.strerror(errno.EAGAIN)
    )


def test_words() -> None:
    """Whatever the path is, what is said of it is one line that can be typed."""
    assert str(no_answer("/a b", 2.5)) == "the daemon of /a b does not answer within 2.5 s"
    assert str(no_answer("/a", 1, "do")) == "the daemon of /a does not answer within 1 s; do"
    assert str(is_dead("/a b")) == (
        "the mount on /a b is dead; 'scullvfs umount '/a b'' clears it away"
    )
