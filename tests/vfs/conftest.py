"""Fixtures for real mounts, each with its proof that nothing is left of it."""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from .helpers import (
    SOURCE,
    Scullvfs,
    closed_to_others,
    empty,
    mount_point,
    mounted_on,
    opened,
    program,
    wait_until,
    why_no_fuse,
)


@pytest.fixture(scope="session", autouse=True)
def fuse() -> None:
    """Without FUSE these tests are skipped, and say why; in CI they fail."""
    reason = why_no_fuse()
    if reason is not None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI has to run the tests of real mounts: {reason}")
        pytest.skip(f"no real mounts here: {reason}")


@pytest.fixture(scope="session")
def open_to_others() -> None:
    """Where nobody may read this checkout, tests that need it are skipped; in CI they fail."""
    for path in (SOURCE, Path(sysconfig.get_path("platlib"))):
        closed = closed_to_others(path)
        if closed is not None:
            reason = f"{closed} is closed, and user nobody has to read {path}: chmod o+x {closed}"
            if os.environ.get("CI") == "true":
                pytest.fail(f"CI has to run the tests of an ordinary user: {reason}")
            pytest.skip(reason)


@pytest.fixture(scope="session", autouse=True)
def state_home() -> Iterator[Path]:
    """Where the daemons of all tests and users log on a machine without syslog."""
    with TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        path = Path(name, "state")
        path.mkdir()
        path.parent.chmod(0o755)
        path.chmod(0o1777)
        patch.setenv("XDG_STATE_HOME", str(path))
        yield path


@pytest.fixture
def scullvfs() -> Iterator[Scullvfs]:
    """The program; no process of it may outlive the test."""
    with program() as scullvfs:
        yield scullvfs


@pytest.fixture
def mountpoint(tmp_path: Path, scullvfs: Scullvfs) -> Iterator[Path]:
    """An empty directory; no mount on it may outlive the test."""
    with mount_point(scullvfs, tmp_path / "mount point") as path:
        yield path


@pytest.fixture
def mounted(scullvfs: Scullvfs, mountpoint: Path) -> Iterator[Path]:
    """A mount with little RAM; unmounted at the end, unless the test has done so."""
    with mounted_on(scullvfs, mountpoint, "mem=16M") as path:
        yield path


@pytest.fixture
def mount(tmp_path: Path, scullvfs: Scullvfs) -> Iterator[Callable[[str], Path]]:
    """Mounts with the options it is given, each time on a directory of its own."""
    with ExitStack() as stack:
        count = 0

        def mount(options: str) -> Path:
            nonlocal count
            count += 1
            path = stack.enter_context(mount_point(scullvfs, tmp_path / f"mnt{count}"))
            return stack.enter_context(mounted_on(scullvfs, path, options))

        yield mount


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One mount for all tests of a module, with 256 MiB of RAM."""
    with (
        program() as scullvfs,
        mount_point(scullvfs, tmp_path_factory.mktemp("shared") / "mnt") as path,
        mounted_on(scullvfs, path, "mem=256M"),
    ):
        yield path


@pytest.fixture
def mnt(shared: Path) -> Path:
    """The module's mount, its devices emptied and with quanta of 64 KiB."""
    empty(shared)
    return shared


@pytest.fixture
def scullv0(mnt: Path) -> Path:
    """The first device of the module's mount, empty."""
    return mnt / "scullv0"


@pytest.fixture
def fd(scullv0: Path) -> Iterator[int]:
    """A descriptor for reading and writing the first device, which is empty."""
    with opened(scullv0) as fd:
        yield fd


@pytest.fixture
def wait() -> Callable[[Callable[[], object], str], None]:
    """`wait_until`, for the tests."""
    return wait_until
