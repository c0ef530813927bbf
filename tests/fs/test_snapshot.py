"""The file `snapshot`: what is read comes from a process, which is not left behind."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from typing import Any

import pytest

from scullvfs.fs.file import Handle
from scullvfs.fs.snapshot import SnapshotFile
from scullvfs.fs.waiting import WouldWait
from scullvfs.snapshot import child


def file_of(
    write: Callable[[Any], None], busy: Callable[[], bool] = lambda: False
) -> tuple[SnapshotFile, list[int]]:
    """The file of what a function writes in a child, and the children that there have been."""
    pids: list[int] = []

    def begin() -> tuple[int, int]:
        pid, fd = child.begin(write)
        pids.append(pid)
        return pid, fd

    return SnapshotFile(begin, busy, 1, 2), pids


def read_all(handle: Handle) -> bytes:
    """Up to the end, waiting as it has to."""
    data = b""
    while True:
        try:
            part = bytes(handle.read(len(data), 1 << 16))
        except WouldWait as wait:
            time.sleep(max(wait.until - time.monotonic(), 0))
            continue
        if not part:
            return data
        data += part


def is_gone(pid: int) -> bool:
    """Whether there is no such process, not even one that nobody has waited for."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_reads_what_was_there_at_the_open() -> None:
    """However much changes meanwhile; and its end is seen as often as one looks."""
    content = bytearray(b"x" * (3 << 20))
    file, pids = file_of(lambda write: write(content))
    handle = file.open(os.O_RDONLY)
    content[:] = b"y" * len(content)
    assert read_all(handle) == b"x" * (3 << 20)
    assert handle.read(0, 10) == b""
    assert is_gone(pids[0])
    handle.release()
    assert (file.size, file.mode & 0o777) == (0, 0o400)


@pytest.mark.long
def test_one_at_a_time() -> None:
    """The next one may when the first is closed; who has not read it all leaves nobody behind."""
    file, pids = file_of(lambda write: write(bytes(10 << 20)))
    handle = file.open(os.O_RDONLY)
    with pytest.raises(OSError, match=os.strerror(errno.EBUSY)):
        file.open(os.O_RDONLY)
    handle.release()
    for _ in range(3):
        last = file.open(os.O_RDONLY)
        read_all(last)
        last.release()
    assert len(pids) == 4
    assert all(map(is_gone, pids))


def test_waits_for_what_is_done_in_slices() -> None:
    """The picture is taken when nothing is half done."""
    due = True
    file, pids = file_of(lambda write: write(b"x"), lambda: due)
    with pytest.raises(WouldWait) as caught:
        file.open(os.O_RDONLY)
    with pytest.raises(WouldWait):
        caught.value.again()
    assert not pids
    due = False
    handle = caught.value.again()
    assert read_all(handle) == b"x"
    handle.release()


def test_child_that_fails(capfd: pytest.CaptureFixture[str]) -> None:
    """What it has written can be read, and then it is an error."""

    def write(write: Callable[[bytes], object]) -> None:
        write(b"half")
        raise ValueError("as the test will have it")

    file, pids = file_of(write)
    handle = file.open(os.O_RDONLY)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        read_all(handle)
    assert is_gone(pids[0])
    handle.release()
    assert "as the test will have it" in capfd.readouterr().err


def test_child_has_nothing_of_the_daemon() -> None:
    """No descriptor but the pipe and the standard streams, and no signal that is held."""
    other = os.open("/", os.O_RDONLY)

    def write(write: Callable[[bytes], object]) -> None:
        fds = sorted(map(int, os.listdir("/proc/self/fd")))
        with open("/proc/self/status", encoding="ascii") as status:
            blocked = next(line.split()[1] for line in status if line.startswith("SigBlk"))
        write(f"{other in fds} {len(fds)} {int(blocked, 16)}".encode())

    file, _ = file_of(write)
    handle = file.open(os.O_RDONLY)
    assert read_all(handle) == b"False 5 0"  # three, the pipe, and that of the listing
    handle.release()
    os.close(other)
