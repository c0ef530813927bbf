"""RAM that runs out, and RAM that is given back to the host."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from ..fs.books import assert_books_add_up
from .helpers import GIB, MIB, opened, read_all, shell, wait_until, write_all


def resident(scullvfs: Any, mnt: Path) -> int:
    """Bytes that the daemon of a mount takes of the host's memory."""
    rss: int = psutil.Process(scullvfs.pid(mnt)).memory_info().rss
    return rss


@pytest.mark.long
def test_ram_used_up(mount: Callable[[str], Path], tmp_path: Path) -> None:
    """dd says so and ends with 1; what was written is there, and a trim makes room again."""
    mnt = mount("mem=32M")
    source = tmp_path / "source"
    source.write_bytes(os.urandom(64 * MIB))
    other = os.urandom(MIB)
    (mnt / "scullv1").write_bytes(other)

    done = shell("dd if=$S of=$D bs=64k", S=source, D=mnt / "scullv0")
    assert done.returncode == 1
    error, records_in, records_out, _ = done.stderr.splitlines()
    assert error == f"dd: error writing '{mnt}/scullv0': Cannot allocate memory"
    count = int(records_out.split("+")[0])
    assert (records_in, records_out) == (f"{count + 1}+0 records in", f"{count}+0 records out")
    assert 470 < count < 512 - 16

    size = count << 16
    assert os.stat(mnt / "scullv0").st_size == size
    assert read_all(mnt / "scullv0") == source.read_bytes()[:size]
    assert shell("cmp -n $N $S $D", N=size, S=source, D=mnt / "scullv0").returncode == 0
    assert read_all(mnt / "scullv1") == other
    done = shell("echo x > $D", D=mnt / "scullv2")
    assert (done.returncode, "Cannot allocate memory" in done.stderr) == (1, True)
    assert_books_add_up(lambda name: (mnt / "proc" / name).read_text())

    assert shell(": > $D", D=mnt / "scullv0").returncode == 0
    assert shell("echo x > $D", D=mnt / "scullv2").returncode == 0
    again = shell("dd if=$S of=$D bs=64k count=400", S=source, D=mnt / "scullv0")
    assert again.returncode == 0
    assert read_all(mnt / "scullv0") == source.read_bytes()[: 400 << 16]
    assert read_all(mnt / "scullv1") == other


@pytest.mark.long
def test_ram_used_up_by_small_quanta(mount: Callable[[str], Path]) -> None:
    """The same with items of a page each, where items and sets run out as well as quanta."""
    mnt = mount("mem=8M,order=0,qset=1")
    done = shell("dd if=/dev/zero of=$D bs=1M", D=mnt / "scullv0")
    assert (done.returncode, "Cannot allocate memory" in done.stderr) == (1, True)
    size = os.stat(mnt / "scullv0").st_size
    done = shell("cat $D | wc -c", D=mnt / "scullv0")
    assert (done.stdout, done.stderr) == (f"{size}\n", "")
    assert_books_add_up(lambda name: (mnt / "proc" / name).read_text())
    assert shell(": > $D; echo x > $D", D=mnt / "scullv0").returncode == 0


@pytest.mark.long
def test_addresses_used_up(mount: Callable[[str], Path]) -> None:
    """On i386 the vmalloc window of 128 MiB runs out while most of the RAM is free."""
    mnt = mount("mem=512M,arch=i386,order=10")
    done = shell("dd if=/dev/zero of=$D bs=4M", D=mnt / "scullv0")
    assert (done.returncode, "Cannot allocate memory" in done.stderr) == (1, True)
    assert os.stat(mnt / "scullv0").st_size == 31 * 4 * MIB
    assert os.statvfs(mnt).f_bfree * 4096 > 256 * MIB
    assert "vmalloc_node_range" in (mnt / "proc/kmsg").read_text()


@pytest.mark.long
def test_trim_gives_memory_back_to_the_host(scullvfs: Any, mount: Callable[[str], Path]) -> None:
    """After 512 MiB were written and trimmed, the daemon is soon as small as before, or nearly."""
    mnt = mount("mem=1G")
    before = resident(scullvfs, mnt)
    assert shell("dd if=/dev/zero of=$D bs=1M count=512", D=mnt / "scullv0").returncode == 0
    assert resident(scullvfs, mnt) > before + 500 * MIB
    os.truncate(mnt / "scullv0", 0)
    wait_until(
        lambda: resident(scullvfs, mnt) < before + 64 * MIB,
        "the daemon has given its memory back",
    )


@pytest.mark.long
def test_truncate_gives_memory_back_to_the_host(
    scullvfs: Any, mount: Callable[[str], Path]
) -> None:
    """What is cut off is given back, too, and what stays is intact."""
    mnt = mount("mem=256M")
    before = resident(scullvfs, mnt)
    data = os.urandom(3 * MIB)
    with opened(mnt / "scullv0") as fd:
        write_all(fd, data)
        write_all(fd, bytes(160 * MIB), 3 * MIB)
        os.ftruncate(fd, 3 * MIB)
    wait_until(
        lambda: resident(scullvfs, mnt) < before + 64 * MIB,
        "the daemon has given its memory back",
    )
    assert read_all(mnt / "scullv0") == data


@pytest.mark.long
def test_kfree_gives_memory_back_to_the_host(scullvfs: Any, mount: Callable[[str], Path]) -> None:
    """Quantum sets of 4 MiB, all of them in use: they go back, though few single frames are freed.

    A quantum in every 512th place of a set touches each page of it.
    """
    mnt = mount("mem=256M,order=0,qset=524287")
    devices = [mnt / f"scullv{number}" for number in range(3)]
    before = resident(scullvfs, mnt)
    for device in devices:
        with opened(device) as fd:
            for place in range(0, 524288, 512):
                os.pwrite(fd, b"x", place * 4096)
    assert resident(scullvfs, mnt) > before + 24 * MIB
    for device in devices:
        os.truncate(device, 0)
    wait_until(lambda: resident(scullvfs, mnt) < before + 18 * MIB, "the sets are given back")


def test_a_far_position_takes_nothing_of_the_host(
    scullvfs: Any, mount: Callable[[str], Path]
) -> None:
    """A million list items for a byte at 32 TiB are in the machine's books only."""
    mnt = mount("mem=1G")
    before, free = resident(scullvfs, mnt), os.statvfs(mnt).f_bfree
    with opened(mnt / "scullv0") as fd:
        assert os.pwrite(fd, b"x", 1 << 45) == 1
    assert resident(scullvfs, mnt) < before + 32 * MIB
    assert free - os.statvfs(mnt).f_bfree == pytest.approx(51_130 + 16, abs=64)


def test_16_gib(scullvfs: Any, mount: Callable[[str], Path]) -> None:
    """RAM that nobody has touched takes nothing of the host's."""
    if psutil.virtual_memory().available < 17 * GIB:
        pytest.skip("this host has not 17 GiB of memory available, so mem=16G is refused")
    mnt = mount("mem=16G")
    (mnt / "scullv0").write_bytes(bytes(MIB))
    assert resident(scullvfs, mnt) < 100 * MIB
    assert os.statvfs(mnt).f_blocks == 16 * GIB // 4096 - 1
