"""`scullvfs record`: the command line of `scullvfs.mounts.recording`."""

from __future__ import annotations

import json
import os
import signal
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, Final

import click

from scullvfs.errors import BusyError, ExitStatus, ScullvfsError, UsageError
from scullvfs.text import noun, shown

from .candidates import complete_file, complete_mounts
from .help import Command

if TYPE_CHECKING:
    from scullvfs.mounts.mountinfo import Mount

__all__ = ["record"]

TAIL: Final = 256
"""Bytes that the last line is shorter than."""


@click.command(
    cls=Command,
    examples=[
        ("scullvfs record /mnt/scullv -o run.scull", "Until Ctrl-C."),
        ("scullvfs record --data /mnt/scullv -o run.scull &", "With what is written, too."),
        ("kill %1", "Ends that one."),
    ],
    statuses=(ExitStatus.PERMISSION, ExitStatus.NOT_MOUNTED, ExitStatus.BUSY),
)
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    required=True,
    help="Write the recording into this file.",
    shell_complete=complete_file,
)
@click.option("--data", is_flag=True, help="With the bytes that are written to devices.")
@click.argument("mountpoint", shell_complete=complete_mounts)
def record(output: str, data: bool, mountpoint: str) -> None:
    """Record every call on a mount, to be made again by 'scullvfs replay'.

    From now on, until Ctrl-C or SIGTERM, or the mount's end. The mount has to be one that nobody
    has used yet, as a replay begins with a machine that its options make. Without --data FILE has
    the length of what is written to devices and a sum over it, and a replay writes something else;
    addresses, frames and all other results are the same.
    """
    from scullvfs.interrupts import interruptible
    from scullvfs.mounts.place import find_scullvfs
    from scullvfs.mounts.recording import begin_recording

    mount = find_scullvfs(mountpoint)
    with interruptible(), _opened(output, mount) as file:
        reader = begin_recording(mount, data)
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            file.truncate()  # not sooner: a mount that refuses leaves what was there
        click.echo(f"recording {shown(mount.path)}", err=True)
        last = b""
        assert reader.stdout is not None
        with _ending(mount), reader.stdout as lines:
            while part := os.read(lines.fileno(), 1 << 16):
                file.write(part)
                file.flush()
                last = (last + part)[-TAIL:]
        reader.wait()
    click.echo(_ended(last, output, mount))


@contextmanager
def _opened(output: str, mount: Mount) -> Iterator[BinaryIO]:
    """The file, as it is; it must not be in the mount: the recorder would wait for itself.

    One that is new is gone again if nothing comes into it.
    """
    new = not os.path.exists(output)
    try:
        fd = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY, 0o666)
        with open(fd, "wb") as file:
            status = os.fstat(fd)
            if f"{os.major(status.st_dev)}:{os.minor(status.st_dev)}" == mount.st_dev:
                raise UsageError(f"{shown(output)} is in the mount that is to be recorded")
            if stat.S_ISREG(status.st_mode):
                _lock(fd, output)
            try:
                yield file
            finally:
                if new and not os.fstat(fd).st_size:
                    os.unlink(os.path.realpath(output))
    except OSError as error:
        raise UsageError(f"cannot write {shown(output)}: {error.strerror}") from None


def _lock(fd: int, output: str) -> None:
    """Have the file for this recording alone, where the file system has locks (Linux: flock(2))."""
    import fcntl

    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise BusyError(f"another recording is being written to {shown(output)}") from None
    except OSError:
        pass


@contextmanager
def _ending(mount: Mount) -> Iterator[None]:
    """Within it a stop signal ends the recording, the rest of which comes then."""
    from scullvfs.inherited import heeded
    from scullvfs.mounts.recording import end_recording

    ended = False

    def end(*_: object) -> None:
        nonlocal ended
        if not ended:
            ended = True
            end_recording(mount)

    before = {number: signal.signal(number, end) for number in heeded()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ended(last: bytes, output: str, mount: Mount) -> str:
    """How many calls are in the recording, whose last bytes these are."""
    from scullvfs.mounts.health import State, how_is
    from scullvfs.mounts.probe import ANSWER_TIMEOUT

    line = last.rstrip(b"\n").rpartition(b"\n")[2]
    if last.endswith(b"\n") and line.startswith(b'{"end":'):
        calls = json.loads(line)["end"]
        return f"{calls} {noun(calls, 'call is', 'calls are')} in {shown(output)}"
    if line.startswith(b'{"lost":'):
        raise ScullvfsError(
            f"the mount on {shown(mount.path)} was quicker than {shown(output)} could be written, "
            "which has the calls before"
        )
    if not last and how_is(mount, timeout=ANSWER_TIMEOUT).state == State.RUNNING:
        raise ScullvfsError(
            f"{shown(mount.path)} gives no recording; a mount without its extension has nothing "
            "that waits for calls"
        )
    raise ScullvfsError(
        f"the daemon of {shown(mount.path)} has ended; {shown(output)} is cut, "
        "and has the calls before"
    )
