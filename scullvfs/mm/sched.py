"""Who is running: Linux's `current`, as far as reports, faults and traces ask for it.

Whoever lets a process into the machine says so in `Running.current`, one store a call, and
everybody who wants to know reads it there.  What costs, the name, is looked up only then.

Linux: include/linux/sched.h:struct task_struct
"""

from __future__ import annotations

from typing import Final, NamedTuple

from . import outside

__all__ = ["IDLE", "NOBODY", "KernelThread", "Running", "Task"]

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
        """Its name now, as it can be shown: "(gone)", or "(unknown)", where there is none."""
        return outside.comm(self.pid)

    @property
    def tgid(self) -> int:
        """Its thread group, as it is now: the process.  Where there is none, `pid`."""
        return outside.tgid(self.pid)


class KernelThread(Task):
    """A thread of the emulated kernel, which is no process of the host."""

    _comm: str

    def __new__(cls, pid: int, comm: str) -> KernelThread:
        """One of root's, as all of them are.

        Args:
            comm: its name, 15 bytes at the most (Linux: TASK_COMM_LEN).
        """
        thread = super().__new__(cls, pid, 0, 0)
        thread._comm = comm
        return thread

    @property
    def comm(self) -> str:
        """Its name."""
        return self._comm

    @property
    def tgid(self) -> int:
        """It is a thread group of its own."""
        return self.pid


IDLE: Final[Task] = KernelThread(0, "swapper/0")
"""Runs from the start on, and does what is left for idle time (Linux: init/init_task.c)."""
NOBODY: Final = Task(0, _OVERFLOW_ID, _OVERFLOW_ID)
"""Calls where it is not known who does."""


class Running:
    """Who is running now."""

    __slots__ = ("current",)

    def __init__(self) -> None:
        self.current = IDLE

    def __repr__(self) -> str:
        return f"<Running {self.current}>"
