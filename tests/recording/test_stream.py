"""A recording while it is made: bounded, begun on a fresh machine, and ended by whoever may."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from scullvfs.fs.calls import Kind
from scullvfs.fs.record_file import ENOUGH
from scullvfs.fs.vfs import Attributes
from scullvfs.fs.waiting import WouldWait
from scullvfs.recording import stream as streams
from scullvfs.recording.recorder import MOST
from scullvfs.recording.stream import FULL, LOST

from .play import World, replayed, taken, world


@pytest.fixture
def made() -> Iterator[World]:
    """A world that nobody has used."""
    with world() as made:
        yield made


def refused(number: int, call: Callable[[], Any]) -> None:
    """The call fails with that errno."""
    with pytest.raises(OSError) as caught:  # noqa: PT011  (its errno is looked at)
        call()
    assert errno.errorcode[caught.value.errno or 0] == errno.errorcode[number]


def opened(made: World, path: str, flags: int = os.O_RDWR) -> int:
    """The handle of a file."""
    return made.vfs.open(made.walk(path), flags)[0]


def test_reader_waits_and_gets_all(made: World) -> None:
    """A read waits until there is enough, or for a moment for less; the end is the file's end."""
    fh = opened(made, "sys/kernel/debug/record", os.O_RDONLY)
    with pytest.raises(WouldWait) as caught:
        made.vfs.read(fh, 0, 1 << 17, False)
    wait = caught.value
    assert wait.until < float("inf")  # there is a header
    with pytest.raises(WouldWait):
        wait.again()  # too early
    device = opened(made, "scullv0")
    woken: list[int] = []
    wait.waiting[lambda: woken.append(1)] = None
    while not woken:
        made.vfs.write(device, 0, b"x", None)
    data = bytes(made.vfs.read(fh, 0, 1 << 17, False))
    assert ENOUGH <= len(data) < 2 * ENOUGH
    end = opened(made, "sys/kernel/debug/record", os.O_WRONLY)
    assert made.vfs.write(end, 0, b"0\n", None) == 2
    data += bytes(made.vfs.read(fh, 0, 1 << 17, False))
    assert bytes(made.vfs.read(fh, 0, 1 << 17, False)) == b""
    assert replayed(data) == (data.count(b'"call":'), None, True, False)
    assert b'"call":"read"' not in data  # nothing of the recording's own file
    refused(errno.ENODATA, lambda: made.vfs.write(end, 0, b"0", None))
    refused(errno.EINVAL, lambda: made.vfs.write(end, 0, b"1", None))
    refused(errno.EBADF, lambda: made.vfs.read(end, 0, 1, False))


def test_lines_are_cut_where_a_reader_has_no_room(made: World) -> None:
    """Read by three bytes at a time it is the same file."""
    stream = made.record()
    made.vfs.readdir(1)
    stream.stop()
    parts = [stream.take(3)]
    while parts[-1]:
        parts.append(stream.take(3))
    assert all(len(part) == 3 for part in parts[:-2])
    assert replayed(b"".join(parts)).whole


def test_one_at_a_time(made: World) -> None:
    """A second one, and one of a mount with open files, is EBUSY."""
    device = opened(made, "scullv0", os.O_RDONLY)
    refused(errno.EBUSY, made.record)
    made.vfs.release(device)
    fh = opened(made, "sys/kernel/debug/record", os.O_RDONLY)
    refused(errno.EBUSY, made.record)
    made.vfs.release(fh)
    assert made.recordings.current is None
    made.record(whole=True)


@pytest.mark.parametrize("kind", ["write", "ioctl", "truncate", "fallocate", "chmod", "read"])
def test_used_machine_is_not_recorded(made: World, kind: str) -> None:
    """After a call that may have changed something no recording begins, whatever came of it."""
    ino = made.walk("scullv0")
    if kind == "chmod":
        made.vfs.notify_change(ino, Attributes(mode=0o100600))
    else:
        # As the adapter counts them.
        with made.tree.nodes[ino].calls.counting(Kind[kind.upper()]):  # type: ignore[attr-defined]
            pass
    refused(errno.EOPNOTSUPP, made.record)


def test_reading_texts_is_no_use(made: World) -> None:
    """Who has only looked has changed nothing."""
    node = made.tree.nodes[made.walk("proc/meminfo")]
    for kind in (Kind.OPEN, Kind.READ, Kind.IOCTL):
        with node.calls.counting(kind):  # type: ignore[attr-defined]
            pass
    made.record()


def test_full(made: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls wait while nobody reads, and go on when somebody does; memory is bounded.

    Who asks the daemon how it is, or ends the recording, waits for nobody.
    """
    stream = made.record(whole=True)
    device = opened(made, "scullv0")
    data = bytes(range(256)) * 256
    held = None
    while held is None:
        try:
            made.vfs.write(device, 0, memoryview(data), None)
        except WouldWait as wait:
            held = wait
    assert not held.nonblock
    assert FULL <= stream.length < FULL + (1 << 18)
    refused_again = []
    for call in (
        lambda: made.vfs.read(device, 0, 1, False),
        lambda: made.vfs.ioctl(device, 0x4B04, 0, b""),
        lambda: made.vfs.open(2, os.O_RDONLY),
        lambda: made.vfs.truncate(2, 0),
    ):
        with pytest.raises(WouldWait):
            call()
        refused_again.append(call)
    opened(made, "proc/fs/scullvfs/status", os.O_RDONLY)
    opened(made, "sys/kernel/debug/record", os.O_WRONLY)
    woken: list[int] = []
    held.waiting[lambda: woken.append(1)] = None
    recording = stream.take(1 << 19)
    assert woken
    assert held.again() == 8192
    stream.stop()
    recording += taken(stream)
    assert replayed(recording).difference is None
    assert replayed(recording).whole


def test_what_waits_to_be_a_line_is_bounded(made: World) -> None:
    """Small calls wait for each other, a few of them; a text or data of some length does not."""
    stream = made.record(whole=True)
    device = opened(made, "scullv0")
    marker = opened(made, "sys/kernel/tracing/trace_marker", os.O_WRONLY)
    waited = []
    for number in range(3 * MOST):
        made.vfs.write(device, 0, b"x", None)
        waited.append(len(stream._tape))
        if number % 100 == 99:
            made.vfs.write(device, 0, bytes(1 << 12), None)
            assert not stream._tape
            made.vfs.read(device, 0, 1, False)
            made.vfs.write(marker, 0, b"y" * 900, None)
            assert not stream._tape
    assert max(waited) == MOST - 1
    stream.stop()
    assert replayed(taken(stream)).whole


@pytest.mark.long
def test_lost(made: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls that cannot wait end a recording that nobody reads, and go on without it."""
    monkeypatch.setattr(streams, "LOST", FULL + (1 << 16))
    stream = made.record()
    while not stream.ended:
        made.vfs.getattr(2)
    made.vfs.getattr(2)
    assert stream.length < FULL + (1 << 17) < LOST
    done = replayed(taken(stream))
    assert (done.difference, done.lost) == (None, True)


def test_end_of_the_mount(made: World) -> None:
    """Who waits for lines then gets the rest, with the end mark."""
    fh = opened(made, "sys/kernel/debug/record", os.O_RDONLY)
    made.vfs.getattr(2)
    with pytest.raises(WouldWait) as caught:
        made.vfs.read(fh, 0, 1 << 17, False)
    assert replayed(bytes(caught.value.gone())) == (1, None, True, False)
