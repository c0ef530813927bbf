"""A process in the background that tells its parent how the start went.

The parent forks before trio or any thread exists, and waits at a pipe until the child
either is ready or has failed; the child's error is then raised in the parent. Knows
nothing of FUSE. Used by `mount`.
"""

import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from scullvfs.daemon.errors import ExitStatus, ScullvfsError, error_of_status
from scullvfs.daemon.log import destination

__all__ = ["start"]

Main = Callable[[Callable[[], None]], ExitStatus]
"""The child's main function; it calls its argument when it is ready."""


def start(main: Main) -> int:
    """Run *main* in a daemon, wait until it is ready, and return its pid.

    Raises:
        ScullvfsError: what *main* raised before it was ready, or that it just ended.
    """
    receiver, sender = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        os.close(receiver)
        _child(main, sender)
    os.close(sender)
    try:
        with open(receiver, encoding="utf-8", errors="replace") as reports:
            status, _, message = reports.read().partition(" ")
    except BaseException:  # Ctrl-C: the child, if in its own session, has not seen it
        os.kill(pid, signal.SIGTERM)
        raise
    if status == "0":
        return pid
    ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status:
        raise error_of_status(int(status), message)
    raise ScullvfsError(f"the daemon ended before the mount was ready ({_how(ended)})")


def _how(ended: int) -> str:
    """The end of a process in words; a negative number is that of a signal."""
    if ended < 0:
        return f"killed by {signal.Signals(-ended).name}"
    return f"exit status {ended}; {destination()} or 'scullvfs mount -f' says why"


def _child(main: Main, sender: int) -> NoReturn:
    """Become a daemon, run *main*, and end without any clean-up of the parent's."""
    status = ExitStatus.FAILURE

    def report(status: ExitStatus, message: str = "") -> None:
        with open(sender, "w", encoding="utf-8", errors="replace") as reports:
            reports.write(f"{status:d} {message}")

    def ready() -> None:
        # Not before: autofs knows by the process group who mounts for it, and holds up every
        # other process at the mount point. Linux: fs/autofs/autofs_i.h:autofs_oz_mode()
        os.setsid()
        report(ExitStatus.SUCCESS)

    try:
        _leave_terminal()
        status = main(ready)
    except ScullvfsError as error:
        status = error.status
        report(status, str(error))
    finally:
        os._exit(status)


def _leave_terminal() -> None:
    """A working directory of its own, and nothing to read or write."""
    os.chdir("/")
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.close(null)
