"""The request to the kernel, with a file in the place of its device."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from scullvfs.fuse.cpu_latency import CpuLatency


@pytest.fixture
def device(tmp_path: Path) -> Path:
    """A file that takes what is written, as /dev/cpu_dma_latency does."""
    path = tmp_path / "cpu_dma_latency"
    path.touch()
    return path


def opened(path: Path) -> int:
    """How many descriptors this process has of a file."""
    fds = [f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd")]
    return sum(os.path.lexists(fd) and os.readlink(fd) == str(path) for fd in fds)


def test_hold_asks_for_no_latency(device: Path) -> None:
    """A 32-bit 0 is in it, and it stays open: the kernel forgets what is closed."""
    CpuLatency(str(device)).hold()
    assert device.read_bytes() == bytes(4)
    assert opened(device) == 1


def test_hold_twice_asks_once(device: Path) -> None:
    """A second request would have to be taken back, too."""
    latency = CpuLatency(str(device))
    latency.hold()
    latency.hold()
    assert (opened(device), device.stat().st_size) == (1, 4)


def test_release_takes_it_back(device: Path) -> None:
    """As often as it is asked for, and when there is nothing to take back."""
    latency = CpuLatency(str(device))
    for _ in range(2):
        latency.release()
        latency.hold()
        latency.release()
        assert opened(device) == 0


def test_refused_is_not_asked_again(device: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever may not ask loses no time by it; the log says why for those who look."""
    caplog.set_level(logging.DEBUG)
    latency = CpuLatency(f"{device}/none")
    for _ in range(3):
        latency.hold()
        latency.release()
    assert [record.levelname for record in caplog.records] == ["DEBUG"]
    assert "Not a directory" in caplog.text


def test_a_kernel_without_it_keeps_no_descriptor(caplog: pytest.LogCaptureFixture) -> None:
    """What opens and takes nothing is closed again."""
    latency = CpuLatency("/dev/full")
    latency.hold()
    assert opened(Path("/dev/full")) == 0
