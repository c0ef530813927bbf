"""`scullvfs status` of real mounts: living, dead, stopped, closed, hidden, and of none."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import shlex
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

import scullvfs as package
from scullvfs.options.table import parse_options

from ..helpers import MIB, wait_until
from .elsewhere import AS_NOBODY

Mount = Callable[[str], Path]

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root makes mount namespaces")


def as_json(scullvfs: Any, *paths: Path, status: int = 0) -> list[dict[str, Any]]:
    """What `status --json` prints of `paths`."""
    done = scullvfs("status", "--json", *paths)
    assert done.returncode == status, done.stderr
    objects: list[dict[str, Any]] = json.loads(done.stdout)
    return objects


def of(scullvfs: Any, path: Path) -> dict[str, Any]:
    """The object of one living mount."""
    (answer,) = as_json(scullvfs, path)
    return answer


def listed(text: str, name: str) -> int:
    """The number behind a name of proc/meminfo, in bytes."""
    match = re.search(rf"^{name}: *(\d+) kB$", text, re.MULTILINE)
    assert match is not None
    return int(match[1]) * 1024


@pytest.mark.long
def test_status_of_a_mount(scullvfs: Any, mountpoint: Path) -> None:
    """Who serves it, and the options in effect, defaults included."""
    given = "devs=2,mem=16M,arch=i386,mode=0600,semantics=file"
    assert scullvfs("mount", "-o", given, mountpoint).returncode == 0
    status = of(scullvfs, mountpoint)
    assert status["mountpoint"] == str(mountpoint)
    assert status["state"] == "running"
    assert status["pid"] == scullvfs.pid(mountpoint)
    assert (status["uid"], status["version"]) == (os.getuid(), package.__version__)
    options = parse_options([given])
    assert status["options"] == options.as_dict()
    assert (status["devices"], status["lowlevel"]) == (2, True)
    assert scullvfs("umount", mountpoint).returncode == 0


@pytest.mark.long
def test_status_follows_the_machine(scullvfs: Any, mount: Mount) -> None:
    """RAM and addresses in use are those of proc/, and come back when the device is emptied."""
    path = mount("mem=64M,devs=1")
    before = of(scullvfs, path)
    assert before["vmalloc"] == {"used": 0, "lazy": 0, "total": 1 << 45}
    with open(path / "scullv0", "r+b", buffering=0) as device:
        for _ in range(16 * MIB // (64 << 10)):
            device.write(os.urandom(64 << 10))
    full = of(scullvfs, path)
    meminfo = (path / "proc/meminfo").read_text()
    assert full["ram"]["total"] == listed(meminfo, "MemTotal")
    assert full["ram"]["used"] == listed(meminfo, "MemTotal") - listed(meminfo, "MemFree")
    areas = re.findall(
        r"^0x\w+-0x\w+ +(\d+) .* vmalloc", (path / "proc/vmallocinfo").read_text(), re.M
    )
    assert full["vmalloc"]["used"] == sum(map(int, areas)) == 256 * 17 * 4096
    assert full["rss"] >= before["rss"] + 16 * MIB
    os.truncate(path / "scullv0", 0)
    empty = of(scullvfs, path)["vmalloc"]
    assert (empty["used"], empty["lazy"]) == (0, full["vmalloc"]["used"])


@pytest.mark.long
def test_status_counts_requests(scullvfs: Any, mounted: Path) -> None:
    """Each call is one, and a few are those of the question itself."""
    before = of(scullvfs, mounted)["requests"]
    asked = of(scullvfs, mounted)["requests"] - before
    with open(mounted / "scullv0", "rb", buffering=0) as device:
        for _ in range(1000):
            os.pread(device.fileno(), 1, 0)
    made = of(scullvfs, mounted)["requests"] - before - 2 * asked
    assert 1000 <= made <= 1010


@pytest.mark.long
def test_status_counts_calls(scullvfs: Any, mounted: Path) -> None:
    """Of each device that was called, by kind: how often, how much, and what failed."""
    device = mounted / "scullv1"
    with open(device, "wb", buffering=0) as file:
        assert [file.write(bytes(1 << 16)) for _ in range(3)] == [1 << 16] * 3
        with pytest.raises(OSError, match=os.strerror(errno.ENODEV)):
            os.posix_fallocate(file.fileno(), 0, 1)
    with open(device, "rb", buffering=0) as file:
        assert len(os.pread(file.fileno(), 1000, 0)) == 1000
        assert os.pread(file.fileno(), 1000, 1 << 20) == b""
        assert fcntl.ioctl(file, 0x4B04) == 4
        with pytest.raises(OSError, match=os.strerror(errno.ENOTTY)):
            fcntl.ioctl(file, 0x4BFF)
    os.truncate(device, 10)
    (mounted / "proc/kmsg").read_bytes()
    calls = of(scullvfs, mounted)["calls"]
    assert {*calls} == {"scullv1"}
    times = {kind: each.pop("nanoseconds") for kind, each in calls["scullv1"].items()}
    assert {kind: (*each.values(),) for kind, each in calls["scullv1"].items()} == {
        "open": (2, 0, 0),
        "write": (3, 3 << 16, 0),
        "fallocate": (1, 0, 1),
        "read": (2, 1000, 0),
        "ioctl": (2, 0, 1),
        "truncate": (1, 0, 0),
    }
    assert all(times.values())


def test_status_of_the_process(scullvfs: Any, mounted: Path) -> None:
    """Uptime, memory and CPU time are those of the daemon's process."""
    process = psutil.Process(scullvfs.pid(mounted))

    def used() -> float:
        (mounted / "scullv0").write_bytes(bytes(64 << 10))
        cpu = process.cpu_times()
        return round(cpu.user + cpu.system, 2)

    wait_until(used, "it has used CPU time")  # to start takes less than a tick of it
    status = of(scullvfs, mounted)
    assert status["pid"] == process.pid
    assert abs(process.memory_info().rss - status["rss"]) < 4 * MIB
    assert 0 < status["cpu"] <= used()
    assert 0 < status["uptime"] <= of(scullvfs, mounted)["uptime"]


def test_status_order_in_effect(scullvfs: Any, mounted: Path) -> None:
    """What was changed since the mount is shown as it is now."""
    (mounted / "sys/module/scullv/parameters/scullv_order").write_text("7")
    options = of(scullvfs, mounted)["options"]
    assert (options["scullv_order"], options["scullv_qset"]) == (7, 500)


def test_status_for_people(scullvfs: Any, mounted: Path) -> None:
    """One fact a line, without colours in a pipe; the options could be given to mount again."""
    done = scullvfs("status", mounted)
    assert (done.returncode, done.stderr) == (0, "")
    first, *facts = done.stdout.splitlines()
    assert first == f"{mounted}: running"
    shown = dict(re.fullmatch(r"  (\w+) +(.*)", fact).groups() for fact in facts)  # type: ignore[union-attr]
    assert list(shown) == [
        *("daemon", "uptime", "cost", "options", "RAM", "vmalloc", "devices", "requests"),
    ]
    assert shown["daemon"].startswith(f"pid {scullvfs.pid(mounted)} of ")
    assert parse_options([shown["options"]]) == parse_options(["mem=16M"])
    assert shown["vmalloc"] == "0 of 32T in use"


def test_status_without_mountpoint(scullvfs: Any, mount: Mount) -> None:
    """Every scullvfs mount that there is, and no other."""
    ours = {str(mount("mem=16M")), str(mount("mem=16M"))}
    done = scullvfs("status", "--json")
    assert ours <= {answer["mountpoint"] for answer in json.loads(done.stdout)}
    assert "/proc" not in done.stdout


@pytest.mark.long
def test_status_of_a_dead_mount(scullvfs: Any, mount: Mount, wait: Any) -> None:
    """It says so, and what to do, and the others are shown all the same."""
    dead, living = mount("mem=16M"), mount("mem=16M")
    pid = scullvfs.pid(dead)
    os.kill(pid, signal.SIGKILL)
    wait(lambda: pid not in scullvfs.processes(), "the daemon is gone")
    done = scullvfs("status", dead, living)
    assert (done.returncode, done.stderr) == (8, "")
    first, second, *_ = done.stdout.splitlines()
    assert first == (
        f"{dead}: dead, mounted by root; its daemon is gone; "
        f"'scullvfs umount {dead}' clears it away"
    )
    assert second == f"{living}: running"
    assert [answer["state"] for answer in as_json(scullvfs, dead, living, status=8)] == [
        "dead",
        "running",
    ]


@pytest.mark.long
def test_status_of_a_stopped_daemon(scullvfs: Any, mount: Mount) -> None:
    """Two that do not answer hold nobody up: the living one is shown beside them."""
    paths = [mount("mem=16M") for _ in range(3)]
    stopped = [scullvfs.pid(path) for path in paths[:2]]
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        answers = as_json(scullvfs, *paths, status=8)
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    assert [answer["state"] for answer in answers] == ["hung", "hung", "running"]
    assert [answer["state"] for answer in as_json(scullvfs, *paths)] == ["running"] * 3


def test_status_not_mounted(scullvfs: Any, mounted: Path, tmp_path: Path) -> None:
    """A place without a mount is an error, and the other one is shown."""
    done = scullvfs("status", tmp_path, mounted, "/proc", tmp_path / "missing")
    assert done.returncode == 7
    assert done.stdout.startswith(f"{mounted}: running\n")
    assert done.stderr.splitlines() == [
        f"scullvfs: {tmp_path} is not mounted; 'findmnt -t fuse.scullvfs' lists what is",
        "scullvfs: /proc is not a scullvfs mount but of type proc",
        f"scullvfs: {tmp_path}/missing is not mounted; 'findmnt -t fuse.scullvfs' lists what is",
    ]


def elsewhere(scullvfs: Any, script: str) -> Any:
    """Run `script` in a mount namespace of its own; in it, `nobody` is an ordinary user."""
    prelude = (
        f"set -e; cd {shlex.quote(os.getcwd())}\n"
        f'scullvfs() {{ {shlex.join(scullvfs.command)} "$@"; }}\n'
        f'nobody() {{ {shlex.join([sys.executable, "-c", AS_NOBODY])} "$@"; }}\n'
    )
    return scullvfs.run(["unshare", "--mount", "sh", "-c", prelude + script])


@pytest.mark.long
@needs_root
def test_status_closed(scullvfs: Any, mounted: Path) -> None:
    """To another user it is closed, which is an error only for who asks for it by name."""
    os.chmod(mounted.parent, 0o755)
    done = elsewhere(scullvfs, f"nobody status --json || true; nobody status '{mounted}'")
    listing, _, line = done.stdout.rpartition("]\n")
    closed = [a for a in json.loads(listing + "]") if a["mountpoint"] == str(mounted)]
    assert [answer["state"] for answer in closed] == ["closed"]
    assert line == f"{mounted}: closed, mounted by root; only its user may look into it\n"
    assert done.returncode == 5


@pytest.mark.long
@needs_root
def test_status_hidden(scullvfs: Any, mounted: Path, tmp_path: Path) -> None:
    """Where its path leads to another mount above it, the other's numbers are not shown as its."""
    above = tmp_path / "above"
    above.mkdir()
    script = f"""
        scullvfs mount -o mem=16M,devs=9 '{above}'
        mount --bind '{above}' '{mounted}'
        scullvfs status --json '{mounted}'; scullvfs status --json || true
        umount '{mounted}'; scullvfs umount '{above}'
    """
    done = elsewhere(scullvfs, script)
    assert done.returncode == 0, done.stderr
    named, end = json.JSONDecoder().raw_decode(done.stdout)
    everything = json.loads(done.stdout[end:])
    assert [answer["devices"] for answer in named] == [9]
    here = [answer for answer in everything if answer["mountpoint"] == str(mounted)]
    assert [answer["state"] for answer in here] == ["hidden", "running"]


@pytest.mark.long
@needs_root
def test_status_of_a_part(scullvfs: Any, mounted: Path, tmp_path: Path) -> None:
    """A device that is bound elsewhere is no mount of its own."""
    part = tmp_path / "device"
    part.touch()
    script = f"""
        mount --bind '{mounted}/scullv0' '{part}'
        scullvfs status --json || true; scullvfs status '{part}'
    """
    done = elsewhere(scullvfs, script)
    assert done.returncode == 7
    assert str(part) not in done.stdout
    assert done.stderr == f"scullvfs: {part} is only a part of a scullvfs mount, /scullv0\n"
