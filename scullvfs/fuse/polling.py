"""How requests are waited for and served: the loop.

pyfuse3 waits for each request in trio, which costs more than to serve it, and makes a
coroutine of each.  Here a burst of reads and writes is served in one call into the
extension (lowlevel/module.c:serve()), which waits by itself as long as the next
request is likely to come within microseconds:

1. for some tens of microseconds it polls the FUSE descriptor without sleeping (the client
   runs on another CPU, and waking a sleeping process there takes longer than that);
2. for a millisecond this thread sleeps in poll(2) on that one descriptor;
3. then it waits in trio, as long as it takes: an idle mount uses no CPU.

    request  answer   spin    poll(2)                    trio
    ---|--------|------------|--------------------------|-------------- ... --|--->
                0           50 us                      1 ms

While they come in one after the other, the CPUs that wait for an answer are kept from
halting (`cpu_latency`).  Requests that are not reads or writes go to pyfuse3 as ever.  Other
tasks of trio (signals, housekeeping) get their turn every few milliseconds when requests never
stop.

**How it gets in.**  pyfuse3 takes what it needs of trio from its module attribute `trio`, as
its own support for asyncio shows by replacing it.  `install()` puts a stand-in there which
is trio in all but three points: `wait_readable()` does the above, the lock around it is
none, since there is one reader only, and workers are started as follows.

**Handlers that wait.**  A worker of pyfuse3 reads a request, runs its handler and reads the
next one.  Several workers would cost a lock and a task switch at every request, so there is
one, as long as its handlers wait for nothing.  When one does, trio runs other tasks, a watcher
among them: it finds nobody reading and starts a second worker, and the first one ends with
its handler, as pyfuse3's workers do when there are too many.  A handler with much to do calls
`breathe()` now and then, which is such a wait.

**The states.**  Of all workers one reads at the most (`_reading`); how it goes on is what
`serve()` returns:

           TURN: others have their turn
           +----------+
           v          |              OTHER                       the handler
     +----------------------+   received, for pyfuse3   +----------+  waits   +-----------+
 --->|  serving: in C,      |-------------------------->| handling |--------->|  waiting  |
     |  or waiting there    |<--------------------------|          |<---------|           |
     +----------------------+   answered, and nobody    +----------+  goes on +-----------+
        |  ^          |         else reads                   |             |
   IDLE |  | readable | CLOSED                               | answered,   | the watcher finds
        v  |          v                                      | another     | nobody reading
     +--------+   the loop ends                              | reads       v
     | asleep |                                              v        another worker begins
     |in trio |                                         this one ends
     +--------+

While any handler waits in `breathe()`, turns are short, and a worker that reads neither spins nor
sleeps; with more than one in there, they go on one after the other (`_next`).
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from time import monotonic_ns
from types import SimpleNamespace, TracebackType
from typing import Any, Final

import pyfuse3
import trio

from . import lowlevel
from .cpu_latency import CpuLatency
from .lowlevel import Served

__all__ = ["Poller", "Serve", "install"]

TURN: Final = 3_000_000
"""Nanoseconds of serving requests after which other tasks get their turn."""
SHORT_TURN: Final = 300_000
"""The same while a handler waits for its turn."""
SLEEP_MS: Final = 1
BUSY: Final = 10
"""Requests in a turn from which on a wake-up for each of them matters."""

KNOWN: Final = "3.5"
"""The minor line of pyfuse3 whose loop is as told above; pyproject.toml has the same bound."""
LOOP: Final = ("main", "_session_loop", "_wait_fuse_readable")
"""The functions of pyfuse3 that find the stand-in for trio, and no other does."""

Serve = Callable[[int, int, int], Served]
Worker = Callable[..., Awaitable[None]]


class Poller:
    """Serves reads and writes, and waits for the other requests.

    Args:
        busy_poll: microseconds of polling without sleeping, 0 for none.
        serve, requests: `lowlevel.serve` and `lowlevel.requests`.
        latency: what keeps idle CPUs from halting.
    """

    def __init__(
        self,
        busy_poll: int,
        serve: Serve = lowlevel.serve,
        requests: Callable[[], int | None] = lowlevel.requests,
        latency: CpuLatency | None = None,
    ) -> None:
        self._busy_poll = busy_poll * 1000
        self._serve = serve
        self._requests = requests
        self._requests_before = 0
        """How many there had been when the turn began."""
        self._latency = latency or CpuLatency()
        self._turn_end = self._spin = self._sleep = 0
        self._next = trio.Lock()
        """Held by the handler that goes on next."""
        self._breathing = 0
        """How many handlers wait for their turn."""
        self._reading = False
        """Whether a worker reads requests, or is about to."""
        self._handling = trio.Event()
        """Set when pyfuse3 gets a request to handle."""
        self._nursery: trio.Nursery | None = None
        self._workers = 0
        self._start_worker: Callable[[], None] | None = None
        self.on_end: Callable[[], None] = lambda: None
        """Called when a worker has ended: the session may be over, while handlers wait."""

    async def wait_readable(self, fd: int) -> None:
        """Serve reads and writes until there is a request for pyfuse3, or the mount is gone.

        Raises:
            trio.ClosedResourceError: the session is to end.
        """
        self._reading = True
        try:
            await self._wait_for_other(fd)
        finally:
            self._reading = False
        self._handling.set()

    async def _wait_for_other(self, fd: int) -> None:
        while True:
            served = self._serve(self._turn_end, self._spin, self._sleep)
            if served is Served.OTHER:
                return
            if served is Served.CLOSED:
                self._latency.release()
                raise trio.ClosedResourceError
            if served is Served.TURN or self._breathing:
                self._look_back()
                await trio.lowlevel.checkpoint()
            else:
                self._latency.release()
                await trio.lowlevel.wait_readable(fd)
            self._begin_turn()

    def _look_back(self) -> None:
        """After a turn: is a CPU worth keeping awake?"""
        requests = (self._requests() or 0) - self._requests_before
        if requests >= BUSY and self._spin:
            self._latency.hold()
        else:  # without the spin a client has the daemon's CPU, which is never idle
            self._latency.release()

    def _begin_turn(self) -> None:
        self._requests_before = self._requests() or 0
        if self._breathing:
            self._turn_end = monotonic_ns() + SHORT_TURN
            self._spin = self._sleep = 0
        else:
            self._turn_end = monotonic_ns() + TURN
            # On a single CPU, spinning would only keep the client off it.
            self._spin = self._busy_poll if len(os.sched_getaffinity(0)) > 1 else 0
            self._sleep = SLEEP_MS

    async def breathe(self) -> None:
        """In a handler: let other requests and tasks go first, then go on.

        Of several handlers one goes on, and the others have to wait for another turn.
        """
        self._read_on()
        self._breathing += 1
        self._begin_turn()
        try:
            async with self._next:
                await trio.sleep(0)
        finally:
            self._breathing -= 1

    @asynccontextmanager
    async def open_nursery(self) -> AsyncIterator[Poller]:
        """Where pyfuse3 starts its worker."""
        async with trio.open_nursery() as outer:
            outer.start_soon(self._watch)
            async with trio.open_nursery() as self._nursery:
                yield self
            outer.cancel_scope.cancel()

    async def _watch(self) -> None:
        """Runs after a request for pyfuse3 as soon as other tasks do; never returns."""
        while True:
            await self._handling.wait()
            self._handling = trio.Event()
            self._read_on()

    def _read_on(self) -> None:
        """Start another worker if all that there are wait in a handler."""
        if self._workers and not self._reading and self._start_worker is not None:
            self._start_worker()

    def start_soon(self, worker: Worker, *args: Any, name: str) -> None:
        """Start the first worker; the others are for `_read_on()` to start."""
        assert self._nursery is not None
        if self._start_worker is None:
            self._start_worker = partial(self._start, self._nursery, partial(worker, *args), name)
            self._start_worker()

    def _start(self, nursery: trio.Nursery, work: Worker, name: str) -> None:
        async def run() -> None:
            try:
                await work()
            finally:
                self._workers -= 1
                self.on_end()

        self._workers += 1
        self._reading = True
        nursery.start_soon(run, name=name)


class _NoLock:
    """The lock of the only reader."""

    async def __aenter__(self) -> None:
        pass

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        pass


def _is_known(module: Any) -> bool:
    """Whether pyfuse3's loop is the one that this module fits into.

    What is inside its functions cannot be seen, so a version that nobody has looked at is
    not known, whatever it has.
    """
    return (
        re.match(rf"{re.escape(KNOWN)}(\.|$)", str(getattr(module, "__version__", ""))) is not None
        and getattr(module, "trio", None) is trio
        and all(callable(getattr(module, name, None)) for name in LOOP)
    )


def install(poller: Poller) -> bool:
    """Let pyfuse3 wait with `poller`, between its init() and the start of its main loop.

    Returns False, and pyfuse3 waits as it always does, when the extension has not hooked in
    or it is not the pyfuse3 that this module knows.
    """
    module: Any = pyfuse3
    if not lowlevel.hooked() or not _is_known(module):
        return False
    lowlevel_of_trio = SimpleNamespace(
        wait_readable=poller.wait_readable,
        current_task=trio.lowlevel.current_task,
        current_trio_token=trio.lowlevel.current_trio_token,
        notify_closing=trio.lowlevel.notify_closing,
    )
    module.trio = SimpleNamespace(
        Lock=_NoLock,
        open_nursery=poller.open_nursery,
        ClosedResourceError=trio.ClosedResourceError,
        from_thread=trio.from_thread,
        lowlevel=lowlevel_of_trio,
    )
    return True
