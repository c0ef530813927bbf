"""Interrupts from the keyboard and their kin, kept out of what must not be cut in two.

For what makes a mount beside the program that asked for it, and has to undo it: the demo
and the mounts of tests. The daemon itself takes its signals through trio, in `server`.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

__all__ = ["INTERRUPTS", "put_off_interrupts"]

INTERRUPTS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def put_off_interrupts() -> Iterator[None]:
    """Let no interrupt come between what is done and what undoes it, or into the undoing.

    The first that came meanwhile is raised again at the end. Python tells signals to the
    main thread only, so in any other there is nothing to do.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pending: list[int] = []
    before = {
        signum: signal.signal(signum, lambda signum, _: pending.append(signum))
        for signum in INTERRUPTS
    }
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
        if pending:
            signal.raise_signal(pending[0])
