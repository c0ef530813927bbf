"""`scullvfs snapshot` and `mount -o restore=`: a machine that is saved while it serves goes on."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

from ..helpers import mount_point, mounted_on, opened, program
from ..troubles import fails_as
from ..troubles import refusal as trouble

OPTIONS = "mem=16M,seed=9,order=0,drivers=scullv:scullp"


def refusal(done: subprocess.CompletedProcess[str], status: int) -> str:
    """The one line of a command that failed with `status`."""
    assert (done.returncode, done.stdout) == (status, ""), done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("scullvfs: ")
    return line.removeprefix("scullvfs: ")


def future(data: bytes) -> bytes:
    """A file of the next format, whatever is in it."""
    end = 20 + int.from_bytes(data[12:20], "little")
    head = data[8:end].replace(b'"format": 1', b'"format": 2')
    return data[:8] + head + crc32(head).to_bytes(4, "little") + data[end + 4 :]


def with_large_books(data: bytes) -> bytes:
    """More JSON than a machine has."""
    return of_books(data, [b"clock\0" + b"[]," * 300_000] * 2)


def of_books(data: bytes, books: list[bytes]) -> bytes:
    """A file of the header and these."""
    made = data[: 24 + int.from_bytes(data[12:20], "little")]
    done = (len(books) + 1).to_bytes(8, "little")
    for kind, body in [*((b"BOOK", book) for book in books), (b"DONE", done)]:
        chunk = kind + len(body).to_bytes(8, "little") + body
        made += chunk + crc32(chunk).to_bytes(4, "little")
    return made


def without_page(data: bytes) -> bytes:
    """A file from which a run of frames is left out, and which is well otherwise."""
    chunks, at = [], 8
    while at < len(data):
        end = at + 16 + int.from_bytes(data[at + 4 : at + 12], "little")
        chunks.append(data[at:end])
        at = end
    pages = [number for number, chunk in enumerate(chunks) if chunk[:4] == b"PAGE"]
    del chunks[pages[0]]  # the page tables of the boot
    done = b"DONE" + (8).to_bytes(8, "little") + (len(chunks) - 1).to_bytes(8, "little")
    return data[:8] + b"".join(chunks[:-1]) + done + crc32(done).to_bytes(4, "little")


def validate(mount: Path) -> None:
    """The emulator finds no fault with itself."""
    file = mount / "sys/kernel/debug/validate"
    before = int(file.read_text())
    file.write_text("1")
    assert int(file.read_text()) == before + 1


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """A mount with something of all, and the file that it was saved in."""
    directory = tmp_path_factory.mktemp("saved")
    with (
        program() as scullvfs,
        mount_point(scullvfs, directory / "mnt") as path,
        mounted_on(scullvfs, path, OPTIONS),
    ):
        yield path, fill_and_save(scullvfs, path, directory / "machine.snap")


def fill_and_save(scullvfs: Any, path: Path, file: Path) -> Path:
    """Do something of all on a mount, and save it."""
    (path / "scullv0").write_bytes(b"quantum by quantum")
    with opened(path / "scullv0") as fd:
        for pos in range(0, 600 * 4096, 12_288):
            os.pwrite(fd, os.urandom(4096), pos)
    (path / "scullp1").write_bytes(os.urandom(4000))
    debug = path / "sys/kernel/debug"
    (debug / "mm/command").write_text("vmalloc mine 70000")
    (debug / "scull/scullv3/read/errno").write_text("5")
    (path / "sys/module/scullv/parameters/scullv_order").write_text("2")
    (path / "sys/kernel/tracing/events/kmem/kfree/enable").write_text("1")
    done = scullvfs("snapshot", "save", path, "-o", file)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return file


@pytest.mark.long
def test_goes_on_alike(scullvfs: Any, mount: Callable[[str], Path], tmp_path: Path) -> None:
    """What can be seen is the same; and so is what comes, in each of them."""
    path = mount(OPTIONS)
    file = fill_and_save(scullvfs, path, tmp_path / "machine.snap")
    other = mount(f"restore={file}")
    files = [
        *("scullv0", "scullp1", "proc/scullvmem", "proc/scullpmem", "proc/vmallocinfo"),
        *("proc/slabinfo", "proc/pagetypeinfo", "sys/kernel/debug/mm/handles"),
        "sys/kernel/debug/scull/scullv3/read/errno",
        "sys/module/scullv/parameters/scullv_order",
        "sys/kernel/tracing/set_event",
    ]
    for name in files:
        assert (path / name).read_bytes() == (other / name).read_bytes(), name
    for each in (path, other):
        (each / "scullv1").write_bytes(bytes(40_000))
        (each / "scullp0").write_bytes(bytes(4096))
        (each / "scullv0").write_bytes(b"quanta are larger now")
        (each / "sys/kernel/debug/mm/command").write_text("free mine")
        validate(each)
    for name in files:
        assert (path / name).read_bytes() == (other / name).read_bytes(), name
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        (other / "scullv3").read_bytes()
    done = scullvfs("reload", "-o", f"{OPTIONS},qset=77", other)
    assert "scullv_qset was 500 and is 77" in done.stdout
    status = json.loads(scullvfs("status", "--json", other).stdout)
    (report,) = status if isinstance(status, list) else [status]
    assert report["options"]["restore"] == str(file)


@pytest.mark.long
def test_show(scullvfs: Any, saved: tuple[Path, Path]) -> None:
    """What it is, and what it has."""
    done = scullvfs("snapshot", "show", saved[1])
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[1].startswith("options: scullv_devs=4,scullv_order=0,")
    assert "mem=16M" in lines[1]
    assert "handles: 1" in lines
    assert "scullv0: order 0, qset 500, 2449408 bytes, 200 quanta" in lines
    assert "scullp1: order 0, qset 500, 4000 bytes, 1 quanta" in lines


@pytest.mark.long
def test_options_beside_the_file(scullvfs: Any, saved: tuple[Path, Path], mountpoint: Path) -> None:
    """Those of the mount may be others, those of the machine may not."""
    file = saved[1]
    for option, its in (
        ("mem=1G", "mem=16M"),
        ("seed=0", "seed=9"),
        ("order=4", "scullv_order=0"),
        ("drivers=scullv", "drivers=scullv:scullp"),
        ("arch=i386", "arch=x86_64"),
        ("semantics=file", "semantics=device"),
    ):
        done = scullvfs("mount", "-o", f"restore={file},{option}", mountpoint)
        line = trouble(done, "restore-contradiction")
        assert f"contradicts {file}, whose machine has {its}; leave it out" in line
        assert line.partition("=")[0].endswith(option.partition("=")[0])
    done = scullvfs("mount", "-o", f"restore={file},writeback", mountpoint)
    assert "writeback is not possible with semantics=device" in done.stderr
    same = f"restore={file},{OPTIONS},mode=0600,fsname=again"
    assert scullvfs("mount", "-o", same, mountpoint).returncode == 0
    assert (mountpoint / "scullv0").stat().st_mode & 0o777 == 0o600
    validate(mountpoint)
    assert scullvfs("umount", mountpoint).returncode == 0


@pytest.mark.long
def test_relative_path(
    scullvfs: Any, saved: tuple[Path, Path], mountpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is that of who mounts, and not of the daemon."""
    monkeypatch.chdir(saved[1].parent)
    assert scullvfs("mount", "-o", f"restore={saved[1].name}", mountpoint).returncode == 0
    assert scullvfs("umount", mountpoint).returncode == 0


@pytest.mark.long
def test_goes_on_serving_meanwhile(
    scullvfs: Any, mount: Callable[[str], Path], tmp_path: Path
) -> None:
    """What is written while it is saved is not in the file, and nothing of it gets lost."""
    path = mount("mem=64M,order=0")
    (path / "scullv0").write_bytes(b"x")
    over = threading.Event()
    written = [0]

    def write() -> None:
        with opened(path / "scullv0") as fd:
            while not over.is_set():
                number = written[0] % 1000
                os.pwrite(fd, number.to_bytes(8, "little") * 512, number * 4096)
                written[0] += 1

    writer = threading.Thread(target=write)
    writer.start()
    files = [tmp_path / f"{number}.snap" for number in range(3)]
    counts = []
    try:
        for file in files:
            before = written[0]
            assert scullvfs("snapshot", "save", path, "-o", file).returncode == 0
            counts.append(written[0] - before)
    finally:
        over.set()
        writer.join()
    assert min(counts) > 0
    validate(path)
    other = mount(f"restore={files[-1]}")
    validate(other)
    for number in range((other / "scullv0").stat().st_size // 4096):
        with opened(other / "scullv0") as fd:
            data = os.pread(fd, 4096, number * 4096)
        assert data == number.to_bytes(8, "little") * 512


@pytest.mark.long
def test_file_by_hand(saved: tuple[Path, Path], tmp_path: Path, scullvfs: Any) -> None:
    """`cat` saves, too; of two at the same time the second is refused, and nothing is left."""
    path, file = saved
    snapshot = path / "sys/kernel/debug/snapshot"
    assert snapshot.stat().st_mode & 0o777 == 0o400
    data = snapshot.read_bytes()
    other = tmp_path / "by hand"
    other.write_bytes(data)
    shown = [scullvfs("snapshot", "show", each).stdout.splitlines() for each in (file, other)]
    assert shown[0][-8:] == shown[1][-8:]
    with opened(snapshot, os.O_RDONLY) as fd:
        assert os.read(fd, 8) == data[:8]
        with fails_as("snapshot-busy"):
            os.open(snapshot, os.O_RDONLY)
        done = scullvfs("snapshot", "save", path, "-o", tmp_path / "other")
        assert refusal(done, 8) == f"{path} is being saved by somebody else"
        with pytest.raises(OSError, match=os.strerror(errno.ESPIPE)):
            os.lseek(fd, 0, os.SEEK_SET)
    assert [each.name for each in tmp_path.glob("other*")] == []
    assert snapshot.read_bytes()[:8] == data[:8]
    pid = int((path / "proc/fs/scullvfs/pid").read_text())
    children = Path(f"/proc/{pid}/task/{pid}/children")
    assert children.read_text() == ""


@pytest.mark.long
def test_damaged(scullvfs: Any, saved: tuple[Path, Path], mountpoint: Path, tmp_path: Path) -> None:
    """One line and a status of its own, no mount, and little memory."""
    data, file = saved[1].read_bytes(), tmp_path / "machine.snap"

    def says(name: str, *words: object) -> str:
        done, peak = scullvfs.peak(*words)
        assert peak < 100 << 10
        return trouble(done, name)

    says("restore-missing", "mount", "-o", f"restore={file}", mountpoint)
    for changed, name in (
        (data[:-1], "restore-cut"),
        (data[:-50_000] + bytes([data[-50_000] ^ 1]) + data[-49_999:], "restore-damaged"),
        (future(data), "restore-format"),
        (b"#!/bin/sh\n", "restore-foreign"),
        (with_large_books(data), "restore-large"),
        (without_page(data), "restore-impossible"),
    ):
        file.write_bytes(changed)
        line = says(name, "mount", "-o", f"restore={file}", mountpoint)
        assert line.startswith(f"{file} ")
        if name != "restore-impossible":  # which shows when a machine is made of it
            assert says(name, "snapshot", "show", file) == line
    assert not os.path.ismount(mountpoint)
    assert not scullvfs.processes()


@pytest.mark.long
def test_books_of_the_largest_size(scullvfs: Any, saved: tuple[Path, Path], tmp_path: Path) -> None:
    """What is as large as may be, and costs the most for that, costs less than 200 MB."""
    item = b'"\\ud83d\\ude00",'
    pieces = [b"clock\0" + item * ((1 << 20) // len(item))] * 15
    pieces[0] = pieces[0].replace(b"\0", b"\0[")
    file = tmp_path / "machine.snap"
    file.write_bytes(of_books(saved[1].read_bytes(), [*pieces, b"clock\0" + b"0]"]))
    done, peak = scullvfs.peak("snapshot", "show", file)
    assert refusal(done, 10) == f"{file} says what cannot be: other names"
    assert peak < 200_000  # KiB


@pytest.mark.long
def test_what_was_there_stays(
    scullvfs: Any, saved: tuple[Path, Path], tmp_path: Path, mountpoint: Path
) -> None:
    """Where nothing can be saved, the file is as it was; and where nothing can be written."""
    file = tmp_path / "machine.snap"
    before = b"what was there"
    file.write_bytes(before)
    done = scullvfs("snapshot", "save", mountpoint, "-o", file)
    assert "is not mounted" in refusal(done, 7)
    assert file.read_bytes() == before
    done = scullvfs("snapshot", "save", saved[0], "-o", tmp_path)
    assert refusal(done, 1) == f"cannot write {tmp_path}: {os.strerror(errno.EISDIR)}"
    done = scullvfs("snapshot", "save", saved[0], "-o", tmp_path / "none/machine.snap")
    assert refusal(done, 1).endswith(os.strerror(errno.ENOENT))
    assert "needs a file to write: -o FILE" in refusal(scullvfs("snapshot", "save", saved[0]), 2)
    line = refusal(scullvfs("snapshot"), 2)
    assert line.startswith("Missing argument 'save|show'. Choose from: save, show; 'scullvfs snap")
    assert "-o is for" in refusal(scullvfs("snapshot", "show", file, "-o", file), 2)


@pytest.mark.long
def test_rules_of_a_file(mount: Callable[[str], Path], scullvfs: Any, tmp_path: Path) -> None:
    """The rules are the machine's, and what was only in the page cache is saved when it is here."""
    path = mount("mem=16M,semantics=file")
    (path / "scullv0").write_bytes(b"a" * 100_000)
    with opened(path / "scullv0") as fd:
        os.pwrite(fd, b"b", 5 << 20)
        os.fsync(fd)
    file = tmp_path / "machine.snap"
    assert scullvfs("snapshot", "save", path, "-o", file).returncode == 0
    other = mount(f"restore={file}")
    assert (other / "scullv0").read_bytes() == b"a" * 100_000 + bytes((5 << 20) - 100_000) + b"b"
    with open(other / "scullv0", "ab") as appended:
        appended.write(b"c")
    assert (other / "scullv0").stat().st_size == (5 << 20) + 2
    validate(other)
