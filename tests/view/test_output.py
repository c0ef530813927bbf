"""The file of a picture: all of it, or what was there before."""

from __future__ import annotations

from pathlib import Path

import pytest

from scullvfs.errors import ScullvfsError, UsageError
from scullvfs.view.output import check_output, write_output


@pytest.mark.parametrize("name", ["picture.png", "picture", ".", "missing/picture.svg", "d.svg"])
def test_places_that_cannot_be(tmp_path: Path, name: str) -> None:
    """It is said before anything is read."""
    (tmp_path / "d.svg").mkdir()
    with pytest.raises(UsageError, match=r"-o .* is not possible"):
        check_output(str(tmp_path / name), ".svg")


def test_link(tmp_path: Path) -> None:
    """A link stays, and what it leads to is another one, with the permissions that it had."""
    (tmp_path / "far").mkdir()
    target, link = tmp_path / "far/picture.svg", tmp_path / "link.svg"
    target.write_text("old")
    target.chmod(0o640)
    link.symlink_to(target)
    check_output(str(link), ".svg")
    write_output(str(link), "new")
    assert link.is_symlink()
    assert (target.read_text(), target.stat().st_mode & 0o777) == ("new", 0o640)


def test_what_was_there_stays(tmp_path: Path) -> None:
    """Where writing fails, of whatever reason, and nothing else is left behind."""
    path = tmp_path / "picture.svg"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        write_output(str(path), "new\ud800")
    assert [*tmp_path.iterdir()] == [path]
    assert path.read_text() == "old"
    with pytest.raises(ScullvfsError, match=r"cannot write .*: No such file or directory"):
        write_output(str(tmp_path / "missing/picture.svg"), "new")
