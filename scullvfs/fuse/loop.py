"""The event loop's part: serving requests, and what is done between them."""

from __future__ import annotations

import logging
from time import monotonic_ns
from typing import Final

import pyfuse3
import trio

from scullvfs.mm import Machine
from scullvfs.mm.sched import IDLE
from scullvfs.mm.vmalloc_ahead import VmallocAhead

from . import lowlevel
from .lowlevel import Served
from .operations import Operations
from .polling import Poller, Serve, install
from .slices import SLICE

__all__ = ["housekeeping", "serve", "untouched"]

log = logging.getLogger(__name__)

GRACE: Final = 0.05
"""Seconds that freed memory waits: a device that is emptied is often filled again at once."""
MANY: Final = 256
"""A surplus of which less than this part comes or goes within GRACE is left alone: at that pace
it would take more than ten seconds to use it up."""
RETRY: Final = 0.1
"""Seconds after which housekeeping that has failed is tried again, the first time."""
LONGEST_RETRY: Final = 3600.0


async def serve(operations: Operations, busy_poll: int) -> None:
    """Serve requests until `pyfuse3.terminate()` or an unmount.

    Args:
        busy_poll: microseconds of polling without sleeping after each request, 0 for none.
    """
    poller = Poller(busy_poll, _serve_ahead(operations.vfs.ahead))
    async with trio.open_nursery() as nursery:
        operations.slices.start_soon = operations.held.start_soon = nursery.start_soon
        if install(poller):
            operations.slices.breathe = poller.breathe
            poller.on_end = operations.held.look
            await pyfuse3.main(min_tasks=0, max_tasks=1)
        else:
            if lowlevel.hooked():
                log.warning(
                    "pyfuse3 %s has another loop: requests take longer", pyfuse3.__version__
                )
            await pyfuse3.main()
        nursery.cancel_scope.cancel()  # what is not answered yet


def _serve_ahead(ahead: VmallocAhead | None) -> Serve:
    """`lowlevel.serve()`; while it lasts, areas are made ahead."""
    if ahead is None:
        return lowlevel.serve

    def serve(end: int, spin_ns: int, sleep_ms: int) -> Served:
        ahead.begin()
        try:
            return lowlevel.serve(end, spin_ns, sleep_ms)
        finally:
            ahead.end()

    return serve


async def untouched(machine: Machine) -> None:
    """Wait until the frames that are to be given back are left alone for a while.

    While a device is emptied they become more, and while it is filled again fewer: then each of
    them that the host has got back would cost a page fault.
    """
    await trio.sleep(GRACE)
    before = machine.page_alloc.nr_surplus
    while before:
        await trio.sleep(GRACE)
        left = machine.page_alloc.nr_surplus
        if abs(left - before) * MANY < before:
            return
        before = left


async def housekeeping(machine: Machine) -> None:
    """Give freed memory back to the host, a slice at a time between requests; never returns.

    Should it fail, which is a bug of ours, that is logged and tried again: soon, then less and less
    often as long as it fails each time, so that the log stays small.
    """
    woken = trio.Event()

    def wake() -> None:
        woken.set()

    machine.page_alloc.on_surplus = wake
    pause = RETRY
    while True:
        await woken.wait()
        await untouched(machine)
        woken = trio.Event()
        try:
            over = monotonic_ns() + SLICE
            machine.running.current = IDLE
            while machine.idle_work():
                if monotonic_ns() >= over:
                    await trio.sleep(0)
                    machine.running.current = IDLE
                    over = monotonic_ns() + SLICE
        except Exception:
            log.exception("unexpected error; freed memory stays with the daemon for %g s", pause)
            await trio.sleep(pause)
            pause = min(2 * pause, LONGEST_RETRY)
            woken.set()
        else:
            pause = RETRY
