"""The way back: take a mount down and wait until its daemon is gone.

When `scullvfs umount` returns 0, the memory of the emulated machine is free again and
the mount point can be mounted on at once. The daemon is found by asking the mount
(`health`) and waited for through a pidfd, opened before the mount goes; where it is not proven to
be that process (`identity`), as from another pid namespace, nobody is waited for.
"""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from scullvfs.errors import (
    BusyError,
    NotMountedError,
    RefusedError,
    ScullvfsError,
)
from scullvfs.text import argument, shown

from .fusermount import find_fusermount, fusermount_missing
from .health import State, how_is, no_answer
from .identity import DaemonProcess, find_daemon
from .mountinfo import Mount, is_mounted, read_mounts
from .place import find_mount
from .users import Use, describe_users, user_name, uses_of

__all__ = ["take_down", "unmount", "unmount_command"]

PATIENCE: Final = 0.5
"""Seconds for which a file stays open only if somebody uses the mount."""
LOOKERS_PATIENCE: Final = 5.0
"""Seconds in which those who only look at it, one file after the other, such as other commands of
ours or a page that shows it (`scullvfs view`), leave a moment between two looks."""


def unmount(path: str, *, lazy: bool, timeout: float) -> None:
    """Unmount `path` and wait, up to `timeout` seconds, until its daemon is gone.

    With `lazy` only the name goes at once; the daemon follows, unwaited for, when the
    last file is closed. A dead mount has no daemon to wait for.

    Raises:
        NotMountedError: there is no scullvfs mount on `path`.
        RefusedError: it is another user's.
        BusyError: it is in use, or the daemon does not answer or end within `timeout`.
    """
    mount = _find(path)
    if lazy:
        take_down(mount, lazy=True)
        return
    with _daemon_of(mount, timeout) as daemon:
        take_down(mount, lazy=False)
        if daemon is not None and (names := _other_names(mount)):
            raise BusyError(
                f"{shown(path)} is unmounted, but its daemon (pid {daemon.pid}) runs on, since the "
                f"mount has another name: 'umount {argument(names[0])}' takes that down"
            )
        if daemon is not None and not daemon.ends_within(timeout):
            raise BusyError(
                f"{shown(path)} is unmounted, but its daemon (pid {daemon.pid}) still runs after "
                f"{timeout:g} s, maybe since another mount namespace (a container) has a copy of "
                f"the mount; 'kill {daemon.pid}' ends it"
            )


def _other_names(mount: Mount) -> list[str]:
    """Where else in this namespace the file system of `mount` is seen, by bind mounts."""
    return [other.path for other in read_mounts() if other.st_dev == mount.st_dev]


@contextmanager
def _daemon_of(mount: Mount, timeout: float) -> Iterator[DaemonProcess | None]:
    """The daemon behind `mount`; None if it is gone, or not proven to be a process of ours."""
    health = how_is(mount, timeout=timeout)
    advice = f"'scullvfs umount --lazy {argument(mount.path)}' unmounts without asking it"
    if health.state == State.HUNG:
        raise no_answer(mount.path, timeout, advice)
    if health.state not in (State.RUNNING, State.DEAD):
        raise BusyError(
            f"the daemon of {shown(mount.path)} does not say who it is ({health.reason}); {advice}"
        )
    daemon = None if health.state == State.DEAD else find_daemon(mount, health.said)
    if daemon is None:
        yield None
        return
    with daemon:
        yield daemon


def _find(path: str) -> Mount:
    """The scullvfs mount on `path`, if this user may unmount it."""
    mount = find_mount(path)
    if not mount.is_scullvfs:
        raise NotMountedError(
            f"{shown(path)} is not a scullvfs mount but of type {shown(mount.fstype)}; "
            f"use 'umount {argument(path)}'"
        )
    if os.getuid() not in (0, mount.user_id):
        raise RefusedError(
            f"{shown(path)} was mounted by {user_name(mount.user_id)}; "
            "only they and root may unmount it"
        )
    return mount


def take_down(mount: Mount, *, lazy: bool) -> None:
    """Unmount by the system's own program; it is fine if someone else was faster.

    Raises:
        ScullvfsError: it is still mounted; a BusyError if it is in use.
    """
    import subprocess  # here, as most daemons never come to it

    began = time.monotonic()
    seen = False
    standing: set[Use] | None = None  # what was open each time that it was busy
    while True:
        done = subprocess.run(
            [*unmount_command(lazy=lazy), mount.path],
            env={**os.environ, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
        )
        if done.returncode == 0 or not is_mounted(mount):
            return
        said = os.fsdecode(done.stderr).replace(mount.path, "")  # whose name may be any words
        if "busy" not in said:
            raise _refusal(mount.path, os.fsdecode(done.stderr))
        uses = uses_of(mount.path, but_not=os.getpid())
        seen = seen or bool(uses)
        standing = uses if standing is None else standing & uses
        patience = LOOKERS_PATIENCE if seen and not standing else PATIENCE
        if time.monotonic() - began > patience:
            users = sorted({use.pid for use in standing or uses})
            raise _refusal(mount.path, os.fsdecode(done.stderr), users)
        time.sleep(PATIENCE / 20)


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
    raise fusermount_missing("unmount")


def _refusal(mountpoint: str, said: str, users: Sequence[int] = ()) -> ScullvfsError:
    words = "; ".join(shown(line.strip()) for line in said.splitlines() if line.strip())
    reason = said.replace(mountpoint, "")  # whose name may be any words
    if "busy" in reason:
        return BusyError(
            f"{shown(mountpoint)} is in use by {describe_users(users)}; "
            f"close it, or run 'scullvfs umount --lazy {argument(mountpoint)}'"
        )
    if "ermi" in reason:  # "not permitted", "Permission denied"
        return RefusedError(f"cannot unmount {shown(mountpoint)}: {words}")
    return ScullvfsError(f"cannot unmount {shown(mountpoint)}: {words}")
