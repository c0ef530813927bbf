"""On which CPUs things run: everything on one, or where the scheduler puts them.

What this process starts runs where it does, so to pin dd and the FUSE servers it pins itself. A
daemon that is there already is moved, and moved back.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from scullvfs.errors import RefusedError, UsageError

__all__ = ["moved", "pinned"]


@contextmanager
def pinned(cpu: int | None) -> Iterator[None]:
    """Run on `cpu`, with all that is started meanwhile; None changes nothing.

    Raises:
        UsageError: there is no such CPU for this process.
    """
    before = os.sched_getaffinity(0)
    if cpu is not None and cpu not in before:
        cpus = ", ".join(map(str, sorted(before)))
        raise UsageError(f"--pin {cpu} is not possible; the CPUs for this process are {cpus}")
    try:
        if cpu is not None:
            os.sched_setaffinity(0, {cpu})
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def moved(pid: int | None, cpu: int | None) -> Iterator[None]:
    """Have the process `pid` run on `cpu` meanwhile; None of either changes nothing.

    Raises:
        RefusedError: it is another user's.
    """
    if pid is None or cpu is None:
        yield
        return
    before = {}
    try:
        try:
            for thread in _threads(pid):
                before[thread] = os.sched_getaffinity(thread)
                os.sched_setaffinity(thread, {cpu})
        except PermissionError:
            raise RefusedError(
                f"you may not pin the daemon of the mount (pid {pid}), which is another user's"
            ) from None
        yield
    finally:
        for thread, cpus in before.items():
            with suppress(OSError):  # it has ended
                os.sched_setaffinity(thread, cpus)


def _threads(pid: int) -> list[int]:
    return [int(name) for name in os.listdir(f"/proc/{pid}/task")]
