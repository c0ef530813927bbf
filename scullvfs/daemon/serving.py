"""What the process does that serves a mount, before and around `server`.

Imports pyfuse3 and trio only through `server`, and in the background does so while its parent is
still at the checks. Called by `ahead` there, and by `start` in the foreground.
"""

import gc
import logging
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from types import ModuleType

from scullvfs.errors import ExitStatus, ScullvfsError
from scullvfs.host.requirements import explain_import_error
from scullvfs.options.table import MountOptions

from .fork import Starter
from .libraries import import_libraries
from .log import log_to_syslog
from .sd_notify import forget_service_manager

__all__ = ["import_server", "serve", "serve_by_order"]

log = logging.getLogger(__name__)


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
        return serve(options, mountpoint, starter.ready, starter)
    except ScullvfsError as error:
        log.error("%s", error)  # the parent says so, too, but at boot nobody may see that
        raise


def serve(
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
        import_libraries()
        from . import server
    except ImportError as error:
        raise explain_import_error(error) or error from None
    finally:
        gc.enable()
    return server
