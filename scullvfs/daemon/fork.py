"""A process in the background that tells its parent how the start went.

    parent                            child
    Daemon(): fork                    leaves the terminal, closes what is not its own
    looks whether it may              makes itself ready
    start() ------------ order ---->  takes the order, begins
            <------------ reply ----  is ready, or says why not
    tries what it has
    keep()  ------------ a byte --->  stays

So what both have to do first they do at the same time, and the child stays only if its parent
has got to the end: a parent that fails, is interrupted or is killed before, whenever that is,
leaves no daemon behind, since the end of the pipe is an answer, too. Forks before trio or any
thread exists. Knows nothing of FUSE. Used by `ahead` and `start`.
"""

import os
import select
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, NoReturn

from scullvfs.errors import ExitStatus, ScullvfsError, error_of_status
from scullvfs.inherited import close_all_but, heeded, leave_terminal, signals_held

__all__ = ["Daemon", "Starter"]

END_TIMEOUT: Final = 10.0
"""Seconds that a daemon which is not to stay has to unmount and end."""

KEEP: Final = b"k"


class Starter:
    """The parent, as its daemon sees it."""

    def __init__(self, orders: int, replies: int) -> None:
        self._orders = orders
        self._replies = replies

    def order(self) -> Any:
        """Wait for what `Daemon.start` was given. Without one this process ends here."""
        import pickle

        size = int.from_bytes(self._read(4), "big")
        return pickle.loads(self._read(size))

    def ready(self) -> None:
        """Reply that it goes well, and go on as the leader of a session of processes (setsid(2)).

        Not before: autofs knows by the process group who mounts for it, and holds up every
        other process at the mount point. Linux: fs/autofs/autofs_i.h:autofs_oz_mode()
        """
        os.setsid()
        self.reply(ExitStatus.SUCCESS)

    def reply(self, status: ExitStatus, message: str = "") -> None:
        """Say how the start went; nobody listens to what is said after that."""
        if self._replies >= 0:
            with suppress(BrokenPipeError):  # it is gone; `kept` says so
                os.write(self._replies, f"{status:d} {message}".encode(errors="replace"))
            os.close(self._replies)
            self._replies = -1

    def fileno(self) -> int:
        """What can be read from when `kept` has an answer."""
        return self._orders

    def kept(self) -> bool:
        """Whether the daemon is to stay; False if the parent has ended without saying so."""
        said = os.read(self._orders, 1)
        os.close(self._orders)
        return said == KEEP

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = os.read(self._orders, size - len(data))
            if not part:
                os._exit(ExitStatus.FAILURE)
            data += part
        return data


class Daemon:
    """A daemon, as its parent sees it: one that waits for the word, from the start.

    Args:
        main: the child's main function. What it raises goes to the parent as its reply.
    """

    def __init__(self, main: Callable[[Starter], ExitStatus]) -> None:
        orders, self._orders = os.pipe()
        self._replies, replies = os.pipe()
        self._started = self._reaped = False
        sys.stdout.flush()
        sys.stderr.flush()
        try:
            with signals_held() as let_go:
                self.pid: Final = os.fork()
                if self.pid == 0:
                    _child(main, orders, replies, let_go)
                os.close(orders)
                os.close(replies)
        except KeyboardInterrupt:
            self.end()
            raise

    def start(self, order: object) -> None:
        """Let it begin, by `order`, which pickle can pack, and wait until it is ready.

        Raises:
            ScullvfsError: what its main function raised before it was ready, or that it just
                ended.
        """
        import pickle

        self._started = True
        data = pickle.dumps(order)
        with suppress(BrokenPipeError), open(self._orders, "wb", closefd=False) as orders:
            orders.write(len(data).to_bytes(4, "big") + data)  # else it has ended, and replies why
        said = b""
        with _woken_by_signals() as wakeup:
            while part := _read(self._replies, wakeup):
                said += part
        status, _, message = said.decode(errors="replace").partition(" ")
        if status == "0":
            return
        ended = self._reap()
        if status:
            raise error_of_status(int(status), message)
        raise ScullvfsError(f"the daemon ended before the mount was ready ({_how(ended)})")

    def keep(self) -> None:
        """Let it stay when this process is gone."""
        with suppress(BrokenPipeError):  # it is gone already, as it may be at any time from now on
            os.write(self._orders, KEEP)
        self._close()

    def end(self) -> None:
        """End it, whatever it does, and wait until it is gone; kept or not."""
        self._close()
        if self._reaped:
            return
        # Once it has begun, there may be a mount, which is its to take down.
        os.kill(self.pid, signal.SIGTERM if self._started else signal.SIGKILL)
        poll = select.poll()
        pidfd = os.pidfd_open(self.pid)
        poll.register(pidfd, select.POLLIN)
        if poll.poll(END_TIMEOUT * 1000):
            self._reap()
        os.close(pidfd)

    def _close(self) -> None:
        for fd in (self._orders, self._replies):
            if fd >= 0:
                os.close(fd)
        self._orders = self._replies = -1

    def _reap(self) -> int:
        self._reaped = True
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def _how(ended: int) -> str:
    """The end of a process in words; a negative number is that of a signal."""
    from .log import destination

    if ended < 0:
        return f"killed by {signal.Signals(-ended).name}"
    return f"exit status {ended}; {destination()} or 'scullvfs mount -f' says why"


def _child(
    main: Callable[[Starter], ExitStatus], orders: int, replies: int, let_go: Callable[[], None]
) -> NoReturn:
    """Become a daemon, run `main`, and end without any clean-up of the parent's."""
    status = ExitStatus.FAILURE
    starter = Starter(orders, replies)
    try:
        for number in heeded():  # an exception of Ctrl-C would come into the middle of anything
            signal.signal(number, signal.SIG_DFL)
        let_go()
        close_all_but(orders, replies)
        leave_terminal()
        status = main(starter)
    except ScullvfsError as error:
        status = error.status
        starter.reply(status, str(error))
    finally:
        os._exit(status)


@contextmanager
def _woken_by_signals() -> Iterator[int]:
    """A descriptor that can be read from as soon as a signal has come.

    A system call does not notice one that comes just before it begins, and Ctrl-C would wait for as
    long as it does.
    """
    receiver, sender = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        before = signal.set_wakeup_fd(sender, warn_on_full_buffer=False)
    except ValueError:  # not the main thread, which signals are told to
        before = None
    try:
        yield receiver
    finally:
        if before is not None:
            signal.set_wakeup_fd(before)
        os.close(receiver)
        os.close(sender)


def _read(fd: int, wakeup: int) -> bytes:
    """Some of what comes from `fd`; nothing at its end."""
    while True:
        ready = select.select([fd, wakeup], [], [])[0]
        if wakeup in ready:  # a handler that has raised nothing
            os.read(wakeup, 1 << 12)
        if fd in ready:
            return os.read(fd, 1 << 16)
