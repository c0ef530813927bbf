"""cp, cat, head, tail, wc, cmp, od, stat, ls, truncate, df, du, find, and redirections."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from .helpers import KIB, MIB, QUANTUM, opened, read_all, shell, write_all


@pytest.fixture
def data() -> bytes:
    """Some bytes of no length in particular: 15 quanta and a bit."""
    return os.urandom(1_000_003)


@pytest.fixture
def source(tmp_path: Path, data: bytes) -> Path:
    """A file with the bytes."""
    path = tmp_path / "source"
    path.write_bytes(data)
    return path


@pytest.fixture
def filled(scullv0: Path, data: bytes) -> Path:
    """The first device, with the bytes in it."""
    with opened(scullv0) as fd:
        write_all(fd, data)
    return scullv0


def run(command: str, **variables: object) -> str:
    """What a command line that succeeds prints; it says nothing on stderr."""
    done = shell(command, **variables)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("options", ["", "--sparse=always", "--sparse=never", "--reflink=auto"])
def test_cp_in_and_out(
    scullv0: Path, source: Path, tmp_path: Path, data: bytes, options: str
) -> None:
    """A file copied into a device and out again is the same."""
    run(f"cp {options} $S $D", S=source, D=scullv0)
    assert os.stat(scullv0).st_size == len(data)
    run(f"cp {options} $D $C", D=scullv0, C=tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == data


@pytest.mark.parametrize("options", ["", "--sparse=always"])
def test_cp_between_devices(mnt: Path, filled: Path, data: bytes, options: str) -> None:
    """cp from device to device in one mount; the kernel's own copying is refused, cp's is not."""
    run(f"cp {options} $M/scullv0 $M/scullv2", M=mnt)
    assert read_all(mnt / "scullv2") == data
    run("cmp $M/scullv0 $M/scullv2", M=mnt)


def test_cp_sparse_makes_holes(mnt: Path, tmp_path: Path) -> None:
    """With --sparse=always quanta of zeros are left out, and the size is right."""
    file = tmp_path / "zeros"
    file.write_bytes(b"begin" + bytes(MIB) + b"end")
    run("cp --sparse=always $S $D", S=file, D=mnt / "scullv0")
    status = os.stat(mnt / "scullv0")
    assert status.st_size == MIB + 8
    assert status.st_blocks * 512 < 4 * QUANTUM


def test_cat(mnt: Path, filled: Path, source: Path, data: bytes) -> None:
    """cat reads on after each short read, and several devices one after the other."""
    assert run("cat $D | cmp - $S; cat $D $D | wc -c", D=filled, S=source) == "2000006\n"
    run("cat $M/scullv0 > $M/scullv1; cat < $M/scullv1 > $M/scullv2", M=mnt)
    assert read_all(mnt / "scullv2") == data


def test_head(filled: Path, data: bytes) -> None:
    """head takes the bytes and lines that it is asked for, over the ends of quanta."""
    digest = "head -c 200000 $D | cmp -n 200000 - $D && echo same"
    assert run(digest, D=filled) == "same\n"
    run("seq 100000 > $D", D=filled)
    assert run("head -n 20000 $D | tail -n 1", D=filled) == "20000\n"


def test_tail(filled: Path) -> None:
    """tail finds the end by the size, and the lines before it by reading backwards."""
    run("seq 100000 > $D", D=filled)
    assert run("tail -n 2 $D", D=filled) == "99999\n100000\n"
    assert run("tail -c 7 $D", D=filled) == "100000\n"
    assert run("tail -n +99999 $D", D=filled) == "99999\n100000\n"
    assert run("tail -n 30000 $D | head -n 1", D=filled) == "70001\n"


def test_wc(filled: Path) -> None:
    """wc counts bytes without reading and lines by reading."""
    assert run("wc -c < $D", D=filled) == "1000003\n"
    run("seq 100000 > $D", D=filled)
    assert run("wc -l < $D; wc -c < $D", D=filled) == "100000\n588895\n"


def test_cmp(filled: Path, source: Path, mnt: Path) -> None:
    """cmp finds equal what is, and where it is not."""
    run("cmp $S $D", S=source, D=filled)
    run("printf X | dd of=$D bs=1 seek=500000 conv=notrunc status=none", D=filled)
    done = shell("cmp $S $D", S=source, D=filled)
    assert (done.returncode, done.stderr) == (1, "")
    assert re.search(r" differ: (byte|char) 500001, line ", done.stdout)


def test_od(scullv0: Path) -> None:
    """od shows what is there, from an offset, too."""
    run("printf 'scull\\0v' > $D", D=scullv0)
    assert run("od -c $D", D=scullv0) == "0000000   s   c   u   l   l  \\0   v\n0000007\n"
    assert run("od -An -tx1 -j 4 -N 2 $D", D=scullv0) == " 6c 00\n"


def test_stat(filled: Path) -> None:
    """The size is the bytes, the blocks are the quanta, the I/O block is the quantum."""
    assert run("stat -c '%s %b %B %o %a %F' $D", D=filled) == (
        f"1000003 {16 * QUANTUM // 512} 512 {QUANTUM} 664 regular file\n"
    )


def test_ls(mnt: Path, filled: Path) -> None:
    """ls -l lists the devices with their sizes, the link, and proc."""
    lines = [line.split(maxsplit=8) for line in run("ls -l $M", M=mnt).splitlines()]
    assert lines[0] == ["total", "1024"]
    assert [(fields[0], fields[4], fields[-1]) for fields in lines[1:]][:6] == [
        ("drwxr-xr-x", "0", "proc"),
        ("lrwxrwxrwx", "7", "scullv -> scullv0"),
        ("-rw-rw-r--", "1000003", "scullv0"),
        ("-rw-rw-r--", "0", "scullv1"),
        ("-rw-rw-r--", "0", "scullv2"),
        ("-rw-rw-r--", "0", "scullv3"),
    ]


@pytest.mark.parametrize("size", [0, 1, QUANTUM, 100_000, 1_000_003, 5 * MIB])
def test_truncate(filled: Path, data: bytes, size: int) -> None:
    """truncate(2) sets the size; what is cut off is gone, what is added is a hole."""
    os.truncate(filled, size)  # truncate(1) opens for writing only, and that empties
    assert os.stat(filled).st_size == size
    last = -(-min(size, len(data)) // QUANTUM) * QUANTUM
    assert os.stat(filled).st_blocks * 512 == last
    grown = data[:size] + bytes(max(min(size, last) - len(data), 0))
    assert read_all(filled) == grown


def test_truncate_command(filled: Path) -> None:
    """truncate(1) opens for writing only: it empties the device and then sets the size."""
    run("truncate -s 100 $D", D=filled)
    assert (os.stat(filled).st_size, os.stat(filled).st_blocks) == (100, 0)
    assert read_all(filled) == b""


@pytest.mark.parametrize(
    "command", [": > $D", "true > $D", "cp /dev/null $D", "touch $D", ": >> $D"]
)
def test_emptying(filled: Path, command: str) -> None:
    """All that opens a device for writing only empties it, >> included."""
    run(command, D=filled)
    assert (os.stat(filled).st_size, os.stat(filled).st_blocks) == (0, 0)


def test_redirections(scullv0: Path) -> None:
    """>> begins anew as > does; one redirection for several commands appends, and <> overwrites."""
    assert run("echo one > $D; echo two >> $D; cat $D", D=scullv0) == "two\n"
    assert run("(echo a; echo b; echo c) >> $D; cat $D", D=scullv0) == "a\nb\nc\n"
    assert run("echo x 1<> $D; cat $D", D=scullv0) == "x\nb\nc\n"


def test_pipes(mnt: Path, source: Path, data: bytes) -> None:
    """tee and a chain of pipes."""
    run("cat $S | tee $M/scullv0 $M/scullv1 | cat > $M/scullv2", S=source, M=mnt)
    assert [read_all(mnt / f"scullv{n}") == data for n in range(3)] == [True] * 3


def test_df(mnt: Path, scullv0: Path) -> None:
    """df shows the machine's RAM, and what a device takes of it."""
    command = "df --output=size,used,avail,fstype $M | tail -n 1"
    size, used, free, fstype = run(command, M=mnt).split()
    assert (size, fstype) == (str(256 * KIB - 4), "fuse.scullvfs")
    kept_back = int(size) - int(used) - int(free)  # by the watermark
    assert 0 < kept_back < 4 * KIB
    run("dd if=/dev/zero of=$D bs=1M count=64 status=none", D=scullv0)
    now = int(run(command, M=mnt).split()[1])
    assert 64 * KIB <= now - int(used) < 65 * KIB
    run(": > $D", D=scullv0)
    assert int(run(command, M=mnt).split()[1]) < now - 63 * KIB


def test_du(mnt: Path, filled: Path) -> None:
    """du counts quanta, of holes nothing."""
    assert run("du -k $D | cut -f1", D=filled) == "1024\n"
    assert run("du -b $D | cut -f1", D=filled) == "1000003\n"
    run("printf x | dd of=$D bs=1M seek=100 status=none", D=mnt / "scullv1")
    assert run("du -k $D | cut -f1", D=mnt / "scullv1") == "64\n"


def test_find(mnt: Path, filled: Path) -> None:
    """find walks the tree, and finds by size and type."""
    names = run(
        "cd $M && find . -path ./sys -prune -o -print -path ./proc/fs -prune | sort", M=mnt
    ).split()
    devices = ["./scullv", *(f"./scullv{n}" for n in range(4))]
    proc = [f"./proc/{name}" for name in sorted(os.listdir(mnt / "proc"))]
    assert names == sorted([".", "./proc", *proc, *devices])
    assert run("find $M -maxdepth 1 -type f -size +100k -printf '%f'", M=mnt) == "scullv0"


def test_sum(filled: Path, source: Path) -> None:
    """Checksums of a device and of a file with the same bytes are equal."""
    assert len(set(run("sha256sum < $D; sha256sum < $S", D=filled, S=source).split()) - {"-"}) == 1
