"""dd: block sizes around the quantum, seek, skip and the flags that matter to a device."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from .helpers import KIB, MIB, QUANTUM, read_all, shell


def dd(*operands: object) -> list[str]:
    """Run dd; what it says, without the line that holds the time."""
    done = shell("dd " + " ".join(map(str, operands)))
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    return done.stderr.splitlines()[:-1]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A file of 4 MiB of random bytes."""
    path = tmp_path / "source"
    path.write_bytes(os.urandom(4 * MIB))
    return path


@pytest.mark.parametrize(
    ("bs", "read"),
    [
        (512, "8192+0"),
        (4 * KIB, "1024+0"),
        (QUANTUM - 512, "64+64"),
        (QUANTUM, "64+0"),
        (QUANTUM + 1, "0+64"),
        (100_000, "0+64"),
        (MIB, "0+64"),
        (4 * MIB, "0+64"),
    ],
)
def test_dd_block_size(scullv0: Path, source: Path, bs: int, read: str) -> None:
    """dd writes on after a short write; what it reads are records up to the end of a quantum."""
    full, rest = divmod(4 * MIB, bs)
    records = f"{full}+{int(rest > 0)}"
    copied = [f"{records} records in", f"{records} records out"]
    assert dd(f"if={source}", f"of={scullv0}", f"bs={bs}") == copied
    assert read_all(scullv0) == source.read_bytes()
    assert dd(f"if={scullv0}", "of=/dev/null", f"bs={bs}") == [
        f"{read} records in",
        f"{read} records out",
    ]


def test_dd_1m_blocks(scullv0: Path) -> None:
    """The example that everybody tries: 4 MiB in blocks of 1 MiB come back as 64 short records."""
    dd("if=/dev/zero", f"of={scullv0}", "bs=1M", "count=4")
    assert dd(f"if={scullv0}", "of=/dev/null", "bs=1M")[0] == "0+64 records in"


@pytest.mark.parametrize("order", [0, 4, 7])
def test_dd_ends_with_the_quantum_of_the_mount(
    mount: Callable[[str], Path], source: Path, order: int
) -> None:
    """order= sets how long a record is."""
    device = mount(f"mem=32M,order={order}") / "scullv0"
    dd(f"if={source}", f"of={device}", "bs=1M")
    count = 4 * MIB >> (12 + order)
    assert dd(f"if={device}", "of=/dev/null", "bs=1M")[0] == f"0+{count} records in"
    assert read_all(device) == source.read_bytes()


@pytest.mark.parametrize("bs", ["1M", "3000000", "64k"])
def test_dd_fullblock(scullv0: Path, source: Path, tmp_path: Path, bs: str) -> None:
    """With iflag=fullblock dd goes on reading until a block is full."""
    dd(f"if={source}", f"of={scullv0}", "bs=1M")
    copy = tmp_path / "copy"
    said = dd(f"if={scullv0}", f"of={copy}", f"bs={bs}", "iflag=fullblock")
    assert re.fullmatch(r"(4\+0|1\+1|64\+0) records in", said[0])
    assert copy.read_bytes() == source.read_bytes()


def test_dd_seek(scullv0: Path, source: Path) -> None:
    """seek= leaves a hole, which reads as the end."""
    dd(f"if={source}", f"of={scullv0}", "bs=64k", "count=1", "seek=3")
    assert os.stat(scullv0).st_size == 4 * QUANTUM
    assert read_all(scullv0) == b""
    assert dd(f"if={scullv0}", "of=/dev/null", "bs=64k")[0] == "0+0 records in"
    assert dd(f"if={scullv0}", "of=/dev/null", "bs=64k", "skip=3")[0] == "1+0 records in"


def test_dd_seek_cuts(scullv0: Path, source: Path) -> None:
    """seek= opens for reading and writing: what is before it stays, what is behind is cut off."""
    dd(f"if={source}", f"of={scullv0}", "bs=1M")
    dd(f"if={source}", f"of={scullv0}", "bs=100k", "count=1", "seek=2")
    data = source.read_bytes()
    assert read_all(scullv0) == data[: 200 * KIB] + data[: 100 * KIB]


def test_dd_seek_notrunc(scullv0: Path, source: Path) -> None:
    """With conv=notrunc what is behind stays, too."""
    dd(f"if={source}", f"of={scullv0}", "bs=1M")
    dd("if=/dev/zero", f"of={scullv0}", "bs=100k", "count=1", "seek=2", "conv=notrunc")
    data = source.read_bytes()
    assert read_all(scullv0) == data[: 200 * KIB] + bytes(100 * KIB) + data[300 * KIB :]


@pytest.mark.parametrize("flags", ["conv=notrunc", "oflag=append conv=notrunc"])
def test_dd_without_seek_empties(scullv0: Path, source: Path, flags: str) -> None:
    """Without seek= dd opens for writing only, and that empties a device whatever the flags."""
    dd(f"if={source}", f"of={scullv0}", "bs=1M")
    dd(f"if={source}", f"of={scullv0}", "bs=100", "count=1", flags)
    assert read_all(scullv0) == source.read_bytes()[:100]


@pytest.mark.parametrize("bs", ["1", "1000", "64k", "70000", "1M"])
def test_dd_skip(scullv0: Path, source: Path, tmp_path: Path, bs: str) -> None:
    """skip= seeks: reading starts where it says."""
    dd(f"if={source}", f"of={scullv0}", "bs=1M")
    copy = tmp_path / "copy"
    dd(f"if={scullv0}", f"of={copy}", f"bs={bs}", "count=1", "skip=2")
    size = {"64k": QUANTUM, "1M": MIB}.get(bs) or int(bs)
    end = min(3 * size, (2 * size // QUANTUM + 1) * QUANTUM)
    assert copy.read_bytes() == source.read_bytes()[2 * size : end]


def test_dd_direct(scullv0: Path, source: Path) -> None:
    """O_DIRECT changes nothing: nothing is cached anyway."""
    dd(f"if={source}", f"of={scullv0}", "bs=64k", "oflag=direct")
    said = dd(f"if={scullv0}", "of=/dev/null", "bs=1M", "iflag=direct")
    assert said[-2] == "0+64 records in"
    assert read_all(scullv0) == source.read_bytes()


def test_dd_between_devices(mnt: Path, source: Path) -> None:
    """From one device to the other."""
    dd(f"if={source}", f"of={mnt}/scullv0", "bs=1M")
    dd(f"if={mnt}/scullv0", f"of={mnt}/scullv3", "bs=10000")
    assert read_all(mnt / "scullv3") == source.read_bytes()
