"""Asking in a child process, which may hang without hanging us."""

import errno
import os
import signal
from pathlib import Path

import pytest

from scullvfs.mounts.probe import Question, ask

DEADLINE = 30.0


def test_ask_answer() -> None:
    """The answer comes back as it is, blanks and all."""
    assert ask(lambda: b"an answer 7 \n", timeout=DEADLINE) == b"an answer 7 \n"


def test_ask_in_another_process() -> None:
    """The question is put by a child."""
    assert int(ask(lambda: b"%d" % os.getpid(), timeout=DEADLINE)) != os.getpid()


def test_ask_error() -> None:
    """The question's error is raised here."""
    with pytest.raises(FileNotFoundError):
        ask(lambda: bytes(os.stat("/no/such/file").st_ino), timeout=DEADLINE)


def test_ask_no_answer() -> None:
    """Who does not answer in time is left behind."""

    def hang() -> bytes:
        signal.pause()
        return b""

    with pytest.raises(TimeoutError):
        ask(hang, timeout=0.05)


def test_ask_child_dies() -> None:
    """A child that ends without a word is an error, not an answer."""

    def die() -> bytes:
        os.kill(os.getpid(), signal.SIGKILL)
        return b""

    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        ask(die, timeout=DEADLINE)


def test_questions_at_the_same_time(tmp_path: Path) -> None:
    """Several are asked before the first answer is waited for, and none mixes with another."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    def first() -> bytes:
        return fifo.read_bytes()  # nothing is there until the second one is asked

    def second() -> bytes:
        fifo.write_bytes(b"x")
        return b"second"

    questions = [Question(first), Question(second)]
    assert [question.answer(DEADLINE) for question in questions] == [b"x", b"second"]


def test_ask_keeps_nothing_open() -> None:
    """Who is left behind holds nobody up that waits for the end of a pipe."""
    receiver, sender = os.pipe()
    os.set_inheritable(sender, True)
    with open(receiver, "rb") as pipe:
        question = Question(lambda: bytes(signal.pause() or 0))
        os.close(sender)
        assert pipe.read() == b""
    with pytest.raises(TimeoutError):
        question.answer(0)


def test_ask_without_sigchld() -> None:
    """In a process that ignores it, whose children's statuses nobody gets."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        assert ask(lambda: b"x", timeout=DEADLINE) == b"x"
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_ask_holds_nothing(tmp_path: Path) -> None:
    """A child that is left behind keeps no file of ours open, and no directory busy."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    question = Question(lambda: os.read(os.open(fifo, os.O_RDONLY), 1))
    writer = os.open(fifo, os.O_WRONLY)  # comes back once the child has let go, and hangs
    links: list[Path] = []
    while fifo not in links:  # its descriptor comes a moment after both ends are there
        links = [path.readlink() for path in Path(f"/proc/{question._pid}/fd").iterdir()]
    assert sorted(link for link in map(str, links) if not link.startswith("pipe:")) == (
        3 * [os.devnull] + [str(fifo)]
    )
    assert os.readlink(f"/proc/{question._pid}/cwd") == "/"
    os.write(writer, b"x")
    os.close(writer)
    assert question.answer(DEADLINE) == b"x"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become someone else")
def test_ask_as_another_user() -> None:
    """Root asks as the user who may."""
    answer = ask(
        lambda: f"{os.getresuid()}{os.getresgid()}".encode(),
        timeout=DEADLINE,
        identity=(65534, 65533),
    )
    assert answer == b"(65534, 65534, 65534)(65533, 65533, 65533)"
    assert os.geteuid() == 0
