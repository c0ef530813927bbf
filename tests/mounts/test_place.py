"""Finding a mount point without touching its mount."""

import errno
import os
from pathlib import Path

import pytest

from scullvfs.mounts import place
from scullvfs.mounts.mountinfo import Mount
from scullvfs.mounts.place import resolve


def test_resolve_like_realpath(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing is mounted, it says what os.path.realpath says."""
    (tmp_path / "dir" / "sub").mkdir(parents=True)
    (tmp_path / "link").symlink_to("dir/sub")
    (tmp_path / "twice").symlink_to(tmp_path / "link")
    (tmp_path / "dangling").symlink_to("nowhere")
    monkeypatch.chdir(tmp_path)
    for path in ("dir", "dir/", "./dir//sub/", "link", "twice/", "link/..", ".", "..", "/"):
        assert resolve(path) == os.path.realpath(path)
    for path in ("dangling", "missing", "missing/deeper"):
        assert resolve(path) == os.path.realpath(path)


def test_resolve_looks_at_no_mount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is mounted is taken as it is, even through a symbolic link, without a look at it."""
    (tmp_path / "link").symlink_to("mnt")
    mount = Mount("0:99", str(tmp_path / "mnt"), "fuse.scullvfs", ())
    monkeypatch.setattr(place, "read_mounts", lambda: [mount])
    looked_at = []
    readlink = os.readlink
    monkeypatch.setattr(os, "readlink", lambda path: looked_at.append(path) or readlink(path))
    assert resolve(str(tmp_path / "link")) == mount.path
    assert looked_at[-1] == str(tmp_path / "link")
    assert mount.path not in looked_at


def test_resolve_loop(tmp_path: Path) -> None:
    """Symbolic links that go round in circles are the kernel's ELOOP."""
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
        resolve(str(tmp_path / "one"))


def test_resolve_empty_path() -> None:
    """An empty path is no path; it is not the working directory."""
    with pytest.raises(FileNotFoundError):
        resolve("")
