"""Mounts for tests: `mounted()` makes one, and nothing is left of it, however the test ends.

For the authors of tests; `scullvfs.pytest_plugin` makes fixtures of it. The daemon is a
child process that runs the program itself, so what a user would get is what a test gets,
errors included. Nothing of FUSE is loaded into the process of the test, nor is that one
ever forked. Stands above `scullvfs.daemon`, like `scullvfs.cli`.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from signal import SIGCONT, SIGKILL, Signals
from typing import BinaryIO, Final

from scullvfs.daemon.sd_notify import forget_service_manager
from scullvfs.errors import BusyError, ScullvfsError, error_of_status
from scullvfs.interrupts import put_off_interrupts
from scullvfs.mounts import mountinfo
from scullvfs.mounts.mountpoint import temporary_mount_point
from scullvfs.mounts.place import resolve
from scullvfs.mounts.unmount import take_down, unmount_command
from scullvfs.mounts.users import describe_users, users_of
from scullvfs.options.optstring import escape

__all__ = ["Mount", "MountInUseWarning", "ScullvfsError", "mounted", "served"]

READY_TIMEOUT: Final = 30.0
"""Seconds that a daemon has until its mount answers."""

LINGER_TIMEOUT: Final = 1.0
"""Seconds that an unmounted daemon has to end by itself, before it is told to."""

END_TIMEOUT: Final = 10.0
"""Seconds that a daemon has to end once it is told to, before it is killed."""

FLAGS: Final = {"allow_other", "remount_stale"}
"""Mount options without a value, so that the table of all need not be imported."""


class MountInUseWarning(UserWarning):
    """At its end a mount was still in use, most often by a file that the test left open."""


class Mount(os.PathLike[str]):
    """A living mount; `mnt / "scullv0"` is its first device.

    What cannot be read any more since the daemon has died is an OSError, ENOTCONN.
    """

    def __init__(self, path: Path, daemon: subprocess.Popen[bytes], log: BinaryIO) -> None:
        self.path: Final = path
        """Where it is mounted, absolute and without symbolic links."""
        self._daemon = daemon
        self._log = log
        self._st_dev = ""
        """major:minor of the mount; empty until it is there."""

    def __fspath__(self) -> str:
        return str(self.path)

    def __str__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        return f"<scullvfs mount on {self.path}, pid {self.pid}>"

    def __truediv__(self, name: str | os.PathLike[str]) -> Path:
        """A path below the mount."""
        return self.path / name

    @property
    def pid(self) -> int:
        """The daemon's process id."""
        return self._daemon.pid

    @property
    def devices(self) -> list[Path]:
        """The devices, scullv0 first."""
        devices = [path for path in self.path.iterdir() if re.fullmatch(r"scullv\d+", path.name)]
        return sorted(devices, key=lambda path: int(path.name.removeprefix("scullv")))

    def kmsg(self) -> str:
        """The emulated kernel's log, `proc/kmsg`."""
        return (self / "proc/kmsg").read_text()

    def meminfo(self) -> dict[str, int]:
        """Where the emulated RAM is, `proc/meminfo`: field -> kB, those that are in kB."""
        lines = map(str.split, (self / "proc/meminfo").read_text().splitlines())
        return {name.rstrip(":"): int(kb) for name, kb, *unit in lines if unit}

    def log(self) -> str:
        """What the daemon has logged so far, one line an event."""
        return os.pread(self._log.fileno(), 1 << 24, 0).decode(errors="replace")

    def unmount(self) -> None:
        """Unmount before the end of the test, and wait until the daemon is gone.

        Raises:
            BusyError: the mount is in use, or the daemon does not end in time.
            ScullvfsError: the daemon failed, and what it said last.
        """
        mount = self._ours()
        if mount is not None:
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
        """Wait until the first device can be looked at.

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
        look = subprocess.Popen(["stat", "--", self / "scullv0"], stdout=subprocess.DEVNULL)
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


@contextmanager
def mounted(
    *, mountpoint: str | os.PathLike[str] | None = None, **options: str | int
) -> Iterator[Mount]:
    """A mount that answers; at the end it is unmounted, and its daemon is gone.

    The mount ends with the context, whether by an exception, by Ctrl-C, or with the daemon
    dead already. If it is still in use then, it is unmounted lazily, with a
    `MountInUseWarning`. If this process is killed, the mount goes with it.

        >>> with mounted(scullv_devs=1, semantics="file") as mnt:
        ...     (mnt / "scullv0").write_text("hello")
        5

    Args:
        mountpoint: an empty directory; a temporary one, removed afterwards, if not given.
        options: mount options by name, as text or number; `mode=0o600`, `allow_other=True`.

    Raises:
        ScullvfsError: there is no mount, in the words of `scullvfs mount`. The class says why:
            `scullvfs.errors` has them.
    """
    with ExitStack() as stack:
        if mountpoint is None:
            mountpoint = stack.enter_context(temporary_mount_point())
        command = [sys.executable, "-P", "-m", "scullvfs", "mount", "-f"]
        command += ["-o", _text(options), "--", os.fspath(mountpoint)]
        yield stack.enter_context(served(command, mountpoint))


@contextmanager
def served(command: Sequence[str], mountpoint: str | os.PathLike[str]) -> Iterator[Mount]:
    """The mount that `command` serves on `mountpoint` while it runs, as `mounted()` has it."""
    try:
        path = resolve(os.fspath(mountpoint))
    except OSError:  # the command says what is wrong with it
        path = os.fspath(mountpoint)
    with ExitStack() as stack:
        log = stack.enter_context(tempfile.TemporaryFile())
        environment = dict(os.environ)
        forget_service_manager(environment)  # it is the test's, not the daemon's
        with put_off_interrupts():
            # In a session (setsid(2)) of its own: Ctrl-C is for the test, which then unmounts.
            daemon = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )
            mount = Mount(Path(path), daemon, log)
            stack.callback(_undisturbed, mount)
        mount.wait_until_it_answers()
        stack.enter_context(_guard(path))
        yield mount


def _undisturbed(mount: Mount) -> None:
    with put_off_interrupts():
        mount.clean_up()


def _text(options: Mapping[str, str | int]) -> str:
    """The options as `-o` takes them."""
    words = []
    for name, value in options.items():
        if name in FLAGS and isinstance(value, bool):
            words += [name] if value else []
        elif name == "mode" and isinstance(value, int):
            words.append(f"{name}={value:04o}")
        else:
            text = str(int(value) if isinstance(value, bool) else value)
            words.append(f"{name}={escape(text)}")
    return ",".join(words)


@contextmanager
def _guard(path: str) -> Iterator[None]:
    """If this process dies within the context, what is mounted on `path` is unmounted.

    A shell reads a pipe until a line comes, or its end, which is that of this process.
    """
    unmount = [*unmount_command(lazy=True), path]
    with put_off_interrupts():
        guard = subprocess.Popen(
            ["sh", "-c", 'read -r line || exec "$@"', "sh", *unmount],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    try:
        yield
    finally:
        guard.communicate(b"done\n")
