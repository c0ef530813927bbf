"""How the mounts are: asks each of them for its report, all at the same time.

A mount that is dead or hangs is a state like any other here, and holds nobody up: the
questions are put by child processes (`health`), and all of them have the same few seconds. What
they answer is checked (`answers`), and what the kernel knows is taken from the kernel.
"""

import time
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from scullvfs.errors import ExitStatus

from .answers import parse_report
from .health import Health, Inquiry, State, report_of_daemon
from .identity import find_daemon
from .mountinfo import Mount

__all__ = ["ANSWER_TIMEOUT", "EXIT_STATUS", "MountStatus", "status"]

ANSWER_TIMEOUT: Final = 3.0
"""Seconds that all the mounts together have to answer."""

EXIT_STATUS: Final = {
    State.RUNNING: ExitStatus.SUCCESS,
    State.DEAD: ExitStatus.BUSY,
    State.HUNG: ExitStatus.BUSY,
    State.CLOSED: ExitStatus.PERMISSION,
    State.HIDDEN: ExitStatus.SUCCESS,
    State.UNKNOWN: ExitStatus.FAILURE,
}
"""What each state makes of `scullvfs status`."""


class MountStatus(NamedTuple):
    """One mount and how it is."""

    mount: Mount
    state: State
    report: dict[str, Any]
    """The daemon's own words, checked, see `daemon.status_report`; empty unless it answered."""
    reason: str = ""
    """What is wrong, where it is not RUNNING."""
    pid: int | None = None
    """Of its daemon, if it is RUNNING and proven to be that process (`identity`)."""


def status(mounts: Sequence[Mount], *, timeout: float = ANSWER_TIMEOUT) -> list[MountStatus]:
    """Ask all of `mounts`, and wait up to `timeout` seconds for their answers."""
    deadline = time.monotonic() + timeout
    inquiries = [Inquiry(mount, report_of_daemon) for mount in mounts]
    return [
        _status(mount, inquiry.health(max(0.0, deadline - time.monotonic())))
        for mount, inquiry in zip(mounts, inquiries, strict=True)
    ]


def _status(mount: Mount, health: Health) -> MountStatus:
    if health.state != State.RUNNING:
        return MountStatus(mount, health.state, {}, health.reason)
    try:
        report = parse_report(health.said)
    except ValueError as error:
        return MountStatus(mount, State.UNKNOWN, {}, str(error))
    daemon = find_daemon(mount, str(report.get("pid")).encode())
    if daemon is None:
        return MountStatus(mount, State.RUNNING, report)
    with daemon:
        return MountStatus(mount, State.RUNNING, report, pid=daemon.pid)
