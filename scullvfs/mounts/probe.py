"""Asking a mount a question without hanging on it.

A system call on a FUSE mount waits for its daemon, for ever if that one is stopped. So
the question is asked by a child process, and only the child is left behind when no
answer comes. Used wherever the program needs an answer from a mount; what the answer says of the
mount is for `health` to tell. The daemon itself must not wait for one in its loop, since it would
wait for itself.

The mount may be anybody's, whatever it calls itself: an answer is bytes that nobody has checked
yet (`answers`, `identity`). And the kernel does not kill who waits for a daemon that has taken the
request, so a child that is left behind holds nothing of ours: no file, no directory, no pipe
that somebody reads to its end.
"""

import errno
import os
import select
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NoReturn

from scullvfs.inherited import close_all_but, leave_terminal, signals_held

from .mountinfo import Mount

__all__ = [
    "ANSWER_TIMEOUT",
    "Identity",
    "Question",
    "ask",
    "become",
    "enter",
    "who_may_enter",
]

ANSWER_TIMEOUT: Final = 10.0
"""Seconds that a mount has to answer a command that cannot go on without."""

Identity = tuple[int, int]
"""uid and gid."""


def ask(
    question: Callable[[], bytes], *, timeout: float, identity: Identity | None = None
) -> bytes:
    """The answer of `question`, called in a child process, as `identity` if given.

    Raises:
        TimeoutError: no answer within `timeout` seconds.
        OSError: what `question` raised.
    """
    return Question(question, identity).answer(timeout)


class Question:
    """A question that is being asked; several may be, at the same time."""

    def __init__(self, question: Callable[[], bytes], identity: Identity | None = None) -> None:
        receiver, sender = os.pipe()
        with signals_held() as let_go:
            self._pid = os.fork()
            if self._pid == 0:
                _answer(question, sender, identity, let_go)
        os.close(sender)
        self._receiver = receiver

    def fileno(self) -> int:
        """A descriptor that can be read once the answer has come, for who waits for more."""
        return self._receiver

    def abandon(self) -> None:
        """Wait for no answer any more; instead of `answer`."""
        os.close(self._receiver)
        os.kill(self._pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(self._pid, os.WNOHANG)  # while the daemon has its request it cannot end

    def answer(self, timeout: float) -> bytes:
        """Wait for the answer, see `ask`; to be called once."""
        deadline = time.monotonic() + timeout
        said = bytearray()  # which grows in place: a picture is many parts of a pipe
        with open(self._receiver, "rb", buffering=0) as answers:
            # To its end: whose identity the child has can stop it in the middle.
            while select.select([answers], [], [], max(0.0, deadline - time.monotonic()))[0]:
                part = answers.read(1 << 16)
                if not part:
                    break
                said += part
            else:
                os.kill(self._pid, signal.SIGKILL)
                # Not waited for: Linux does not even kill it while the daemon holds its request.
                raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
        error, blank, answer = bytes(said).partition(b" ")
        with suppress(ChildProcessError):  # in a process that ignores SIGCHLD
            os.waitpid(self._pid, 0)
        number = int(error) if blank else errno.EIO  # the child died without a word
        if number:
            raise OSError(number, os.strerror(number))
        return answer


def enter(mount: Mount) -> str:
    """A path that leads to the root of `mount` and of no other, whatever is mounted over it.

    Asks the kernel only, not the daemon. For a child process: it leaves a descriptor open.

    Raises:
        OSError: ESTALE, `mount` is not what its path leads to; ENOENT, ENOTDIR or EACCES, it
            leads nowhere.
    """
    fd = os.open(mount.path, os.O_PATH | os.O_CLOEXEC)
    with open(f"/proc/self/fdinfo/{fd}", "rb") as lines:
        if b"mnt_id:\t%d\n" % mount.id not in lines.readlines():
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
    return f"/proc/self/fd/{fd}"


def who_may_enter(mount: Mount) -> Identity | None:
    """Without allow_other a FUSE mount is closed even to root; but root can become its user."""
    if os.geteuid() != 0 or mount.user_id == 0:
        return None
    return mount.user_id, mount.group_id


def become(identity: Identity | None, sender: int, let_go: Callable[[], None]) -> None:
    """In a child that may be left behind: be who may enter, and hold nothing but `sender`."""
    let_go()
    os.chdir("/")
    close_all_but(sender)
    leave_terminal()
    if identity is not None:
        uid, gid = identity
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)


def _answer(
    question: Callable[[], bytes],
    sender: int,
    identity: Identity | None,
    let_go: Callable[[], None],
) -> NoReturn:
    """The child: send `errno answer` and be gone, without any clean-up of the parent's.

    It may be left behind, and then nobody is to wait for it at the end of a pipe, or for a lock.
    """
    try:
        become(identity, sender, let_go)
        os.write(sender, b"0 " + question())
    except OSError as error:
        os.write(sender, b"%d " % (error.errno or errno.EIO))
    finally:
        os._exit(0)
