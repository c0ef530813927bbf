"""Names and attributes: what is there stays, and what belongs to it can be changed."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ..scull.helpers import fails
from .helpers import QUANTUM, write_all
from .troubles import fails_as


def names(mount: Path) -> list[str]:
    """Every path in the mount."""
    return sorted(str(path.relative_to(mount)) for path in mount.rglob("*"))


FORBIDDEN: dict[str, Callable[[Path], object]] = {
    "create": lambda mnt: os.open(mnt / "new", os.O_CREAT | os.O_WRONLY),
    "create in proc": lambda mnt: os.open(mnt / "proc/new", os.O_CREAT | os.O_WRONLY),
    "mknod": lambda mnt: os.mknod(mnt / "new", stat.S_IFREG | 0o600),
    "mkfifo": lambda mnt: os.mkfifo(mnt / "new"),
    "mkdir": lambda mnt: os.mkdir(mnt / "new"),
    "mkdir in proc": lambda mnt: os.mkdir(mnt / "proc/new"),
    "symlink": lambda mnt: os.symlink("scullv0", mnt / "new"),
    "link": lambda mnt: os.link(mnt / "scullv0", mnt / "new"),
    "rename": lambda mnt: os.rename(mnt / "scullv0", mnt / "new"),
    "rename over": lambda mnt: os.rename(mnt / "scullv0", mnt / "scullv1"),
    "rename into proc": lambda mnt: os.rename(mnt / "scullv0", mnt / "proc/scullv0"),
    "unlink": lambda mnt: os.unlink(mnt / "scullv0"),
    "unlink link": lambda mnt: os.unlink(mnt / "scullv"),
    "unlink in proc": lambda mnt: os.unlink(mnt / "proc/meminfo"),
    "rmdir": lambda mnt: os.rmdir(mnt / "proc"),
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_names_stay(mnt: Path, what: str) -> None:
    """Making, renaming and removing names is EPERM, for root, too, and changes nothing."""
    before = names(mnt)
    with fails(errno.EPERM):
        FORBIDDEN[what](mnt)
    assert names(mnt) == before


def test_names_missing(mnt: Path) -> None:
    """What is not there is ENOENT, and where it cannot be ENOTDIR."""
    for path in ("scullv4", "proc/nothing", "x/y"):
        with fails(errno.ENOENT):
            os.stat(mnt / path)
    with fails(errno.ENOTDIR):
        os.stat(mnt / "scullv0/x")


TOO_LONG: dict[str, Callable[[Path, str], object]] = {
    "stat": lambda mnt, name: os.stat(mnt / name),
    "stat in proc": lambda mnt, name: os.stat(mnt / "proc" / name),
    "open": lambda mnt, name: os.open(mnt / name, os.O_RDONLY),
    "create": lambda mnt, name: os.open(mnt / name, os.O_CREAT | os.O_WRONLY),
    "create, exclusive": lambda mnt, name: os.open(mnt / name, os.O_CREAT | os.O_EXCL | os.O_RDWR),
    "mknod": lambda mnt, name: os.mknod(mnt / name, stat.S_IFREG | 0o600),
    "mkfifo": lambda mnt, name: os.mkfifo(mnt / name),
    "mkdir": lambda mnt, name: os.mkdir(mnt / name),
    "symlink": lambda mnt, name: os.symlink("scullv0", mnt / name),
    "link": lambda mnt, name: os.link(mnt / "scullv0", mnt / name),
    "rename": lambda mnt, name: os.rename(mnt / "scullv0", mnt / name),
    "rename from": lambda mnt, name: os.rename(mnt / name, mnt / "scullv0"),
    "rename in proc": lambda mnt, name: os.rename(mnt / "scullv0", mnt / "proc" / name),
    "unlink": lambda mnt, name: os.unlink(mnt / name),
    "rmdir": lambda mnt, name: os.rmdir(mnt / name),
    "truncate": lambda mnt, name: os.truncate(mnt / name, 0),
    "chmod": lambda mnt, name: os.chmod(mnt / name, 0o600),
    "setxattr": lambda mnt, name: os.setxattr(mnt / name, "user.nothing", b""),
    "statvfs": lambda mnt, name: os.statvfs(mnt / name),
}


@pytest.mark.parametrize("what", TOO_LONG)
def test_names_too_long(mnt: Path, what: str) -> None:
    """A name of 255 bytes is one like any other; a longer one is refused, whatever is done."""
    name_max = os.pathconf(mnt, "PC_NAME_MAX")
    assert name_max == 255
    before = names(mnt)
    with pytest.raises(OSError, match=r"No such file|not permitted"):
        TOO_LONG[what](mnt, "n" * name_max)
    for name in ("n" * (name_max + 1), "é" * 128, "n" * 1024, "n" * 2000):
        with fails_as("long-name"):
            TOO_LONG[what](mnt, name)
    assert names(mnt) == before


def test_inode_numbers(mnt: Path) -> None:
    """Each name has a number of its own, listing and stat agree on it, and it stays."""
    with os.scandir(mnt) as entries:
        listed = {entry.name: entry.inode() for entry in entries}
    assert listed == {name: os.lstat(mnt / name).st_ino for name in listed}
    assert len(set(listed.values())) == len(listed)
    assert os.stat(mnt / "scullv").st_ino == listed["scullv0"]
    assert os.stat(mnt).st_ino == 1


def test_nlink(mnt: Path) -> None:
    """A directory has a link for each directory in it, and two of its own."""
    for directory in (mnt, mnt / "proc", mnt / "proc/fs/scullvfs"):
        below = sum(path.is_dir() and not path.is_symlink() for path in directory.iterdir())
        assert os.stat(directory).st_nlink == 2 + below
    assert os.stat(mnt / "scullv0").st_nlink == 1


def test_chmod(scullv0: Path) -> None:
    """The permissions of a device can be changed, and its change time tells."""
    before = os.stat(scullv0)
    os.chmod(scullv0, 0o600)
    after = os.stat(scullv0)
    os.chmod(scullv0, before.st_mode)
    assert (after.st_mode, after.st_mtime_ns) == (stat.S_IFREG | 0o600, before.st_mtime_ns)
    assert after.st_ctime_ns > before.st_ctime_ns
    assert os.stat(scullv0).st_mode == before.st_mode == stat.S_IFREG | 0o664


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_chown(scullv0: Path) -> None:
    """Owner and group of a device can be changed, each for itself."""
    before = os.stat(scullv0)
    os.chown(scullv0, 12, -1)
    os.chown(scullv0, -1, 34)
    after = os.stat(scullv0)
    os.chown(scullv0, before.st_uid, before.st_gid)
    assert (after.st_uid, after.st_gid) == (12, 34)
    assert after.st_ctime_ns > before.st_ctime_ns


@pytest.mark.parametrize("path", [".", "proc", "proc/meminfo"])
def test_chmod_elsewhere(mnt: Path, path: str) -> None:
    """All other permissions are as they are."""
    before = os.stat(mnt / path).st_mode
    with fails(errno.EPERM):
        os.chmod(mnt / path, 0o777)
    assert os.stat(mnt / path).st_mode == before


def test_utime(scullv0: Path) -> None:
    """Access and modification time can be set, to the nanosecond."""
    os.utime(scullv0, ns=(1_000_000_001, 2_000_000_002))
    status = os.stat(scullv0)
    assert (status.st_atime_ns, status.st_mtime_ns) == (1_000_000_001, 2_000_000_002)
    before = time.time_ns()
    os.utime(scullv0)
    assert before - 10**9 < os.stat(scullv0).st_mtime_ns < time.time_ns() + 10**9


@pytest.mark.parametrize("how", ["write", "truncate", "trim"])
def test_mtime(scullv0: Path, fd: int, how: str) -> None:
    """Whatever changes the bytes changes the time of modification; reading does not."""
    write_all(fd, bytes(QUANTUM))
    os.utime(scullv0, ns=(1, 2))
    os.pread(fd, 100, 0)
    assert os.fstat(fd).st_mtime_ns == 2
    if how == "write":
        os.pwrite(fd, b"x", 0)
    elif how == "truncate":
        os.ftruncate(fd, 5)
    else:
        os.close(os.open(scullv0, os.O_WRONLY))
    assert os.fstat(fd).st_mtime_ns > 2


def test_permissions_count(mnt: Path, scullv0: Path) -> None:
    """The kernel checks them: a device that may not be executed is not."""
    assert os.access(scullv0, os.R_OK | os.W_OK)
    assert not os.access(scullv0, os.X_OK)
    with fails(errno.EACCES):
        os.execv(scullv0, ["scullv0"])


def test_statvfs(mnt: Path, fd: int) -> None:
    """The file system is the machine's RAM: its frames, those that are free, and the nodes."""
    before = os.statvfs(mnt)
    assert (before.f_bsize, before.f_frsize, before.f_namemax) == (4096, 4096, 255)
    assert before.f_blocks == 256 * 256 - 1
    kept_back = before.f_bfree - before.f_bavail  # by the watermark
    assert 0 < kept_back < 1024
    assert before.f_bfree <= before.f_blocks
    assert before.f_ffree == 0
    write_all(fd, bytes(16 * QUANTUM))
    assert 256 <= before.f_bfree - os.statvfs(mnt).f_bfree < 270


@pytest.mark.parametrize("name", [".", "scullv0", "proc", "sys/kernel/debug/validate"])
def test_xattr(mnt: Path, name: str) -> None:
    """Nothing has extended attributes or takes one, and the kernel need not ask again for it."""
    calls: list[Callable[[], object]] = [
        lambda: os.listxattr(mnt / name),
        lambda: os.getxattr(mnt / name, "user.x"),
        lambda: os.setxattr(mnt / name, "user.x", b"1"),
        lambda: os.removexattr(mnt / name, "user.x"),
    ]
    for call in calls:
        with fails_as("xattr"):
            call()
