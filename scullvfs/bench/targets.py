"""Where dd works: a file on a mount, on a tmpfs, on the floor.

Each function here is a context: what it makes, it takes away again, by process id and path,
whatever happened in between. What is mounted is never removed by its files.
"""

import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Final

from scullvfs.daemon.temporary import temporary_mount
from scullvfs.errors import (
    NotMountedError,
    RefusedError,
    ScullvfsError,
    UsageError,
)
from scullvfs.interrupts import put_off_interrupts, undisturbed
from scullvfs.mounts.health import State, is_dead, no_answer
from scullvfs.mounts.mountinfo import FSTYPE, Mount, mount_at
from scullvfs.mounts.place import resolve
from scullvfs.mounts.probe import ANSWER_TIMEOUT, ask
from scullvfs.mounts.status import status
from scullvfs.mounts.users import user_name
from scullvfs.options.table import MountOptions
from scullvfs.scull.family import DRIVERS, driver_of_device
from scullvfs.text import shown

from .affinity import moved

__all__ = [
    "CACHED",
    "FLOOR",
    "PREFIX",
    "SCULLVFS",
    "TMPFS",
    "UNCACHED",
    "WRITEBACK",
    "Target",
    "existing_mount",
    "own_mount",
    "tmpfs",
    "tmpfs_missing",
]

SCULLVFS: Final = "scullvfs"
TMPFS: Final = "tmpfs"
FLOOR: Final = "floor"

UNCACHED: Final = ""
CACHED: Final = "cached"
WRITEBACK: Final = "writeback"
"""Options of `floor.c`."""

SHM: Final = "/dev/shm"

PREFIX: Final = "scullvfs-bench-"
"""Of every directory that is made here."""


@dataclass(frozen=True, slots=True)
class Target:
    """A file that dd writes and reads."""

    name: str
    """SCULLVFS, TMPFS or FLOOR."""
    file: str
    server: int | None = None
    """The pid of the FUSE server behind it, a daemon of ours or the floor, if that is proven."""
    keeps: bool = True
    """Whether the data takes memory."""
    cache: str = UNCACHED
    """How the kernel's page cache is used, UNCACHED, CACHED or WRITEBACK; a tmpfs is one itself."""

    def room(self) -> int:
        """How many bytes may be written; half of what there is, for books and neighbours."""
        if not self.keeps:
            return sys.maxsize
        space = os.statvfs(self.file)
        own = os.stat(self.file).st_blocks * 512  # given back before it is written again
        return (space.f_bavail * space.f_frsize + own) // 2

    def empty(self) -> None:
        """Empty it, as truncate(1) does.

        Raises:
            ScullvfsError: it cannot be emptied, or nobody answers.
        """

        def truncate() -> bytes:
            os.truncate(self.file, 0)
            return b""

        try:
            ask(truncate, timeout=ANSWER_TIMEOUT)
        except OSError as error:
            why = error.strerror or "no answer"
            raise ScullvfsError(f"cannot empty {shown(self.file)}: {why}") from None


@contextmanager
def tmpfs() -> Iterator[Target]:
    """A file in a new directory of /dev/shm, which is the fastest that memory can be a file."""
    with ExitStack() as stack:
        with put_off_interrupts():
            directory = tempfile.mkdtemp(prefix=PREFIX, dir=SHM)
            stack.callback(undisturbed, shutil.rmtree, directory)
            file = os.path.join(directory, "data")
            os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        yield Target(TMPFS, file)


def tmpfs_missing() -> str | None:
    """Why there is no tmpfs to compare with; None if there is."""
    found = mount_at(SHM)
    if found is None or found.fstype != "tmpfs":
        return f"{SHM} is not a tmpfs"
    return None if os.access(SHM, os.W_OK) else f"you may not write to {SHM}"


@contextmanager
def own_mount(options: MountOptions, device: str | None) -> Iterator[Target]:
    """A device, or else the first one, of a mount on a directory of its own.

    Raises:
        ScullvfsError: what `scullvfs mount` would say against it.
    """
    with temporary_mount(options, PREFIX) as mount:
        yield _target(mount.path, device)


@contextmanager
def existing_mount(path: str, device: str | None, cpu: int | None) -> Iterator[Target]:
    """A device of a mount that is there: `path` is that of the mount or of the device.

    It is empty in the end. With `cpu` its daemon runs there meanwhile. What is written through the
    mount of another user goes where that one's daemon wants, so it is not for that.

    Raises:
        NotMountedError: there is no scullvfs mount, or its daemon is gone.
        UsageError: the mount has no such device.
        RefusedError: it is not for this user.
    """
    found, name = _find(path)
    if name and device not in (None, name):
        raise UsageError(
            f"{shown(path)} and --device {shown(device or '')} are not the same device; "
            "give only one"
        )
    if found.user_id not in (0, os.geteuid()):
        raise RefusedError(
            f"{shown(found.path)} was mounted by {user_name(found.user_id)}; "
            "measure on a mount of your own, or of root's"
        )
    target = _target(found.path, name or device)
    if cpu is not None and target.server is None:
        raise RefusedError(
            f"cannot pin the daemon of {shown(found.path)}, "
            "which is no process of this pid namespace"
        )
    with moved(target.server, cpu):
        try:
            yield target
        finally:
            with suppress(ScullvfsError):  # if its daemon has died, there is no data either
                undisturbed(target.empty)


def _find(path: str) -> tuple[Mount, str]:
    """The mount that `path` is or lies in, and the name of the device, if it is one.

    Looks at nothing in the mount, whose daemon may be stopped.
    """
    parent, name = os.path.split(path)
    try:
        if (place := mount_at(resolve(parent or "."))) is None or not place.is_scullvfs:
            place, name = mount_at(resolve(path)), ""
    except OSError as error:
        raise NotMountedError(f"cannot look for {shown(path)}: {error.strerror}") from None
    if place is None or not place.is_scullvfs:
        raise NotMountedError(
            f"{shown(path)} is neither a scullvfs mount nor a device in one; "
            f"'findmnt -t {FSTYPE}' lists what is mounted"
        )
    return place, name


def _target(directory: str, device: str | None) -> Target:
    """`device` of the living mount on `directory`; its first one without."""
    found = mount_at(directory)
    if found is None:
        raise NotMountedError(f"the mount on {shown(directory)} is gone already")
    (now,) = status([found])
    if now.state == State.HUNG:
        raise no_answer(directory, ANSWER_TIMEOUT)
    if now.state == State.DEAD:
        raise is_dead(directory)
    if now.state != State.RUNNING:
        raise RefusedError(f"cannot look into {shown(directory)}: {now.reason}")
    if device is None:
        device = _first_device(directory)
    file = os.path.join(directory, device)
    if driver_of_device(device) is None or not _is_file(file):
        raise UsageError(f"there is no device {shown(device)} in {shown(directory)}")
    if not os.access(file, os.R_OK | os.W_OK):
        raise RefusedError(f"you may not read and write {shown(file)}")
    return Target(SCULLVFS, file, now.pid, cache=_cache(now.report.get("options", {})))


def _cache(options: Mapping[str, object]) -> str:
    """How the page cache is used by a mount with such options."""
    if options.get("semantics") != "file":
        return UNCACHED
    return WRITEBACK if options.get("writeback") else CACHED


def _first_device(directory: str) -> str:
    """The first device of the first driver that the mount has."""
    names = [f"{driver}0" for driver in DRIVERS]
    there = (name for name in names if _is_file(os.path.join(directory, name)))
    return next(there, names[0])


def _is_file(path: str) -> bool:
    try:
        return stat.S_ISREG(int(ask(lambda: b"%d" % os.stat(path).st_mode, timeout=ANSWER_TIMEOUT)))
    except FileNotFoundError:
        return False
    except OSError as error:
        kind = RefusedError if isinstance(error, PermissionError) else ScullvfsError
        raise kind(f"cannot look at {shown(path)}: {error.strerror}") from None
