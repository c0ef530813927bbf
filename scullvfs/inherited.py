"""What a process inherits from whoever starts it, and what it keeps of that.

Everything here holds for any program; nothing of it knows of mounts. Used by the entries of the
program, before anything else is done, and by every child that may outlive the command.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

__all__ = ["STOP_SIGNALS", "close_all_but", "heeded", "leave_terminal", "settle", "signals_held"]

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""What ends a daemon, with the mount taken down and exit status 0, and the work of a command."""


def settle() -> None:
    """Put right what a parent may have left in a state that no program reckons with.

    A standard stream that is closed leaves its number to whatever is opened next, and is None in
    `sys`. An ignored SIGCHLD stays ignored through execve(2), and then no child has an exit
    status (waitpid(2): ECHILD). Signals that are to stop a program stay as they are: to ignore
    them is what nohup(1) is for.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.set_inheritable(_nowhere(), True)  # the lowest that is free, so it is fd
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            with suppress(OSError):
                null = open(os.devnull, mode, encoding="utf-8")  # noqa: SIM115  (it stays)
                setattr(sys, name, null)


def heeded() -> tuple[signal.Signals, ...]:
    """Those of STOP_SIGNALS that the parent has not made this process ignore.

    Those stay ignored, as by libfuse: lib/fuse_signals.c:set_one_signal_handler().
    """
    return tuple(s for s in STOP_SIGNALS if signal.getsignal(s) != signal.SIG_IGN)


@contextmanager
def signals_held() -> Iterator[Callable[[], None]]:
    """Let STOP_SIGNALS wait until the end; yields what lets them go, for a child that stays inside.

    For fork(2): Python runs hooks at it, of the module logging among others, and what the handler
    of a signal raises in one of these is lost (os.register_at_fork()).
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)

    def let_go() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

    try:
        yield let_go
    finally:
        let_go()


def close_all_but(*kept: int) -> None:
    """Close every descriptor above the standard streams' that is not `kept` (daemon(7), step 1).

    Somebody else waits for the end of a pipe, or for a lock, that came along with them.
    """
    try:
        fds = [*map(int, os.listdir("/proc/self/fd"))]
    except OSError:  # /proc is another pid namespace's
        fds = [*range(os.sysconf("SC_OPEN_MAX"))]
    for fd in fds:
        if fd > 2 and fd not in kept:
            with suppress(OSError):  # that of the listing itself is closed already
                os.close(fd)


def leave_terminal() -> None:
    """Have nothing to read, and nowhere to write."""
    nowhere = _nowhere()
    for fd in (0, 1, 2):
        os.dup2(nowhere, fd)
    if nowhere > 2:
        os.close(nowhere)


def _nowhere() -> int:
    """A new descriptor of /dev/null; where that is missing, of what nobody can read or write."""
    try:
        return os.open(os.devnull, os.O_RDWR)
    except OSError:
        return os.open("/", os.O_RDONLY)
