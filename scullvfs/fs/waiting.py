"""Calls that are answered later: what a file or an open file raises for one.

    handle.read() ----> WouldWait ----> held by who passes the call on
                                            |
                             woken, or it is time: again() ----> the result of read()

Whoever raises it keeps what the rest of the call needs: the data of a write is gone when the method
has returned.
"""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Callable
from typing import Any, Final

from .node import refused

__all__ = ["Delayed", "Waiters", "WouldWait", "wake_all"]

Waiters = dict[Callable[[], None], None]
"""Functions that are to be called, once, when what is waited for may have come."""


def wake_all(waiters: Waiters) -> None:
    """Call them all; who waits again comes among those of the next time."""
    waiting = [*waiters]
    waiters.clear()
    for wake in waiting:
        wake()


class WouldWait(BlockingIOError):
    """There is nothing to read yet.

    Whoever passes the call on may hold it, and go on with it when he is woken; else it is EAGAIN.

    Args:
        waiting: where he puts a function that wakes him; it is taken out then, or by who has put it
            in.
        again: goes on with the call.  Returns what the method returns that has raised this, or
            raises what that does, another `WouldWait` included.
    """

    nonblock = True
    """Whether O_NONBLOCK asks not to be held."""

    def __init__(self, waiting: Waiters, again: Callable[[], Any]) -> None:
        super().__init__(errno.EAGAIN, os.strerror(errno.EAGAIN))
        self.waiting: Final = waiting
        self.again = again
        self.until = math.inf
        """When to go on though nobody has woken him, as `time.monotonic()` tells time."""

    def then(self, go_on: Callable[[Any], Any]) -> WouldWait:
        """The same, of a call that goes on with what the method returns; returns itself."""
        again = self.again

        def both() -> Any:
            try:
                result = again()
            except WouldWait as wait:
                raise wait.then(go_on) from None
            return go_on(result)

        self.again = both
        return self

    @staticmethod
    def gone() -> Any:
        """What is answered where the mount ends meanwhile: the end of the file."""
        return b""


class Delayed(WouldWait):
    """It is not time yet; nothing has happened.

    Args:
        until: when it is, as `time.monotonic()` tells time, if nobody is woken earlier.
    """

    nonblock = False

    def __init__(self, waiting: Waiters, again: Callable[[], Any], until: float) -> None:
        super().__init__(waiting, again)
        self.until = until

    @staticmethod
    def gone() -> Any:
        """An error: the device has gone, and nothing has happened.

        Raises:
            OSError: ENODEV.
        """
        raise refused(errno.ENODEV)
