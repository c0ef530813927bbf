"""`scullvfs ioctl` on a real mount: what each command prints and sets, and what it refuses."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from scullvfs.errors import ExitStatus

from ..helpers import Scullvfs, mount_point, mounted_on, program
from .elsewhere import AS_NOBODY

INITIAL = {"order": 4, "qset": 500}


@pytest.fixture(scope="module")
def scullvfs() -> Iterator[Scullvfs]:
    """One program for all tests of the module, as it has one mount."""
    with program() as scullvfs:
        yield scullvfs


@pytest.fixture
def device(scullvfs: Scullvfs, scullv0: Path) -> Path:
    """A device with something in it."""
    scullv0.write_bytes(b"kept")
    return scullv0


def prints(scullvfs: Scullvfs, *arguments: object) -> str:
    """Run `scullvfs ioctl` successfully; returns what it prints."""
    done = scullvfs("ioctl", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def values(mnt: Path) -> dict[str, int]:
    """Order and qset of the module."""
    parameters = mnt / "sys/module/scullv/parameters"
    return {name: int((parameters / f"scullv_{name}").read_text()) for name in INITIAL}


@pytest.mark.long
@pytest.mark.parametrize("name", INITIAL)
def test_ioctl_prints_and_sets(scullvfs: Scullvfs, mnt: Path, device: Path, name: str) -> None:
    """Each command prints what it returns, and sets what it is given; the device stays full."""
    initial = INITIAL[name]
    for command, printed, after in (
        ((f"query-{name}",), f"{initial}\n", initial),
        ((f"get-{name}",), f"{initial}\n", initial),
        ((f"set-{name}", 2), "", 2),
        ((f"tell-{name}", "0x3"), "", 3),
        ((f"exchange-{name}", "+5"), "3\n", 5),
        ((f"shift-{name}", 1), "5\n", 1),
        (("reset",), "", initial),
    ):
        assert prints(scullvfs, device, *command) == printed
        assert values(mnt) == INITIAL | {name: after}
    assert device.read_bytes() == b"kept"


@pytest.mark.parametrize(
    ("command", "value"),
    [
        ("set-order", 19),
        ("tell-order", -1),
        ("exchange-order", -2147483648),
        ("shift-order", 2147483647),
        ("set-qset", 0),
        ("shift-qset", 524288),
    ],
)
def test_ioctl_out_of_range(
    scullvfs: Scullvfs, mnt: Path, device: Path, command: str, value: int
) -> None:
    """The line says what is possible, and nothing changes."""
    done = scullvfs("ioctl", device, command, value)
    assert (done.returncode, done.stdout) == (ExitStatus.USAGE, "")
    assert done.stderr == (
        f"scullvfs: {value} is not possible; an order is 0 to 18, a qset 1 to 524287, "
        "4K << order times qset below 2G\n"
    )
    assert values(mnt) == INITIAL


@pytest.mark.long
def test_ioctl_of_a_cache(scullvfs: Scullvfs, mountpoint: Path) -> None:
    """What scullc's objects have no room for is refused, the default of RESET, too."""
    options = "drivers=scullc,scullc_quantum=100,mem=16M"
    assert scullvfs("mount", "-o", options, mountpoint).returncode == 0
    ranges = (
        "is not possible; a quantum is 1 to 4194304 but no larger than the objects of its cache, "
        "which are as at mount, a qset 1 to 2147483647, quantum times qset below 2G\n"
    )
    for command, what in (("set-quantum 129", "129"), ("reset", "4000, the default,")):
        done = scullvfs("ioctl", mountpoint / "scullc0", *command.split())
        assert (done.returncode, done.stderr) == (2, f"scullvfs: {what} {ranges}")
    assert scullvfs("ioctl", mountpoint / "scullc0", "tell-quantum", "128").returncode == 0
    assert scullvfs("umount", mountpoint).returncode == 0


@pytest.mark.parametrize("name", ["proc/kmsg", "sys/class/scullv/scullv0/order", "sys", "."])
def test_ioctl_other_files_of_the_mount(scullvfs: Scullvfs, mnt: Path, name: str) -> None:
    """Only the devices take commands."""
    done = scullvfs("ioctl", mnt / name, "reset")
    assert (done.returncode, done.stdout) == (ExitStatus.NOT_MOUNTED, "")
    assert done.stderr.endswith("is no device of a driver, or its mount has no ioctl\n")


def test_ioctl_through_the_link(scullvfs: Scullvfs, mnt: Path) -> None:
    """scullv is scullv0."""
    assert prints(scullvfs, mnt / "scullv", "shift-order", 3) == "4\n"
    assert values(mnt)["order"] == 3


@pytest.fixture
def open_to_all(scullvfs: Scullvfs, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A mount that other users may enter, its devices with the permissions in the parameter."""
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)  # pytest's own directories are closed to others
        with (
            mount_point(scullvfs, Path(directory, "mnt")) as path,
            mounted_on(scullvfs, path, f"mem=16M,allow_other,mode={request.param}"),
        ):
            yield path


@pytest.mark.long
@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become another user")
@pytest.mark.parametrize(
    ("open_to_all", "status", "printed"),
    [("0644", ExitStatus.SUCCESS, "4\n"), ("0640", ExitStatus.PERMISSION, "")],
    indirect=["open_to_all"],
    ids=["may read", "may not"],
)
def test_ioctl_as_another_user(
    scullvfs: Scullvfs, open_to_all: Path, status: ExitStatus, printed: str
) -> None:
    """Who may read the device may ask and set; who may not is told so."""
    device = open_to_all / "scullv0"
    done = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, "ioctl", device, "shift-order", "2"],
        env=scullvfs.env,
        capture_output=True,
        text=True,
    )
    refused = f"scullvfs: cannot open {device}: Permission denied\n"
    assert (done.returncode, done.stdout) == (status, printed)
    assert done.stderr == (refused if status else "")
    assert values(open_to_all)["order"] == (4 if status else 2)
