"""A test that hangs, for the test of what ends such a one; not collected by itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time


def test_a_call_without_an_answer() -> None:
    """It waits until somebody ends the daemon, and then has waited too long."""
    path = os.environ["MOUNTPOINT"]
    mount = [sys.executable, "-m", "scullvfs", "mount", "-f", "-o", "mem=16M", path]
    with subprocess.Popen(mount) as daemon:
        while not os.path.exists(f"{path}/scullv0"):
            time.sleep(0.01)
        os.kill(daemon.pid, signal.SIGSTOP)
        assert os.path.exists(f"{path}/scullv1")
