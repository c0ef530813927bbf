"""Emptying a large device: all is free when the call returns, and others are served meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ..thorough import rounds
from .helpers import QUANTUM, opened, read_all

QUANTA = rounds(1 << 15, 1 << 14)
"""Of 64 KiB: as many as it takes for a trim of many slices."""

READER = """
import os, sys, time
fd = os.open(sys.argv[1], os.O_RDONLY)
print(flush=True)
while os.path.exists(sys.argv[2]):
    os.pread(fd, 4096, 0)
    print(time.monotonic_ns())
"""
"""Reads from a device as long as a file exists; prints when each read was done."""


def sparse(device: Path) -> None:
    """Fill a device with quanta, of which the host gets to see a page each."""
    with opened(device) as fd:
        for number in range(QUANTA):
            os.pwrite(fd, b"x", number * QUANTUM)


def mem_free(mnt: Path) -> int:
    """MemFree of the mount's machine in kB."""
    lines = (mnt / "proc/meminfo").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("MemFree")))


def open_trim(device: Path) -> None:
    """A write-only open."""
    os.close(os.open(device, os.O_WRONLY))


def truncate_trim(device: Path) -> None:
    """truncate(2)"""
    os.truncate(device, 0)


def cut(device: Path) -> None:
    """truncate(2) to the first page."""
    os.truncate(device, 4096)


@pytest.mark.long
@pytest.mark.parametrize("trim", [open_trim, truncate_trim, cut])
def test_a_large_trim_lets_others_in(
    mount: Callable[[str], Path], tmp_path: Path, trim: Callable[[Path], None]
) -> None:
    """Reads of another device go on during the call; at its end the memory is free."""
    mnt = mount(f"mem={QUANTA * QUANTUM + (152 << 20)}")
    before = mem_free(mnt)
    sparse(mnt / "scullv0")
    (mnt / "scullv1").write_bytes(b"y" * 4096)
    assert before - mem_free(mnt) > QUANTA * QUANTUM // 1024

    going = tmp_path / "going"
    going.touch()
    with subprocess.Popen(
        [sys.executable, "-c", READER, mnt / "scullv1", going], stdout=subprocess.PIPE, text=True
    ) as reader:
        assert reader.stdout is not None
        reader.stdout.readline()
        began = time.monotonic_ns()
        trim(mnt / "scullv0")
        ended = time.monotonic_ns()
        going.unlink()
        reads = [int(line) for line in reader.communicate()[0].split()]
    during = [at for at in reads if began < at < ended]
    assert len(during) > 10, "the trim was done in one go"
    # All but the other device's quantum, its quantum set and what is left of this device.
    assert before - mem_free(mnt) < 1024
    assert len(read_all(mnt / "scullv0")) == (4096 if trim is cut else 0)
