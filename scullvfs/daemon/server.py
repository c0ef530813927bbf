"""The daemon's main function: everything between a mount and its end.

The only module of the daemon that runs trio. It is imported by `mount` at the last
moment, in the process that is going to serve, since pyfuse3 and libfuse may be missing.
Resources stand on one stack; each registers its undo as it comes.
"""

import logging
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

import trio

from scullvfs.daemon.assemble import assemble
from scullvfs.daemon.options import MountOptions
from scullvfs.daemon.service import report
from scullvfs.daemon.session import session, terminate
from scullvfs.fuse import lowlevel
from scullvfs.fuse.loop import housekeeping, serve

__all__ = ["STOP_SIGNALS", "run"]

log = logging.getLogger(__name__)

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""What ends the daemon, with the mount taken down and exit status 0."""


def run(options: MountOptions, mountpoint: str, ready: Callable[[], None]) -> None:
    """Mount, call *ready*, serve until a stop signal or an unmount from outside; unmount.

    Raises:
        ScullvfsError: the mount could not be made.
    """
    trio.run(_main, options, mountpoint, ready)


async def _main(options: MountOptions, mountpoint: str, ready: Callable[[], None]) -> None:
    with ExitStack() as stack:
        signals = stack.enter_context(_stop_signals())
        machine, operations = assemble(options, stack)
        stack.enter_context(session(operations, mountpoint, options))
        log.info("mounted on %s: %s", mountpoint, options)
        log.debug("%r", options)
        if not lowlevel.hooked():
            log.warning("%s", lowlevel.MISSING)
        ready()
        async with trio.open_nursery() as nursery:
            stopped = trio.Event()
            nursery.start_soon(_terminate_on, signals, stopped)
            nursery.start_soon(housekeeping, machine)
            nursery.start_soon(report, mountpoint, str(options))
            await serve(operations, options.busy_poll)
            if not stopped.is_set():
                log.info("unmounted by another program")
            nursery.cancel_scope.cancel()
    log.info("no longer mounted on %s", mountpoint)


@contextmanager
def _stop_signals() -> Iterator[AsyncIterator[int]]:
    """Receive STOP_SIGNALS, and leave them ignored: after this the process only ends.

    At its end trio puts back what was before, and raises again what came too late to be
    received; a second Ctrl-C would turn the clean end of the daemon into a death by signal.
    To block them is not enough, as trio's threads do not.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)  # one that comes now is not lost
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    with trio.open_signal_receiver(*STOP_SIGNALS) as received:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        yield received


async def _terminate_on(signals: AsyncIterator[int], stopped: trio.Event) -> None:
    async for number in signals:
        log.info("%s: unmounting", signal.Signals(number).name)
        stopped.set()
        terminate()
