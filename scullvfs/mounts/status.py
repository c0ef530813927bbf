"""How the mounts are: asks each of them for its report, all at the same time.

A mount that is dead or hangs is a state like any other here, and holds nobody up: the
questions are put by child processes (`probe`), and all of them have the same few seconds. What
they answer is checked (`answers`), and what the kernel knows is taken from the kernel.
"""

import errno
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Any, Final

from scullvfs.errors import ExitStatus, NotMountedError
from scullvfs.text import shown

from .answers import parse_report
from .identity import find_daemon
from .mountinfo import Mount
from .place import find_mount
from .probe import DEAD, STATUS_XATTR, Question, enter, who_may_enter

__all__ = ["ANSWER_TIMEOUT", "EXIT_STATUS", "MountStatus", "State", "find_scullvfs", "status"]

ANSWER_TIMEOUT: Final = 3.0
"""Seconds that all the mounts together have to answer."""


class State(StrEnum):
    """What became of the question."""

    RUNNING = "running"
    """It answered."""
    DEAD = "dead"
    """Its daemon is gone."""
    HUNG = "hung"
    """No answer within ANSWER_TIMEOUT: its daemon is stopped, or hangs."""
    CLOSED = "closed"
    """This user may not look into it, so nothing is known."""
    HIDDEN = "hidden"
    """Another mount lies above it, so that no path leads to it."""
    UNKNOWN = "unknown"
    """It answered, but not with a report."""


EXIT_STATUS: Final = {
    State.RUNNING: ExitStatus.SUCCESS,
    State.DEAD: ExitStatus.BUSY,
    State.HUNG: ExitStatus.BUSY,
    State.CLOSED: ExitStatus.PERMISSION,
    State.HIDDEN: ExitStatus.SUCCESS,
    State.UNKNOWN: ExitStatus.FAILURE,
}
"""What each state makes of `scullvfs status`."""


@dataclass(frozen=True, slots=True)
class MountStatus:
    """One mount and how it is."""

    mount: Mount
    state: State
    report: dict[str, Any] = field(default_factory=dict)
    """The daemon's own words, checked, see `daemon.status_report`; empty unless it answered."""
    reason: str = ""
    """What is wrong, where the state is UNKNOWN."""
    pid: int | None = None
    """Of its daemon, if it is RUNNING and proven to be that process (`identity`)."""


def find_scullvfs(path: str) -> Mount:
    """The scullvfs mount on *path*, dead or alive.

    Raises:
        NotMountedError: there is none.
    """
    mount = find_mount(path)
    if not mount.is_scullvfs:
        raise NotMountedError(
            f"{shown(path)} is not a scullvfs mount but of type {shown(mount.fstype)}"
        )
    if mount.root != "/":
        raise NotMountedError(
            f"{shown(path)} is only a part of a scullvfs mount, {shown(mount.root)}"
        )
    return mount


def status(mounts: Sequence[Mount], *, timeout: float = ANSWER_TIMEOUT) -> list[MountStatus]:
    """Ask all of *mounts*, and wait up to *timeout* seconds for their answers."""
    deadline = time.monotonic() + timeout
    questions = [Question(partial(_report, mount), who_may_enter(mount)) for mount in mounts]
    return [
        _status(mount, question, max(0.0, deadline - time.monotonic()))
        for mount, question in zip(mounts, questions, strict=True)
    ]


_REPORT: Final = b"+"
_HIDDEN: Final = b"-"


def _report(mount: Mount) -> bytes:
    """In a child process: the report, from this mount and from no other above it."""
    try:
        root = enter(mount)
    except OSError as error:
        if error.errno in (errno.ESTALE, errno.ENOENT, errno.ENOTDIR):
            return _HIDDEN
        raise
    return _REPORT + os.getxattr(root, STATUS_XATTR)


def _status(mount: Mount, question: Question, timeout: float) -> MountStatus:
    try:
        answer = question.answer(timeout)
        if answer == _HIDDEN:
            return MountStatus(mount, State.HIDDEN)
        report = parse_report(answer.removeprefix(_REPORT))
    except TimeoutError:
        return MountStatus(mount, State.HUNG)
    except OSError as error:
        if error.errno in DEAD:
            return MountStatus(mount, State.DEAD)
        if error.errno in (errno.EACCES, errno.EPERM):
            return MountStatus(mount, State.CLOSED)
        return MountStatus(mount, State.UNKNOWN, reason=str(error.strerror))
    except ValueError as error:
        return MountStatus(mount, State.UNKNOWN, reason=str(error))
    daemon = find_daemon(mount, str(report.get("pid")).encode())
    if daemon is None:
        return MountStatus(mount, State.RUNNING, report)
    with daemon:
        return MountStatus(mount, State.RUNNING, report, pid=daemon.pid)
