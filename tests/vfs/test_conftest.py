"""The fixtures themselves: what they say where nothing can be mounted, and nobody may read."""

import os
import tempfile
from pathlib import Path

import pytest

from .helpers import closed_to_others, why_no_fuse


def test_why_no_fuse() -> None:
    """Here something can be mounted."""
    assert why_no_fuse() is None


def test_why_no_fuse_device(tmp_path: Path) -> None:
    """A missing device has its reason."""
    assert why_no_fuse(str(tmp_path / "fuse")) == f"{tmp_path}/fuse: No such file or directory"


def test_why_no_fuse_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing fusermount3 has its reason."""
    monkeypatch.setenv("PATH", "/nowhere")
    assert why_no_fuse() == "fusermount3 is not installed"


def test_closed_to_others() -> None:
    """The first directory that others may not enter, from the root on."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:  # pytest's are closed, too
        os.chmod(name, 0o755)
        closed = Path(name, "closed")
        inside = closed / "inside"
        closed.mkdir(mode=0o700)
        inside.mkdir(mode=0o700)
        assert closed_to_others(inside) == closed
        closed.chmod(0o711)
        assert closed_to_others(inside) == inside
        inside.chmod(0o755)
        assert closed_to_others(inside) is None
