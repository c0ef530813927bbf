"""The daemon's main function: everything between a mount and its end.

The only module of the daemon that runs trio. It is imported by `start` at the last
moment, in the process that is going to serve, since pyfuse3 and libfuse may be missing.
Resources stand on one stack; each registers its undo as it comes.
"""

import gc
import logging
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

import trio

from scullvfs.errors import ExitStatus
from scullvfs.fuse import lowlevel
from scullvfs.fuse.loop import housekeeping, serve
from scullvfs.inherited import heeded
from scullvfs.options.table import MountOptions
from scullvfs.text import shown

from .assemble import assemble
from .fork import Starter
from .service_manager import keep_informed
from .session import fuse_session, terminate

__all__ = ["run"]

log = logging.getLogger(__name__)


NEVER: Final = (1 << 31) - 1


def run(
    options: MountOptions,
    mountpoint: str,
    ready: Callable[[], None],
    starter: Starter | None = None,
) -> ExitStatus:
    """Mount, call `ready`, serve until a stop signal or an unmount from outside; unmount.

    A `starter` that ends before it has told the daemon to stay ends it, too. Returns
    FAILURE if the mount was aborted: nobody could save what was in it.

    Raises:
        ScullvfsError: the mount could not be made.
    """
    _look_for_young_garbage_only()
    return trio.run(_main, options, mountpoint, ready, starter)


def _look_for_young_garbage_only() -> None:
    """Keep Python from going through all objects there are.

    It does that in one go whenever there are a quarter more of them, and those of a large device
    are millions, which takes a second.  None of these is ever in a cycle; what is, dies young.
    """
    young, middle, _ = gc.get_threshold()
    gc.set_threshold(young, middle, NEVER)


async def _main(
    options: MountOptions,
    mountpoint: str,
    ready: Callable[[], None],
    starter: Starter | None,
) -> ExitStatus:
    with ExitStack() as stack:
        signals = stack.enter_context(_stop_signals())
        machine, operations = assemble(options, stack)
        served = stack.enter_context(fuse_session(operations, mountpoint, options))
        log.info("mounted on %s: %s", shown(mountpoint), options)
        log.debug("%r", options)
        operations.held.mounted = lambda: served.mounted or bool(served.elsewhere())
        if not lowlevel.hooked():
            log.warning("%s", lowlevel.MISSING)
        ready()
        async with trio.open_nursery() as nursery:
            stopped = trio.Event()
            if signals is not None:
                nursery.start_soon(_terminate_on, signals, stopped)
            if starter is not None:
                nursery.start_soon(_terminate_unless_kept, starter, stopped)
            nursery.start_soon(housekeeping, machine)
            nursery.start_soon(keep_informed, mountpoint, str(options))
            await serve(operations, options.busy_poll)
            aborted = not served.connected and bool(served.dead)
            if aborted:
                log.error("aborted from outside, by fusectl or umount -f; the data is lost")
            elif not stopped.is_set():
                log.info("unmounted by another program")
            nursery.cancel_scope.cancel()
    if not served.left:
        log.info("no longer mounted on %s", shown(mountpoint))
    return ExitStatus.FAILURE if aborted else ExitStatus.SUCCESS


@contextmanager
def _stop_signals() -> Iterator[AsyncIterator[int] | None]:
    """Receive the stop signals, and leave them ignored: after this the process only ends.

    At its end trio puts back what was before, and raises again what came too late to be
    received; a second Ctrl-C would turn the clean end of the daemon into a death by signal.
    To block them is not enough, as trio's threads do not. None if all of them are ignored from
    the start, as they then stay.
    """
    stop = heeded()
    if not stop:
        yield None
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, stop)  # one that comes now is not lost
    for number in stop:  # it would be by SIG_IGN: sigaction(2) discards what is pending then
        signal.signal(number, lambda *_: None)
    try:
        with trio.open_signal_receiver(*stop) as received:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, stop)
            yield received
    finally:
        for number in stop:
            signal.signal(number, signal.SIG_IGN)


async def _terminate_on(signals: AsyncIterator[int], stopped: trio.Event) -> None:
    async for number in signals:
        log.info("%s: unmounting", signal.Signals(number).name)
        stopped.set()
        terminate()


async def _terminate_unless_kept(starter: Starter, stopped: trio.Event) -> None:
    await trio.lowlevel.wait_readable(starter.fileno())
    if not starter.kept():
        log.info("the command that made the mount has not come to its end: unmounting")
        stopped.set()
        terminate()
