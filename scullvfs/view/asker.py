"""A process that asks a mount again and again, for one that has a screen to see to.

    top  --- b"moment\n", b"device scullv0\n" --->  Asker  --- fork, a question --->  mount
         <-- b"+" and a model, or b"7 " and why --

Whoever draws a screen may have threads, which a fork does not copy, and must not wait.  So the
forks of `asked` are made here, by a process that was forked when there were none, and its answers
come by a socket, a line each, whenever they come.  It never touches the mount itself.

It goes on when the mount is gone: then each question is for the mount that is on the path by then.
"""

from __future__ import annotations

import os
import select
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NoReturn, TypeVar

from scullvfs.errors import ScullvfsError, error_of_status
from scullvfs.inherited import close_all_but, leave_terminal, signals_held
from scullvfs.mounts.mountinfo import Mount
from scullvfs.mounts.place import find_scullvfs

from .asked import ask_at_once, ask_mount
from .device import Device, read_device
from .files import Files
from .moment import Moment, read_moment
from .plain import decoded, encoded

__all__ = ["DEVICE", "LONGEST", "MOMENT", "Asker", "answer_of"]

T = TypeVar("T")

MOMENT: Final = "moment"
"""The question for a `Moment`."""
DEVICE: Final = "device"
"""And, with a name behind it, for a `Device`."""
PATIENCE: Final = 0.5
"""Seconds in which a question that is being asked may come to its end."""
LONGEST: Final = 1 << 28
"""Bytes of an answer."""


class Asker:
    """The process; to be made where there are no threads yet.

    Args:
        path: of the mount, absolute.
    """

    def __init__(self, path: str) -> None:
        self.socket, theirs = socket.socketpair()
        with signals_held() as let_go:
            self._pid = os.fork()
            if self._pid == 0:
                _serve(_Asking(path), theirs, let_go)
        with suppress(OSError):  # whoever of the two is first
            os.setpgid(self._pid, self._pid)
        theirs.close()

    def ask(self, kind: type[T], question: str) -> T:
        """Ask, and wait for the answer.

        Raises:
            ScullvfsError: as `ask_mount`.
        """
        self.socket.sendall(f"{question}\n".encode())
        with self.socket.makefile("rb") as answers:
            return answer_of(kind, answers.readline(LONGEST))

    def close(self) -> None:
        """End it, if need be while it waits for the mount."""
        self.socket.close()
        if self._pid:
            pidfd = os.pidfd_open(self._pid)
            select.select([pidfd], [], [], PATIENCE)  # it has a file of the mount open, perhaps
            os.close(pidfd)
            with suppress(ProcessLookupError):
                os.killpg(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            self._pid = 0


def answer_of(kind: type[T], line: bytes) -> T:
    """What an answer says.

    Raises:
        ScullvfsError: what it says went wrong.
    """
    if line.startswith(b"+"):
        try:
            return decoded(kind, line[1:])
        except ValueError:
            raise ScullvfsError("the mount says what makes no sense") from None
    status, _, message = line.decode("utf-8", "replace").rstrip("\n").partition(" ")
    if not message:
        raise ScullvfsError("the process that asks the mount has ended")
    raise error_of_status(int(status), message)


class _Asking:
    """What the process knows of the mount."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._mount: Mount | None = None
        """The one that has answered last."""
        self._before: Moment | None = None

    def answer(self, question: str) -> bytes:
        """The model of a question.

        Raises:
            ScullvfsError: there is none.
        """
        what, _, name = question.partition(" ")
        if what == MOMENT:
            before = self._before if self._mount is not None else None
            self._before = self._ask(Moment, lambda files: read_moment(files, before), self._path)
            return encoded(self._before)
        path = f"{self._path}/{name}"
        return encoded(self._ask(Device, lambda files: read_device(files, name, (), ()), path))

    def _ask(self, kind: type[T], read: Callable[[Files], T], what: str) -> T:
        """Ask the mount that has answered last, or the one that is there now."""
        mount, self._mount = self._mount, None  # until it has answered
        if mount is None:
            mount = find_scullvfs(self._path)
            model = ask_mount(mount, kind, read, what)
        else:
            model = ask_at_once(mount, kind, read, what)
        self._mount = mount
        return model


def _serve(asking: _Asking, requests: socket.socket, let_go: Callable[[], None]) -> NoReturn:
    """The child: answer until nobody asks any more."""
    try:
        os.setpgid(0, 0)  # with those who ask; what is typed at the terminal is not for them
        let_go()
        close_all_but(requests.fileno())
        leave_terminal()
        with requests.makefile("rb") as questions:
            for line in questions:
                try:
                    answer = b"+" + asking.answer(line.decode().rstrip("\n"))
                except ScullvfsError as error:
                    answer = b"%d %s" % (error.status, " ".join(str(error).split()).encode())
                requests.sendall(answer + b"\n")
    finally:
        os._exit(0)
