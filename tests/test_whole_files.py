"""A file that is written: all of it, or what was there before."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from scullvfs.errors import ScullvfsError
from scullvfs.whole_files import whole_file


def write(path: Path, data: bytes) -> None:
    """Write it."""
    with whole_file(str(path)) as file:
        file.write(data)


def test_link(tmp_path: Path) -> None:
    """A link stays, and what it leads to is another one, with the permissions that it had."""
    (tmp_path / "far").mkdir()
    target, link = tmp_path / "far/file", tmp_path / "link"
    target.write_text("old")
    target.chmod(0o640)
    link.symlink_to(target)
    write(link, b"new")
    assert link.is_symlink()
    assert (target.read_text(), target.stat().st_mode & 0o777) == ("new", 0o640)


def test_permissions(tmp_path: Path) -> None:
    """Of a new one they are what the user's mask says."""
    before = os.umask(0o027)
    try:
        write(tmp_path / "file", b"")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


def test_what_was_there_stays(tmp_path: Path) -> None:
    """Where writing fails, of whatever reason, and nothing else is left behind."""
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(TypeError):
        write(path, "new")  # type: ignore[arg-type]
    assert [*tmp_path.iterdir()] == [path]
    assert path.read_text() == "old"
    with pytest.raises(ScullvfsError, match=r"cannot write .*: No such file or directory"):
        write(tmp_path / "missing/file", b"new")


def test_no_file_is_replaced(tmp_path: Path) -> None:
    """A pipe, a directory, a device, a link to itself: each stays what it is."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "directory").mkdir()
    (tmp_path / "null").symlink_to("/dev/null")
    (tmp_path / "round").symlink_to("round")
    before = {path: path.lstat() for path in tmp_path.iterdir()}
    for path in before:
        with pytest.raises(ScullvfsError, match=r"it is there, and is no file|Is a directory"):
            write(path, b"new")
    assert {path: path.lstat() for path in tmp_path.iterdir()} == before


def test_long_name(tmp_path: Path) -> None:
    """As long as a name may be; the one that it has meanwhile is no longer."""
    write(tmp_path / ("x" * 255), b"new")
    assert (tmp_path / ("x" * 255)).read_bytes() == b"new"
