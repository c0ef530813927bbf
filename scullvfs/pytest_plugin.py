"""pytest's plugin `scullvfs`: fixtures that mount for a test, over `scullvfs.testing`.

pytest loads it in every run of an environment that has scullvfs (entry point `pytest11`), so
it imports nothing until a fixture is used; pytest itself is there then.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import pytest

if TYPE_CHECKING:
    from scullvfs.testing import Mount, Recorded

__all__ = ["MountFactory", "scullvfs_mount", "scullvfs_mount_factory"]

_FAILED: Final = pytest.StashKey[bool]()
"""Whether a test has failed, by what of it is over."""


class MountFactory(Protocol):
    """What the fixture `scullvfs_mount_factory` is: `scullvfs.testing.mounted` till the end."""

    def __call__(
        self, *, mountpoint: str | os.PathLike[str] | None = None, **options: str | int
    ) -> Mount:
        """Mount with these options, which win over those of the marker and the ini file."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """The settings of the ini file."""
    parser.addini("scullvfs_options", "mount options of every mount, as after -o", default="")
    parser.addini(
        "scullvfs_skip_without_fuse",
        "skip tests that cannot mount here, instead of failing them",
        type="bool",
        default=False,
    )
    parser.getgroup("scullvfs").addoption(
        "--scullvfs-record",
        metavar="DIR",
        help="record the fixtures' mounts, and keep in DIR the recordings of tests that fail",
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Tell the fixtures, which end later, whether the test has failed."""
    report = yield
    item.stash[_FAILED] = item.stash.get(_FAILED, False) or report.failed
    return report


def pytest_configure(config: pytest.Config) -> None:
    """The marker, for --strict-markers."""
    config.addinivalue_line(
        "markers", "scullvfs(**options): mount options of the mounts that the test's fixtures make"
    )


@pytest.fixture
def scullvfs_mount(scullvfs_mount_factory: MountFactory) -> Mount:
    """A mount for this test, with the options of its `scullvfs` marker.

    What the test has it do wrong (`Mount.fail()` and the others) ends with it.
    """
    return scullvfs_mount_factory()


@pytest.fixture
def scullvfs_mount_factory(request: pytest.FixtureRequest) -> Iterator[MountFactory]:
    """Makes mounts for this test, each with the options that it is called with."""
    from scullvfs.errors import FuseMissingError, RefusedError
    from scullvfs.testing import mounted

    defaults = _from_ini(request.config) | _from_markers(request)
    skip = request.config.getini("scullvfs_skip_without_fuse")
    mounts: list[Mount] = []
    recordings: list[Recorded] = []
    directory = request.config.getoption("--scullvfs-record")

    with ExitStack() as stack:

        def make(
            *, mountpoint: str | os.PathLike[str] | None = None, **options: str | int
        ) -> Mount:
            context = mounted(mountpoint=mountpoint, **(defaults | options))
            try:
                mount = stack.enter_context(context)
            except (FuseMissingError, RefusedError) as error:
                if skip:
                    pytest.skip(f"scullvfs: {error}")
                raise
            mounts.append(mount)
            if directory is not None:
                recordings.append(mount.record(_recording_of(request, directory, len(mounts))))
            return mount

        yield make
        for recording in recordings:
            recording.undo()
            if request.node.stash.get(_FAILED, False):
                print(
                    f"recorded; to make its calls again: scullvfs replay {recording.path}",
                    file=sys.stderr,
                )
            else:
                recording.path.unlink()
        for mount in mounts:
            print(mount.log(), end="", file=sys.stderr)  # pytest shows it if the test has failed


def _recording_of(request: pytest.FixtureRequest, directory: str, number: int) -> Path:
    """The file of a test's mount; one directory does for many runs, of several processes."""
    os.makedirs(directory, exist_ok=True)
    test = re.sub(r"[^\w.=-]+", "-", request.node.nodeid)[-150:].strip("-")
    return Path(directory).absolute() / f"{test}-{number}.scull"


def _from_ini(config: pytest.Config) -> dict[str, str | int]:
    """The options of the ini file; one without a value is True."""
    from scullvfs.options.optstring import split, unescape

    items = map(unescape, split(config.getini("scullvfs_options")))
    words = [item.partition("=") for item in items]
    return {name.strip(): value if equals else True for name, equals, value in words}


def _from_markers(request: pytest.FixtureRequest) -> dict[str, str | int]:
    """The options of the markers; the one that is closest to the test wins."""
    options: dict[str, str | int] = {}
    for marker in reversed(list(request.node.iter_markers("scullvfs"))):
        if marker.args:
            raise pytest.UsageError("the marker scullvfs takes options by name: scullvfs(order=2)")
        options |= marker.kwargs
    return options
