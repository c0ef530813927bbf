"""Where the daemon's words go: to stderr in the foreground, else to syslog.

One line an event, through the logger `scullvfs` and its children. Used by `mount` only;
everyone else just calls `logging.getLogger`.
"""

import logging
import os
import sys
from logging.handlers import SysLogHandler
from typing import Final

__all__ = ["log_to_stderr", "log_to_syslog"]

SYSLOG: Final = "/dev/log"


def log_to_stderr() -> None:
    """Log to stderr, each line as `scullvfs: ...`."""
    _log_to(logging.StreamHandler(sys.stderr), "scullvfs: %(message)s")


def log_to_syslog(socket: str = SYSLOG) -> None:
    """Log to the syslog daemon that listens on *socket*; to nowhere if none does."""
    handler: logging.Handler = logging.NullHandler()
    if os.path.exists(socket):
        handler = SysLogHandler(socket, facility=SysLogHandler.LOG_DAEMON)
    _log_to(handler, f"scullvfs[{os.getpid()}]: %(message)s")


def _log_to(handler: logging.Handler, layout: str) -> None:
    handler.setFormatter(logging.Formatter(layout))
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)
