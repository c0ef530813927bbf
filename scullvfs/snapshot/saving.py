"""From a mount into a file: what `scullvfs snapshot save` does.

    mount's `snapshot` --> a child, who may hang --> pipe --> looked at --> `whole_files` --> FILE

The file comes into being as a whole, when all is right.
"""

from __future__ import annotations

import errno
import os
import select
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import sleep
from typing import Final, NoReturn, TypeVar

from scullvfs.errors import (
    BadFileError,
    BusyError,
    ScullvfsError,
)
from scullvfs.inherited import signals_held
from scullvfs.mounts.health import no_answer, trouble_of
from scullvfs.mounts.mountinfo import Mount
from scullvfs.mounts.place import find_scullvfs
from scullvfs.mounts.probe import ANSWER_TIMEOUT, become, enter, who_may_enter
from scullvfs.text import shown
from scullvfs.whole_files import whole_file

from .file import Chunks

__all__ = ["save"]

FILE: Final = "sys/kernel/debug/snapshot"

SILENCE: Final = 60.0
"""Seconds without a byte, after which the mount does not answer: the books of a large machine are
made in one go."""
READ: Final = 1 << 20
"""Bytes that are read at once."""
PAUSE: Final = 0.01
"""Seconds after which is asked again what was not to be waited for."""

T = TypeVar("T")


def save(path: str, output: str) -> None:
    """Save the machine of the mount on `path` into the file `output`.

    Raises:
        NotMountedError: there is no scullvfs mount, or a dead one.
        RefusedError: this user may not save it.
        BusyError: it does not answer, or is being saved already.
        ScullvfsError: the file cannot be written, or the mount gives no snapshot.
    """
    mount = find_scullvfs(path)
    with whole_file(output) as file, _reader(mount) as (reader, ended):
        try:
            for _ in Chunks(lambda count: _read(reader, min(count, READ), mount), FILE, file.write):
                pass
        except BadFileError as error:
            os.close(reader.pop())
            raise _explain(ended(), mount, error) from None
        if (status := ended()) != 0:
            raise _explain(status, mount, None)


@contextmanager
def _reader(mount: Mount) -> Iterator[tuple[list[int], Callable[[], int]]]:
    """A child that reads the mount: what it writes into, until that is closed, and its status.

    The status is the errno with which it has failed, or 0.
    """
    receiver, sender = os.pipe()
    held = [receiver]
    identity = who_may_enter(mount)
    with signals_held() as let_go:
        pid = os.fork()
        if pid == 0:
            _child(mount, identity, sender, let_go)
    os.close(sender)
    status: list[int] = []

    def ended() -> int:
        pidfd = os.pidfd_open(pid)
        try:
            if not select.select([pidfd], [], [], ANSWER_TIMEOUT)[0]:
                raise no_answer(mount.path, ANSWER_TIMEOUT)
        finally:
            os.close(pidfd)
        status.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        return status[0] if status[0] >= 0 else errno.EIO

    try:
        yield held, ended
    finally:
        for fd in held:
            os.close(fd)
        if not status:
            os.kill(pid, signal.SIGKILL)
            # Not waited for: Linux does not even kill it while the daemon holds its request.


def _child(
    mount: Mount, identity: tuple[int, int] | None, sender: int, let_go: Callable[[], None]
) -> NoReturn:
    status = errno.EIO
    try:
        become(identity, sender, let_go)
        path = f"{enter(mount)}/{FILE}"
        fd = _patiently(lambda: os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        with open(sender, "wb", buffering=0) as pipe:
            while data := _patiently(lambda: os.read(fd, READ)):
                rest = memoryview(data)
                while rest:
                    rest = rest[pipe.write(rest) :]
        status = 0
    except OSError as error:
        status = error.errno or errno.EIO
    finally:
        os._exit(status)


def _patiently(call: Callable[[], T]) -> T:
    """What a call gives when it is time: a mount without the extension has nobody wait."""
    while True:
        try:
            return call()
        except BlockingIOError:
            sleep(PAUSE)


def _read(reader: list[int], count: int, mount: Mount) -> bytes:
    if not select.select(reader, [], [], SILENCE)[0]:
        raise no_answer(mount.path, SILENCE)
    return os.read(reader[0], count)


def _explain(number: int, mount: Mount, error: BadFileError | None) -> ScullvfsError:
    """What to say of a mount that has given no snapshot."""
    path = shown(mount.path)
    if number in (0, errno.EPIPE):
        return ScullvfsError(f"{path} gives no snapshot: {error}")
    reason = OSError(number, os.strerror(number))
    if number == errno.EBUSY:
        return BusyError(f"{path} is being saved by somebody else")
    return trouble_of(reason, mount.path, "save", FILE) or ScullvfsError(
        f"cannot save {path}: {reason.strerror}; the log of its daemon says why"
    )
