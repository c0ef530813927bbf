"""A test's mount recorded: by itself, and by pytest's option, which keeps what failed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from signal import SIGKILL
from typing import Any

import pytest

from scullvfs.errors import BusyError, ExitStatus
from scullvfs.testing import mounted

from .helpers import Scullvfs
from .test_pytest_plugin import here, suite

__all__ = ["here", "suite"]

pytest_plugins = ["pytester"]


def write(mnt: Any) -> None:
    """Something that is recorded."""
    (mnt / "scullv0").write_bytes(b"hello")
    assert (mnt / "scullv0").read_bytes() == b"hello"


@pytest.mark.long
def test_record(scullvfs: Scullvfs, tmp_path: Path) -> None:
    """From the call to the end of the context; the data is in it, if nothing else is said."""
    for data in (True, False):
        with mounted(mem="16M") as mnt:
            with mnt.record(tmp_path / "run.scull", data=data) as recorded:
                write(mnt)
            os.truncate(mnt / "scullv0", 1)
        text = recorded.path.read_text()
        assert ('"data":"aGVsbG8="' in text) == data
        assert '"call":"truncate"' not in text
        assert scullvfs("replay", tmp_path / "run.scull").returncode == 0


@pytest.mark.long
@pytest.mark.parametrize(
    ("end", "status"),
    [
        (lambda mnt: mnt.unmount(), ExitStatus.SUCCESS),
        (lambda mnt: None, ExitStatus.SUCCESS),
        (lambda mnt: os.kill(mnt.pid, SIGKILL), ExitStatus.BAD_FILE),
    ],
)
def test_end_of_the_mount(
    scullvfs: Scullvfs, tmp_path: Path, end: Callable[[Any], None], status: ExitStatus
) -> None:
    """It ends with the mount, which it does not keep busy; one that died leaves it cut."""
    with mounted(mem="16M") as mnt:
        recorded = mnt.record(tmp_path / "run.scull")
        write(mnt)
        end(mnt)
    recorded.undo()
    assert scullvfs("replay", tmp_path / "run.scull").returncode == status


def test_refused(tmp_path: Path) -> None:
    """A mount that was used, and a second recording."""
    with mounted(mem="16M") as mnt:
        with mnt.record(tmp_path / "one"), pytest.raises(BusyError, match="fresh mount"):
            mnt.record(tmp_path / "two")
        write(mnt)
        with pytest.raises(BusyError, match="was used before"):
            mnt.record(tmp_path / "three")
        assert mnt.standing == []


@pytest.mark.long
def test_option_of_pytest(suite: Any, scullvfs: Scullvfs, tmp_path: Path) -> None:
    """Of a test that fails the recording stays, and how to replay it is said; of others none."""
    result = suite(
        """
        import pytest

        def test_well(scullvfs_mount):
            (scullvfs_mount / "scullv0").write_bytes(b"x")

        @pytest.mark.parametrize("name", ["a/b c"])
        def test_bad(scullvfs_mount_factory, name):
            one, two = scullvfs_mount_factory(seed=3), scullvfs_mount_factory(devs=1)
            (two / "scullv0").write_bytes(b"x")
            assert (two / "scullv0").read_bytes() == b"y"
        """,
        "--scullvfs-record",
        str(tmp_path / "kept"),
    )
    result.assert_outcomes(passed=1, failed=1)
    kept = sorted((tmp_path / "kept").iterdir())
    assert [path.name.rpartition("::")[2] for path in kept] == [
        "test_option_of_pytest.py-test_bad-a-b-c-1.scull",
        "test_option_of_pytest.py-test_bad-a-b-c-2.scull",
    ]
    for path in kept:
        result.stdout.fnmatch_lines([f"recorded; to make its calls again: scullvfs replay {path}"])
        assert scullvfs("replay", path).returncode == 0
