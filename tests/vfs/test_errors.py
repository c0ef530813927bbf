"""A bug of ours in a request: its caller gets EIO, the log the traceback, and the mount lives."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

from ..scullv.helpers import fails
from .helpers import DEADLINE, Scullvfs, foreground, opened

BROKEN = """
import errno
from scullvfs.fs import devices
from scullvfs.mm import PageFault
from scullvfs.scullv import ScullvDev

def read(self, pos, count):
    raise RuntimeError("reading is broken")

def write(self, pos, data):
    raise PageFault(0xffffc90000000000, True, "pte", (0,))

def truncate(self, length, later=False):
    raise OSError(errno.EDQUOT, "truncating is refused")

def ioctl(*args):
    raise ZeroDivisionError("the ioctl is broken")

ScullvDev.read, ScullvDev.write, ScullvDev.truncate = read, write, truncate
devices.scullv_ioctl = ioctl

from scullvfs.cli import main
main()
"""


def test_broken_driver(scullvfs: Scullvfs, mountpoint: Path) -> None:
    """Each request is answered with its errno, and the daemon ends with status 0 as ever."""
    command = [sys.executable, "-c", BROKEN, "mount", "-f", "-o", "mem=16M", str(mountpoint)]
    with foreground(scullvfs, mountpoint, command) as daemon:
        with opened(mountpoint / "scullv0") as fd:
            with fails(errno.EIO):
                os.read(fd, 1)
            with fails(errno.EFAULT):
                os.write(fd, b"x")
            with fails(errno.EDQUOT):
                os.ftruncate(fd, 5)
            with fails(errno.EIO):
                fcntl.ioctl(fd, 0x4B04, 0)
        assert sorted(os.listdir(mountpoint))[0] == "proc"
        subprocess.run(["fusermount3", "-u", mountpoint], check=True)
        _, said = daemon.communicate(timeout=DEADLINE)
    assert daemon.returncode == 0
    assert said.count("RuntimeError: reading is broken") == 1
    assert said.count("ZeroDivisionError: the ioctl is broken") == 1
    assert "EDQUOT" not in said
    assert "PageFault" not in said
