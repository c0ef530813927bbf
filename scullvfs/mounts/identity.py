"""Is that process the daemon of this mount? A pid is one only where that is proven.

What a mount gives for its daemon's pid is a number that anybody's daemon can make up, and counts
in the daemon's own pid namespace: here it may be nobody's, or a kernel thread's. So a daemon
wears a badge that can be seen from outside and that no other process wears: a file in memory
that bears the mount's device number in its name. Whose pid it is, /proc says, and a pidfd is
held meanwhile, so that it stays that process's. Used by `daemon.session`, which puts the badge on,
and by all who wait for a daemon, or name it.
"""

import os
import re
import select
from collections.abc import Iterator
from itertools import islice
from typing import Final, Self

from .mountinfo import Mount
from .probe import ask, who_may_enter

__all__ = ["DaemonProcess", "find_daemon", "put_on_badge"]

PID: Final = re.compile(rb"[1-9][0-9]{0,6}")
"""Linux: include/linux/threads.h:PID_MAX_LIMIT"""

MOST_FILES: Final = 4096
"""How many descriptors of a process are looked at: its user may have opened a million."""

PROC_TIMEOUT: Final = 5.0
"""Seconds that another identity has to look into /proc, which does not take any."""


def put_on_badge(mount: Mount) -> int:
    """Make this process known as the daemon of `mount`; it is until the descriptor is closed.

    Raises:
        OSError: the kernel gives no file in memory.
    """
    return os.memfd_create(_badge(mount), os.MFD_CLOEXEC)


class DaemonProcess:
    """A process that is proven to serve a mount, held by a pidfd."""

    def __init__(self, pid: int, pidfd: int) -> None:
        self.pid: Final = pid
        """As this process counts them."""
        self._pidfd = pidfd

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        os.close(self._pidfd)

    def ends_within(self, timeout: float) -> bool:
        """Wait for its end, up to `timeout` seconds."""
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        return bool(poll.poll(timeout * 1000))


def find_daemon(mount: Mount, claimed: bytes) -> DaemonProcess | None:
    """The daemon of `mount`, which gives its pid as `claimed`; None if that is not proven.

    It is found from outside its pid namespace, too, but not from another one.
    """
    if PID.fullmatch(claimed) is None or os.readlink("/proc/self") != str(os.getpid()):
        return None  # in the second case /proc counts another namespace's processes
    for pid in _counted_as(claimed):
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:  # it has ended
            continue
        daemon = DaemonProcess(pid, pidfd)
        if _wears_badge(pid, mount) and not daemon.ends_within(0):
            return daemon
        os.close(pidfd)
    return None


def _counted_as(claimed: bytes) -> Iterator[int]:
    """The processes that have this pid in their own namespace, that of ours first."""
    if _status(int(claimed)).get(b"NSpid") == [claimed]:
        yield int(claimed)
    for name in os.listdir("/proc"):
        if name.isdecimal():
            numbers = _status(int(name)).get(b"NSpid", [])
            if len(numbers) > 1 and numbers[-1] == claimed:
                yield int(name)


def _wears_badge(pid: int, mount: Mount) -> bool:
    """Whether the process has the badge, and is of the user who, the kernel says, has mounted."""
    if _status(pid).get(b"Uid", [b""])[0] != b"%d" % mount.user_id:
        return False
    try:
        return _has_badge(pid, mount)
    except PermissionError:
        pass
    # Root of a container may not look at other users' files, but can become that user.
    identity = who_may_enter(mount)
    if identity is None:
        return False
    try:
        answer = ask(
            lambda: b"%d" % _has_badge(pid, mount), timeout=PROC_TIMEOUT, identity=identity
        )
    except OSError:
        return False
    return answer == b"1"


def _has_badge(pid: int, mount: Mount) -> bool:
    """Raises PermissionError if this user may not know."""
    link = f"/memfd:{_badge(mount)} (deleted)"
    try:
        with os.scandir(f"/proc/{pid}/fd") as entries:
            return any(_leads_to(entry.path, link) for entry in islice(entries, MOST_FILES))
    except PermissionError:
        raise
    except OSError:
        return False


def _leads_to(path: str, link: str) -> bool:
    try:
        return os.readlink(path) == link
    except FileNotFoundError:  # closed meanwhile
        return False


def _badge(mount: Mount) -> str:
    """Of all that is mounted now, in any namespace, only this mount has that device number."""
    return f"scullvfs {mount.st_dev}"


def _status(pid: int) -> dict[bytes, list[bytes]]:
    """What /proc/PID/status says, by its names; empty for a process that is gone."""
    try:
        with open(f"/proc/{pid}/status", "rb") as status:
            lines = [line.partition(b":") for line in status]
    except OSError:
        return {}
    return {name: words.split() for name, _, words in lines}
