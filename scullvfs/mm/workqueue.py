"""Work that takes long, done a step at a time by whoever has the time.

A step takes some ten microseconds, a few hundred at the most.  After each of them everything is
consistent, whatever calls come before the next one.

When it is done must not show in what comes after.  So whoever allocates or frees anything finishes
what waits first, and it is as if it had been done at once.  What somebody has begun to do in slices
is another matter: other calls come in between on purpose, and must not wait for all of it; where
memory is short, they do as much of it as they need.

Short work that Linux gives to another thread is scheduled: it comes before all that waits, at the
latest when the next call allocates or frees anything, or when the step ends that has scheduled it,
slices or not.

Linux: kernel/workqueue.c
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from typing import Final, NamedTuple, TypedDict, TypeVar

__all__ = ["Left", "Steps", "Workqueue", "WorkqueueState", "WorkqueueStatistics", "finish"]

T = TypeVar("T")

Steps = Generator[None, None, T]
"""Work in steps, and its result."""
Left = Steps[None] | None
"""What a call has left to do: its caller may do it, or leave it where it waits."""


def finish(steps: Steps[T]) -> T:
    """Do all of it in one go; returns its result."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result


class WorkqueueStatistics(NamedTuple):
    """The workqueue's books."""

    queued: int
    """Works that there have been."""
    waiting: int
    """Works that are not done."""


class WorkqueueState(TypedDict):
    """How much there has been to do."""

    queued: int


class Workqueue:
    """Work that waits to be done, first come first."""

    def __init__(self) -> None:
        self._works: Final[deque[Steps[None]]] = deque()
        self._scheduled: Final[deque[Callable[[], None]]] = deque()
        self.queued = 0
        """How many works there have been until now."""
        self.pending = False
        """Whether something waits that has to be done before anything is allocated or freed."""
        self._busy = False
        """Whether a step is being done, which allocates and frees itself."""
        self._in_slices = False
        """Whether somebody has begun to do it a step at a time."""
        self._undo: Callable[[], None] | None = None
        """What is to be called before all that."""

    def __len__(self) -> int:
        """How many works are not done."""
        return len(self._scheduled) + len(self._works)

    def queue_work(self, work: Steps[None]) -> None:
        """Leave some work for later (Linux: include/linux/workqueue.h:queue_work())."""
        self._works.append(work)
        self.queued += 1
        self.pending = self._is_pending()

    def schedule_work(self, work: Callable[[], None]) -> None:
        """Have short work done at the next turn (Linux: include/linux/workqueue.h:schedule_work()).

        Whoever schedules something again that waits leaves that out.
        """
        self._scheduled.append(work)
        self.queued += 1
        self.pending = self._is_pending()

    def undo_first(self, undo: Callable[[], None] | None) -> None:
        """Have something called before anything is allocated or freed, or with None no more.

        It is called once, has to leave all as if it had never been necessary, and is no work.
        """
        self._undo = undo
        self.pending = self._is_pending()

    def _is_pending(self) -> bool:
        waits = self._undo or self._scheduled or (self._works and not self._in_slices)
        return bool(waits) and not self._busy

    def flush(self) -> None:
        """Do all that waits now; of what somebody does in slices only what is scheduled.

        Linux: kernel/workqueue.c:__flush_workqueue()
        """
        if self._undo is not None:
            undo, self._undo = self._undo, None
            undo()
            self.pending = self._is_pending()
        while self.pending and self.step():
            pass

    def flush_work(self, work: Steps[None]) -> Steps[None]:
        """Do what waits until some work is done, whoever does it, in steps of one.

        What is not done of it when these steps are given up waits on.
        Linux: kernel/workqueue.c:flush_work()
        """
        while work in self._works:
            self._begin_slices()
            self.step()
            yield

    def drain(self) -> Steps[None]:
        """Do all that waits, in steps of one."""
        while self:
            self._begin_slices()
            self.step()
            yield

    def _begin_slices(self) -> None:
        self._in_slices = bool(self._works)
        self.pending = self._is_pending()

    def step(self) -> bool:
        """Do the next step.  Returns whether there was one to do, which is not so within one.

        A work that raises an exception is given up.
        """
        if self._busy or not self:
            return False
        self.pending, self._busy = False, True
        try:
            if not self._scheduled:
                self._next_step()
            while self._scheduled:
                self._scheduled.popleft()()
        finally:
            self._busy = False
            self._in_slices = self._in_slices and bool(self._works)
            self.pending = self._is_pending()
        return True

    def _next_step(self) -> None:
        try:
            next(self._works[0])
        except StopIteration:
            self._works.popleft()
        except BaseException:
            self._works.popleft()
            raise

    def statistics(self) -> WorkqueueStatistics:
        """The books as they stand now."""
        return WorkqueueStatistics(self.queued, len(self))

    def __repr__(self) -> str:
        return f"<Workqueue waiting={len(self)} queued={self.queued}>"

    def state(self) -> WorkqueueState:
        """How many works there have been; it does what waits, which cannot be data."""
        while self.step():
            pass
        return {"queued": self.queued}

    def restore(self, state: WorkqueueState) -> None:
        """Be in a state, with nothing that waits."""
        self._works.clear()
        self._scheduled.clear()
        self._begin_slices()
        self.queued = state["queued"]

    def check(self) -> None:
        """Assert the invariants.

        - who allocates hears of it just when something waits
        """
        assert self.pending == self._is_pending()
        assert not self._busy
