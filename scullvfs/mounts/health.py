"""Does a mount answer, and if not, why not: the one place that decides what an answer means.

Whoever wants to know puts an `Inquiry`, or calls `how_is()`; what errno means dead, and what
closed, stands here. The question is put by a child process (`probe`). Two look at the first device
by a program of their own instead, since they are not to be forked: `scullvfs.testing`, as the
process of a test may have threads, and `daemon.service_manager`, as the daemon has all of the RAM,
and a loop that must go on. Beside it stand the errors that every command has for a mount in
trouble.
"""

import errno
import os
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from typing import Final, NamedTuple

from scullvfs.errors import BusyError, NotMountedError, RefusedError, ScullvfsError
from scullvfs.text import argument, shown

from .mountinfo import Mount, mount_at
from .probe import ANSWER_TIMEOUT, Question, enter, who_may_enter

__all__ = [
    "ALIVE_TIMEOUT",
    "PID_FILE",
    "STATUS_FILE",
    "Health",
    "Inquiry",
    "State",
    "first_look",
    "how_is",
    "is_dead",
    "is_gone",
    "no_answer",
    "pid_of_daemon",
    "report_of_daemon",
    "state_of",
    "trouble_of",
]


PID_FILE: Final = "proc/fs/scullvfs/pid"
"""The file of a mount that has its daemon's pid in decimal."""
STATUS_FILE: Final = "proc/fs/scullvfs/status"
"""The one that has what the daemon says of itself, see `daemon.status_report`."""
LONGEST: Final = 1 << 16
"""Bytes that are believed of them."""

ALIVE_TIMEOUT: Final = 5.0
"""Seconds that a mount in the way of another has to say that it lives."""


class State(StrEnum):
    """What becomes of a question to a mount."""

    RUNNING = "running"
    """It answered."""
    DEAD = "dead"
    """Its daemon is gone."""
    HUNG = "hung"
    """No answer in time: its daemon is stopped, or hangs."""
    CLOSED = "closed"
    """This user may not look into it, so nothing is known."""
    HIDDEN = "hidden"
    """Another mount lies above it, so that no path leads to it."""
    UNKNOWN = "unknown"
    """It answered, but not with what it was asked for."""


class Health(NamedTuple):
    """How a mount is."""

    state: State
    said: bytes = b""
    """What a RUNNING one answered; nobody has checked it yet."""
    reason: str = ""
    """What the kernel calls it, where the state is any other."""


def state_of(error: OSError) -> State:
    """What an error of a system call on a mount, or of `probe.ask`, says of the mount."""
    if isinstance(error, TimeoutError):
        return State.HUNG
    if error.errno in (errno.ENOTCONN, errno.ECONNABORTED):  # it is gone, or goes while we wait
        return State.DEAD
    return State.CLOSED if isinstance(error, PermissionError) else State.UNKNOWN


def pid_of_daemon(root: str) -> bytes:
    """The pid that the daemon gives for its own, unchecked (`identity`)."""
    return _said(root, PID_FILE)


def report_of_daemon(root: str) -> bytes:
    """What the daemon says of itself, unchecked (`answers`)."""
    return _said(root, STATUS_FILE)


def _said(root: str, name: str) -> bytes:
    """What a file has, without the newline at its end.

    Raises:
        OSError: as open(2) and read(2); E2BIG, it is too long for what it should be.
    """
    with open(f"{root}/{name}", "rb", buffering=0) as file:
        said = b""
        while part := file.read(LONGEST + 1 - len(said)):
            said += part
    if len(said) > LONGEST:
        raise OSError(errno.E2BIG, os.strerror(errno.E2BIG))
    return said.removesuffix(b"\n")


def first_look(root: str) -> bytes:
    """Whether a look at a file succeeds, which is how a mount shows that it is ready.

    At one whose name the kernel does not remember, so that the daemon is asked.
    """
    return b"%d" % os.stat(f"{root}/proc/meminfo").st_ino


class Inquiry:
    """A mount that is being asked something.

    Args:
        ask: the question, called in a child process with a path of the mount's root;
            `pid_of_daemon`, `report_of_daemon` or `first_look`.
    """

    def __init__(self, mount: Mount, ask: Callable[[str], bytes]) -> None:
        self._question = Question(partial(_enter_and, ask, mount), who_may_enter(mount))

    def health(self, timeout: float) -> Health:
        """Wait for the answer, up to `timeout` seconds; to be called once."""
        try:
            said = self._question.answer(timeout)
        except OSError as error:
            return Health(state_of(error), reason=str(error.strerror))
        if said[:1] == _HIDDEN:
            return Health(State.HIDDEN, reason=os.strerror(int(said[1:])))
        return Health(State.RUNNING, said.removeprefix(_SAID))


def how_is(mount: Mount, ask: Callable[[str], bytes] = pid_of_daemon, *, timeout: float) -> Health:
    """Put an `Inquiry` to `mount`, and wait up to `timeout` seconds for the answer.

    Where it cannot be asked at all, for want of memory or of processes, its state is UNKNOWN.
    """
    try:
        inquiry = Inquiry(mount, ask)
    except OSError as error:
        return Health(State.UNKNOWN, reason=str(error.strerror))
    return inquiry.health(timeout)


def no_answer(path: str, timeout: float, advice: str = "") -> BusyError:
    """What to say of a HUNG mount on `path`, or of the one that `path` lies in."""
    words = f"the daemon of {shown(path)} does not answer within {timeout:g} s"
    return BusyError(f"{words}; {advice}" if advice else words)


def is_dead(path: str) -> NotMountedError:
    """What to say of a DEAD mount on `path`."""
    return NotMountedError(
        f"the mount on {shown(path)} is dead; 'scullvfs umount {argument(path)}' clears it away"
    )


def is_gone(path: str) -> NotMountedError:
    """What to say of a mount on `path` that is there no more, or DEAD, though it was asked."""
    if mount_at(path) is None:
        return NotMountedError(f"{shown(path)} was unmounted meanwhile")
    return is_dead(path)


def trouble_of(error: OSError, path: str, verb: str, file: str = "") -> ScullvfsError | None:
    """What to say of the mount on `path`, on whose files an error has come.

    Args:
        verb: what was to be done to it, such as "trace".
        file: that was asked for, if a mount without one of that name is no mount of ours any more.

    Returns:
        None where the error is that of what was asked, and not of the mount.
    """
    state, name = state_of(error), shown(path)
    if state is State.HUNG:
        return no_answer(path, ANSWER_TIMEOUT)
    if state is State.DEAD:
        return is_gone(path)
    if state is State.CLOSED:
        return RefusedError(f"you may not {verb} the mount on {name}; its owner and root may")
    if error.errno == errno.EROFS:
        return RefusedError(f"{name} is mounted read-only")
    if file and error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ESTALE):
        return NotMountedError(f"{name} has no {file}, or is gone")
    return None


_SAID: Final = b"+"
_HIDDEN: Final = b"-"


def _enter_and(ask: Callable[[str], bytes], mount: Mount) -> bytes:
    """In a child process: the answer of this mount and of no other above it."""
    try:
        root = enter(mount)
    except OSError as error:
        if error.errno in (errno.ESTALE, errno.ENOENT, errno.ENOTDIR):
            return _HIDDEN + b"%d" % error.errno
        raise
    return _SAID + ask(root)
