"""Interrupts from the keyboard and their kin, kept out of what must not be cut in two.

For what makes a mount beside the program that asked for it, and has to undo it: the demo,
the benchmark and the mounts of tests; and for the end of a command. The daemon
itself takes its signals through trio, in `server`.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from scullvfs.inherited import STOP_SIGNALS

__all__ = ["ignore_interrupts", "interruptible", "put_off_interrupts", "undisturbed"]


@contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the work as Ctrl-C does, with everything undone on the way."""
    before = {
        signum: signal.signal(signum, signal.default_int_handler)
        for signum in STOP_SIGNALS
        if signal.getsignal(signum) == signal.SIG_DFL
    }
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


@contextmanager
def put_off_interrupts() -> Iterator[None]:
    """Let no interrupt come between what is done and what undoes it, or into the undoing.

    The first that came meanwhile is raised again at the end. What is ignored stays ignored, by
    the programs that are started meanwhile, too. Python tells signals to the main thread only,
    so in any other there is nothing to do.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pending: list[int] = []
    before = {
        signum: signal.signal(signum, lambda signum, _: pending.append(signum))
        for signum in STOP_SIGNALS
        if signal.getsignal(signum) != signal.SIG_IGN
    }
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
        if pending:
            signal.raise_signal(pending[0])


def undisturbed(undo: Callable[..., object], *arguments: Any) -> None:
    """Undo something without an interrupt in between."""
    with put_off_interrupts():
        undo(*arguments)


def ignore_interrupts() -> None:
    """From here on they come too late. One that has come before is raised now."""
    for signum in STOP_SIGNALS:
        signal.signal(signum, signal.SIG_IGN)
