"""Requests that are held: a call that has to wait is answered when it is time.

    read(2) ... --> WouldWait --> held --- something has come, ---> gone on with, and answered
                                    |      or it is time
                                    +----- interrupted, killed --> EINTR, nothing has happened
                                    +----- the mount has gone ---> `WouldWait.gone()`
                                    +----- the session ends -----> the same

Each is a task of trio, or the handler of a request of pyfuse3's, that waits for one event; nothing
is done for it meanwhile, but for a look now and then whether the mount is still there: one that was
unmounted lazily lives as long as a file of it is open, and a reader that waits would wait for good.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from time import monotonic
from typing import Any, Final

import trio

from scullvfs.fs.waiting import WouldWait
from scullvfs.mm.sched import Running, Task

from .lowlevel import Request

__all__ = ["Held"]

LOOK: Final = 1.0
"""Seconds between two looks whether mount and session are still there."""


class Held:
    """The calls that wait.

    Args:
        running: where it is said who calls, before a call goes on.
    """

    def __init__(self, running: Running) -> None:
        self._running: Final = running
        self._all: Final[set[_Waiting]] = set()
        self.start_soon: Callable[..., None] | None = None
        """Starts a task; without it nothing is held."""
        self.mounted: Callable[[], bool] = lambda: True
        """Whether the mount is still where somebody can come to it."""

    def hold(
        self,
        request: Request,
        wait: WouldWait,
        flags: int,
        answer: Callable[[Any], None] | None = None,
    ) -> None:
        """Answer a request whose handler has raised `wait`, later.

        Args:
            flags: those of its open file now.
            answer: is given what the call results in, in place of the request.

        Raises:
            WouldWait: it is not to wait.
        """
        if (wait.nonblock and flags & os.O_NONBLOCK) or self.start_soon is None:
            raise wait
        waiting = self._begin(request, wait)  # from now on, and not when the task begins
        self.start_soon(self._answer, waiting, answer or request.reply)

    async def wait(self, request: Request, wait: WouldWait) -> Any:
        """In a handler of pyfuse3's: hold its request; returns what the call results in.

        Raises:
            InterruptedError: the caller was interrupted, and nothing has happened.
            Exception: what the call raises.
        """
        return await self._result(self._begin(request, wait))

    def look(self) -> None:
        """The session may be over: then all are answered now."""
        for waiting in self._all:
            if waiting.request.interrupted() and not waiting.woken.is_set():
                waiting.over = True
                waiting.wake()

    def _begin(self, request: Request, wait: WouldWait) -> _Waiting:
        waiting = _Waiting(request, self._running.current, wait)
        self._all.add(waiting)
        request.on_interrupt(waiting.wake)
        return waiting

    async def _answer(self, waiting: _Waiting, answer: Callable[[Any], None]) -> None:
        request = waiting.request
        try:
            answer(await self._result(waiting))
        except trio.Cancelled:
            try:
                request.reply(waiting.gone())
            except OSError as error:
                request.fail(error)
            raise
        except Exception as error:
            request.fail(error)

    async def _result(self, waiting: _Waiting) -> Any:
        try:
            while await self._come(waiting):
                if waiting.request.interrupted():
                    raise InterruptedError(errno.EINTR, os.strerror(errno.EINTR))
                self._running.current = waiting.task
                try:
                    return waiting.again()
                except WouldWait as wait:  # somebody else was first, or it takes longer now
                    waiting.begin(wait)
            return waiting.gone()
        finally:
            waiting.end()
            self._all.discard(waiting)

    async def _come(self, waiting: _Waiting) -> bool:
        """Wait; returns whether something has come, or it is time, and not the mount's end."""
        while not waiting.over:
            left = waiting.until - monotonic()
            if waiting.woken.is_set() or left <= 0:
                return True
            with trio.move_on_after(min(left, LOOK)):
                await waiting.woken.wait()
                continue
            if not self.mounted() or waiting.request.interrupted():
                break
        return False


class _Waiting:
    """Who waits, and what wakes him."""

    def __init__(self, request: Request, task: Task, wait: WouldWait) -> None:
        self.request: Final = request
        self.task: Final = task
        self.over = False
        """Whether the session is."""
        self.begin(wait)

    def begin(self, wait: WouldWait) -> None:
        """Wait, anew."""
        self.woken = trio.Event()
        # The exception itself has a traceback, and that all of this.
        self.again, self.gone, self.until = wait.again, wait.gone, wait.until
        self._others = wait.waiting
        self._others[self.wake] = None

    def wake(self) -> None:
        """There may be something now."""
        self.woken.set()

    def end(self) -> None:
        """Wait no more."""
        self._others.pop(self.wake, None)
