"""The files of proc/ through the mount: made at open or as they are read, and true."""

from __future__ import annotations

import errno
import os
import re
import stat
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from ..fs.books import assert_books_add_up, read_meminfo
from ..scull.helpers import fails
from .helpers import MIB, QUANTUM, opened, read_all, shell, write_all

MODES = {
    "buddyinfo": 0o444,
    "iomem": 0o444,
    "kcore": 0o400,
    "kmsg": 0o400,
    "kpagecount": 0o400,
    "kpageflags": 0o400,
    "meminfo": 0o444,
    "pagetypeinfo": 0o400,
    "scullvmem": 0o444,
    "slabinfo": 0o400,
    "vmallocinfo": 0o400,
    "zoneinfo": 0o444,
}
"""What is in proc/, with the permissions that Linux gives it."""

NUMBERS = ("kpagecount", "kpageflags")
"""Those with eight bytes for each page frame; all others are text."""

files = pytest.mark.parametrize("name", [name for name in MODES if name != "kcore"])
"""All but RAM, which is as large as it is: tests/vfs/test_readers.py."""


def test_proc_names(mnt: Path) -> None:
    """These files, who is looking, and no others."""
    assert sorted(os.listdir(mnt / "proc")) == sorted([*MODES, "fs", "self", "thread-self"])


@files
def test_proc_attributes(mnt: Path, name: str) -> None:
    """A file of proc says how long it is now, that it takes no blocks, and who may read it."""
    status = os.stat(mnt / "proc" / name)
    assert status.st_mode == stat.S_IFREG | MODES[name]
    size = len((mnt / "proc" / name).read_bytes())
    assert (status.st_size, status.st_blocks, status.st_nlink) == (size, 0, 1)


@files
def test_proc_cat(mnt: Path, fd: int, tmp_path: Path, name: str) -> None:
    """Programs that do not trust the size read it all: cat, cp, Python."""
    os.write(fd, b"x")
    done = shell("cat $F | tee $C/copy | wc -c; cp $F $C/copy2", F=mnt / "proc" / name, C=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    text = (mnt / "proc" / name).read_bytes()
    assert int(done.stdout) == len(text)
    assert text.endswith(b"\n") or name in NUMBERS
    assert (tmp_path / "copy").read_bytes() == (tmp_path / "copy2").read_bytes() == text


@files
def test_proc_refuses_writing(mnt: Path, name: str) -> None:
    """Root, too, cannot open them for writing, nor change their size."""
    path = mnt / "proc" / name
    before = path.read_bytes()
    for flags in (os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC, os.O_RDWR | os.O_APPEND):
        with fails(errno.EACCES):
            os.open(path, flags)
    with pytest.raises(OSError, match=r"Invalid argument|Permission denied"):
        os.truncate(path, 0)
    assert path.read_bytes() == before


@pytest.mark.parametrize("size", [1, 7, 4096])
def test_proc_read_in_pieces(mnt: Path, fd: int, size: int) -> None:
    """Read with small buffers or at any offset, the content is the same."""
    write_all(fd, bytes(100 * QUANTUM))
    with opened(mnt / "proc/vmallocinfo", os.O_RDONLY) as file:
        text = read_all(file)
        parts = []
        while part := os.read(file, size):
            parts.append(part)
        assert b"".join(parts) == text
        for offset in (0, 1, 5000, len(text) - 1, len(text), len(text) + 10**9):
            assert os.pread(file, size, offset) == text[offset : offset + size]
        assert os.lseek(file, 20, os.SEEK_SET) == 20
        assert os.read(file, 5) == text[20:25]


@pytest.mark.parametrize("name", ["scullvmem", "vmallocinfo"])
def test_listing_is_of_the_moment_of_read(mnt: Path, fd: int, name: str) -> None:
    """What was open before something has happened shows it, as what is opened later."""
    with opened(mnt / "proc" / name, os.O_RDONLY) as first:
        before = read_all(first)
        write_all(fd, bytes(20 * QUANTUM))
        assert read_all(first) == (mnt / "proc" / name).read_bytes() != before


@pytest.mark.parametrize("name", ["buddyinfo", "meminfo"])
def test_proc_is_of_the_moment_of_open(mnt: Path, fd: int, name: str) -> None:
    """What is open stays as it was; what is opened later shows what has happened."""
    with opened(mnt / "proc" / name, os.O_RDONLY) as first:
        write_all(fd, bytes(20 * QUANTUM))
        with opened(mnt / "proc" / name, os.O_RDONLY) as second:
            before, after = read_all(first), read_all(second)
            assert after != before
            os.ftruncate(fd, 0)
            assert (read_all(first), read_all(second)) == (before, after)


@pytest.mark.long
def test_scullvmem(mnt: Path, fd: int) -> None:
    """The listing of a device with three quanta is the driver's."""
    write_all(fd, bytes(3 * QUANTUM))
    text = (mnt / "proc/scullvmem").read_text()
    assert re.match(
        r"\nDevice 0: qset 500, order 4, sz 196608\n"
        r"  item at [0-9a-f]{16}, qset at [0-9a-f]{16}\n"
        r"       0:[0-9a-f]{16}\n       1:[0-9a-f]{16}\n       2:[0-9a-f]{16}\n"
        r"\nDevice 1: qset 500, order 4, sz 0\n"
        r"  item at [0-9a-f]{16}, qset at 0{16}\n\n",
        text,
    )


def test_vmallocinfo(mnt: Path, fd: int) -> None:
    """Each quantum of the listing is an area there, with a guard page, lowest address first."""
    write_all(fd, bytes(20 * QUANTUM))
    listed = re.findall(r"(?m)^ +\d+:([0-9a-f]+)$", (mnt / "proc/scullvmem").read_text())
    lines = (mnt / "proc/vmallocinfo").read_text().splitlines()
    busy = [line for line in lines if "unpurged" not in line]
    assert sorted(listed) == [line[2:18] for line in busy]
    for line in busy:
        start, end = int(line[2:18], 16), int(line[21:37], 16)
        assert end - start == QUANTUM + 4096
        assert line == (
            f"0x{start:x}-0x{end:x}   69632 scullv_write [scullv] pages=16 vmalloc N0=16"
        )


def test_meminfo(mnt: Path, fd: int) -> None:
    """What a device takes is VmallocUsed; what it gives back is free."""
    before = read_meminfo((mnt / "proc/meminfo").read_text())
    write_all(fd, bytes(64 * MIB))
    during = read_meminfo((mnt / "proc/meminfo").read_text())
    os.ftruncate(fd, 0)
    after = read_meminfo((mnt / "proc/meminfo").read_text())
    assert before["MemTotal"] == (256 << 10) - 4  # kB, and frame 0 is not handed out
    assert [m["VmallocUsed"] for m in (before, during, after)] == [0, 64 << 10, 0]
    assert before["MemFree"] - during["MemFree"] == pytest.approx(64 << 10, abs=512)


def test_iomem(mount: Callable[[str], Path]) -> None:
    """The RAM is where the machine has it."""
    assert (mount("mem=64M") / "proc/iomem").read_text() == (
        "00000000-00000fff : Reserved\n"
        "00001000-03ffffff : System RAM\n"
        "fe000000-fe000fff : scull-demo\n"
    )


def test_kmsg(mount: Callable[[str], Path]) -> None:
    """The log begins with the memory, names who ran out of it, and reading takes nothing away."""
    mnt = mount("mem=16M")
    done = shell("dd if=/dev/zero of=$D bs=1M", D=mnt / "scullv0")
    assert done.returncode == 1
    log = (mnt / "proc/kmsg").read_text()
    assert (mnt / "proc/kmsg").read_text() == log
    first, *rest = log.splitlines()
    assert re.fullmatch(
        r"<6>\[ +\d+\.\d{6}\] Memory: \d+K/16384K available, x86_64, shuffled page frames, seed 0",
        first,
    )
    assert any(
        re.match(r"<4>\[ +\d+\.\d{6}\] dd: vmalloc error: size \d+, failed to allocate", line)
        for line in rest
    )


KPF = {"slab": 7, "buddy": 10, "pgtable": 26}
"""Linux: include/uapi/linux/kernel-page-flags.h"""


def kpageflags(mnt: Path, skip: int, count: int) -> list[int]:
    """The flags of `count` frames from `skip` on, as dd gives them."""
    done = subprocess.run(
        ["dd", f"if={mnt}/proc/kpageflags", "bs=8", f"skip={skip}", f"count={count}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    return [flags for (flags,) in struct.iter_unpack("=Q", done.stdout)]


def test_kpageflags(mnt: Path, fd: int) -> None:
    """What page-types would say: free frames, slabs and tables are as many as the others count."""
    write_all(fd, bytes(20 * QUANTUM))
    data = (mnt / "proc/kpageflags").read_bytes()
    frames = [flags for (flags,) in struct.iter_unpack("=Q", data)]
    assert len(frames) == 256 * MIB // 4096
    assert frames[0] == 1 << 32
    for skip, count in ((0, 3), (65530, 100), (12345, 600)):
        assert kpageflags(mnt, skip, count) == frames[skip : skip + count]
    meminfo = read_meminfo((mnt / "proc/meminfo").read_text())
    of_kind = {name: sum(each >> bit & 1 for each in frames) for name, bit in KPF.items()}
    assert of_kind["slab"] * 4 == meminfo["Slab"]
    assert of_kind["pgtable"] * 4 == meminfo["PageTables"]
    assert 0 < of_kind["buddy"] * 4 <= meminfo["MemFree"]
    assert frames.count(0) * 4 >= meminfo["VmallocUsed"]


def test_books_add_up(mnt: Path) -> None:
    """After random work the books agree, whatever the devices hold."""
    rng = Random(3)
    devices = [mnt / f"scullv{n}" for n in range(4)]
    for step in range(400):
        with opened(rng.choice(devices)) as fd:
            if rng.random() < 0.9:
                os.pwrite(fd, rng.randbytes(rng.randrange(1, 100_000)), rng.randrange(64 * MIB))
            else:
                os.ftruncate(fd, rng.randrange(64 * MIB))
        if step % 40 == 39:
            meminfo = assert_books_add_up(lambda name: (mnt / "proc" / name).read_text())
            assert meminfo["VmallocUsed"] * 2 == sum(os.stat(d).st_blocks for d in devices)
            assert meminfo["MemFree"] == os.statvfs(mnt).f_bfree * 4


def test_proc_copy_on_behind_the_end(mnt: Path, tmp_path: Path) -> None:
    """Who copies on when a listing has changed and grown gets whole lines, as of seq_file."""
    (mnt / "sys/kernel/debug/mm/command").write_text("purge")  # what others have left behind
    order = mnt / "sys/module/scullv/parameters/scullv_order"
    order.write_text("0")  # shorter lines than those of other orders
    (mnt / "scullv1").write_bytes(bytes(40 * 4096))
    order.write_text("4")
    copy = tmp_path / "copy"
    with opened(mnt / "proc/vmallocinfo", os.O_RDONLY) as fd, copy.open("wb") as target:

        def copy_on() -> int:
            os.fstat(fd)  # the kernel knows how long it is now
            return os.sendfile(target.fileno(), fd, os.fstat(target.fileno()).st_size, MIB)

        assert copy_on()
        assert os.fstat(target.fileno()).st_size & 4095
        os.truncate(mnt / "scullv1", 0)
        (mnt / "scullv0").write_bytes(bytes(90 * QUANTUM))
        assert copy_on()
    lines = copy.read_text().splitlines()
    assert [line for line in lines if not re.fullmatch(r"0x\w{16}-0x\w{16} +\d+ \S.*", line)] == []
