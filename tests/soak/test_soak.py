"""The soak itself: a few seconds of it, and that it finds what it is for."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scullvfs.mounts.mountinfo import read_mounts

ROOT = Path(__file__).parents[2]

BUGS = {
    "wrong bytes": (
        "devices.DeviceHandle.read = lambda handle, pos, count: bytes(min(count, 512))\n"
        "devices.PosixHandle.read = devices.DeviceHandle.read",
        r"soak: \w+: owner of scullv\d: fio .*\nverify: bad ",
    ),
    "a leaked descriptor": (
        "inner = devices.DeviceFile.open\n"
        "devices.DeviceFile.open = lambda *args: (os.dup(0), inner(*args))[1]",
        r"soak: \w+: \d+ descriptors have become \d+",
    ),
    "a leaked area": (
        "leak = lambda machine: machine.vm.vmalloc(4096)",
        r"soak: \w+: \d+ kB of areas have leaked",
    ),
    "a leaked frame": (
        "leak = lambda machine: machine.page_alloc.alloc_pages(0xCC0, 0)",
        r"soak: \w+: the mount's check of itself: Input/output error\n.*a frame has no holder",
    ),
    "a leaked object": (
        "leak = lambda machine: machine.slab.kmalloc(8)",
        r"soak: device: (assert .*objects == 0|AssertionError)",
    ),
    "a handle that is not released": (
        "inner = open_files.OpenFiles.release\n"
        "open_files.OpenFiles.release = lambda self, fh: fh >> 16 == 3 or inner(self, fh)",
        r"a file is open",
    ),
    "a daemon that dies": (
        "leak = lambda machine: os._exit(9)",
        r"Transport endpoint is not connected|Software caused connection abort",
    ),
}
"""What is wrong: the code that makes it so in the daemons, and what the soak says."""

IMPATIENT = "import tests.soak.books\ntests.soak.books.SETTLE_TIMEOUT = 3.0\n"
"""What is waited for does not come while the area is there."""

PATCHED_DAEMON = """
import os
import runpy
import sys
from scullvfs.fs import devices
from scullvfs.fs import open_files
from scullvfs.scull import dev
leak = lambda machine: None
{bug}
trim = dev.ScullDev.trim
def leaking(self, later=False):
    leak(self.machine)
    return trim(self, later)
dev.ScullDev.trim = leaking
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture
def soak(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a soak; nothing of it may be left."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str, code: str = "") -> subprocess.Popen[str]:
        command = [sys.executable, *(["-c", code] if code else ["-m", "tests.soak"])]
        started.append(
            subprocess.Popen(
                [*command, "--minutes", "0.03", "--seed", "1", *arguments],
                cwd=ROOT,
                env={**os.environ, "TMPDIR": str(tmp_path)},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
            process.communicate()
    assert [mount.path for mount in read_mounts() if str(tmp_path) in mount.path] == []
    assert list(tmp_path.glob("scullvfs-soak-*")) == []


@pytest.mark.long
def test_soak(soak: Callable[..., subprocess.Popen[str]]) -> None:
    """Two seconds of everything, and all of it holds."""
    process = soak()
    output, _ = process.communicate()
    assert process.returncode == 0, output
    assert output.startswith("soak: 0.03 minutes, 4 devices each, mem=256M, seed 1\n")
    assert output.endswith("\nsoak: all of it held\n")
    done = re.findall(r"^(?:fio runs|devices emptied|ioctl calls) +(\d+) +(\d+)$", output, re.M)
    assert len(done) == 3
    assert all(int(device) and int(file) for device, file in done)
    assert "\r" not in output


@pytest.mark.long
@pytest.mark.parametrize("bug", BUGS)
def test_soak_finds(soak: Callable[..., subprocess.Popen[str]], tmp_path: Path, bug: str) -> None:
    """A daemon with a bug fails the soak, which says what is wrong."""
    code, said = BUGS[bug]
    daemon = tmp_path / "daemon.py"
    daemon.write_text(PATCHED_DAEMON.format(bug=code))
    process = soak(
        "--devices",
        "1",
        code=(
            "import tests.soak.__main__ as soak\n"
            f"{IMPATIENT if bug == 'a leaked area' else ''}"
            "real = soak.served\n"
            f"soak.served = lambda command, path: real([command[0], {str(daemon)!r}, "
            "*command[1:]], path)\n"
            "soak.main()"
        ),
    )
    output, _ = process.communicate()
    assert process.returncode == 1, output
    assert re.search(said, output), output
    assert output.endswith("soak: failed; seed 1\n")


@pytest.mark.long
@pytest.mark.parametrize("interrupt", [signal.SIGINT, signal.SIGTERM])
def test_soak_interrupted(
    soak: Callable[..., subprocess.Popen[str]], tmp_path: Path, interrupt: signal.Signals
) -> None:
    """Ctrl-C ends it, with what was done so far, and cleans up."""
    process = soak("--minutes", "10")
    while not list(tmp_path.glob("scullvfs-soak-*/file/scullv0")):
        assert process.poll() is None
    process.send_signal(interrupt)
    output, _ = process.communicate()
    assert process.returncode == 130, output
    assert output.endswith("soak: interrupted\n")
