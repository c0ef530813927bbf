"""One command on one fresh mount, in which one request for memory fails."""

from __future__ import annotations

import errno
import json
import os
import select
import signal
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from typing import IO, Any, Final, NamedTuple

from scullvfs.daemon.temporary import TemporaryMount, temporary_mount
from scullvfs.errors import BusyError, ScullvfsError, UsageError
from scullvfs.interrupts import put_off_interrupts, undisturbed
from scullvfs.mounts.probe import ask
from scullvfs.options.table import MountOptions
from scullvfs.text import shown

from .books import Books
from .looking import examine, prepare

__all__ = ["PREFIX", "Trial", "try_once"]

PREFIX: Final = "scullvfs-faults-"
"""Of every directory that is made here."""

LOOK_TIMEOUT: Final = 30.0
"""Seconds in which a mount has been looked at, all of it."""

KILL_TIMEOUT: Final = 5.0
"""Seconds in which a command that is killed has gone."""

LAST: Final = 4096
"""Bytes of what a command says on stderr, the last ones, of which the last line is shown."""


class Trial(NamedTuple):
    """How it went."""

    fault: str
    """The name of the fault."""
    nth: int
    """Which request failed; 0 for none."""
    reached: bool
    """Whether the command made that many."""
    status: int | None
    """Of the command's end: its exit status, below 0 a signal's number; None, it had to be
    killed as it did not end."""
    said: str
    """Its last line on stderr."""
    found: list[str]
    """What is not as it has to be."""


def try_once(
    options: MountOptions,
    program: str,
    command: Sequence[str],
    fault: str,
    nth: int,
    timeout: float,
) -> Trial:
    """Run a command on a fresh mount, where the `nth` request fails, and look at what is left.

    It forks: no thread may have been started before.

    Args:
        program: its path, absolute.
        command: its words, the first one as it is called.
        fault: a name of `looking.KNOBS`.
        nth: 1 and more; 0 for no fault at all.
        timeout: seconds that the command may take.

    Raises:
        ScullvfsError: there is no such mount, or no such command.
    """
    with temporary_mount(options, PREFIX) as mount:
        before = Books(*_asked(mount, lambda: prepare(mount.path, fault, nth)))
        status, said = _run(program, command, mount, timeout)
        try:
            reached, found = _asked(mount, lambda: examine(mount.path, fault, before))
        except ScullvfsError as error:
            reached, found = True, [str(error)]
    if status is None:
        found.insert(0, f"COMMAND did not end within {timeout:g} s")
    return Trial(fault, nth, reached, status, said, found)


def _asked(mount: TemporaryMount, look: Callable[[], Any]) -> Any:
    """What `look` returns, from a process of its own, as JSON has it.

    Raises:
        UsageError: it is raised there.
        BusyError: no answer comes; the daemon is killed.
        ScullvfsError: the daemon is gone.
    """

    def answer() -> bytes:
        try:
            return json.dumps([look(), ""]).encode()
        except UsageError as error:
            return json.dumps([None, str(error)]).encode()

    try:
        answered, wrong = json.loads(ask(answer, timeout=LOOK_TIMEOUT))
    except TimeoutError:
        os.kill(mount.pid, signal.SIGKILL)
        raise BusyError(f"the mount did not answer within {LOOK_TIMEOUT:g} s") from None
    except OSError as error:
        what = "the daemon is gone" if error.errno == errno.ENOTCONN else "a file of the mount"
        raise ScullvfsError(f"{what}: {error.strerror}") from None
    if wrong:
        raise UsageError(wrong)
    return answered


def _run(
    program: str, command: Sequence[str], mount: TemporaryMount, timeout: float
) -> tuple[int | None, str]:
    """The exit status of a command, as `Trial` has it, and its last line on stderr."""
    with tempfile.TemporaryFile() as stderr:
        with ExitStack() as stack:
            with put_off_interrupts():
                process = _started(program, command, mount, stderr)
                stack.callback(undisturbed, _end, process, mount)
            pidfd = stack.enter_context(open(os.pidfd_open(process.pid)))
            ended = bool(select.select([pidfd], [], [], timeout)[0])
        size = os.fstat(stderr.fileno()).st_size
        text = os.pread(stderr.fileno(), LAST, max(0, size - LAST)).decode(errors="replace")
    said = next((line for line in reversed(text.splitlines()) if line.strip()), "")
    return process.returncode if ended else None, said


def _started(
    program: str, command: Sequence[str], mount: TemporaryMount, stderr: IO[bytes]
) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            command,
            executable=program,
            cwd=mount.path,
            env={**os.environ, "MOUNTPOINT": mount.path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            start_new_session=True,  # it goes with all that it has started
        )
    except OSError as error:
        raise UsageError(f"cannot run {shown(command[0])}: {error.strerror}") from None


def _end(process: subprocess.Popen[bytes], mount: TemporaryMount) -> None:
    """Kill what is left of a command, and have it gone."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    try:
        process.wait(KILL_TIMEOUT)
    except subprocess.TimeoutExpired:  # a daemon that does not answer holds it
        os.kill(mount.pid, signal.SIGKILL)
        process.wait()
