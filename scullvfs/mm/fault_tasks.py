"""Which tasks are made to fail: what is set of single ones, beside the knobs of a `fault_attr`.

Linux: fs/proc/base.c:proc_fail_nth_write(), struct task_struct.fail_nth and make_it_fail
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from . import outside

__all__ = ["FaultTasks"]


class FaultTasks:
    """What is set of single tasks: threads, as the daemon's pid namespace numbers them.

    It ends with the thread, whose number may become another one's.

    Args:
        changed: called when a task gets a `fail_nth`, or has used it up.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self.make_it_fail: Final[set[int]] = set()
        """Those that fail where `task_filter` is on."""
        self.fail_nth: Final[dict[int, int]] = {}
        """Task -> so many requests on, one fails, whatever the knobs say; none is 0."""
        self._since: Final[dict[int, str]] = {}
        """Task of which something is set -> when it has begun."""
        self._changed = changed

    def set_make_it_fail(self, pid: int, on: bool) -> None:
        """Say whether a task is to fail (Linux: fs/proc/base.c:proc_fault_inject_write())."""
        self.forget_dead()
        (self.make_it_fail.add if on else self.make_it_fail.discard)(pid)
        self._since[pid] = outside.start_time(pid)

    def is_made_to_fail(self, pid: int) -> bool:
        """Whether a task has `make_it_fail`."""
        return pid in self.make_it_fail and self._is_the_same(pid)

    def set_fail_nth(self, pid: int, number: int) -> None:
        """Have the `number`-th request of a task fail, 1 for the next one; 0 for none.

        Linux: fs/proc/base.c:proc_fail_nth_write()
        """
        self.forget_dead()
        if number:
            self.fail_nth[pid] = number
        else:
            self.fail_nth.pop(pid, None)
        self._since[pid] = outside.start_time(pid)
        self._changed()

    def is_armed(self) -> bool:
        """Whether a task that is alive has a `fail_nth`."""
        return any(outside.is_alive(pid) and self._is_the_same(pid) for pid in self.fail_nth)

    def _is_the_same(self, pid: int) -> bool:
        return self._since[pid] == outside.start_time(pid)

    def count_down(self, pid: int, count: int) -> bool | None:
        """Whether one of `count` requests of a task fails by its `fail_nth`; None without one."""
        number = self.fail_nth.get(pid)
        if number is None:
            return None
        if not self._is_the_same(pid):
            self.forget_dead()
            return None
        if number > count:
            self.fail_nth[pid] = number - count
            return False
        del self.fail_nth[pid]
        self._changed()
        return True

    def forget_dead(self) -> None:
        """Drop what is set of tasks that are no more."""
        for pid in [
            pid for pid in self._since if not outside.is_alive(pid) or not self._is_the_same(pid)
        ]:
            del self._since[pid]
            self.make_it_fail.discard(pid)
            if self.fail_nth.pop(pid, None) is not None:
                self._changed()

    def clear(self) -> None:
        """Have nothing set of any task."""
        self.make_it_fail.clear()
        self.fail_nth.clear()
        self._since.clear()
        self._changed()

    def __repr__(self) -> str:
        return f"<FaultTasks make_it_fail={sorted(self.make_it_fail)} fail_nth={self.fail_nth}>"
