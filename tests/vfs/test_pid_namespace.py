"""A daemon in another pid namespace, as a container has it: its pid is not the one it counts."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from .helpers import mount_point, opened, write_all
from .troubles import fails_as, refusal

MIB = 1 << 20

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root makes pid namespaces")


@pytest.fixture
def rshared(tmp_path: Path) -> Iterator[Path]:
    """A directory whose mounts are seen in other mount namespaces, too."""
    directory = tmp_path / "rshared"
    directory.mkdir()
    subprocess.run(["mount", "--bind", directory, directory], check=True)
    try:
        subprocess.run(["mount", "--make-rshared", directory], check=True)
        yield directory
    finally:
        subprocess.run(["umount", directory], check=True)


@contextmanager
def mounted_elsewhere(scullvfs: Any, path: Path, *proc: str) -> Iterator[int]:
    """The pid, as counted here, of a daemon in a pid namespace of its own that serves *path*."""
    unshare = ["unshare", "--mount", "--propagation", "unchanged", "--pid", "--fork", *proc]
    mount = shlex.join([*scullvfs.command, "mount", "-o", "mem=16M", str(path)])
    with scullvfs.start_command([*unshare, "sh", "-c", f"{mount} && echo ready; cat"]) as shell:
        assert shell.stdout.readline() == "ready\n", shell.stderr.read()
        inner = str(scullvfs.pid(path))
        (daemon,) = [pid for pid in scullvfs.processes() if numbers(pid)[-1] == inner]
        assert len(numbers(daemon)) > 1
        yield daemon
        shell.stdin.close()


def numbers(pid: int) -> list[str]:
    """The pids of a process, in this namespace and those below."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("NSpid:"):
            return line.split()[1:]
    raise AssertionError(pid)


@pytest.mark.long
def test_seen_from_outside(scullvfs: Any, rshared: Path) -> None:
    """It is named by its pid here, and waited for; whoever has the number it counts is not."""
    with (
        mount_point(scullvfs, rshared / "mnt") as path,
        mounted_elsewhere(scullvfs, path, "--mount-proc") as daemon,
    ):
        (status,) = json.loads(scullvfs("status", "--json", path).stdout)
        assert status["pid"] == daemon
        assert f"\n  daemon    pid {daemon} of root, " in scullvfs("status", path).stdout
        assert f" (pid {daemon}); " in refusal(scullvfs("mount", path), "living-mount")
        done = scullvfs("umount", path)
        assert (done.returncode, done.stderr) == (0, "")
        assert daemon not in scullvfs.processes()


@pytest.mark.long
def test_cost_where_proc_is_anothers(scullvfs: Any, rshared: Path) -> None:
    """Its own, although /proc has somebody else under its pid; nor is the caller named by it."""
    with (
        mount_point(scullvfs, rshared / "mnt") as path,
        mounted_elsewhere(scullvfs, path) as daemon,
    ):
        (status,) = json.loads(scullvfs("status", "--json", path).stdout)
        resident = int(Path(f"/proc/{daemon}/statm").read_text().split()[1]) * 4096
        assert abs(status["rss"] - resident) < 4 * MIB
        with opened(path / "scullv0") as fd, fails_as("no-ram"):
            write_all(fd, bytes(32 * MIB))
        assert "] (unknown): vmalloc error: " in (path / "proc/kmsg").read_text()
        assert scullvfs("umount", path).returncode == 0
        assert daemon not in scullvfs.processes()


@pytest.mark.long
def test_seen_from_inside(scullvfs: Any, mounted: Path) -> None:
    """Where the daemon is no process, none is named, and the mount is taken down all the same."""
    pid = scullvfs.pid(mounted)
    for proc in (["--mount-proc"], []):

        def inside(*words: object, proc: list[str] = proc) -> subprocess.CompletedProcess[str]:
            apart = ["unshare", "--mount", "--pid", "--fork", *proc]
            return scullvfs.run([*apart, *scullvfs.command, *map(str, words)])  # type: ignore[no-any-return]

        (status,) = json.loads(inside("status", "--json", mounted).stdout)
        assert (status["state"], status["pid"]) == ("running", None)
        refusal(inside("mount", mounted), "unproven-mount")
        done = inside("umount", mounted)
        assert (done.returncode, done.stderr) == (0, "")
        assert scullvfs.pid(mounted) == pid
