"""Who is running: Linux's `current`, as far as reports, faults and traces ask for it.

Whoever lets a process into the machine says so in `Running.current`, one store a call, and
everybody who wants to know reads it there.  What costs, the name, is looked up only then.

Linux: include/linux/sched.h:struct task_struct
"""

from __future__ import annotations

import os
from typing import Final, NamedTuple

from scullvfs.text import shown

__all__ = ["IDLE", "NOBODY", "Running", "Task"]

_OVERFLOW_ID: Final = 65534
"""Linux: include/linux/highuid.h:DEFAULT_OVERFLOWUID"""


class Task(NamedTuple):
    """A process of the host that calls: a thread, as the daemon's pid namespace numbers it."""

    pid: int
    """0 for the host's kernel, and for a thread of another pid namespace."""
    uid: int
    gid: int

    @property
    def comm(self) -> str:
        """Its name now, as it can be shown: "(gone)", or "(unknown)", where there is none.

        A name is any bytes, and Linux cuts one at 15 of them, through a letter if need be.
        """
        try:
            if os.readlink("/proc/self") != str(os.getpid()):  # /proc counts another namespace's
                return "(unknown)"
            with open(f"/proc/{self.pid}/comm", "rb") as file:
                return shown(file.read().removesuffix(b"\n"))
        except OSError:
            return "(gone)"


class _Swapper(Task):
    """What runs when nobody calls (Linux: init/init_task.c)."""

    __slots__ = ()

    @property
    def comm(self) -> str:
        """As the first CPU's is named."""
        return "swapper/0"


IDLE: Final[Task] = _Swapper(0, 0, 0)
"""Runs from the start on, and does what is left for idle time."""
NOBODY: Final = Task(0, _OVERFLOW_ID, _OVERFLOW_ID)
"""Calls where it is not known who does."""


class Running:
    """Who is running now."""

    __slots__ = ("current",)

    def __init__(self) -> None:
        self.current = IDLE

    def __repr__(self) -> str:
        return f"<Running {self.current}>"
