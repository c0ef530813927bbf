"""May this directory be mounted on? And one that may, for a moment.

The check that runs before anything is forked, so that each reason against a mount point
has its own words. It touches no mount: what lies on the mount point already is read from
mountinfo, and only one of our own is asked, from a child process, whether it still lives.
A dead one can be taken down on the way.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

from scullvfs.errors import MountPointError, RefusedError
from scullvfs.interrupts import put_off_interrupts
from scullvfs.text import argument, shown

from .health import ALIVE_TIMEOUT, State, how_is
from .identity import find_daemon
from .mountinfo import Mount, mount_at
from .place import LOOK_TIMEOUT, lies_in_fuse, resolve
from .probe import ask
from .unmount import take_down

__all__ = ["check_mount_point", "temporary_mount_point"]

AUTOFS: Final = "autofs"
"""What waits on a mount point for whoever mounts there, and so is not in the way."""


def check_mount_point(path: str, *, remount_stale: bool = False) -> str:
    """The absolute, resolved form of `path`, which is fit to be mounted on.

    With `remount_stale` the dead scullvfs mounts there are taken down, lazily as programs
    may still have files of theirs open. One that lives or only does not answer stays.

    Raises:
        MountPointError: it is missing, not a directory, not empty or already mounted on.
        RefusedError: this user may not read it or not mount on it.
    """
    try:
        resolved = resolve(path)
        while (mount := mount_at(resolved)) is not None and mount.fstype != AUTOFS:
            _clear(mount, path, remount_stale)
        empty, may_mount = _look_at(resolved)
        if not may_mount:
            raise RefusedError(
                f"you may not mount on {shown(path)}; "
                "mount on a directory that is yours and that you can write to"
            )
    except FileNotFoundError:
        raise _missing(path) from None
    except NotADirectoryError:
        raise MountPointError(f"{shown(path)} is not a directory; mount on an empty one") from None
    except PermissionError:
        raise RefusedError(
            f"you may not look into {shown(path)}; mount on a directory of yours"
        ) from None
    except OSError as error:
        raise MountPointError(f"cannot mount on {shown(path)}: {error.strerror}") from None
    if not empty:
        raise MountPointError(f"{shown(path)} is not empty; mount on an empty directory")
    return resolved


def _missing(path: str) -> MountPointError:
    if not path:
        return MountPointError("an empty path names no directory; mount on an empty directory")
    if path.split("/")[0] not in ("", ".."):  # its parent is found from there, too
        try:
            os.getcwd()
        except FileNotFoundError:
            return MountPointError(
                f"{shown(path)} is not there, for the working directory is deleted; 'cd' elsewhere"
            )
    return MountPointError(f"{shown(path)} does not exist; create it with 'mkdir {argument(path)}'")


@contextmanager
def temporary_mount_point(prefix: str = "scullvfs-") -> Iterator[str]:
    """A new directory to mount on; in the end nothing is mounted there, and it is gone."""
    import tempfile  # for this alone; it takes long

    with ExitStack() as stack:
        with put_off_interrupts():
            directory = os.path.realpath(tempfile.mkdtemp(prefix=prefix))
            stack.callback(_remove, directory)
        yield directory


def _remove(directory: str) -> None:
    with put_off_interrupts():
        while (mount := mount_at(directory)) is not None:
            take_down(mount, lazy=True)
        os.rmdir(directory)


def _look_at(directory: str) -> tuple[bool, bool]:
    """Whether it is empty, and whether this user may mount on it.

    Raises:
        OSError: it cannot be looked at; ETIMEDOUT if another file system does not answer.
    """

    def look() -> bytes:
        with os.scandir(directory) as entries:
            empty = next(entries, None) is None
        return b"%d%d" % (empty, _may_mount(directory))

    answer = ask(look, timeout=LOOK_TIMEOUT) if lies_in_fuse(directory) else look()
    return answer[:1] == b"1", answer[1:] == b"1"


def _may_mount(directory: str) -> bool:
    """fusermount3's own rule; root may mount everywhere."""
    if os.getuid() == 0:
        return True
    status = os.stat(directory)
    foreign = bool(status.st_mode & stat.S_ISVTX) and status.st_uid != os.getuid()
    return not foreign and os.access(directory, os.W_OK)


def _clear(mount: Mount, path: str, remount_stale: bool) -> None:
    """Take down the `mount` that is already on `path`, or raise what is to be said about it."""
    where, word = shown(path), argument(path)
    if not mount.is_scullvfs:
        raise MountPointError(
            f"{where} is already mounted on (type {shown(mount.fstype)}); choose another directory"
        )
    health = how_is(mount, timeout=ALIVE_TIMEOUT)  # only the wording hangs on it
    if health.state == State.HUNG:
        raise MountPointError(
            f"a scullvfs mount that does not answer is in the way at {where}; "
            f"run 'scullvfs umount --lazy {word}' first"
        )
    if health.state == State.RUNNING:
        raise MountPointError(
            f"scullvfs is already mounted on {where}{_by(mount, health.said)}; "
            f"'scullvfs umount {word}' takes it down"
        )
    if health.state != State.DEAD:  # somebody else's; that it is there is all we may know
        raise MountPointError(f"scullvfs is already mounted on {where}; choose another directory")
    if not remount_stale:
        raise MountPointError(
            f"a dead scullvfs mount is in the way at {where}, its daemon is gone; "
            f"run 'scullvfs umount {word}' first, or mount with '-o remount_stale'"
        )
    take_down(mount, lazy=True)


def _by(mount: Mount, claimed: bytes) -> str:
    """` (pid 17)` of its daemon, nothing if that is not proven."""
    daemon = find_daemon(mount, claimed)
    if daemon is None:
        return ""
    with daemon:
        return f" (pid {daemon.pid})"
