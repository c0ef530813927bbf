"""`scullvfs mount` in a control group whose limit is below `mem=`, where root can make one."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from scullvfs.host.memory import V1, V2, Version, needed_memory
from scullvfs.mounts.mountinfo import read_mounts
from scullvfs.options.table import MountOptions

from ..helpers import MIB, Scullvfs
from ..troubles import refusal

LIMIT = 256 * MIB


def hierarchy() -> tuple[Version, Path] | None:
    """The hierarchy that has the memory controller, and this process's group in it."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        version = V1 if "memory" in controllers.split(",") else V2
        for mount in filter(version.serves, read_mounts()):
            group = Path(mount.path, path.lstrip("/"))
            if (group / version.used).exists():
                return version, group
    return None


@pytest.fixture
def group() -> Iterator[Path]:
    """A group with a limit, and one without in it."""
    found = hierarchy()
    if os.geteuid() != 0 or found is None:
        pytest.skip("no control group with the memory controller can be made here")
    version, parent = found
    outer = parent / f"scullvfs-test-{os.getpid()}"
    inner = outer / "inner"
    try:
        outer.mkdir()
        (outer / version.limit).write_text(str(LIMIT))
        inner.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error}")
    yield inner
    inner.rmdir()
    outer.rmdir()


def in_group(scullvfs: Scullvfs, group: Path, *arguments: object) -> Any:
    """Run `scullvfs` in a control group."""
    command = shlex.join([*scullvfs.command, *map(str, arguments)])
    return scullvfs.run(["sh", "-c", f"echo $$ > {group}/cgroup.procs && exec {command}"])


@pytest.mark.long
def test_documented_limit(
    scullvfs: Scullvfs, mountpoint: Path, group: Path, wait: Callable[..., None]
) -> None:
    """What the daemon and its parent hold already is in what the mount takes, not beside it."""
    mem = 256 * MIB
    version = next(v for v in (V1, V2) if (group / v.limit).exists())
    (group.parent / version.limit).write_text(
        str(needed_memory(MountOptions(mem=mem, scullv_order=0)) + 4 * MIB)
    )
    done = in_group(scullvfs, group, "mount", "-o", "mem=256M,order=0", mountpoint)
    assert (done.returncode, done.stderr) == (0, "")
    assert scullvfs("umount", mountpoint).returncode == 0
    wait(lambda: not (group / "cgroup.procs").read_text(), "the group is empty")


@pytest.mark.long
def test_cgroup_limit(
    scullvfs: Scullvfs, mountpoint: Path, group: Path, wait: Callable[..., None]
) -> None:
    """A limit of the group above counts, and what fits below it is mounted."""
    said = refusal(in_group(scullvfs, group, "mount", "-o", "mem=257M", mountpoint), "host-memory")
    most = int(said.split("choose mem=")[1].split("M")[0])
    assert 64 < most < 256
    done = in_group(scullvfs, group, "mount", "-o", f"mem={most // 2}M", mountpoint)
    assert (done.returncode, done.stderr) == (0, "")
    assert scullvfs("umount", mountpoint).returncode == 0
    wait(lambda: not (group / "cgroup.procs").read_text(), "the group is empty")
