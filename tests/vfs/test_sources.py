"""The source of a mount, `fsname=`: any bytes that the kernel takes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from scullvfs.mounts.mountinfo import mount_at

from .helpers import mounted_on
from .troubles import refusal

SOURCES = {
    "тест": "тест",
    r"a\,b": "a,b",
    r"\054\\": ",\\",
    r"a\012b\377": "a\nb\udcff",
    "a disk": "a disk",
    "#-'\"$(x)": "#-'\"$(x)",
    "x" * 4095: "x" * 4095,
}
"""As it stands behind fsname= -> what the kernel gets."""


@pytest.mark.long
def test_source(scullvfs: Any, mountpoint: Path) -> None:
    """Any bytes go through to the kernel, and `status` shows what mounts so again."""
    for written, source in SOURCES.items():
        with mounted_on(scullvfs, mountpoint, f"mem=4M,fsname={written},devs=2"):
            mount = mount_at(str(mountpoint))
            assert mount is not None
            assert mount.source == source
            (options,) = [
                line.split(maxsplit=1)[1]
                for line in scullvfs("status", mountpoint).stdout.splitlines()
                if line.startswith("  options ")
            ]
            assert options.isprintable()
            assert scullvfs("umount", mountpoint).returncode == 0
            if len(source) > 100:
                continue
            assert scullvfs("mount", "-o", options, mountpoint).returncode == 0
            mount = mount_at(str(mountpoint))
            assert mount is not None
            assert mount.source == source
            assert scullvfs("umount", mountpoint).returncode == 0


@pytest.mark.long
def test_source_of_fstab(scullvfs: Any, mountpoint: Path) -> None:
    """mount.scullvfs takes its first argument as it is."""
    helper = [sys.executable, "-c", "from scullvfs.cli.mount_helper import main; main()"]
    for source in ("тест", "a,b\\054", "\udcff\n"):
        done = scullvfs.run([*helper, source, str(mountpoint), "-o", "mem=4M"])
        assert (done.returncode, done.stderr) == (0, "")
        mount = mount_at(str(mountpoint))
        assert mount is not None
        assert mount.source == source
        assert scullvfs("umount", mountpoint).returncode == 0
    done = scullvfs.run([*helper, "x" * 4096, str(mountpoint)])
    assert (done.returncode, done.stderr) == (
        1,
        "mount.scullvfs: the source must be any text of up to 4095 bytes, but no '-' first\n",
    )


@pytest.mark.parametrize("written", ["x" * 4096, r"a\000b", "-x"])
def test_source_that_the_kernel_cannot_have(scullvfs: Any, mountpoint: Path, written: str) -> None:
    """A line says so, before anything is mounted."""
    refusal(scullvfs("mount", "-o", f"fsname={written}", mountpoint), "option-value")
