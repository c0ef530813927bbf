"""The sdist, and the wheel made from it: installed, used far from the checkout, uninstalled."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

from .helpers import DEADLINE, SOURCE, Scullvfs, read_all

TOP = [
    *("CHANGELOG.md", "LICENSE", "Makefile", "README.md", "pyproject.toml"),
    *("docs", "scullvfs", "systemd", "tests"),
]
"""What of a checkout goes into an sdist."""

JUNK = {".pyc", ".so"}


def files(directory: Path) -> set[str]:
    """Every file below a directory, by its path from there."""
    return {
        str(path.relative_to(directory))
        for path in directory.rglob("*")
        if path.is_symlink() or not path.is_dir()
    }


def run(*command: object, cwd: Path) -> str:
    """Run a command that has to succeed, and to find no checkout; returns what it printed."""
    done = subprocess.run(
        [*map(str, command)],
        cwd=cwd,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=4 * DEADLINE,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout, with whatever lies about there."""
    copy = tmp_path_factory.mktemp("source")
    for path in filter(Path.exists, (SOURCE / name for name in TOP)):
        if path.is_dir():
            shutil.copytree(path, copy / path.name)
        else:
            shutil.copy(path, copy)
    return copy


@pytest.fixture(scope="module")
def dist(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the sdist is, and the wheel that was built from the sdist, not from the checkout."""
    dist = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", dist, cwd=source)
    return dist


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment that has scullvfs's dependencies, but not scullvfs."""
    prefix = tmp_path_factory.mktemp("prefix")
    venv.create(prefix)
    # A .pth file is not followed to the .pth file of the checkout, an editable installation.
    packages = "lib/python{0.major}.{0.minor}/site-packages/dependencies.pth"
    (prefix / packages.format(sys.version_info)).write_text(sysconfig.get_path("platlib") + "\n")
    return prefix


@pytest.fixture(scope="module")
def prefix(bare: Path, dist: Path) -> Iterator[Path]:
    """The same with scullvfs installed; it is uninstalled and must leave no file."""
    before = files(bare)
    pip = [sys.executable, "-m", "pip", "--python", bare / "bin/python"]
    run(*pip, "install", "--no-index", "--no-deps", *dist.glob("*.whl"), cwd=dist)
    yield bare
    run(*pip, "uninstall", "--yes", "scullvfs", cwd=dist)
    assert files(bare) == before


def data_files() -> Iterator[tuple[Path, str]]:
    """What is installed beside the package: each file, and the directory below the prefix."""
    setuptools = tomllib.loads((SOURCE / "pyproject.toml").read_text())["tool"]["setuptools"]
    for directory, patterns in setuptools["data-files"].items():
        for pattern in patterns:
            found = sorted(SOURCE.glob(pattern))
            assert found, f"nothing in the checkout is {pattern}"
            yield from ((path, directory) for path in found)


def test_sdist_is_the_checkout(source: Path, dist: Path) -> None:
    """All that git has is in it, tests and documentation included, and nothing built."""
    (sdist,) = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {member.name.partition("/")[2] for member in archive if member.isfile()}
    made = {name for name in names if ".egg-info/" in name} | {"PKG-INFO", "setup.cfg"}
    wanted = {
        name for name in files(source) if Path(name).suffix not in JUNK and ".egg-info/" not in name
    }
    assert names - made == wanted


def test_installed_files(prefix: Path) -> None:
    """Commands, manual pages, completions and whatever else there is, at their places."""
    for path, directory in data_files():
        assert (prefix / directory / path.name).read_bytes() == path.read_bytes()
    assert os.access(prefix / "bin/scullvfs", os.X_OK)
    assert (prefix / "share/man/man8/scullvfs.8").exists()
    (package,) = prefix.glob("lib/*/site-packages/scullvfs")
    assert len([*package.glob("fuse/lowlevel/_interpose.*.so")]) == 1


def test_installed_program_mounts(prefix: Path, scullvfs: Scullvfs, mountpoint: Path) -> None:
    """The wheel works where there is no checkout, low-level extension included."""
    del scullvfs.env["PYTHONPATH"]
    scullvfs.command = [str(prefix / "bin/scullvfs")]
    done = scullvfs("mount", "-o", "mem=16M", mountpoint)
    assert (done.returncode, done.stderr) == (0, "")
    (mountpoint / "scullv0").write_bytes(b"data")
    assert read_all(mountpoint / "scullv0") == b"data"
    order = scullvfs("ioctl", mountpoint / "scullv0", "query-order")
    assert scullvfs("umount", mountpoint).returncode == 0
    assert (order.stdout, order.stderr) == ("4\n", "")
    where = "import scullvfs.fuse.lowlevel._interpose as module; print(module.__file__)"
    assert run(prefix / "bin/python", "-c", where, cwd=prefix).startswith(f"{prefix}/")


def test_installed_bash_completion(prefix: Path) -> None:
    """The file that bash-completion loads makes bash complete a command."""
    line = "scullvfs umo"
    script = f"""
        . {prefix}/share/bash-completion/completions/scullvfs
        COMP_LINE='{line}' COMP_POINT={len(line)} COMP_WORDS=({line}) COMP_CWORD=1
        completion=$(complete -p scullvfs | sed 's/.* -F \\([^ ]*\\) .*/\\1/')
        $completion scullvfs umo scullvfs
        echo "${{COMPREPLY[@]}}"
    """
    path = f"{prefix}/bin:{os.environ['PATH']}"
    assert run("env", f"PATH={path}", "bash", "-c", script, cwd=prefix) == "umount\n"
