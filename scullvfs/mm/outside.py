"""What the machine asks of the world around it: what time it is, and who its callers are.

All else that a call gives follows from the options, the seed and the calls before it.  So who has
these answers, too, can make the same calls again and have the same results, down to the times in
the log and the names in a trace.  Here and only here `mm`, `scull` and `fs` ask.

Whoever records or answers puts functions of its own in the place of these, by their names in
QUESTIONS; so they are called as `outside.comm(pid)`, and no one keeps the function.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Final

from scullvfs.text import mangled

__all__ = ["QUESTIONS"]


def _has_our_numbers() -> bool:
    """Whether /proc counts processes as this one does; another pid namespace's does not."""
    return os.readlink("/proc/self") == str(os.getpid())


def _comm(pid: int) -> str:
    try:
        if not _has_our_numbers():
            return "(unknown)"
        with open(f"/proc/{pid}/comm", "rb") as file:
            return mangled(file.read().removesuffix(b"\n"))
    except OSError:
        return "(gone)"


def _status(pid: int) -> dict[bytes, bytes]:
    """What /proc says of a thread, by name."""
    with open(f"/proc/{pid}/status", "rb") as file:
        return dict(line.partition(b":\t")[::2] for line in file)


def _tgid(pid: int) -> int:
    try:
        return int(_status(pid)[b"Tgid"]) if _has_our_numbers() else pid
    except (OSError, KeyError):
        return pid


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it is somebody else's
    return True


def _start_time(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            return stat.read().rpartition(b")")[2].split()[19].decode()
    except (OSError, IndexError):
        return ""


def _capabilities(pid: int) -> int:
    try:
        status = _status(pid)
    except OSError:
        return 0
    return int(status[b"CapEff"], 16) if int(status[b"Uid"].split()[3]) == 0 else 0


monotonic_ns: Callable[[], int] = time.monotonic_ns
"""Nanoseconds, that never go back."""
time_ns: Callable[[], int] = time.time_ns
"""Nanoseconds since 1970, for the times of files."""
comm: Callable[[int], str] = _comm
"""(pid) the name of a thread, as it can be shown; "(gone)", or "(unknown)", where there is none.

A name is any bytes, and Linux cuts one at 15 of them, through a letter if need be.
"""
tgid: Callable[[int], int] = _tgid
"""(pid) its thread group, the process; the thread's own number where nobody can know it."""
is_alive: Callable[[int], bool] = _is_alive
"""(pid) whether there is a thread of that number, in the daemon's pid namespace."""
start_time: Callable[[int], str] = _start_time
"""(pid) when it has begun; nothing where /proc does not say.

Linux: fs/proc/array.c:do_task_stat(), start_time
"""
capabilities: Callable[[int], int] = _capabilities
"""(pid) the bits of what it may where it is root; 0 for all others, and those that are hidden."""

QUESTIONS: Final = (
    "monotonic_ns",
    "time_ns",
    "comm",
    "tgid",
    "is_alive",
    "start_time",
    "capabilities",
)
"""The names of all of them."""
