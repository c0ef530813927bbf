"""A daemon under a service manager: READY once the mount answers, then a sign of life.

The watchdog is fed from the event loop that serves the requests, so a handler that hangs
starves it. `systemd/scullvfs@.service` is the other side of this. Used by `server`, in the
foreground only: a daemon in the background is nobody's main process.
"""

import logging
import os
import sys
from typing import Final

import trio

from scullvfs.text import shown

from .sd_notify import Notifier
from .session import terminate

__all__ = ["keep_informed"]

log = logging.getLogger(__name__)

_LOOK: Final = (sys.executable, "-I", "-S", "-c", "import os, sys; os.stat(sys.argv[1])")
"""A process that looks at a file; on its own mount the daemon must not.

Not a `mounts.health.Inquiry`, which forks: of a daemon all of `mem=` would be accounted for a
second time, and refused where overcommit is strict. This is started by vfork(2).
"""


async def keep_informed(mountpoint: str, what: str) -> None:
    """Tell the service manager, if there is one, how the mount fares, until cancelled.

    Args:
        mountpoint: where it is, absolute.
        what: a few words on the mount, for `systemctl status`.
    """
    notify = Notifier.from_environment()
    if notify is None:
        return
    try:
        async with trio.open_nursery() as nursery:
            if notify.watchdog is not None:
                nursery.start_soon(_feed, notify, notify.watchdog / 2)
            if await _answers(mountpoint):
                notify(READY="1", STATUS=f"mounted on {shown(mountpoint)}: {what}")
            else:
                log.error("the new mount on %s does not answer", shown(mountpoint))
                terminate()
            await trio.sleep_forever()
    finally:
        notify(STOPPING="1", STATUS=f"unmounting {shown(mountpoint)}")


async def _feed(notify: Notifier, period: float) -> None:
    while True:
        notify(WATCHDOG="1")
        await trio.sleep(period)


async def _answers(mountpoint: str) -> bool:
    """Whether a request to the mount, which this loop has to serve, succeeds."""
    file = os.path.join(mountpoint, "proc", "meminfo")  # the kernel remembers no such name
    import subprocess  # here, as a mount that nobody supervises starts no process

    look = await trio.run_process([*_LOOK, file], check=False, stderr=subprocess.DEVNULL)
    return look.returncode == 0
