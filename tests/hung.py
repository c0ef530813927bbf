"""A test that hangs, for the test of what ends such a one; not collected by itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

PATH = os.environ["MOUNTPOINT"]


@pytest.fixture(scope="module")
def stopped() -> Iterator[subprocess.Popen[bytes]]:
    """A daemon that has answered, and does not any more."""
    mount = [sys.executable, "-m", "scullvfs", "mount", "-f", "-o", "mem=16M", PATH]
    with subprocess.Popen(mount) as daemon:
        while not os.path.exists(f"{PATH}/scullv0"):
            time.sleep(0.01)
        os.kill(daemon.pid, signal.SIGSTOP)
        yield daemon


def test_it_is_there(stopped: subprocess.Popen[bytes]) -> None:
    """To mount may take as long as it does."""
    assert stopped.poll() is None


@pytest.mark.timeout(2)
def test_a_call_without_an_answer(stopped: subprocess.Popen[bytes]) -> None:
    """It waits until somebody ends the daemon, and then has waited too long."""
    assert os.path.exists(f"{PATH}/scullv1")
    assert stopped.poll() is None
