"""The books in sys/kernel/debug through the mount: true sizes, any position, and who may read."""

from __future__ import annotations

import errno
import os
import re
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from ..scull.helpers import fails
from .helpers import KIB, MIB, QUANTUM, opened, read_all, shell, write_all

DEBUG = "sys/kernel/debug"
FILES = ["page_tables/kernel", "vmap_areas", "page_owner"]

files = pytest.mark.parametrize("name", FILES)


@pytest.fixture
def mnt(mount: Callable[[str], Path]) -> Path:
    """A mount that keeps who holds which frames, with some quanta."""
    mnt = mount("mem=64M,cpus=2,page_owner=on")
    with opened(mnt / "scullv0") as fd:
        write_all(fd, bytes(40 * QUANTUM))
    return mnt


@files
def test_file(mnt: Path, name: str, tmp_path: Path) -> None:
    """Its size is that of the text, for its owner alone; programs read and copy all of it."""
    path = mnt / DEBUG / name
    status, text = os.stat(path), path.read_bytes()
    assert status.st_mode == stat.S_IFREG | 0o400
    assert status.st_size == len(text) > 2000
    done = shell("cat $F | wc -c; cp $F $C/copy; tail -n 2 $F", F=path, C=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split("\n", 1) == [
        f"{len(text)}",
        "".join(text.decode().splitlines(True)[-2:]),
    ]
    assert (tmp_path / "copy").read_bytes() == text
    with opened(path, os.O_RDONLY) as fd:
        assert read_all(fd) == text
        for offset in (1, 777, len(text) // 2, len(text) - 1, len(text), len(text) + 10**9):
            assert os.pread(fd, 5000, offset) == text[offset : offset + 5000]
        assert len(os.pread(fd, MIB, 0)) <= 64 * KIB


@files
def test_refuses_writing(mnt: Path, name: str) -> None:
    """Root, too, cannot open it for writing, nor change its size."""
    path = mnt / DEBUG / name
    for flags in (os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC, os.O_RDWR | os.O_APPEND):
        with fails(errno.EACCES):
            os.open(path, flags)
    with pytest.raises(OSError, match=r"Invalid argument|Permission denied"):
        os.truncate(path, 0)


def test_page_owner_knows_the_caller(mnt: Path) -> None:
    """The thread, its process and its name, of each block that it made the driver take."""
    pid, threads = str(os.getpid()), list[tuple[str, str, str]]()

    def comm_of(tid: int) -> str:
        return Path(f"/proc/{tid}/comm").read_text().removesuffix("\n")

    def write() -> None:
        tid = threading.get_native_id()
        threads.append((str(tid), pid, comm_of(tid)))
        with opened(mnt / "scullv1") as fd:
            write_all(fd, bytes(QUANTUM))

    thread = threading.Thread(target=write)
    thread.start()
    thread.join()
    text = (mnt / DEBUG / "page_owner").read_text()
    written = [each for each in text.split("\n\n") if "scullv_write" in each]
    who = {re.findall(r"pid (\d+), tgid (\d+) \((.*)\), ts \d+ ns\n", each)[0] for each in written}
    assert who == {(pid, pid, comm_of(os.getpid())), *threads}
    os.truncate(mnt / "scullv0", 0)
    assert (mnt / DEBUG / "page_owner").read_text().count("vmalloc_noprof") < text.count(
        "vmalloc_noprof"
    )


def test_page_owner_is_off(mount: Callable[[str], Path]) -> None:
    """Without the option there is no such file, and status does not name it."""
    mnt = mount("mem=16M")
    assert "page_owner" not in os.listdir(mnt / DEBUG)
    with fails(errno.ENOENT):
        os.stat(mnt / DEBUG / "page_owner")


def test_arm64_has_its_own_name(mount: Callable[[str], Path]) -> None:
    """The page tables are in the file that is there on such a machine."""
    mnt = mount("mem=16M,arch=arm64")
    names = {*os.listdir(mnt / DEBUG)}
    assert "kernel_page_tables" in names
    assert "page_tables" not in names
    text = (mnt / DEBUG / "kernel_page_tables").read_text()
    assert text.startswith("---[ Linear Mapping start ]---\n0xffff000000000000-")
