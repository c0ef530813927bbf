"""A mount for a moment, on a directory of its own, with its daemon as a child of this process.

For commands that measure or try something: the benchmark, the walk through all faults. What is
made is taken away again, by process id and path, whatever happened in between; what is mounted is
never removed by its files.
"""

import os
import select
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Final, NamedTuple

from scullvfs.errors import BusyError
from scullvfs.interrupts import put_off_interrupts, undisturbed
from scullvfs.mounts.mountinfo import mount_at
from scullvfs.mounts.mountpoint import temporary_mount_point
from scullvfs.mounts.unmount import unmount
from scullvfs.options.table import MountOptions

from .start import mount_in_background

__all__ = ["TemporaryMount", "temporary_mount"]

END_TIMEOUT: Final = 5.0
"""Seconds that the daemon of a temporary mount has to end, before it is told to."""


class TemporaryMount(NamedTuple):
    """A mount that answers."""

    path: str
    pid: int
    """Of its daemon."""


@contextmanager
def temporary_mount(options: MountOptions, prefix: str) -> Iterator[TemporaryMount]:
    """A mount on a directory of its own, whose name begins with `prefix`.

    It forks: no thread may have been started before.

    Raises:
        ScullvfsError: what `scullvfs mount` would say against it.
    """
    with temporary_mount_point(prefix) as directory, ExitStack() as stack:
        with put_off_interrupts():
            pid = mount_in_background(options, directory)
            stack.callback(undisturbed, _take_away, directory, pid)
        yield TemporaryMount(directory, pid)


def _take_away(directory: str, pid: int) -> None:
    """Unmount, and have the daemon gone, too.

    It is ours alone, so whoever looks into the mount, or has a copy of it in another mount
    namespace (a container that was started meanwhile), does not keep it.
    """
    try:
        if mount_at(directory) is not None:
            unmount(directory, lazy=False, timeout=END_TIMEOUT)
    except BusyError:
        if mount_at(directory) is not None:
            unmount(directory, lazy=True, timeout=END_TIMEOUT)
        _end(pid)
    with suppress(ChildProcessError):
        os.waitpid(pid, 0)


def _end(pid: int) -> None:
    """Tell a daemon to end, and if it does not hear, kill it."""
    with suppress(ProcessLookupError), open(os.pidfd_open(pid)) as pidfd:
        signal.pidfd_send_signal(pidfd.fileno(), signal.SIGTERM)
        if not select.select([pidfd], [], [], END_TIMEOUT)[0]:
            signal.pidfd_send_signal(pidfd.fileno(), signal.SIGKILL)
