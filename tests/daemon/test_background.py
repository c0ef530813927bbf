"""Starting a daemon: what its parent gets to know."""

import os
import signal
import sys
from collections.abc import Callable

import pytest

from scullvfs.daemon import background
from scullvfs.daemon.errors import ExitStatus, HostMemoryError, ScullvfsError

Ready = Callable[[], None]


def test_start_ready() -> None:
    """The parent goes on while the daemon runs, in its own session and in /.

    Until it is ready it belongs to its parent's process group, as autofs wants of who mounts.
    """
    receiver, sender = os.pipe()
    group = os.getpgrp()

    def main(ready: Ready) -> ExitStatus:
        if os.getpgrp() != group:
            return ExitStatus.FAILURE
        ready()
        os.write(sender, f"{os.getsid(0) == os.getpid()} {os.getcwd()}".encode())
        return ExitStatus.BUSY

    pid = background.start(main)
    os.close(sender)
    with open(receiver, "rb") as answers:
        assert answers.read() == b"True /"
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == ExitStatus.BUSY


def test_start_leaves_the_terminal() -> None:
    """A pipe at stdout or stderr ends when the parent ends, though the daemon lives on."""
    receiver, sender = os.pipe()

    def main(ready: Ready) -> ExitStatus:
        ready()
        os.write(sender, " ".join(os.readlink(f"/proc/self/fd/{fd}") for fd in range(3)).encode())
        return ExitStatus.SUCCESS

    pid = background.start(main)
    os.close(sender)
    with open(receiver, "rb") as answers:
        assert answers.read() == b"/dev/null /dev/null /dev/null"
    os.waitpid(pid, 0)


def test_start_failure() -> None:
    """The daemon's error is raised in the parent, as the same exception."""

    def main(ready: Ready) -> ExitStatus:
        raise HostMemoryError("too much, naïvely")

    with pytest.raises(HostMemoryError, match=r"^too much, naïvely$"):
        background.start(main)


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (lambda: os._exit(3), "exit status 3"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "killed by SIGKILL"),
        (lambda: sys.exit(0), "exit status 1"),
    ],
)
def test_start_ends_without_a_word(end: Callable[[], None], words: str) -> None:
    """A daemon that just ends is a failure that says how it ended."""

    def main(ready: Ready) -> ExitStatus:
        end()
        return ExitStatus.SUCCESS

    with pytest.raises(ScullvfsError, match=words):
        background.start(main)
