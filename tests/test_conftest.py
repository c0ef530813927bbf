"""What the processes that run the tests are: interruptible, and apart from each other."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from .vfs.helpers import why_no_fuse

QUICK = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest")
"""For pytest; what is left out takes longer to import than all the rest."""


def test_a_command_hears_interrupts() -> None:
    """Nothing that a test starts ignores Ctrl-C."""
    assert subprocess.run(["sh", "-c", "kill -INT $$"]).returncode == -signal.SIGINT


@pytest.mark.long
@pytest.mark.parametrize("workers", [0, 1])
def test_in_the_background_of_a_script(workers: int) -> None:
    """Not even where the shell has made the tests ignore it."""
    test = f"{__file__}::{test_a_command_hears_interrupts.__name__}"
    pytest_it = [sys.executable, "-m", "pytest", *QUICK, "-n", str(workers), test]
    done = subprocess.run(
        ["sh", "-c", 'trap "" INT; exec "$@"', "sh", *pytest_it],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="of workers only")
def test_a_worker_has_mounts_of_its_own(apart: bool) -> None:
    """It is in another namespace than the process that has started it."""
    if subprocess.run(["unshare", "--mount", "true"], stderr=subprocess.DEVNULL).returncode != 0:
        pytest.skip("only root makes mount namespaces")
    ours, theirs = (os.readlink(f"/proc/{pid}/ns/mnt") for pid in ("self", os.getppid()))
    assert ours != theirs
    assert apart


@pytest.mark.long
def test_a_hung_mount(tmp_path: Path) -> None:
    """A test that no signal can interrupt fails, too, and says of which daemon it waited."""
    if why_no_fuse() is not None:
        pytest.skip("nothing can be mounted here")
    test = Path(__file__).with_name("hung.py")
    pytest_it = [sys.executable, "-m", "pytest", *QUICK, "-n1"]
    done = subprocess.run(
        [*pytest_it, str(test)],
        env={**os.environ, "MOUNTPOINT": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 1
    assert re.search(r"killed daemon \d+, which was T \(stopped\) in ", done.stdout)
    assert "Failed: Timeout" in done.stdout
    assert not os.path.ismount(tmp_path)
