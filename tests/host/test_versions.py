"""The versions of what scullvfs stands on."""

import sys
from importlib import metadata
from pathlib import Path

import pytest

import scullvfs
from scullvfs.host import versions


@pytest.mark.parametrize("name", ["pyfuse3", "trio", "click", "psutil", "pytest-xdist"])
def test_package(name: str) -> None:
    """What the name of a package's directory says is what is in there."""
    assert versions.package(name) == metadata.version(name)


@pytest.mark.parametrize("suffix", [".dist-info", ".egg-info", "-py3.13.egg-info"])
def test_package_forms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    """Those of pip, and of Debian's packages; the first on the path counts."""
    monkeypatch.setattr(sys, "path", [str(tmp_path / "none"), str(tmp_path), *sys.path])
    (tmp_path / f"trio_websocket-7.0{suffix}").mkdir()
    (tmp_path / f"Trio-99.1.dev0{suffix}").mkdir()
    assert versions.package("trio") == "99.1.dev0"


def test_package_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """There is no such package."""
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert versions.package("trio") is None


def test_libfuse() -> None:
    """The library says a version of its own."""
    assert versions.libfuse().startswith("3.")


def test_version_is_that_of_the_metadata() -> None:
    """What the program says of itself is what pip says of it."""
    assert scullvfs.__version__ == metadata.version("scullvfs")
