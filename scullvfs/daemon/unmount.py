"""The way back: take a mount down and wait until its daemon is gone.

When `scullvfs umount` returns 0, the memory of the emulated machine is free again and
the mount point can be mounted on at once. The daemon is found by asking the mount
(`probe`) and waited for through a pidfd, opened before the mount goes.
"""

import os
import select
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from scullvfs.daemon.errors import (
    BusyError,
    FuseMissingError,
    NotMountedError,
    RefusedError,
    ScullvfsError,
)
from scullvfs.daemon.mountinfo import Mount, find_mount, is_mounted, read_mounts
from scullvfs.daemon.probe import daemon_pid
from scullvfs.daemon.requirements import find_fusermount
from scullvfs.daemon.users import describe_users, user_name

__all__ = ["take_down", "unmount", "unmount_command"]


def unmount(path: str, *, lazy: bool, timeout: float) -> None:
    """Unmount *path* and wait, up to *timeout* seconds, until its daemon is gone.

    With *lazy* only the name goes at once; the daemon follows, unwaited for, when the
    last file is closed. A dead mount has no daemon to wait for.

    Raises:
        NotMountedError: there is no scullvfs mount on *path*.
        RefusedError: it is another user's.
        BusyError: it is in use, or the daemon does not answer or end within *timeout*.
    """
    mount = _find(path)
    if lazy:
        take_down(mount, lazy=True)
        return
    with _daemon_of(mount, timeout) as daemon:
        take_down(mount, lazy=False)
        if daemon is not None and (names := _other_names(mount)):
            raise BusyError(
                f"{path} is unmounted, but its daemon (pid {daemon.pid}) runs on, since the mount "
                f"has another name: 'umount {names[0]}' takes that down"
            )
        if daemon is not None and not daemon.ends_within(timeout):
            raise BusyError(
                f"{path} is unmounted, but its daemon (pid {daemon.pid}) still runs after "
                f"{timeout:g} s, maybe since another mount namespace (a container) has a copy of "
                f"the mount; 'kill {daemon.pid}' ends it"
            )


def _other_names(mount: Mount) -> list[str]:
    """Where else in this namespace the file system of *mount* is seen, by bind mounts."""
    return [other.path for other in read_mounts() if other.device == mount.device]


class _Daemon:
    """A running daemon, held by a pidfd."""

    def __init__(self, pid: int, pidfd: int) -> None:
        self.pid = pid
        self._pidfd = pidfd

    def ends_within(self, timeout: float) -> bool:
        """Wait for its end, up to *timeout* seconds."""
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        return bool(poll.poll(timeout * 1000))


@contextmanager
def _daemon_of(mount: Mount, timeout: float) -> Iterator[_Daemon | None]:
    """The daemon behind *mount*; None if it is gone, or not of this pid namespace."""
    try:
        pid = daemon_pid(mount, timeout=timeout)
        pidfd = None if pid is None else os.pidfd_open(pid)
    except TimeoutError:
        raise BusyError(
            f"the daemon of {mount.path} does not answer within {timeout:g} s; "
            f"'scullvfs umount --lazy {mount.path}' unmounts without asking it"
        ) from None
    except ProcessLookupError:
        pid = pidfd = None
    except OSError as error:
        raise BusyError(
            f"the daemon of {mount.path} does not say who it is ({error.strerror}); "
            f"'scullvfs umount --lazy {mount.path}' unmounts without asking it"
        ) from None
    if pid is None or pidfd is None:
        yield None
        return
    try:
        yield _Daemon(pid, pidfd)
    finally:
        os.close(pidfd)


def _find(path: str) -> Mount:
    """The scullvfs mount on *path*, if this user may unmount it."""
    mount = find_mount(path)
    if not mount.is_scullvfs:
        raise NotMountedError(
            f"{path} is not a scullvfs mount but of type {mount.fstype}; use 'umount {path}'"
        )
    if os.getuid() not in (0, mount.user_id):
        raise RefusedError(
            f"{path} was mounted by {user_name(mount.user_id)}; only they and root may unmount it"
        )
    return mount


def take_down(mount: Mount, *, lazy: bool) -> None:
    """Unmount by the system's own program; it is fine if someone else was faster.

    Raises:
        ScullvfsError: it is still mounted; a BusyError if it is in use.
    """
    done = subprocess.run(
        [*unmount_command(lazy=lazy), mount.path],
        env={**os.environ, "LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
    )
    if done.returncode != 0 and is_mounted(mount):
        raise _refusal(mount.path, done.stderr)


def unmount_command(*, lazy: bool) -> list[str]:
    """The command line that unmounts, but for the path at its end.

    Raises:
        FuseMissingError: there is none for this user.
    """
    fusermount = find_fusermount()
    if fusermount is not None:
        return [fusermount, "-u", "-z"] if lazy else [fusermount, "-u"]
    if os.getuid() == 0:
        return ["umount", "-l"] if lazy else ["umount"]
    raise FuseMissingError(
        "fusermount3 is missing, without which only root can unmount; run 'apt install fuse3'"
    )


def _refusal(mountpoint: str, said: str) -> ScullvfsError:
    if "busy" in said:
        return BusyError(
            f"{mountpoint} is in use by {describe_users(mountpoint, but_not=os.getpid())}; "
            f"close it, or run 'scullvfs umount --lazy {mountpoint}'"
        )
    words = "; ".join(line.strip() for line in said.splitlines())
    if "ermi" in said:  # "not permitted", "Permission denied"
        return RefusedError(f"cannot unmount {mountpoint}: {words}")
    return ScullvfsError(f"cannot unmount {mountpoint}: {words}")
