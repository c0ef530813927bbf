"""The life of a mount as the `mount` command sees it: check, start, wait until it answers.

The checks come cheapest first, and all of them before anything is mounted. Imports
pyfuse3 and trio only in the process that serves (`serving`).
"""

import os
from typing import Final

from scullvfs.errors import BusyError, ExitStatus
from scullvfs.host.memory import check_memory
from scullvfs.host.requirements import check_requirements
from scullvfs.interrupts import ignore_interrupts
from scullvfs.mounts.health import State, first_look, how_is
from scullvfs.mounts.mountinfo import mount_at
from scullvfs.mounts.mountpoint import check_mount_point
from scullvfs.options.table import MountOptions

from . import ahead
from .lock import MountPointLock
from .log import log_to_stderr
from .serving import import_server, serve

__all__ = ["check", "import_server", "mount", "mount_in_background"]

ANSWER_TIMEOUT: Final = 30.0
"""Seconds that a fresh mount has to answer its first request."""


def mount(options: MountOptions, path: str, *, foreground: bool, last: bool = False) -> ExitStatus:
    """Mount on `path`; in the background, return once the mount answers.

    In the foreground, return when the mount is gone again. Whatever is raised, in the background
    Ctrl-C included, leaves no mount and no daemon.

    Args:
        last: whether this is the last that the process does. Then an interrupt that finds the
            mount made comes too late, and is ignored.

    Raises:
        ScullvfsError: there is no mount, and why.
    """
    if foreground:
        with MountPointLock(path) as lock:
            mountpoint = check(options, path, os.getpid())
            log_to_stderr(options.log_level)
            return serve(options, mountpoint, lock.release)
    mount_in_background(options, path, last=last)
    return ExitStatus.SUCCESS


def mount_in_background(options: MountOptions, path: str, *, last: bool = False) -> int:
    """As `mount` in the background; the pid of the daemon, a child of this process.

    Raises:
        ScullvfsError: there is no mount, and why.
    """
    daemon = ahead.take()
    try:
        with MountPointLock(path):
            mountpoint = check(options, path, os.getpid(), daemon.pid)
            daemon.start((options, mountpoint))
        _wait_until_it_answers(mountpoint)
        if last:
            ignore_interrupts()
        daemon.keep()
    except BaseException:
        daemon.end()
        raise
    return daemon.pid


def check(options: MountOptions, path: str, *begun: int) -> str:
    """Check all that can be checked without mounting; returns `path`, absolute and resolved.

    Args:
        begun: the processes that there are of it by now.

    Raises:
        ScullvfsError: there cannot be such a mount, and why.
    """
    mountpoint = check_mount_point(path, remount_stale=options.remount_stale)
    check_requirements(allow_other=options.allow_other)
    check_memory(options, begun)
    return mountpoint


def _wait_until_it_answers(mountpoint: str) -> None:
    """Have the new mount asked for its first device.

    Raises:
        BusyError: it does not answer, or is gone or covered already.
    """
    mount = mount_at(mountpoint)
    if mount is None or not mount.is_scullvfs:
        reason = "it is not there any more"
    else:
        health = how_is(mount, first_look, timeout=ANSWER_TIMEOUT)
        if health.state == State.RUNNING:
            return
        reason = health.reason
    raise BusyError(f"the new mount does not answer ({reason})")
