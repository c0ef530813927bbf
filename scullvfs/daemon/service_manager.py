"""A daemon under a service manager: READY once the mount answers, then a sign of life.

The watchdog is fed from the event loop that serves the requests, so a handler that hangs
starves it. `systemd/scullvfs@.service` is the other side of this. Used by `server`, in the
foreground only: a daemon in the background is nobody's main process.
"""

import logging
from typing import Final

import pyfuse3
import trio

from scullvfs.mounts.health import Inquiry, State, first_device
from scullvfs.mounts.mountinfo import Mount
from scullvfs.text import shown

from .sd_notify import Notifier

__all__ = ["keep_informed"]

log = logging.getLogger(__name__)

END_TIMEOUT: Final = 5.0
"""Seconds from the first byte of an answer to its end, which nobody has to serve any more."""


async def keep_informed(mount: Mount | None, mountpoint: str, what: str) -> None:
    """Tell the service manager, if there is one, how the mount fares, until cancelled.

    Args:
        mount: the mount; None if it is gone already.
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
            if mount is not None and await _answers(mount):
                notify(READY="1", STATUS=f"mounted on {shown(mountpoint)}: {what}")
            else:
                log.error("the new mount on %s does not answer", shown(mountpoint))
                pyfuse3.terminate()
            await trio.sleep_forever()
    finally:
        notify(STOPPING="1", STATUS=f"unmounting {shown(mountpoint)}")


async def _feed(notify: Notifier, period: float) -> None:
    while True:
        notify(WATCHDOG="1")
        await trio.sleep(period)


async def _answers(mount: Mount) -> bool:
    """Whether the mount answers; by this loop, which must not wait for that but in trio's way."""
    inquiry = Inquiry(mount, first_device)
    try:
        await trio.lowlevel.wait_readable(inquiry)
    except trio.Cancelled:
        inquiry.drop()
        raise
    return inquiry.health(END_TIMEOUT).state == State.RUNNING
