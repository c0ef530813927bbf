"""What the processes that run the tests have to be: apart from each other, and interruptible.

Of several processes (pytest-xdist's workers) each gets a mount namespace of its own, if root
runs them.  A test that copies all mounts into another namespace would keep the daemons of
the other workers alive, and one that looks at all mounts would see theirs come and go.
"""

from __future__ import annotations

import ctypes
import signal
import subprocess
from collections.abc import Generator, Iterator
from pathlib import Path
from types import FrameType

import pytest

from scullvfs.mounts.mountinfo import read_mounts

from . import watchdog

CLONE_NEWNS = 0x20000
APART = pytest.StashKey[bool]()
"""Whether this process has mounts of its own."""

CPU_LATENCY = Path("/dev/cpu_dma_latency")


def pytest_configure(config: pytest.Config) -> None:
    """Before anything is collected, and in the thread that will run the tests."""
    worker = hasattr(config, "workerinput")
    hear_interrupts(worker)
    config.stash[APART] = worker and have_own_mounts()
    watchdog.mark_children()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """A test of ours ends, whatever hangs."""
    with watchdog.watched(item):
        return (yield)


def hear_interrupts(worker: bool) -> None:
    """Let commands be interrupted although a script's `make test &`, or nohup, ignores it.

    What is ignored is ignored by all that is started here; what has a handler is not. A worker
    is interrupted by itself, when the run has ended and a test has not.
    """

    def go_on(number: int, frame: FrameType | None) -> None:
        """As if it were still ignored."""

    for number in (signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_IGN:
            end = worker and number == signal.SIGINT
            signal.signal(number, signal.default_int_handler if end else go_on)


def have_own_mounts() -> bool:
    """Leave the others' mount namespace, and all scullvfs mounts with it; only root can.

    Unmounting elsewhere still reaches this place, so nothing of the user's is kept busy.
    """
    if ctypes.CDLL(None).unshare(CLONE_NEWNS) != 0:
        return False
    subprocess.run(["mount", "--make-rslave", "/"], check=True)
    subprocess.run(["umount", "--all", "--lazy", "--types", "fuse.scullvfs"], check=True)
    if CPU_LATENCY.exists():
        hide_cpu_latency()
    return True


def hide_cpu_latency() -> None:
    """What one mount asks of it holds for all CPUs, and the test that looks is not alone."""
    subprocess.run(["mount", "--bind", "/dev/null", CPU_LATENCY], check=True)


@pytest.fixture(scope="session")
def apart(request: pytest.FixtureRequest) -> bool:
    """Whether this process has mounts of its own."""
    return request.config.stash[APART]


@pytest.fixture(scope="session", autouse=True)
def nothing_mounted(apart: bool) -> Iterator[None]:
    """In a namespace of its own nobody else would see what a worker leaves there."""
    yield
    if apart:
        assert [mount.path for mount in read_mounts() if mount.is_scullvfs] == []


@pytest.fixture(scope="module")
def cpu_latency(apart: bool) -> Iterator[Path]:
    """The kernel's own device, which no other worker's mount uses."""
    hidden = apart and CPU_LATENCY.exists()
    if hidden:
        subprocess.run(["umount", CPU_LATENCY], check=True)
    yield CPU_LATENCY
    if hidden:
        hide_cpu_latency()
