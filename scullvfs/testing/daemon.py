"""The daemon of a mount as a child process: waited for, ended, and cleaned up after.

`Mount` adds to it what is read from the mount itself.  Here the daemon is asked for nothing that
could hang: how it is the kernel says, and a look at a file is another process's.
"""

import os
import subprocess
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP, Signals
from typing import BinaryIO, Final

from scullvfs.errors import BusyError, NotMountedError, ScullvfsError, error_of_status
from scullvfs.mounts import mountinfo
from scullvfs.mounts.unmount import take_down
from scullvfs.mounts.users import describe_users, users_of

from .undo import Undo

__all__ = ["Daemon", "MountInUseWarning"]

READY_TIMEOUT: Final = 30.0
"""Seconds that a daemon has until its mount answers."""

LINGER_TIMEOUT: Final = 1.0
"""Seconds that an unmounted daemon has to end by itself, before it is told to."""

END_TIMEOUT: Final = 10.0
"""Seconds that a daemon has to end once it is told to, before it is killed."""

STOP_TIMEOUT: Final = 10.0
"""Seconds that a daemon has to stand still."""


class MountInUseWarning(UserWarning):
    """At its end a mount was still in use, most often by a file that the test left open."""


class Daemon(os.PathLike[str]):
    """The process that serves a mount, and where that is."""

    def __init__(self, path: Path, daemon: subprocess.Popen[bytes], log: BinaryIO) -> None:
        self.path: Final = path
        """Where it is mounted, absolute and without symbolic links."""
        self._daemon = daemon
        self._log = log
        self._st_dev = ""
        """major:minor of the mount; empty until it is there."""
        self._stalls = 0
        """How many `stalled()` there are, one in the other."""
        self.standing: Final[list[Undo]] = []
        """What was set and is not undone yet, the oldest first."""

    def __fspath__(self) -> str:
        return str(self.path)

    def __str__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        return f"<scullvfs mount on {self.path}, pid {self.pid}>"

    @property
    def pid(self) -> int:
        """The daemon's process id."""
        return self._daemon.pid

    def log(self) -> str:
        """What the daemon has logged so far, one line an event."""
        return os.pread(self._log.fileno(), 1 << 24, 0).decode(errors="replace")

    @contextmanager
    def stalled(self) -> Iterator[None]:
        """Within it the daemon stands still, as one that hangs does: SIGSTOP, then SIGCONT.

        What is asked of the mount meanwhile waits, and is done when the context ends.  A signal
        that kills ends who waits; one that is handled does not, nor therefore Ctrl-C.  So the test
        itself must not use a path of the mount, unless in a process or thread of its own; this
        object's methods that would ask the daemon raise `BusyError`.  What the page cache has,
        with `semantics=file`, is read all the same.  The context can be within itself; the
        outermost one goes on.  However the test ends, the daemon goes on, if only to be ended.

        Raises:
            NotMountedError: it is not mounted any more.
            ScullvfsError: the daemon has ended already.
        """
        if not self._stalls:
            self.must_be_mounted()
        self._stalls += 1
        try:
            self._stop()
            yield
        finally:
            self._stalls -= 1
            if not self._stalls:
                self._daemon.send_signal(SIGCONT)  # to one that has ended it does nothing

    def unmount(self) -> None:
        """Unmount before the end of the test, and wait until the daemon is gone.

        Raises:
            BusyError: the mount is in use, or the daemon does not end in time.
            ScullvfsError: the daemon failed, and what it said last.
        """
        mount = self._ours()
        if mount is not None:
            self._let_go()
            try:
                take_down(mount, lazy=False)
            except BusyError:  # whose words leave this process out
                raise BusyError(
                    f"{self} is in use by {describe_users(users_of(mount.path))}"
                ) from None
        if not self._comes_to_an_end():
            raise BusyError(f"{self} is unmounted, but its daemon (pid {self.pid}) still runs")
        if self._daemon.returncode:
            raise self._failure()

    # -- for `served` --------------------------------------------------------------------------

    def wait_until_it_answers(self) -> None:
        """Wait until a file of it can be looked at.

        Raises:
            ScullvfsError: what the daemon said against it, or that it says nothing.
        """
        deadline = time.monotonic() + READY_TIMEOUT
        while (mount := self._ours()) is None:
            if self._daemon.poll() is not None:
                raise self._failure()
            if time.monotonic() > deadline:
                raise BusyError(f"nothing is mounted on {self} after {READY_TIMEOUT:g} s")
            time.sleep(0.002)
        self._st_dev = mount.st_dev
        # By another process, since no signal ends one that waits for a daemon that hangs.
        look = subprocess.Popen(
            ["stat", "--", self.path / "proc/meminfo"], stdout=subprocess.DEVNULL
        )
        try:
            answered = look.wait(READY_TIMEOUT) == 0
        except subprocess.TimeoutExpired:
            look.kill()
            answered = False
        if not answered:
            raise self._failure() if self._ends(0) else BusyError(f"{self} does not answer")

    def clean_up(self) -> None:
        """Unmount and end the daemon, each as gently as it goes, and warn if that was not gently.

        Raises:
            MountInUseWarning: when warnings are errors, after everything is done.
        """
        users = ""
        if self._daemon.poll() is None:
            self._daemon.send_signal(SIGCONT)  # the test may have stopped it
        mount = self._ours()
        if mount is not None:
            with suppress(OSError, ScullvfsError):
                self._let_go()
            try:
                take_down(mount, lazy=False)
            except ScullvfsError:
                users = describe_users(users_of(mount.path))
                with suppress(ScullvfsError):  # told to end, the daemon unmounts by itself
                    take_down(mount, lazy=True)
        if not self._comes_to_an_end():
            os.killpg(self.pid, SIGKILL)  # with whatever it has started
            self._daemon.wait()
        mount = self._ours()
        if mount is not None:  # a dead one, whose daemon had to be killed
            take_down(mount, lazy=True)
        if users:
            warnings.warn(
                f"scullvfs: {self} was still in use by {users} at its end; unmounted lazily, "
                "and what is open there gives ENOTCONN now",
                MountInUseWarning,
                stacklevel=2,
            )

    def _let_go(self) -> None:
        """End what keeps a file of the mount open for the test."""
        for undo in [*self.standing]:
            if undo.holds_open:
                undo.undo()

    def _stop(self) -> None:
        """Stop the daemon, and wait until each of its threads stands still."""
        deadline = time.monotonic() + STOP_TIMEOUT
        self._daemon.send_signal(SIGSTOP)
        while self._daemon.poll() is None:
            if _stands_still(self.pid):
                return
            if time.monotonic() > deadline:
                raise BusyError(f"the daemon of {self} (pid {self.pid}) cannot be stopped")
            time.sleep(0.001)
        raise self._failure()

    def must_answer(self) -> None:
        """To be called before the daemon is asked for anything by this process.

        Raises:
            BusyError: it would wait for itself, as the daemon is stalled.
        """
        if self._stalls:
            raise BusyError(f"the daemon of {self} is stalled, and answers when that has ended")

    def must_be_mounted(self) -> None:
        """To be called before a path of the mount is used for anything but to undo.

        One whose daemon has died is still mounted, and says ENOTCONN by itself.

        Raises:
            BusyError: as `must_answer()`.
            NotMountedError: it was unmounted, by the test or from outside.
        """
        self.must_answer()
        if self._ours() is None:
            raise NotMountedError(f"{self} is not mounted any more")

    def _ours(self) -> mountinfo.Mount | None:
        """The mount, dead or alive; not one that somebody has made over it or after it."""
        if self._daemon.poll() == 0:  # unmounted; the kernel may give its number to the next
            return None
        mount = mountinfo.mount_at(str(self))
        if mount is None or not mount.is_scullvfs or self._st_dev not in ("", mount.st_dev):
            return None
        return mount

    def _comes_to_an_end(self) -> bool:
        """Whether the daemon ends, by itself or when it is told to.

        By itself it does once it is unmounted; but not if that was lazily, nor while another
        mount is over it, or another mount namespace (a container's) has a copy of it.
        """
        if not self._ends(LINGER_TIMEOUT):
            self._daemon.terminate()
        return self._ends(END_TIMEOUT)

    def _ends(self, timeout: float) -> bool:
        """Whether the daemon ends within that many seconds."""
        try:
            self._daemon.wait(timeout)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _failure(self) -> ScullvfsError:
        """The error of a daemon that has ended, in the words of the command line."""
        status = self._daemon.returncode
        if status < 0:
            return ScullvfsError(f"the daemon of {self} was killed by {Signals(-status).name}")
        lines = self.log().splitlines() or [f"the daemon of {self} ended with status {status}"]
        return error_of_status(status, lines[-1].removeprefix("scullvfs: "))


def _stands_still(pid: int) -> bool:
    """Whether all threads of a process are stopped (Linux: fs/proc/array.c:task_state_array)."""
    try:
        lines = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/stat")]
    except OSError:  # a thread has ended
        return False
    return bool(lines) and all(line.rpartition(")")[2].split()[0] == "T" for line in lines)
