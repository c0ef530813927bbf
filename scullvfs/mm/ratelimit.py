"""How often something may be said: a burst of times an interval, and how often it was kept back.

Linux: lib/ratelimit.c
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["RatelimitBooks", "RatelimitState"]


class RatelimitBooks(NamedTuple):
    """What has been let through of late, as plain data."""

    begin: int | None
    printed: int
    missed: int


class RatelimitState:
    """Lets `burst` of the calls in each `interval` through (Linux: struct ratelimit_state).

    Args:
        interval: nanoseconds, counted from the first call, and from the first one behind its end;
            0 for no limit.
        burst: 0 lets none through.
    """

    def __init__(self, interval: int, burst: int) -> None:
        self.interval = interval
        self.burst = burst
        self._begin: int | None = None
        self._printed = 0
        self.missed = 0
        """Calls that were kept back and have not been told of."""

    def ratelimit(self, now: int) -> tuple[bool, int]:
        """Ask at a moment, in nanoseconds: whether to go on, and how many were kept back before.

        These are told once, when an interval has ended.  Linux: lib/ratelimit.c:___ratelimit()
        """
        if not self.interval:
            return True, 0
        told = 0
        if self._begin is None:
            self._begin = now
        elif now > self._begin + self.interval:
            self._begin, self._printed = now, 0
            told, self.missed = self.missed, 0
        if self._printed < self.burst:
            self._printed += 1
            return True, told
        self.missed += 1
        return False, told

    def state(self) -> RatelimitBooks:
        """The books; when an interval began is the clock's."""
        return RatelimitBooks(self._begin, self._printed, self.missed)

    def restore(self, state: RatelimitBooks) -> None:
        """Have these books."""
        self._begin, self._printed, self.missed = state

    def __repr__(self) -> str:
        return f"<RatelimitState {self.burst} in {self.interval} ns, missed={self.missed}>"
