"""The event loop's part: serving requests, and what is done between them.

One worker serves all requests, one after the other.  Handlers never wait, so a second
worker would only cost a lock and a task switch at every request.
"""

from __future__ import annotations

from typing import Final

import pyfuse3
import trio

from scullvfs.mm import Machine

__all__ = ["housekeeping", "serve"]

GRACE: Final = 0.05
"""Seconds that freed memory waits: a device that is emptied is often filled again at once."""


async def serve() -> None:
    """Serve requests until `pyfuse3.terminate()` or an unmount."""
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
