"""Who may do what in a mount: root's, open to all, with a second and a third user."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from scullvfs.mounts.probe import ask
from scullvfs.scull import COMMANDS

from ..scull.helpers import fails
from .helpers import DEADLINE, mount_point, mounted_on, opened, program
from .troubles import fails_as

OWNER, MEMBER, OTHER = (65531, 65531), (65532, 65530), (65533, 65533)
"""uid and gid of the owner of the devices, of a user in their group, and of a stranger."""
GROUP = 65530
NOWHERE = "00000000-00000000"

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")


@pytest.fixture(scope="module")
def everybodys() -> Iterator[Path]:
    """A mount that lets others in, its devices 0640; pytest's own directories are closed."""
    options = f"mem=16M,allow_other,uid={OWNER[0]},gid={GROUP},mode=0640"
    with tempfile.TemporaryDirectory() as directory, program() as scullvfs:
        os.chmod(directory, 0o755)
        with (
            mount_point(scullvfs, Path(directory, "mnt")) as path,
            mounted_on(scullvfs, path, options),
        ):
            yield path


@pytest.fixture
def device(everybodys: Path) -> Path:
    """The first device, 0640 of its owner and group, with something in it."""
    path = everybodys / "scullv0"
    os.chmod(path, 0o640)
    os.chown(path, OWNER[0], GROUP)
    path.write_bytes(b"data")
    return path


def by(user: tuple[int, int], call: Callable[[], Any]) -> str:
    """What a call gives another user; raises what it raises there."""
    return ask(lambda: str(call()).encode(), timeout=DEADLINE, identity=user).decode()


def reads(path: Path) -> Callable[[], bytes]:
    """Reading a file whole."""
    return path.read_bytes


def opens(path: Path, flags: int) -> Callable[[], None]:
    """Opening a file and closing it again."""
    return lambda: os.close(os.open(path, flags))


def test_owner(device: Path) -> None:
    """The owner reads and writes, empties and controls the device."""
    assert by(OWNER, lambda: device.write_bytes(b"owner's")) == "7"
    assert by(OWNER, reads(device)) == str(b"owner's")
    assert by(OWNER, lambda: os.truncate(device, 2)) == "None"
    assert device.read_bytes() == b"ow"

    def order() -> int:
        with opened(device) as fd:
            return fcntl.ioctl(fd, COMMANDS["QORDER"])

    assert by(OWNER, order) == "4"


def test_group(device: Path) -> None:
    """A member of the group only reads, as the mode says."""
    assert by(MEMBER, reads(device)) == str(b"data")
    for flags in (os.O_WRONLY, os.O_RDWR):
        with fails_as("permission"):
            by(MEMBER, opens(device, flags))
    with fails_as("permission"):
        by(MEMBER, lambda: os.truncate(device, 0))
    assert device.read_bytes() == b"data"


def test_others(device: Path) -> None:
    """A stranger sees the device's attributes, and nothing of what is in it."""
    assert by(OTHER, lambda: os.stat(device).st_size) == "4"
    for flags in (os.O_RDONLY, os.O_WRONLY, os.O_RDONLY | os.O_TRUNC):
        with fails_as("permission"):
            by(OTHER, opens(device, flags))
    assert device.read_bytes() == b"data"


@pytest.mark.long
def test_others_read_proc(everybodys: Path) -> None:
    """What shows addresses or the kernel log is the owner's alone; the rest everyone reads."""
    assert "MemTotal" in by(OTHER, (everybodys / "proc/meminfo").read_text)
    iomem = everybodys / "proc/iomem"
    hidden = re.sub(r"\w{8,}-\w{8,}", NOWHERE, by(OWNER, iomem.read_text))
    assert by(OTHER, iomem.read_text) == hidden != by(OWNER, iomem.read_text)
    for name in ("vmallocinfo", "kmsg", "slabinfo", "pagetypeinfo"):
        with fails_as("permission"):
            by(OTHER, reads(everybodys / "proc" / name))
        by(OWNER, reads(everybodys / "proc" / name))


def test_chmod_by_the_owner(device: Path) -> None:
    """The owner opens the device to others, and the kernel goes by the new mode at once."""
    by(OWNER, lambda: os.chmod(device, 0o644))
    assert stat.S_IMODE(os.stat(device).st_mode) == 0o644
    assert by(OTHER, reads(device)) == str(b"data")
    by(OWNER, lambda: os.chmod(device, 0o600))
    with fails_as("permission"):
        by(MEMBER, reads(device))


@pytest.mark.parametrize("user", [MEMBER, OTHER], ids=["member", "other"])
def test_chmod_by_others(device: Path, user: tuple[int, int]) -> None:
    """Nobody else changes the mode or the times."""
    with fails_as("not-owner"):
        by(user, lambda: os.chmod(device, 0o666))
    with fails(errno.EPERM):
        by(user, lambda: os.utime(device, (1, 1)))
    assert stat.S_IMODE(os.stat(device).st_mode) == 0o640


def test_chown(device: Path) -> None:
    """Only root gives a device away; an owner may give it to a group of theirs."""
    for user in (OWNER, MEMBER, OTHER):
        with fails(errno.EPERM):
            by(user, lambda: os.chown(device, OTHER[0], -1))
    with fails(errno.EPERM):
        by(OWNER, lambda: os.chown(device, -1, OTHER[1]))
    by(OWNER, lambda: os.chown(device, -1, OWNER[1]))
    assert (os.stat(device).st_uid, os.stat(device).st_gid) == OWNER
    os.chown(device, *OTHER)
    assert by(OTHER, reads(device)) == str(b"data")
    with fails_as("permission"):
        by(OWNER, reads(device))


@pytest.mark.long
def test_chmod_by_the_owner_elsewhere(everybodys: Path) -> None:
    """All but the devices is fixed, for its owner, too."""
    for name in (".", "proc", "proc/meminfo", "sys/module/scullv/parameters/scullv_order"):
        for call in (os.chmod, os.chown):
            arguments = (0o777,) if call is os.chmod else (-1, OWNER[1])
            with fails_as("fixed-mode"):
                by(OWNER, lambda call=call, a=arguments, n=name: call(everybodys / n, *a))


def test_root(device: Path) -> None:
    """Root may everything that the mode says, and is not held by it."""
    os.chmod(device, 0)
    assert device.read_bytes() == b"data"
