"""The life of a mount as the `mount` command sees it: check, start, wait until it answers.

The checks come cheapest first, and all of them before anything is mounted. Imports
pyfuse3 and trio only through `server`, and in the serving process, which in the background
does so while its parent is still at the checks.
"""

import gc
import logging
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from types import ModuleType
from typing import Final

from scullvfs.errors import BusyError, ExitStatus, ScullvfsError
from scullvfs.host.memory import check_memory
from scullvfs.host.requirements import check_requirements, explain_import_error
from scullvfs.interrupts import ignore_interrupts
from scullvfs.mounts.health import State, first_device, how_is
from scullvfs.mounts.mountinfo import mount_at
from scullvfs.mounts.mountpoint import check_mount_point
from scullvfs.options.table import MountOptions

from . import ahead
from .fork import Starter
from .lock import MountPointLock
from .log import log_to_stderr, log_to_syslog
from .sd_notify import forget_service_manager

__all__ = ["check", "import_server", "mount", "serve_by_order"]

log = logging.getLogger(__name__)

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
            mountpoint = check(options, path)
            log_to_stderr(options.log_level)
            return _serve(options, mountpoint, lock.release)
    daemon = ahead.take()
    try:
        with MountPointLock(path):
            mountpoint = check(options, path)
            daemon.start((options, mountpoint))
        _wait_until_it_answers(mountpoint)
        if last:
            ignore_interrupts()
        daemon.keep()
    except BaseException:
        daemon.end()
        raise
    return ExitStatus.SUCCESS


def check(options: MountOptions, path: str) -> str:
    """Check all that can be checked without mounting; returns `path`, absolute and resolved.

    Raises:
        ScullvfsError: there cannot be such a mount, and why.
    """
    mountpoint = check_mount_point(path, remount_stale=options.remount_stale)
    check_requirements(allow_other=options.allow_other)
    check_memory(options.mem, options.scullv_order)
    return mountpoint


def _wait_until_it_answers(mountpoint: str) -> None:
    """Have the new mount asked for its first device.

    Raises:
        BusyError: it does not answer, or is gone or covered already.
    """
    mount = mount_at(mountpoint)
    if mount is None or not mount.is_scullvfs:
        raise BusyError("the new mount does not answer (it is not there any more)")
    health = how_is(mount, first_device, timeout=ANSWER_TIMEOUT)
    if health.state != State.RUNNING:
        raise BusyError(f"the new mount does not answer ({health.reason})")


def serve_by_order(starter: Starter) -> ExitStatus:
    """The daemon's main function: import, wait for the order, and serve the mount that it names.

    Raises:
        ScullvfsError: there is no mount, and why.
    """
    with suppress(Exception):  # it is not asked for yet; what is missing is said when it is
        import_server()
    options, mountpoint = starter.order()
    os.chdir("/")
    log_to_syslog(options.log_level, mountpoint=mountpoint)
    forget_service_manager()
    try:
        return _serve(options, mountpoint, starter.ready, starter)
    except ScullvfsError as error:
        log.error("%s", error)  # the parent says so, too, but at boot nobody may see that
        raise


def _serve(
    options: MountOptions,
    mountpoint: str,
    ready: Callable[[], None],
    starter: Starter | None = None,
) -> ExitStatus:
    """Serve in this process; what nobody expected goes to the log, with its traceback."""
    try:
        server = import_server()
        # What is imported later is not to be looked for in the mount: the daemon would wait for
        # itself. `python -m` begins with the working directory, which may be the mount point.
        sys.path[:] = [path for path in sys.path if not _leads_into(path, mountpoint)]
        status: ExitStatus = server.run(options, mountpoint, ready, starter)
    except ScullvfsError:
        raise
    except Exception:
        log.exception("unexpected failure")
        return ExitStatus.FAILURE
    return status


def _leads_into(path: str, mountpoint: str) -> bool:
    return f"{os.path.realpath(path)}/".startswith(f"{mountpoint.rstrip('/')}/")


def import_server() -> ModuleType:
    """The module `server`, or the words for what it lacks.

    Raises:
        FuseMissingError: libfuse, pyfuse3 or trio is missing.
    """
    # All that is made here stays, and to look for garbage in it takes an eighth of the time.
    gc.disable()
    try:
        from . import server
    except ImportError as error:
        raise explain_import_error(error) or error from None
    finally:
        gc.enable()
    return server
