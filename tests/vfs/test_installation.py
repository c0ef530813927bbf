"""The sdist, and the wheel made from it: installed, used far from the checkout, uninstalled."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from .helpers import DEADLINE, SOURCE, Scullvfs, read_all

TOP = [
    *("CHANGELOG.md", "LICENSE", "Makefile", "README.md", "pyproject.toml"),
    *("docs", "scullvfs", "systemd", "tests"),
]
"""What of a checkout goes into an sdist."""

JUNK = {".mo", ".pyc", ".so"}


def files(directory: Path) -> set[str]:
    """Every file below a directory, by its path from there."""
    return {
        str(path.relative_to(directory))
        for path in directory.rglob("*")
        if path.is_symlink() or not path.is_dir()
    }


def run(*command: object, cwd: Path, status: int = 0, **variables: object) -> str:
    """Run a command that has to end so, and to find no checkout; returns what it printed."""
    ours = ("PYTHONPATH", "SCULLVFS_EXTENSION")
    env = {name: value for name, value in os.environ.items() if name not in ours}
    done = subprocess.run(
        [*map(str, command)],
        cwd=cwd,
        env={**env, **{name: str(value) for name, value in variables.items()}},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=4 * DEADLINE,
    )
    assert done.returncode == status, done.stdout
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


def environment(prefix: Path) -> Path:
    """Make a virtual environment that has scullvfs's dependencies, but not scullvfs."""
    venv.create(prefix)
    # A .pth file is not followed to the .pth file of the checkout, an editable installation.
    packages = "lib/python{0.major}.{0.minor}/site-packages/dependencies.pth"
    (prefix / packages.format(sys.version_info)).write_text(sysconfig.get_path("platlib") + "\n")
    return prefix


def pip_into(prefix: Path) -> list[object]:
    """The pip of this Python, at work in another environment."""
    return [sys.executable, "-m", "pip", "--python", prefix / "bin/python"]


@pytest.fixture(scope="module")
def prefix(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An environment with scullvfs installed; it is uninstalled and must leave no file."""
    bare = environment(tmp_path_factory.mktemp("prefix"))
    before = files(bare)
    run(*pip_into(bare), "install", "--no-index", "--no-deps", *dist.glob("*.whl"), cwd=dist)
    yield bare
    run(*pip_into(bare), "uninstall", "--yes", "scullvfs", cwd=dist)
    assert files(bare) == before


def data_files() -> Iterator[tuple[Path, str]]:
    """What is installed beside the package: each file, and the directory below the prefix."""
    setuptools = tomllib.loads((SOURCE / "pyproject.toml").read_text())["tool"]["setuptools"]
    for directory, patterns in setuptools["data-files"].items():
        for pattern in patterns:
            found = sorted(SOURCE.glob(pattern))
            assert found, f"nothing in the checkout is {pattern}"
            yield from ((path, directory) for path in found)


@pytest.mark.long
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


@pytest.mark.long
def test_installed_files(prefix: Path) -> None:
    """Commands, manual pages, completions and whatever else there is, at their places."""
    for path, directory in data_files():
        assert (prefix / directory / path.name).read_bytes() == path.read_bytes()
    assert os.access(prefix / "bin/scullvfs", os.X_OK)
    assert (prefix / "share/man/man8/scullvfs.8").exists()
    (package,) = prefix.glob("lib/*/site-packages/scullvfs")
    assert len([*package.glob("fuse/lowlevel/_interpose.*.so")]) == 1


@pytest.mark.long
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


@pytest.mark.long
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


# -- where the extension cannot be built -----------------------------------------------------------


class Lack(NamedTuple):
    """What a machine lacks, made by variables of the environment."""

    variables: dict[str, object]
    reason: str
    """A regular expression for what is said of it."""


def programs(directory: Path, *names: str) -> Path:
    """A directory for PATH that has these programs alone."""
    directory.mkdir()
    for name in names:
        path = shutil.which(name)
        assert path is not None, name
        (directory / name).symlink_to(path)
    return directory


@pytest.fixture(params=["pkg-config", "compiler", "headers", "python3-dev"])
def lack(request: pytest.FixtureRequest, tmp_path: Path) -> Lack:
    """Each of what the extension is built with, missing."""
    match request.param:
        case "pkg-config":
            path = programs(tmp_path / "bin")
            return Lack({"PATH": path}, r"pkg-config cannot be run \(No such file or directory\)")
        case "compiler":
            path = programs(tmp_path / "bin", "pkg-config")
            return Lack({"PATH": path}, r"there is no C compiler \(\S*gcc\)")
        case "headers":
            return Lack(
                {"PKG_CONFIG_LIBDIR": tmp_path}, r"pkg-config finds no fuse3 \(Package fuse3 "
            )
    # The compiler stops at the first line of the first header, as it does without Python.h.
    bad = tmp_path / "include"
    bad.mkdir()
    (bad / "Python.h").write_text("#error none\n")
    return Lack({"CPPFLAGS": f"-I{bad}"}, r"\S*gcc fails, with the words above")


BUILD_EXT = ("-c", "import setuptools; setuptools.setup()", "build_ext")
"""What pip makes setuptools do, with its many other commands left out."""


@pytest.mark.long
def test_build_without_the_extension(source: Path, lack: Lack) -> None:
    """Is a success that says what is missing, what that costs, and what to install."""
    said = run(sys.executable, *BUILD_EXT, cwd=source, **lack.variables)
    (line,) = [line for line in said.splitlines() if "built without its extension" in line]
    assert re.search(f"built without its extension: {lack.reason}", line)
    assert "no ioctl, SEEK_DATA or fallocate" in line
    assert "Install gcc, pkg-config, libfuse3-dev and python3-dev" in line


@pytest.mark.long
def test_build_that_requires_the_extension(source: Path, lack: Lack) -> None:
    """Then the same is an error."""
    required = {**lack.variables, "SCULLVFS_EXTENSION": "required"}
    said = run(sys.executable, *BUILD_EXT, cwd=source, status=1, **required)
    assert re.search(f"error: the extension cannot be built: {lack.reason}", said)
    assert "Traceback (" not in said


@pytest.mark.long
def test_build_with_another_wish(source: Path) -> None:
    """A slip of the pen is no wish."""
    said = run(sys.executable, *BUILD_EXT, cwd=source, status=1, SCULLVFS_EXTENSION="yes")
    assert "error: SCULLVFS_EXTENSION=yes is not possible; it may be 'required'" in said


@pytest.mark.long
def test_installed_without_the_extension(
    source: Path, scullvfs: Scullvfs, mountpoint: Path, tmp_path: Path
) -> None:
    """The wheel mounts, the doctor knows what it lacks, and its build has left nothing behind."""
    before = files(source)
    pip = [sys.executable, "-m", "pip", "wheel", "-v", "--no-deps", "--no-build-isolation"]
    path = programs(tmp_path / "bin")
    said = run(*pip, "-w", tmp_path, source, cwd=source, PATH=path)
    assert "built without its extension: pkg-config" in said
    assert {name for name in files(source) - before if Path(name).suffix not in JUNK} == set()
    prefix = environment(tmp_path / "prefix")
    run(
        *pip_into(prefix), "install", "--no-index", "--no-deps", *tmp_path.glob("*.whl"), cwd=prefix
    )
    del scullvfs.env["PYTHONPATH"]
    scullvfs.command = [str(prefix / "bin/scullvfs")]
    assert scullvfs("mount", "-o", "mem=16M", mountpoint).returncode == 0
    (mountpoint / "scullv0").write_bytes(b"data")
    assert read_all(mountpoint / "scullv0") == b"data"
    assert scullvfs("umount", mountpoint).returncode == 0
    said = scullvfs("doctor").stdout
    assert "it is not built: the low-level operations are not available" in " ".join(said.split())


@pytest.mark.long
def test_editable_installation(source: Path, tmp_path: Path) -> None:
    """It adds the extension to the checkout, and nothing else."""
    prefix = environment(tmp_path / "prefix")
    before = {name for name in files(source) if not name.endswith(".so")}
    pip = [*pip_into(prefix), "install", "--no-deps", "--no-build-isolation", "-e", source]
    run(*pip, cwd=prefix)
    where = "import scullvfs.fuse.lowlevel._interpose as module; print(module.__file__)"
    module = Path(run(prefix / "bin/python", "-c", where, cwd=prefix).strip())
    assert module.parent == source / "scullvfs/fuse/lowlevel"
    added = files(source) - before - {str(module.relative_to(source))}
    assert {name for name in added if Path(name).suffix not in JUNK} == set()
