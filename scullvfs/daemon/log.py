"""Where the daemon's words go, one line an event, each with its level.

    -f                          stderr, as `scullvfs: ...`
    -f under systemd            stderr, which is the journal then: each line with its priority
    in the background           syslog: /dev/log, behind which may be the journal
    and where nobody listens    a file of the user's, `fallback_file()`

A message is one line, whatever the names in it are; only a traceback has several.
So a daemon is silent only where not even the file can be written, and `unheard()` says so
before it starts. Syslog daemons escape line ends, so each line of a traceback is a message of its
own there. Used by `start`; everyone else just calls `logging.getLogger`.
"""

import errno
import logging
import os
import stat
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from logging.handlers import SysLogHandler
from pathlib import Path
from typing import IO, Final

from scullvfs.mounts.mountinfo import scullvfs_mounts
from scullvfs.mounts.place import LOOK_TIMEOUT, resolve
from scullvfs.mounts.probe import ask
from scullvfs.text import make_streams_safe, one_line

__all__ = [
    "SYSLOG",
    "can_be_kept",
    "destination",
    "fallback_file",
    "log_to_stderr",
    "log_to_syslog",
    "unheard",
]

SYSLOG: Final = "/dev/log"

PRIORITIES: Final = {"DEBUG": 7, "INFO": 6, "WARNING": 4, "ERROR": 3, "CRITICAL": 2}
"""Level -> priority (sd-daemon(3))."""


def log_to_stderr(level: str) -> None:
    """Log to stderr what is of `level` or above."""
    make_streams_safe()
    if _stderr_is_the_journal():
        handler = _LineByLine(logging.StreamHandler(sys.stderr), _prioritised)
    else:
        handler = _LineByLine(logging.StreamHandler(sys.stderr), _marked("scullvfs: "))
    _log_to(handler, level)


def log_to_syslog(level: str, socket: str = SYSLOG, mountpoint: str | None = None) -> None:
    """Log to the syslog daemon at `socket`, or to the fallback file when it does not listen.

    Below the `mountpoint`, absolute and resolved, is no place for that file.
    """
    marked = _marked(f"scullvfs[{os.getpid()}]: ")
    _log_to(_LineByLine(_Syslog(socket, mountpoint), marked), level)


def fallback_file() -> Path:
    """Where a daemon logs that finds no syslog: the state directory of XDG, root's /var/log."""
    state = os.environ.get("XDG_STATE_HOME", "")
    if os.path.isabs(state):
        return Path(state, "scullvfs.log")
    if os.getuid() == 0:
        return Path("/var/log/scullvfs.log")
    return Path(os.path.expanduser("~"), ".local/state/scullvfs.log")


def destination(socket: str = SYSLOG) -> str:
    """Where to look for the words of a daemon in the background."""
    return "the system log" if os.path.exists(socket) else str(fallback_file())


def can_be_kept(socket: str = SYSLOG, mountpoint: str | None = None) -> bool:
    """Whether there is a place for the words of a daemon; tries it, and leaves nothing behind.

    Below its `mountpoint` is none: it would have to ask itself, and what it wrote before and after
    would be in the way of the next mount.
    """
    if os.path.exists(socket):
        return True
    try:
        resolved = None if mountpoint is None else resolve(mountpoint)
    except OSError:  # nothing is going to be mounted there
        resolved = None
    try:
        ask(partial(_try_fallback_file, resolved), timeout=LOOK_TIMEOUT)
    except OSError:
        return False
    return True


def unheard(socket: str = SYSLOG, mountpoint: str | None = None) -> str | None:
    """What to warn of if a daemon in the background would be silent; None if it will not.

    One line of a terminal; `scullvfs doctor` has the reason.
    """
    if can_be_kept(socket, mountpoint):
        return None
    return "its log is kept nowhere; 'scullvfs mount -f' shows it"


def _try_fallback_file(mountpoint: str | None) -> bytes:
    """Make it, and take away again what was not there before.

    Permission bits do not tell: nothing can be made in /proc, by root either.
    """
    path = fallback_file()
    if mountpoint is not None and _lies_below(path, mountpoint):
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
    made = [place for place in (path, *path.parents) if not os.path.exists(place)]
    try:
        _open(path).close()
        if path in made and os.path.getsize(path) == 0:  # else a daemon has written meanwhile
            os.unlink(os.path.realpath(path))
    finally:
        for directory in made:
            with suppress(OSError):  # never made, or no longer empty
                os.rmdir(directory)
    return b""


def _lies_below(path: Path, directory: str) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(directory)


def _find_fallback_file() -> Path | None:
    """The fallback file by a path that no mount which is made later comes into, unless from above.

    As `/mnt/../log` it would lead through a mount on /mnt. None if it cannot be found now.
    """
    try:
        found = ask(lambda: os.path.realpath(os.fsencode(fallback_file())), timeout=LOOK_TIMEOUT)
    except OSError:
        return None
    return Path(os.fsdecode(found))


class _LineByLine(logging.Handler):
    """Hands each line of a message on as a message of its own, its text as `layout` makes it."""

    def __init__(self, target: logging.Handler, layout: Callable[[str, str], str]) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter())
        self._target = target
        self._layout = layout

    def emit(self, record: logging.LogRecord) -> None:
        # A message is one line, whatever is in it; only a traceback has several.
        message = one_line(record.getMessage())
        record = logging.makeLogRecord({**vars(record), "msg": message, "args": ()})
        for line in self.format(record).split("\n"):
            text = self._layout(record.levelname, one_line(line))
            self._target.handle(
                logging.makeLogRecord(
                    {"msg": text, "levelname": record.levelname, "levelno": record.levelno}
                )
            )

    def close(self) -> None:
        self._target.close()
        super().close()


class _Syslog(SysLogHandler):
    """Syslog, and the fallback file for what could not be sent there.

    Unless that lies in a mount of ours by now: a daemon must not wait for itself.
    """

    def __init__(self, socket: str, mountpoint: str | None) -> None:
        path = _find_fallback_file()
        if path is not None and mountpoint is not None and path.is_relative_to(mountpoint):
            path = None
        self._fallback = path
        super().__init__(socket, facility=SysLogHandler.LOG_DAEMON)

    def handleError(self, record: logging.LogRecord) -> None:
        formatter = logging.Formatter("%(asctime)s %(message)s")
        path = self._fallback
        if path is None or any(path.is_relative_to(mount.path) for mount in scullvfs_mounts()):
            return
        try:
            with _open(path) as file:
                file.write(formatter.format(record) + "\n")
        except OSError:
            pass  # nothing is left; `unheard` has said so


def _open(path: Path) -> IO[str]:
    """Open to append, private to its user, as what is in there names their files."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    return open(path, "a", encoding="utf-8", errors="replace", opener=_private)


def _private(path: str, flags: int) -> int:
    """Only a file: a pipe or a device may hold up who writes to it, or who opens it."""
    fd = os.open(path, flags | os.O_NONBLOCK, 0o600)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)
    return fd


def _prioritised(level: str, line: str) -> str:
    return f"<{PRIORITIES[level]}>{line}"


def _marked(name: str) -> Callable[[str, str], str]:
    """A warning says that it is only one; an error needs no word for it."""

    def layout(level: str, line: str) -> str:
        return f"{name}warning: {line}" if level == "WARNING" else f"{name}{line}"

    return layout


def _stderr_is_the_journal() -> bool:
    """Whether systemd has connected stderr to the journal (systemd.exec(5), JOURNAL_STREAM)."""
    try:
        status = os.fstat(sys.stderr.fileno())
    except (AttributeError, OSError, ValueError):  # closed, or no file
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def _log_to(handler: logging.Handler, level: str) -> None:
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
