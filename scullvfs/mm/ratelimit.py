"""How often something may be said: a burst of times an interval, and how often it was kept back.

Linux: lib/ratelimit.c
"""

from __future__ import annotations

from typing import Final

__all__ = ["RatelimitState"]


class RatelimitState:
    """Lets `burst` of the calls in each `interval` through (Linux: struct ratelimit_state).

    Args:
        interval: nanoseconds, counted from the first call, and from the first one behind its end;
            0 for no limit.
        burst: 1 or more.
    """

    def __init__(self, interval: int, burst: int) -> None:
        self.interval: Final = interval
        self.burst: Final = burst
        self._begin: int | None = None
        self._left = burst
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
            self._begin, self._left = now, self.burst
            told, self.missed = self.missed, 0
        if self._left:
            self._left -= 1
            return True, told
        self.missed += 1
        return False, told

    def __repr__(self) -> str:
        return f"<RatelimitState {self.burst} in {self.interval} ns, missed={self.missed}>"
