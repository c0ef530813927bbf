"""What the daemon takes beside the data: for each area and item, for listings, for open files."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from .helpers import MIB, Scullvfs, mount_point, mounted_on, opened
from .troubles import TROUBLES

RAM = 64 * MIB
AREA = 300
"""Bytes that an area may take beside RAM."""
SLAB = 450
"""Bytes that a slab, a page of list items, may take, with the list of its free objects."""
NOBODY = 65534
LISTINGS = ("sys/kernel/debug/page_tables/kernel", "sys/kernel/debug/vmap_areas")
"""Long ones beside those of proc/."""

OPEN_ALL = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (10_000, 10_000))
os.setgroups([])
os.setresgid(*[int(sys.argv[2])] * 3)
os.setresuid(*[int(sys.argv[2])] * 3)
opened = []
try:
    while True:
        opened.append(os.open(sys.argv[1], os.O_RDONLY))
except OSError as error:
    print(len(opened), error.errno, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def cold(scullvfs: Scullvfs) -> None:
    """Only a daemon that shares nothing tells what it takes."""
    scullvfs.warm = False


def books(pid: int) -> int:
    """Bytes of the host's memory that a daemon takes beside the RAM of its machine."""
    nbytes, is_ram = 0, False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if mapping := re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line):
            is_ram = int(mapping[2], 16) - int(mapping[1], 16) == RAM
        elif line.startswith("Pss:") and not is_ram:
            nbytes += int(line.split()[1]) << 10
    return nbytes


def read_whole(path: Path) -> int:
    """Read a file to its end; how long it is."""
    length = 0
    with opened(path, os.O_RDONLY) as fd:
        while part := os.read(fd, 1 << 17):
            length += len(part)
    return length


@pytest.mark.long
@pytest.mark.parametrize(("order", "qset"), [(0, 500), (0, 1), (1, 500)])
def test_areas(scullvfs: Any, mount: Callable[[str], Path], order: int, qset: int) -> None:
    """RAM full of areas takes 300 bytes for each beside it; their listing leaves nothing behind."""
    mnt = mount(f"mem={RAM},devs=1,order={order},qset={qset},semantics=file")
    pid, quantum = scullvfs.pid(mnt), 4096 << order
    nr_areas = RAM // (quantum + 520)
    with opened(mnt / "scullv0") as fd:
        os.pwrite(fd, b"x", 0)
        before = books(pid)
        os.posix_fallocate(fd, 0, nr_areas * quantum)
    assert (mnt / "sys/class/scullv/scullv0/quanta").read_text() == f"{nr_areas}\n"
    full = books(pid)
    assert full - before < nr_areas * AREA
    for name in ("proc/vmallocinfo", "proc/scullvmem", "proc/kpageflags", *LISTINGS):
        read_whole(mnt / name)
    assert read_whole(mnt / "proc/vmallocinfo") >= nr_areas * 80
    assert books(pid) - full < MIB


@pytest.mark.long
def test_items_one_by_one(scullvfs: Any, mount: Callable[[str], Path]) -> None:
    """Reads that add list items, which needs no right to write, take no more than areas do."""
    mnt = mount(f"mem={RAM},devs=1,order=0,qset=1")
    pid, nr_items = scullvfs.pid(mnt), 20_000
    os.truncate(mnt / "scullv0", nr_items * 4096)
    with opened(mnt / "scullv0", os.O_RDONLY) as fd:
        before = books(pid)
        for item in range(0, nr_items, 50):  # fewer than what comes as whole pages
            assert os.pread(fd, 1, item * 4096) == b""
    assert books(pid) - before < nr_items // 21 * SLAB


@pytest.mark.long
def test_open_listings(scullvfs: Any, mount: Callable[[str], Path]) -> None:
    """However often a long listing is opened, and changes in between, it takes nothing."""
    mnt = mount(f"mem={RAM},devs=4,order=0,qset=1")
    pid = scullvfs.pid(mnt)
    for device in range(4):
        with opened(mnt / f"scullv{device}") as fd:
            os.pwrite(fd, b"x", 12_000 * 4096)
    assert (mnt / "proc/scullvmem").stat().st_size > 2 * MIB
    before = books(pid)
    with ExitStack() as stack:
        changing = stack.enter_context(opened(mnt / "scullv0"))
        for number in range(60):
            fd = stack.enter_context(opened(mnt / "proc/scullvmem", os.O_RDONLY))
            assert len(os.read(fd, 100)) == 100
            os.pwrite(changing, b"x", number * 4096)
        assert books(pid) - before < 8 * MIB


@pytest.mark.long
@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become another user")
def test_open_files_have_an_end(scullvfs: Scullvfs) -> None:
    """An ordinary user opens 8192 files, and not one more; root still can then."""
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)  # pytest's own directories are closed to others
        with (
            mount_point(scullvfs, Path(directory, "mnt")) as mnt,
            mounted_on(scullvfs, mnt, "mem=16M,devs=1,allow_other"),
            opened(mnt / "proc/iomem", os.O_RDONLY),
            subprocess.Popen(
                [sys.executable, "-c", OPEN_ALL, mnt / "proc/iomem", str(NOBODY)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            ) as user,
        ):
            assert user.stdout is not None
            assert (
                user.stdout.readline() == f"8191 {getattr(errno, TROUBLES['open-files'].outcome)}\n"
            )
            assert (mnt / "proc/meminfo").read_text()
            user.communicate()
