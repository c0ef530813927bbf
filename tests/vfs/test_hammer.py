"""Many processes at once on all devices: no byte is lost, and no invariant is broken.

SCULLVFS_HAMMER_SECONDS says how long, if it is set.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..fs.books import assert_books_add_up
from ..thorough import rounds
from .helpers import DEADLINE, MIB, Scullvfs, foreground, opened

SECONDS = int(os.environ.get("SCULLVFS_HAMMER_SECONDS", rounds(10, 2)))
PROCESSES = 8
STRIPE = 100_003
"""Bytes of a stripe: more than a quantum, and no two begin at the same place of one."""
STRIPES = 40

HERE = Path(__file__).parent


@pytest.fixture
def checked(scullvfs: Scullvfs, mountpoint: Path) -> Iterator[Path]:
    """A mount whose daemon checks its machine when it is unmounted, and says so."""
    command = [sys.executable, str(HERE / "checked_daemon.py"), "mem=256M", str(mountpoint)]
    with foreground(scullvfs, mountpoint, command) as daemon:
        yield mountpoint
        subprocess.run(["fusermount3", "-u", mountpoint], check=True)
        stdout, stderr = daemon.communicate(timeout=DEADLINE)
    assert (daemon.returncode, stdout, stderr) == (0, "checked\n", "")


@pytest.mark.long
@pytest.mark.timeout(SECONDS + 120)
def test_hammer(scullvfs: Scullvfs, checked: Path) -> None:
    """Eight processes on four devices, two to a device, each with its own stripes.

    |-- process 0 --|-- process 4 --|-- process 0 --|-- process 4 --| ...     scullv0
    """
    hammers = [
        scullvfs.start_command(
            [
                *(sys.executable, str(HERE / "hammer.py"), f"{checked}/scullv{number % 4}"),
                *map(str, (number // 4 * STRIPE, 2 * STRIPE, STRIPES, STRIPE, number, SECONDS)),
            ]
        )
        for number in range(PROCESSES)
    ]
    results = [hammer.communicate(timeout=SECONDS + 60) for hammer in hammers]
    assert [(h.returncode, err) for h, (_, err) in zip(hammers, results, strict=True)] == [
        (0, "")
    ] * PROCESSES
    assert all(int(short) > 0 for out, _ in results for short in out.split()[1:])

    sizes = [os.stat(checked / f"scullv{number}").st_size for number in range(4)]
    assert sizes == [2 * STRIPES * STRIPE] * 4
    meminfo = assert_books_add_up(lambda name: (checked / "proc" / name).read_text())
    assert meminfo["VmallocUsed"] == 4 * -(-sizes[0] // 65_536) * 64
    assert len((checked / "proc/kmsg").read_text().splitlines()) == 1


@pytest.mark.long
def test_checked_daemon_without_a_bug(checked: Path) -> None:
    """The check passes after work of all kinds, with holes and an emptied device."""
    (checked / "scullv0").write_bytes(bytes(3 * MIB))
    (checked / "scullv1").write_bytes(b"hello")
    with opened(checked / "scullv1") as fd:
        os.pwrite(fd, b"far", 1 << 40)
        os.ftruncate(fd, 1 << 39)
    os.truncate(checked / "scullv0", 0)
