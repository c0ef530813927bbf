"""How the daemon waits for the next request: three ways, the quickest first.

After a request has been answered, the next one is likely to come within microseconds.
Going through trio's scheduler to wait for it costs more than the request itself, so

1. for some tens of microseconds the FUSE descriptor is polled without sleeping (the client
   runs on another CPU, and waking a sleeping process there takes longer than that);
2. for a millisecond this thread sleeps in poll(2) on that one descriptor;
3. then it waits in trio, as long as it takes: an idle mount uses no CPU.

Other tasks of trio (signals, housekeeping) wait a millisecond at the most when nothing
happens, and get their turn after every hundredth request when it never stops.

    request  answer   spin    poll(2)                    trio
    ---|--------|------------|--------------------------|-------------- ... --|--->
                0           50 us                      1 ms

pyfuse3 takes what it needs of trio from its module attribute `trio`, as its own support
for asyncio shows by replacing it.  `install()` puts a stand-in there which is trio in all
but two points: `wait_readable()` does the above, and the lock around it is none, since
there is one worker only.
"""

from __future__ import annotations

import os
import select
from time import perf_counter
from types import SimpleNamespace, TracebackType
from typing import Any, Final

import pyfuse3
import trio

__all__ = ["Poller", "install"]

SLEEP_MS: Final = 1
REQUESTS_A_TURN: Final = 100


class Poller:
    """Waits for requests on one descriptor.

    Args:
        busy_poll: microseconds of polling without sleeping, 0 for none.
    """

    def __init__(self, busy_poll: int) -> None:
        self._seconds = busy_poll / 1_000_000
        self._poll = select.poll()
        self._fd = -1
        self._requests = 0
        self._spin = False

    async def wait_readable(self, fd: int) -> None:
        """Wait until there is a request (or the mount is gone, which reads the same)."""
        if fd != self._fd:
            self._fd = fd
            self._poll.register(fd, select.POLLIN)
            self._take_turn()
        if self._requests < REQUESTS_A_TURN:
            self._requests += 1
            if self._ready():
                return
        elif self._poll.poll(0):
            self._take_turn()
            await trio.lowlevel.checkpoint()
            return
        self._take_turn()
        await trio.lowlevel.wait_readable(fd)

    def _ready(self) -> bool:
        poll = self._poll.poll
        if self._spin:
            end = perf_counter() + self._seconds
            while perf_counter() < end:
                if poll(0):
                    return True
        return bool(poll(SLEEP_MS))

    def _take_turn(self) -> None:
        """Begin to count anew.  On a single CPU spinning would only keep the client off it."""
        self._requests = 0
        self._spin = bool(self._seconds) and len(os.sched_getaffinity(0)) > 1


class _NoLock:
    """The lock of the only worker."""

    async def __aenter__(self) -> None:
        pass

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        pass


def install(poller: Poller) -> bool:
    """Let pyfuse3 wait with `poller`, before its main loop is started for the first time.

    Returns False, and pyfuse3 waits as it always does, when it is not the pyfuse3 that
    this module knows.
    """
    module: Any = pyfuse3
    if getattr(module, "trio", None) is not trio:
        return False
    lowlevel = SimpleNamespace(
        wait_readable=poller.wait_readable,
        current_task=trio.lowlevel.current_task,
        current_trio_token=trio.lowlevel.current_trio_token,
        notify_closing=trio.lowlevel.notify_closing,
    )
    module.trio = SimpleNamespace(
        Lock=_NoLock,
        open_nursery=trio.open_nursery,
        ClosedResourceError=trio.ClosedResourceError,
        from_thread=trio.from_thread,
        lowlevel=lowlevel,
    )
    return True
