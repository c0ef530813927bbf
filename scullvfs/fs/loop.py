"""The event loop's part: serving requests, and what is done between them.

One worker serves all requests, one after the other.  Handlers never wait, so a second
worker would only cost a lock and a task switch at every request.
"""

from __future__ import annotations

import logging
from typing import Final

import pyfuse3
import trio

from scullvfs.mm import Machine

from .polling import Poller, install

__all__ = ["housekeeping", "serve"]

log = logging.getLogger(__name__)

GRACE: Final = 0.05
"""Seconds that freed memory waits: a device that is emptied is often filled again at once."""


async def serve(busy_poll: int) -> None:
    """Serve requests until `pyfuse3.terminate()` or an unmount.

    Args:
        busy_poll: microseconds of polling without sleeping after each request, 0 for none.
    """
    if not install(Poller(busy_poll)):
        log.warning("this pyfuse3 %s waits in its own way, which is slower", pyfuse3.__version__)
    await pyfuse3.main(min_tasks=1, max_tasks=1)


async def housekeeping(machine: Machine) -> None:
    """Give freed memory back to the host, a slice at a time between requests; never returns."""
    woken = trio.Event()

    def wake() -> None:
        woken.set()

    machine.page_alloc.on_surplus = wake
    while True:
        await woken.wait()
        await trio.sleep(GRACE)
        woken = trio.Event()
        while machine.idle_work():
            await trio.sleep(0)
