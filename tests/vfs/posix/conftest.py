"""A suite of file tests runs on tmpfs, and on devices with `semantics=file`, and `writeback`, too.

tmpfs proves the expectation first, then the device has to meet it.  Where the two may
differ (holes go by the page there, by the quantum here), the tests assert what holds for
any granularity.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scullvfs.mounts.mountinfo import mount_at

from ..helpers import mount_point, mounted_on, program
from .helpers import OPTIONS


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One mount with the rules of files for all tests of a module."""
    with (
        program() as scullvfs,
        mount_point(scullvfs, tmp_path_factory.mktemp("posix") / "mnt") as path,
        mounted_on(scullvfs, path, OPTIONS),
    ):
        yield path


@pytest.fixture(scope="module")
def written_back(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The same with `writeback`."""
    with (
        program() as scullvfs,
        mount_point(scullvfs, tmp_path_factory.mktemp("posix") / "mnt") as path,
        mounted_on(scullvfs, path, f"{OPTIONS},writeback"),
    ):
        yield path


@pytest.fixture
def mnt(shared: Path) -> Path:
    """The module's mount, its devices empty."""
    return _emptied(shared)


def _emptied(mnt: Path) -> Path:
    for device in mnt.glob("scullv[0-9]"):
        os.truncate(device, 0)
    return mnt


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Where the two files of `pair` are; `at_once` tests want them to be in the driver."""
    if "pair" in metafunc.fixturenames and not hasattr(metafunc.module, "pair"):
        places = ["tmpfs", "device", "writeback"]
        if metafunc.definition.get_closest_marker("at_once"):
            places.remove("writeback")
        metafunc.parametrize("pair", places, indirect=True)


@pytest.fixture
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[Path, Path]]:
    """Two empty files: on tmpfs, and devices."""
    if request.param == "tmpfs":
        shm = mount_at("/dev/shm")
        assert shm is not None
        assert shm.fstype == "tmpfs"
        with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
            paths = Path(directory) / "one", Path(directory) / "two"
            for path in paths:
                path.touch()
            yield paths
    else:
        shared: Path = request.getfixturevalue(
            "written_back" if request.param == "writeback" else "shared"
        )
        mnt = _emptied(shared)
        yield mnt / "scullv0", mnt / "scullv1"


@pytest.fixture
def path(pair: tuple[Path, Path]) -> Path:
    """An empty file."""
    return pair[0]


@pytest.fixture
def opened(path: Path) -> Iterator[Callable[[int], int]]:
    """Opens the file with these flags; closed at the end."""
    fds: list[int] = []

    def opened(flags: int) -> int:
        fds.append(os.open(path, flags))
        return fds[-1]

    yield opened
    for fd in fds:
        os.close(fd)


@pytest.fixture
def fd(opened: Callable[[int], int]) -> int:
    """The empty file, open for reading and writing."""
    return opened(os.O_RDWR)
