"""/proc/self/mountinfo."""

from pathlib import Path

import pytest

from scullvfs.mounts import mountinfo
from scullvfs.mounts.mountinfo import Mount, mount_at, read_mounts

LISTING = rb"""22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
30 22 0:40 / /mnt/a\040b\134c rw,nosuid,nodev - fuse.scullvfs scullvfs rw,user_id=7,group_id=8
31 22 0:41 / /mnt/plain rw shared:3 master:2 - tmpfs tmpfs rw
32 31 0:42 / /mnt/plain rw - ramfs none rw
"""


@pytest.fixture
def listing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A mountinfo of our own."""
    path = tmp_path / "mountinfo"
    path.write_bytes(LISTING)
    monkeypatch.setattr(mountinfo, "read_mounts", lambda: read_mounts(path))
    return path


def test_read_mounts(listing: Path) -> None:
    """Optional fields are skipped, and the kernel's escapes undone."""
    ext4, scullvfs, *_ = read_mounts(listing)
    assert ext4 == Mount("254:0", "/", "ext4", ("rw", "discard"), source="/dev/vda", id=22)
    assert scullvfs.path == "/mnt/a b\\c"
    assert (scullvfs.user_id, scullvfs.group_id) == (7, 8)
    assert scullvfs.is_scullvfs
    assert not ext4.is_scullvfs


def test_read_mounts_of_a_part(tmp_path: Path) -> None:
    """A part of a file system that is bound elsewhere is told from the whole."""
    path = tmp_path / "mountinfo"
    path.write_bytes(b"33 22 0:40 /scullv0 /dev/scullv0 rw - fuse.scullvfs scullvfs rw\n")
    assert [(mount.root, mount.path) for mount in read_mounts(path)] == [
        ("/scullv0", "/dev/scullv0")
    ]


def test_read_mounts_of_this_process() -> None:
    """The real one can be read, and has a root."""
    assert "/" in [mount.path for mount in read_mounts()]


@pytest.mark.usefixtures("listing")
def test_mount_at() -> None:
    """The uppermost mount counts, and only one on exactly this path."""
    assert mount_at("/mnt/plain") == Mount("0:42", "/mnt/plain", "ramfs", ("rw",), "/", "none", 32)
    assert mount_at("/mnt") is None


@pytest.mark.usefixtures("listing")
def test_is_mounted_under_another() -> None:
    """A mount with another one on top of it is not what its path leads to."""
    below, above = mountinfo.read_mounts()[2:]
    assert not mountinfo.is_mounted(below)
    assert mountinfo.is_mounted(above)
