"""What `writeback` adds to the rules of files: the kernel has data first, and the driver later."""

from __future__ import annotations

import errno
import json
import mmap
import os
import random
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scullvfs.mounts.health import STATUS_FILE

from ..helpers import (
    DEADLINE,
    MIB,
    Scullvfs,
    end,
    foreground,
    opened,
    orphan,
    read_all,
    shell,
    wait_until,
)
from ..troubles import TROUBLES, refusal
from .helpers import DATA, KEEP_SIZE, PUNCH_HOLE, QUANTUM, ZERO_RANGE, fails, fallocate

OPTIONS = "semantics=file,writeback,order=1,qset=3,mem=64M"


@pytest.fixture
def mnt(mount: Callable[[str], Path]) -> Path:
    """A mount with `writeback`."""
    return mount(OPTIONS)


def held(mnt: Path, name: str = "scullv0") -> int:
    """Bytes that the driver has of a device."""
    return int((mnt / "sys/class/scullv" / name / "size").read_text())


def past_the_page_cache(path: Path) -> bytes:
    """What the driver has of a device."""
    with (
        opened(path, os.O_RDONLY | os.O_DIRECT) as fd,
        mmap.mmap(-1, -(-os.fstat(fd).st_size // 4096) * 4096 + 4096) as buffer,
    ):
        return buffer[: os.preadv(fd, [buffer], 0)]


def listing(mnt: Path) -> Path:
    """A file of `proc/` that gets longer as devices get quanta."""
    return mnt / "proc/scullvmem"


def fill(mnt: Path, number: int) -> None:
    """Have more lines in it."""
    (mnt / f"scullv{number}").write_bytes(DATA)


# -- when the driver has it ----------------------------------------------------------------------


def test_small_writes_are_few_requests(mnt: Path) -> None:
    """Of what small calls write the driver hears at a close, in large pieces."""
    path = mnt / "scullv0"
    with opened(path) as fd:
        for at in range(256):
            os.pwrite(fd, bytes([at]) * 4096, at * 4096)
        assert held(mnt) == 0
        assert os.fstat(fd).st_size == MIB
    assert held(mnt) == MIB
    calls = json.loads((mnt / STATUS_FILE).read_bytes())["calls"]["scullv0"]
    assert calls["write"]["bytes"] == MIB
    assert calls["write"]["calls"] < 40
    with opened(path) as fd:
        assert os.pread(fd, MIB, 0) == b"".join(bytes([at]) * 4096 for at in range(256))


@pytest.mark.parametrize("how", ["fsync", "fdatasync", "msync", "close", "syncfs"])
def test_written_back_by(mnt: Path, how: str) -> None:
    """Each of these has the driver get it, and the kernel know the space it takes."""
    with opened(mnt / "scullv0") as fd:
        os.write(fd, DATA)
        assert held(mnt) == 0
        if how == "msync":
            with mmap.mmap(fd, len(DATA)) as mapping:
                mapping.flush()
        elif how == "close":
            os.close(os.dup(fd))
        elif how == "syncfs":
            assert shell('sync -f "$mnt"', mnt=mnt).returncode == 0
            wait_until(lambda: held(mnt) == len(DATA), "it is written back")
        else:
            getattr(os, how)(fd)
        assert held(mnt) == len(DATA)
        if how != "syncfs":
            assert os.fstat(fd).st_blocks * 512 == 41 * QUANTUM


@pytest.mark.long
@pytest.mark.parametrize("seed", range(3))
def test_random_calls(mnt: Path, seed: int) -> None:
    """Whatever a program does, it reads what it wrote, and the driver has it in the end."""
    path, chance, model = mnt / "scullv0", random.Random(seed), bytearray()
    fd = os.open(path, os.O_RDWR)

    def put(pos: int, data: bytes) -> None:
        model.extend(bytes(max(0, pos + len(data) - len(model))))
        model[pos : pos + len(data)] = data

    for number in range(300):
        pos, count = chance.randrange(60 * QUANTUM), chance.randrange(1, 3 * QUANTUM)
        data = chance.randbytes(count)
        what = chance.choice(["write"] * 6 + ["read"] * 2 + OTHERS)
        if what == "write":
            assert os.pwrite(fd, data, pos) == count
            put(pos, data)
        elif what == "read":
            assert os.pread(fd, count, pos) == model[pos : pos + count]
        elif what == "append":
            with opened(path, os.O_WRONLY | os.O_APPEND) as other:
                assert os.write(other, data) == count
            put(len(model), data)
        elif what == "write-only":
            with opened(path, os.O_WRONLY) as other:
                assert os.pwrite(other, data, pos) == count
            put(pos, data)
        elif what == "truncate":
            os.ftruncate(fd, pos)
            model = model[:pos].ljust(pos, b"\0")
        elif what == "empty":
            os.close(os.open(path, os.O_WRONLY | os.O_TRUNC))
            model = bytearray()
        elif what == "punch":
            fallocate(fd, PUNCH_HOLE | KEEP_SIZE, pos, count)
            inside = max(0, min(count, len(model) - pos))
            model[pos : pos + inside] = bytes(inside)
        elif what == "zero":
            fallocate(fd, ZERO_RANGE, pos, count)
            put(pos, bytes(count))
        elif what == "fallocate":
            fallocate(fd, 0, pos, count)
            model = model.ljust(pos + count, b"\0")
        elif what == "map" and model:
            pos %= len(model)
            with mmap.mmap(fd, len(model)) as mapping:
                data = data[: len(model) - pos]
                mapping[pos : pos + len(data)] = data
            put(pos, data)
        elif what == "forget":
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        elif what == "sync":
            os.fsync(fd)
            assert held(mnt) == len(model)
        elif what == "direct":
            assert past_the_page_cache(path) == model
        assert os.fstat(fd).st_size == len(model), (number, what)
    os.close(fd)
    assert held(mnt) == len(model)
    assert past_the_page_cache(path) == path.read_bytes() == model


OTHERS = [
    *("append", "write-only", "truncate", "empty", "punch", "zero", "fallocate"),
    *("map", "forget", "sync", "direct"),
]


def test_no_data_is_taken_for_a_hole(mnt: Path, tmp_path: Path) -> None:
    """While a file has data that the driver has not, programs that look for holes find none."""
    path, copies = mnt / "scullv0", [tmp_path / "cp", tmp_path / "tar"]
    with opened(path) as fd:
        os.pwrite(fd, DATA, 20 * QUANTUM)
        assert os.lseek(fd, 5, os.SEEK_DATA) == 5
        assert os.lseek(fd, 5, os.SEEK_HOLE) == 20 * QUANTUM + len(DATA)
        assert held(mnt) == 0
        done = shell(
            'cp "$path" "$cp" && tar -C "$mnt" -cSf "$tar" scullv0', path=path, mnt=mnt,
            cp=copies[0], tar=copies[1],
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
    there = path.read_bytes()
    assert copies[0].read_bytes() == there == bytes(20 * QUANTUM) + DATA
    assert subprocess.check_output(["tar", "-xOf", copies[1]]) == there


def test_a_partial_page_is_no_look(mnt: Path) -> None:
    """The kernel reads what is beside a write; that moves the access time of no writer."""
    path = mnt / "scullv0"
    path.write_bytes(DATA)
    with opened(path, os.O_WRONLY) as fd:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.utime(path, ns=(1, 1))
        os.pwrite(fd, b"x", 5000)
    assert path.stat().st_atime_ns == 1
    assert path.read_bytes() == DATA[:5000] + b"x" + DATA[5001:]


# -- what is lost is told ------------------------------------------------------------------------


@pytest.fixture
def daemon(scullvfs: Scullvfs, mountpoint: Path) -> Iterator[subprocess.Popen[str]]:
    """A daemon with little RAM whose log can be read."""
    options = "semantics=file,writeback,order=1,mem=4M"
    command = [sys.executable, "-m", "scullvfs", "mount", "-f", "-o", options, str(mountpoint)]
    with foreground(scullvfs, mountpoint, command) as process:
        yield process


@pytest.mark.long
def test_out_of_memory(daemon: subprocess.Popen[str], mountpoint: Path) -> None:
    """The write succeeds; fsync says ENOMEM once, and so does the log."""
    with opened(mountpoint / "scullv0") as fd:
        data = DATA * 20
        assert os.write(fd, data) == len(data)
        with fails(errno.ENOMEM):
            os.fsync(fd)
        os.fsync(fd)
        assert os.fstat(fd).st_size == len(data)
        os.ftruncate(fd, 0)
        assert os.write(fd, DATA) == len(DATA)
        os.fsync(fd)
    subprocess.run(["fusermount3", "-u", mountpoint], check=True)
    _, said = daemon.communicate(timeout=DEADLINE)
    lost = [line.removeprefix("scullvfs: ") for line in said.splitlines() if " lost" in line]
    assert len(lost) == 1
    assert lost[0].startswith("scullv0: ")
    assert TROUBLES["log-lost"].fits(lost[0]), lost


def test_out_of_memory_at_close(mount: Callable[[str], Path]) -> None:
    """A program that never synchronises hears of it when it closes."""
    path = mount("semantics=file,writeback,order=1,mem=4M") / "scullv0"
    fd = os.open(path, os.O_WRONLY)
    os.write(fd, DATA * 20)
    with fails(errno.EIO):
        os.close(fd)
    os.truncate(path, 0)
    done = shell('dd if=/dev/zero of="$path" bs=4k count=2000', path=path)
    assert done.returncode == 1
    assert "Input/output error" in done.stderr


def test_daemon_killed(scullvfs: Scullvfs, mnt: Path) -> None:
    """What was not written back by then is an error, and nobody hangs."""
    with orphan(mnt / "scullv0") as fd:
        os.write(fd, DATA)
        end(scullvfs.pid(mnt), signal.SIGKILL)
        assert os.pread(fd, len(DATA), 0) == DATA
        with fails(errno.ENOTCONN):
            os.fsync(fd)
    assert scullvfs("umount", "--dead", mnt).returncode == 0


def test_daemon_terminated(scullvfs: Scullvfs, mnt: Path) -> None:
    """The same with a daemon that ends by itself: it does not wait for who has a file open."""
    with orphan(mnt / "scullv0") as fd:
        os.write(fd, DATA)
        end(scullvfs.pid(mnt), signal.SIGTERM)
        with fails(errno.ENOTCONN):
            os.fsync(fd)


def test_unmounted_while_open(scullvfs: Scullvfs, mnt: Path) -> None:
    """A lazy unmount waits for nothing, and what is written later goes to the driver still."""
    with opened(mnt / "scullv0") as fd:
        os.write(fd, DATA)
        assert scullvfs("umount", "--lazy", mnt).returncode == 0
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        assert os.pread(fd, MIB, 0) == DATA


def test_unmapped_after_the_close(scullvfs: Scullvfs, mnt: Path) -> None:
    """The driver has what was written through a mapping when that is gone, so an unmount may."""
    path = mnt / "scullv0"
    with opened(path) as fd:
        os.ftruncate(fd, len(DATA))
        mapping = mmap.mmap(fd, len(DATA))
    mapping[:] = DATA
    mapping.close()
    assert int((mnt / "sys/class/scullv/scullv0/quanta").read_text()) == 41
    assert past_the_page_cache(path) == DATA
    assert scullvfs("umount", mnt).returncode == 0


# -- proc and sys --------------------------------------------------------------------------------


def test_sizes_are_of_each_look(mnt: Path, tmp_path: Path) -> None:
    """stat, cp and tail find a file of proc as long as it is, though another one has it open."""
    path = listing(mnt)
    number = path.stat().st_ino
    with opened(path, os.O_RDONLY) as before:
        first = os.fstat(before).st_size
        for at in range(3):
            fill(mnt, at)
            text = read_all(path)
            assert path.stat().st_size == len(text) > first
            assert path.stat().st_ino == number
            done = shell('stat --cached=always -c %i "$path"', path=path)
            assert int(done.stdout) == number
            done = shell('tail -c 20 "$path"; cp "$path" "$to"', path=path, to=tmp_path / "copy")
            assert done.stdout.encode() == text[-20:]
            assert (tmp_path / "copy").read_bytes() == text
        assert os.fstat(before).st_size == first
        assert os.fstat(before).st_ino == number
    assert {entry.name: entry.inode() for entry in os.scandir(path.parent)}[path.name] == number


def test_sendfile_of_a_listing(mnt: Path, tmp_path: Path) -> None:
    """Who copies in the kernel gets whole lines, up to the size of his own look."""
    path = listing(mnt)
    with opened(path, os.O_RDONLY) as source:
        size = os.fstat(source).st_size
        fill(mnt, 0)
        path.stat()
        os.fstat(source)
        with open(tmp_path / "copy", "wb") as target:
            while os.sendfile(target.fileno(), source, None, MIB):
                pass
    text = (tmp_path / "copy").read_bytes()
    assert len(text) <= size
    assert text.endswith(b"\n")
    with open(path, "rb") as again, open(tmp_path / "copy", "wb") as target:
        while os.sendfile(target.fileno(), again.fileno(), None, MIB):
            pass
    assert (tmp_path / "copy").read_bytes() == read_all(path)


def test_parameters(mnt: Path) -> None:
    """A value that is written has its own length at the next look, however it was written."""
    path = mnt / "sys/module/scullv/parameters/scullv_order"
    assert (path.stat().st_size, path.read_text()) == (2, "1\n")
    with opened(path, os.O_RDONLY) as fd:
        path.write_text("0x000a\n")
        assert (path.stat().st_size, path.read_text()) == (3, "10\n")
        assert (os.fstat(fd).st_size, os.read(fd, 100)) == (2, b"1\n")
    path.write_text("1")
    assert path.stat().st_size == 2
    assert stat.S_ISREG(path.stat().st_mode)


# -- the option ----------------------------------------------------------------------------------


def test_refused_by_the_drivers_rules(scullvfs: Scullvfs, mountpoint: Path) -> None:
    """There is no page cache then."""
    said = refusal(scullvfs("mount", "-o", "writeback", mountpoint), "writeback-device")
    assert said.endswith("give semantics=file")


def test_status_shows_it(scullvfs: Scullvfs, mnt: Path) -> None:
    """As every option that is not at its default."""
    assert "semantics=file,writeback" in scullvfs("status", mnt).stdout
