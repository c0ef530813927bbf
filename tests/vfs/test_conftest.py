"""The fixtures themselves: what they say where nothing can be mounted."""

from pathlib import Path

import pytest

from .helpers import why_no_fuse


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
