"""Idle CPUs while a mount is busy, as the kernel tells it of all who ask it for something."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scullvfs.fuse.cpu_latency import DEVICE
from scullvfs.mounts.health import PID_FILE, STATUS_FILE

from .helpers import wait_until

pytestmark = [
    pytest.mark.skipif(not os.access(DEVICE, os.R_OK | os.W_OK), reason=f"needs {DEVICE}"),
    pytest.mark.usefixtures("cpu_latency"),
    pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two CPUs"),
]


def latency() -> int:
    """The most microseconds that an idle CPU may take now, the least that anybody asked for."""
    with open(DEVICE, "rb") as device:
        (value,) = struct.unpack("i", device.read(4))
    return int(value)


@pytest.fixture
def before() -> int:
    """What it is without a busy mount."""
    value = latency()
    if value == 0:
        pytest.skip("another program keeps idle CPUs awake")
    return value


@pytest.fixture
def copy(mount: Callable[[str], Path]) -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    """Starts a dd that writes to a mount with these options until the test ends."""
    processes: list[subprocess.Popen[bytes]] = []

    def copy(options: str) -> subprocess.Popen[bytes]:
        path = mount(f"mem=16M,{options}") / "scullv0"
        command = ["dd", "if=/dev/zero", f"of={path}", "bs=4k", "status=none", "conv=notrunc"]
        # A device of 1 MiB, over and over: dd alone would fill the RAM.
        loop = ["sh", "-c", 'while "$@"; do :; done', "sh", *command, "count=256"]
        processes.append(subprocess.Popen(loop, start_new_session=True))
        return processes[-1]

    yield copy
    for process in processes:
        stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a loop between two of its copies, or in one."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
    process.wait()


def test_busy_mount_keeps_idle_cpus_awake(
    before: int, copy: Callable[[str], subprocess.Popen[bytes]]
) -> None:
    """As long as requests come one after the other, and not longer."""
    process = copy("busy_poll=50")
    wait_until(lambda: latency() == 0, "idle CPUs stay awake")
    stop(process)
    wait_until(lambda: latency() == before, "idle CPUs may halt again")


def test_killed_daemon_keeps_no_cpu_awake(
    before: int,
    copy: Callable[[str], subprocess.Popen[bytes]],
    tmp_path: Path,
) -> None:
    """The kernel takes the request back when there is nobody left who made it."""
    copy("busy_poll=50")
    wait_until(lambda: latency() == 0, "idle CPUs stay awake")
    os.kill(int((tmp_path / "mnt1" / PID_FILE).read_bytes()), signal.SIGKILL)
    wait_until(lambda: latency() == before, "idle CPUs may halt again")


def test_busy_poll_0_lets_idle_cpus_halt(
    before: int, copy: Callable[[str], subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    """Not a single time in a thousand requests."""

    def requests() -> int:
        return int(json.loads((tmp_path / "mnt1" / STATUS_FILE).read_bytes())["requests"])

    copy("busy_poll=0")
    seen = set()
    first = requests()
    while requests() < first + 1000:
        seen.add(latency())
    assert seen == {before}
