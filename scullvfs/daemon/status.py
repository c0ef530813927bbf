"""How the mounts are: asks each of them for its report, all at the same time.

A mount that is dead or hangs is a state like any other here, and holds nobody up: the
questions are put by child processes (`probe`), and all of them have the same few seconds.
"""

import errno
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Any, Final

from scullvfs.daemon.errors import ExitStatus, NotMountedError
from scullvfs.daemon.mountinfo import Mount, find_mount
from scullvfs.daemon.probe import DEAD, STATUS_XATTR, Question, who_may_enter

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
    """The daemon's own words, see `report`; empty unless it answered."""
    reason: str = ""
    """What the kernel said, where the state is UNKNOWN."""


def find_scullvfs(path: str) -> Mount:
    """The scullvfs mount on *path*, dead or alive.

    Raises:
        NotMountedError: there is none.
    """
    mount = find_mount(path)
    if not mount.is_scullvfs:
        raise NotMountedError(f"{path} is not a scullvfs mount but of type {mount.fstype}")
    if mount.root != "/":
        raise NotMountedError(f"{path} is only a part of a scullvfs mount, {mount.root}")
    return mount


def status(mounts: Sequence[Mount], *, timeout: float = ANSWER_TIMEOUT) -> list[MountStatus]:
    """Ask all of *mounts*, and wait up to *timeout* seconds for their answers."""
    deadline = time.monotonic() + timeout
    questions = [Question(partial(_report, mount), who_may_enter(mount)) for mount in mounts]
    return [
        _status(mount, question, max(0.0, deadline - time.monotonic()))
        for mount, question in zip(mounts, questions, strict=True)
    ]


def _report(mount: Mount) -> bytes:
    """In a child process: the report, from this mount and from no other above it."""
    device = os.stat(mount.path).st_dev
    if f"{os.major(device)}:{os.minor(device)}" != mount.device:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
    return os.getxattr(mount.path, STATUS_XATTR)


def _status(mount: Mount, question: Question, timeout: float) -> MountStatus:
    try:
        return MountStatus(mount, State.RUNNING, json.loads(question.answer(timeout)))
    except TimeoutError:
        return MountStatus(mount, State.HUNG)
    except OSError as error:
        if error.errno in DEAD:
            return MountStatus(mount, State.DEAD)
        if error.errno in (errno.EACCES, errno.EPERM):
            return MountStatus(mount, State.CLOSED)
        if error.errno in (errno.ESTALE, errno.ENOENT):
            return MountStatus(mount, State.HIDDEN)
        return MountStatus(mount, State.UNKNOWN, reason=str(error.strerror))
    except ValueError:
        return MountStatus(mount, State.UNKNOWN, reason="its report is no JSON")
