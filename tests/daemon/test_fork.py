"""Starting a daemon: what its parent gets to know, and that it stays only if it is told to."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from scullvfs.daemon.fork import Daemon, Starter
from scullvfs.errors import ExitStatus, HostMemoryError, ScullvfsError


@pytest.fixture
def told(tmp_path: Path) -> Path:
    """What the daemon has to say, since nothing of ours is open in it."""
    path = tmp_path / "told"
    os.mkfifo(path)
    return path


def stay(starter: Starter) -> ExitStatus:
    """A daemon's main function: be ready, and wait for the word."""
    starter.order()
    starter.ready()
    return ExitStatus.BUSY if starter.kept() else ExitStatus.PERMISSION


def ended(daemon: Daemon) -> int:
    """Wait for its end, as nobody else has: its exit status, or minus the signal."""
    return os.waitstatus_to_exitcode(os.waitpid(daemon.pid, 0)[1])


def test_daemon_stays(told: Path) -> None:
    """It gets the order, in /, and goes on in a session of its own when its parent is done.

    Until it is ready it belongs to its parent's process group, as autofs wants of who mounts.
    """
    group = os.getpgrp()

    def main(starter: Starter) -> ExitStatus:
        order = starter.order()
        if os.getpgrp() != group:
            return ExitStatus.FAILURE
        starter.ready()
        assert starter.kept()
        told.write_text(f"{order} {os.getsid(0) == os.getpid()}")
        return ExitStatus.BUSY

    daemon = Daemon(main)
    daemon.start(["x" * 100_000, 7])
    daemon.keep()
    assert told.read_text() == f"{['x' * 100_000, 7]} True"
    assert ended(daemon) == ExitStatus.BUSY


def test_daemon_closes_what_it_inherits(told: Path) -> None:
    """A pipe or a lock of its parent's, or of its parent's parent, ends with them."""
    receiver, sender = os.pipe()
    os.set_inheritable(sender, True)

    def main(starter: Starter) -> ExitStatus:
        links = [os.readlink(f"/proc/self/fd/{fd}") for fd in range(3)]
        told.write_text(" ".join(links))
        return stay(starter)

    daemon = Daemon(main)
    os.close(sender)
    with open(receiver, "rb") as pipe:
        assert pipe.read() == b""
    assert told.read_text() == "/dev/null /dev/null /dev/null"
    daemon.end()


def test_daemon_is_not_kept() -> None:
    """Its parent goes without a word, at whatever time."""
    daemon = Daemon(stay)
    os.close(daemon._orders)
    assert ended(daemon) == ExitStatus.FAILURE
    daemon = Daemon(stay)
    daemon.start(None)
    os.close(daemon._orders)
    assert ended(daemon) == ExitStatus.PERMISSION


def test_daemon_replies_to_nobody(told: Path, tmp_path: Path) -> None:
    """Its parent is killed before it is ready: that is no failure of its own."""
    outcome = tmp_path / "outcome"
    os.mkfifo(outcome)

    def main(starter: Starter) -> ExitStatus:
        starter.order()
        os.kill(os.getppid(), signal.SIGKILL)
        told.read_text()  # until the parent is gone
        starter.ready()
        outcome.write_text(str(starter.kept()))
        return ExitStatus.SUCCESS

    parent = os.fork()
    if parent == 0:
        Daemon(main).start(None)  # it waits for a reply that does not come
    assert os.waitstatus_to_exitcode(os.waitpid(parent, 0)[1]) == -signal.SIGKILL
    told.write_text("")
    assert outcome.read_text() == "False"


def test_daemon_end() -> None:
    """Told to end, before it has begun, when it has begun, and when it was kept."""
    daemons = [Daemon(stay) for _ in range(3)]
    daemons[1].start(None)
    daemons[2].start(None)
    daemons[2].keep()
    for daemon in daemons:
        daemon.end()
        with pytest.raises(ChildProcessError):
            os.waitpid(daemon.pid, os.WNOHANG)


def test_daemon_failure() -> None:
    """The daemon's error is raised in the parent, as the same exception."""

    def main(starter: Starter) -> ExitStatus:
        raise HostMemoryError("too much, naïvely")

    with pytest.raises(HostMemoryError, match=r"^too much, naïvely$"):
        Daemon(main).start(None)


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (lambda: os._exit(3), "exit status 3"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "killed by SIGKILL"),
        (lambda: sys.exit(0), "exit status 1"),
    ],
)
def test_daemon_ends_without_a_word(end: Callable[[], None], words: str) -> None:
    """A daemon that just ends is a failure that says how it ended."""

    def main(starter: Starter) -> ExitStatus:
        end()
        return ExitStatus.SUCCESS

    with pytest.raises(ScullvfsError, match=words):
        Daemon(main).start(None)


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "what", ["daemon.fork import Daemon as", "mounts.probe import Question as"]
)
def test_interrupted_at_the_fork(what: str) -> None:
    """Ctrl-C while Python runs its hooks: it is heard after them, and no process is left."""
    program = (
        "import os, signal, time\n"
        f"from scullvfs.{what} Child\n"
        "def interrupt(): os.kill(os.getpid(), signal.SIGINT)\n"
        "os.register_at_fork(after_in_parent=interrupt)\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "try:\n"
        "    Child(lambda *_: b'0')\n"
        "except KeyboardInterrupt:\n"
        "    print('heard')\n"
        "try:\n"
        "    os.waitid(os.P_ALL, 0, os.WEXITED)\n"
        "except ChildProcessError:\n"
        "    pass\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "heard\n", "")


@pytest.mark.timeout(20)
def test_daemon_start_interrupted_out_of_sight() -> None:
    """A signal that no system call of ours notices ends the wait all the same.

    Another thread takes it; one that comes just before the wait begins is as little noticed.
    """
    daemon = Daemon(lambda starter: ExitStatus(starter.order() or signal.pause() or 0))

    def interrupt() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        begun.wait()
        while ") S " not in Path(f"/proc/self/task/{os.getpid()}/stat").read_text():
            time.sleep(0.001)
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)

    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    begun = threading.Event()
    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        begun.set()
        with pytest.raises(KeyboardInterrupt):
            daemon.start(None)
    finally:
        thread.join()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, handler)
        daemon.end()
