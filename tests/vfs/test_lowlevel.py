"""A mount without the extension: everything that can works, and the log says what does not."""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from scullvfs.errors import ExitStatus
from scullvfs.fuse import lowlevel
from scullvfs.mounts.health import STATUS_FILE
from scullvfs.scull import COMMANDS

from .helpers import QUANTUM, Scullvfs, read_all, shell, wait_until
from .troubles import TROUBLES, refusal

BLOCK = """
import sys

class Block:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "scullvfs.fuse.lowlevel._interpose":
            raise ImportError("libfuse3.so.4: cannot open shared object file", name=name)

sys.meta_path.insert(0, Block)
"""
"""As sitecustomize.py on PYTHONPATH: the extension cannot be imported."""


@pytest.fixture
def without(scullvfs: Scullvfs, tmp_path: Path) -> Scullvfs:
    """The program where its extension is missing."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site/sitecustomize.py").write_text(BLOCK)
    scullvfs.env["PYTHONPATH"] = f"{tmp_path}/site:{scullvfs.env['PYTHONPATH']}"
    return scullvfs


@pytest.fixture
def bare(without: Scullvfs, mountpoint: Path) -> Iterator[Path]:
    """A mount without the extension."""
    assert without("mount", "-o", "mem=16M", mountpoint).returncode == 0
    yield mountpoint
    assert without("umount", mountpoint).returncode == 0


def log_of(scullvfs: Scullvfs, mountpoint: Path) -> list[str]:
    """What a mount in the foreground says, from its start to its end."""
    with scullvfs.start("mount", "-f", "-o", "mem=16M", mountpoint) as process:
        wait_until(
            lambda: process.poll() is not None or scullvfs.mounted(mountpoint), "it is mounted"
        )
        assert scullvfs("umount", mountpoint).returncode == 0
        return process.communicate()[1].splitlines()


@pytest.mark.long
def test_missing_is_logged(without: Scullvfs, mountpoint: Path) -> None:
    """The log says what is missing, what that costs, and what to do."""
    said = log_of(without, mountpoint)
    (line,) = [line for line in said if "mounted" not in line]
    assert line == f"scullvfs: warning: {lowlevel.MISSING}"
    assert TROUBLES["log-extension"].fits(line.removeprefix("scullvfs: "))
    assert "no ioctl" in line
    assert "install scullvfs with gcc, pkg-config and libfuse3-dev" in line


@pytest.mark.long
def test_present_is_not_logged(scullvfs: Scullvfs, mountpoint: Path) -> None:
    """With the extension there is nothing to say."""
    assert lowlevel.MISSING not in "\n".join(log_of(scullvfs, mountpoint))


@pytest.mark.long
def test_missing_devices_work(bare: Path) -> None:
    """dd, cat and the shell do what they do with it."""
    command = """
        head -c 200000 /dev/urandom >"$dir/source" &&
        dd if="$dir/source" of="$mnt/scullv0" bs=64k &&
        cat "$mnt/scullv0" | cmp - "$dir/source" &&
        echo a >"$mnt/scullv1" && echo b >>"$mnt/scullv1" && cat "$mnt/scullv1"
    """
    done = shell(command, mnt=bare, dir=bare.parent)
    assert (done.returncode, done.stdout) == (0, "b\n")


@pytest.mark.long
def test_missing_driver_rules(bare: Path) -> None:
    """A write still ends at the quantum, and O_APPEND goes to the end."""
    fd = os.open(bare / "scullv0", os.O_RDWR | os.O_APPEND)
    try:
        assert os.write(fd, b"a" * 100_000) == QUANTUM
        assert os.write(fd, b"b" * 10) == 10
    finally:
        os.close(fd)
    assert read_all(bare / "scullv0") == b"a" * QUANTUM + b"b" * 10


@pytest.mark.long
def test_missing_calls_are_counted(bare: Path) -> None:
    """Reads and writes, too, which Python counts then."""
    with open(bare / "scullv2", "wb", buffering=0) as file:
        assert file.write(b"x" * 100) == 100
    assert read_all(bare / "scullv2") == b"x" * 100
    calls = json.loads((bare / STATUS_FILE).read_bytes())["calls"]
    assert [*calls] == ["scullv2"]
    write, read = calls["scullv2"]["write"], calls["scullv2"]["read"]
    assert (write["calls"], write["bytes"], write["errors"]) == (1, 100, 0)
    assert (read["bytes"], read["errors"]) == (100, 0)
    assert write["nanoseconds"] > 0


@pytest.mark.long
def test_missing_ioctl(bare: Path) -> None:
    """Every command is ENOTTY."""
    fd = os.open(bare / "scullv0", os.O_RDWR)
    try:
        for number in COMMANDS.values():
            with pytest.raises(OSError, match="Inappropriate ioctl") as caught:
                fcntl.ioctl(fd, number, bytearray(4))
            assert caught.value.errno == errno.ENOTTY
    finally:
        os.close(fd)


@pytest.mark.long
def test_missing_ioctl_command(without: Scullvfs, bare: Path) -> None:
    """`scullvfs ioctl` says that the mount may be the reason."""
    done = without("ioctl", bare / "scullv0", "query-order")
    assert done.returncode == ExitStatus.NOT_MOUNTED
    assert (
        done.stderr
        == f"scullvfs: {bare}/scullv0 is no device of a driver, or its mount has no ioctl\n"
    )


@pytest.mark.long
def test_missing_parameters(bare: Path) -> None:
    """Order and qset can be set all the same, by their files."""
    (bare / "sys/module/scullv/parameters/scullv_order").write_text("1\n")
    (bare / "scullv0").write_bytes(b"")
    assert (bare / "sys/class/scullv/scullv0/order").read_text() == "1\n"


@pytest.mark.long
def test_missing_recording(without: Scullvfs, bare: Path, tmp_path: Path) -> None:
    """`scullvfs record` says that it is the extension that is missing, not the daemon."""
    done = without("record", bare, "-o", tmp_path / "run.scull")
    assert done.stderr.startswith(f"recording {bare}\n")
    done.stderr = done.stderr.partition("\n")[2]
    refusal(done, "record-extension")


@pytest.mark.long
def test_missing_snapshot(without: Scullvfs, bare: Path, tmp_path: Path) -> None:
    """A mount is saved all the same: who saves it asks again."""
    (bare / "scullv1").write_bytes(b"x" * 1000)
    done = without("snapshot", "save", bare, "-o", tmp_path / "machine.snap")
    assert (done.returncode, done.stderr) == (0, "")
    done = without("snapshot", "show", tmp_path / "machine.snap")
    assert "scullv1: order 4, qset 500, 1000 bytes, 1 quanta" in done.stdout.splitlines()
