"""Areas that are made ahead while a device is filled, as onlookers see them: not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from .helpers import opened

QUANTUM = 64 << 10


def scullv_areas(listing: bytes) -> int:
    """How many areas of the driver's /proc/vmallocinfo lists."""
    return listing.count(b" scullv_write")


@pytest.mark.parametrize("every", [1, 2, 3, 7])
def test_a_look_between_two_writes(mount: Callable[[str], Path], every: int) -> None:
    """A listing that is open all along has the quanta that there are, and df the frames."""
    mnt = mount("mem=64M")
    with (
        opened(mnt / "scullv0") as device,
        opened(mnt / "proc/vmallocinfo", os.O_RDONLY) as listing,
    ):
        for number in range(60):
            assert os.pwrite(device, b"x" * QUANTUM, number * QUANTUM) == QUANTUM
            if number % every == 0:
                free = os.statvfs(mnt).f_bfree
                assert scullv_areas(os.pread(listing, 1 << 20, 0)) == number + 1
                assert os.statvfs(mnt).f_bfree == free


def test_the_same_memory_as_one_by_one(mount: Callable[[str], Path]) -> None:
    """Filled in one go, and with a look after each write: the same areas, objects, free blocks."""
    seen = []
    for looks in (False, True):
        mnt = mount("mem=64M,seed=7")
        with opened(mnt / "scullv0") as device:
            for number in range(200):
                os.pwrite(device, b"x" * QUANTUM, number * QUANTUM)
                if looks:
                    os.stat(mnt / "scullv1")
                    (mnt / "proc/buddyinfo").read_bytes()
        names = ["vmallocinfo", "slabinfo", "buddyinfo", "scullvmem"]
        seen.append([(mnt / "proc" / name).read_bytes() for name in names])
    assert seen[0] == seen[1]
