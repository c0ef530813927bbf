"""Handlers that wait: a daemon whose statfs() does so until the test lets it go on."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scullvfs.mounts.health import PID_FILE

from .helpers import Scullvfs, mounted_on, read_all, wait_until

PROGRAM = """
import os, trio
from scullvfs.daemon import assemble
from scullvfs.fuse.operations import Operations

class Waiting(Operations):
    async def statfs(self, ctx):
        open("{begun}", "a").write("x")
        while not os.path.exists("{go}"):
            await trio.sleep(0.01)
        return await super().statfs(ctx)

assemble.Operations = Waiting
from scullvfs.cli import main
main()
"""


@pytest.fixture
def go(tmp_path: Path) -> Path:
    """The handlers wait until there is such a file."""
    return tmp_path / "go"


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """Each handler that waits has put a byte in here."""
    return tmp_path / "begun"


@pytest.fixture
def mounted(scullvfs: Scullvfs, mountpoint: Path, go: Path, begun: Path) -> Iterator[Path]:
    """A mount of that daemon."""
    usual = scullvfs.command
    scullvfs.command = [sys.executable, "-c", PROGRAM.format(go=go, begun=begun)]
    with mounted_on(scullvfs, mountpoint, "mem=16M") as path:
        scullvfs.command = usual
        yield path
        go.touch()


@pytest.mark.long
def test_others_are_served_meanwhile(mounted: Path, go: Path, begun: Path) -> None:
    """Of every kind, and while more than one handler waits; then those are answered, too."""
    command = ["stat", "--file-system", "--format=%S", mounted]
    waiting = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    try:
        wait_until(lambda: begun.exists() and begun.stat().st_size == 3, "three handlers wait")
        for number in range(4):
            device = mounted / f"scullv{number}"
            device.write_bytes(b"%d" % number * 200_000)
            assert read_all(device) == b"%d" % number * 200_000
            assert device.stat().st_size == 200_000
        assert "scullv0" in os.listdir(mounted)
        assert [process.poll() for process in waiting] == [None] * 3
    finally:
        go.touch()
        answers = [process.communicate()[0] for process in waiting]
    assert answers == ["4096\n"] * 3
    assert read_all(mounted / "scullv3") == b"3" * 200_000


@pytest.mark.long
def test_unmount_meanwhile(mounted: Path, go: Path, begun: Path) -> None:
    """The daemon ends as soon as the last handler has."""
    pid = int((mounted / PID_FILE).read_bytes())
    with subprocess.Popen(["stat", "--file-system", mounted], stdout=subprocess.DEVNULL) as process:
        wait_until(begun.exists, "the handler waits")
        subprocess.run(["fusermount3", "-u", "-z", mounted], check=True)
        go.touch()
        assert process.wait() == 0
        wait_until(lambda: not os.path.exists(f"/proc/{pid}"), "the daemon has ended")
