"""What a test makes its mount do wrong, and that it is as before when the test says so."""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, cast

import pytest

from scullvfs.errors import BusyError, NotMountedError
from scullvfs.testing import Mount, mounted

from ..scull.helpers import fails
from .helpers import DEADLINE, opened


@pytest.fixture
def mnt(scullvfs: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mount]:
    """A mount of two drivers; no process of it may outlive the test."""
    name, _, value = scullvfs.mark.partition("=")
    monkeypatch.setenv(name, value)
    with mounted(mem="16M", drivers="scullv:scullp", devs=2, scullp_devs=1) as mount:
        yield mount


def knobs(mnt: Mount) -> dict[Path, str]:
    """All that is set of all faults."""
    debug = mnt / "sys/kernel/debug"
    places = [debug / "scull", debug / "failslab", debug / "fail_page_alloc"]
    files = [path for place in places for path in place.rglob("*") if path.is_file()]
    return {path: path.read_text() for path in files if path.name != "reset"}


def written(device: Path, count: int) -> int:
    """Write so many bytes, call by call; how many there are until one fails."""
    with open(device, "wb", buffering=0) as file:
        try:
            while file.tell() < count:
                file.write(bytes(min(100_000, count - file.tell())))
        except OSError:
            pass
    return os.stat(device).st_size


# An operation fails


@pytest.mark.long
def test_fail_at_a_byte(mnt: Mount) -> None:
    """All before it is in, once; it is in the log and the books."""
    with mnt.fail("scullv0", "write", errno.EDQUOT, at=131_000):
        assert written(mnt / "scullv0", 300_000) == 131_000
        assert written(mnt / "scullv0", 300_000) == 300_000
    assert "name scullv0/write, interval 1, probability 100" in mnt.kmsg()


@pytest.mark.long
def test_fail_at_a_call(mnt: Mount) -> None:
    """The third from now on, then twice more."""
    (mnt / "scullv1").write_bytes(b"hello")
    with opened(mnt / "scullv1") as fd:
        os.pread(fd, 5, 0)
        mnt.fail(mnt / "scullv1", "read", errno.EIO, call=3, times=3)
        outcomes = []
        for _ in range(7):
            try:
                outcomes.append(len(os.pread(fd, 5, 0)))
            except OSError as error:
                outcomes.append(-(error.errno or 0))
    assert outcomes == [5, 5, -errno.EIO, -errno.EIO, -errno.EIO, 5, 5]


CALLS: dict[str, Callable[[Path], object]] = {
    "open": lambda path: path.open("rb").close(),
    "read": Path.read_bytes,
    "write": lambda path: path.write_bytes(b"x"),
    "truncate": lambda path: os.truncate(path, 0),
}


@pytest.mark.long
@pytest.mark.parametrize("operation", CALLS)
def test_fail_for_good(mnt: Mount, operation: str) -> None:
    """Of one device, until it is put back; another one goes on."""
    fault = mnt.fail("scullv0", operation, errno.EROFS, times=None)
    for _ in range(3):
        with fails(errno.EROFS):
            CALLS[operation](mnt / "scullv0")
    CALLS[operation](mnt / "scullv1")
    fault.undo()
    fault.undo()
    CALLS[operation](mnt / "scullv0")


@pytest.mark.long
def test_fail_ioctl_and_lseek(mnt: Mount) -> None:
    """Under the name of the system call, though the driver's is llseek."""
    with mnt.fail("scullv0", "ioctl", errno.EBUSY), fails(errno.EBUSY):
        mnt.ioctl("scullv0", "query-order")
    assert mnt.ioctl("scullv0", "query-order") == 4
    with opened(mnt / "scullv0") as fd, mnt.fail("scullv0", "lseek", errno.ESPIPE):
        with fails(errno.ESPIPE):
            os.lseek(fd, 0, os.SEEK_DATA)
        with fails(errno.EINVAL):  # the driver's own
            os.lseek(fd, 0, os.SEEK_DATA)


@pytest.mark.long
def test_fail_sometimes(mnt: Mount) -> None:
    """As likely as it is said, by the seed."""
    (mnt / "scullv0").write_bytes(b"x")
    failed = 0
    with mnt.fail("scullv0", "read", errno.EIO, times=None, probability=50):
        for _ in range(100):
            try:
                (mnt / "scullv0").read_bytes()
            except OSError:
                failed += 1
    assert 20 < failed < 95  # each read_bytes() is two calls


@pytest.mark.long
def test_fail_within_fail(mnt: Mount) -> None:
    """The inner one takes the outer one's place, and gives it back."""
    with mnt.fail("scullv0", "open", errno.EACCES, times=None):
        with mnt.fail("scullv0", "open", errno.EMFILE, times=None), fails(errno.EMFILE):
            (mnt / "scullv0").read_bytes()
        with fails(errno.EACCES):
            (mnt / "scullv0").read_bytes()
    (mnt / "scullv0").read_bytes()


@pytest.mark.long
def test_fail_undone_out_of_order(mnt: Mount) -> None:
    """Those that are newer hold, and when all are undone it is as before the first."""
    before = knobs(mnt)
    first = mnt.fail("scullv0", "write", errno.EIO, call=1000)
    second = mnt.fail("scullv0", "write", errno.EDQUOT, at=5, times=None)
    third = mnt.fail("scullv0", "write", errno.EROFS, call=1, times=7)
    during = knobs(mnt)
    second.undo()
    first.undo()
    assert knobs(mnt) == during
    with fails(errno.EROFS):
        (mnt / "scullv0").write_bytes(b"x")
    third.undo()
    second.undo()
    assert knobs(mnt) == before


@pytest.mark.long
def test_fail_undone_below_another(mnt: Mount) -> None:
    """When the newest is undone then, what is left of the older ones is back."""
    mnt.fail("scullv0", "open", errno.EACCES, times=None)
    second = mnt.fail("scullv0", "open", errno.EMFILE, times=None)
    with mnt.fail("scullv0", "open", errno.ENFILE, times=None):
        second.undo()
        with fails(errno.ENFILE):
            (mnt / "scullv0").read_bytes()
    with fails(errno.EACCES):
        (mnt / "scullv0").read_bytes()


@pytest.mark.long
def test_delay_undone_out_of_order(mnt: Mount) -> None:
    """File by file: what the newer one has not set is back at once."""
    before = knobs(mnt)
    delay_us = mnt / "sys/kernel/debug/scull/scullv0/read/delay_us"
    first = mnt.delay(read=0.001, write=0.001)
    second = mnt.delay(read=0.002, device="scullv0")
    first.undo()
    assert {path: text for path, text in knobs(mnt).items() if before[path] != text} == {
        delay_us: "2000\n"
    }
    second.undo()
    assert knobs(mnt) == before


@pytest.mark.long
def test_fail_ioctl_of_an_unbuffered_file(mnt: Mount) -> None:
    """Python's own ioctl(2), TCGETS, is made by an open() with a buffer only."""
    with mnt.fail("scullv0", "ioctl", errno.EIO):
        with open(mnt / "scullv0", "rb", buffering=0):
            pass
        with fails(errno.EIO):
            mnt.ioctl("scullv0", "query-order")


@pytest.mark.long
@pytest.mark.parametrize(
    ("arguments", "options", "words"),
    [
        (("scullv7", "read", errno.EIO), {}, "unknown device 'scullv7'"),
        (("scullv0", "llseek", errno.EIO), {}, "unknown operation 'llseek'; there are fallocate, "),
        (("scullv0", "read", 0), {}, "0 is no errno that a call can fail with"),
        (("scullv0", "read", 9999), {}, "9999 is no errno"),
        (("scullv0", "read", -errno.EIO), {}, "-5 is no errno .*, as errno.EIO$"),
        (("scullv0", "read", -errno.ENOSYS), {}, "-38 is no errno .*: on ENOSYS the kernel takes"),
        (("scullv0", "read", errno.ENOSYS), {}, "38 is no errno .*: on ENOSYS the kernel takes"),
        (("scullv0", "read", errno.EIO), {"at": 1, "call": 1}, "not both"),
        (("scullv0", "open", errno.EIO), {"at": 1}, "open has call="),
        (("scullv0", "read", errno.EIO), {"at": -1}, "at=-1 is not from 0"),
        (("scullv0", "read", errno.EIO), {"at": 1 << 63}, "is not from 0 to 9223372036854775807"),
        (("scullv0", "read", errno.EIO), {"call": 0}, "call=0 is not from 1"),
        (("scullv0", "read", errno.EIO), {"times": 0}, "times=0 is not from 1"),
        (("scullv0", "read", errno.EIO), {"probability": 101}, "probability=101 is not from 1 to"),
    ],
)
def test_fail_of_nothing(mnt: Mount, arguments: Any, options: Any, words: str) -> None:
    """What cannot be is said, and sets nothing."""
    before = knobs(mnt)
    with pytest.raises(ValueError, match=words):
        mnt.fail(*arguments, **options)
    assert knobs(mnt) == before


@pytest.mark.long
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda mnt: mnt.fail("scullv0", "read", "ENXIO"), "'ENXIO' is no errno.*, as errno.ENXIO"),
        (lambda mnt: mnt.fail("scullv0", "read", None), "None is no errno.*, as errno.EIO"),
        (lambda mnt: mnt.fail("scullv0", "read", True), "True is no errno"),
        (lambda mnt: mnt.fail("scullv0", "read", 5, at=True), "at=True is no whole number"),
        (lambda mnt: mnt.fail("scullv0", "read", 5, at="128k"), "at='128k' is no whole number"),
        (lambda mnt: mnt.fail("scullv0", "read", 5, call=1.0), "call=1.0 is no whole number"),
        (lambda mnt: mnt.fail("scullv0", "read", 5, times=2.0), "times=2.0 is no whole number"),
        (lambda mnt: mnt.short(read=1.5), "read=1.5 is no whole number"),
        (lambda mnt: mnt.short(write=True), "write=True is no whole number"),
        (lambda mnt: mnt.delay("50ms"), "seconds='50ms' is no number of seconds, as 0.05"),
        (lambda mnt: mnt.delay(read=None), "read=None is no number of seconds"),
        (lambda mnt: mnt.delay(True), "seconds=True is no number of seconds"),
        (lambda mnt: mnt.faults.slab(interval=1.0), "interval=1.0 is no whole number"),
    ],
)
def test_of_another_type(mnt: Mount, make: Callable[[Any], object], words: str) -> None:
    """What is no number is said, and sets nothing."""
    before = knobs(mnt)
    with pytest.raises(TypeError, match=words):
        make(mnt)
    assert knobs(mnt) == before


# It is slow


def took(call: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    began = time.monotonic()
    call()
    return time.monotonic() - began


@pytest.mark.long
def test_delay(mnt: Mount) -> None:
    """Of one operation of all devices, or of each call of one; afterwards it is quick."""
    with mnt.delay(open=0.2):
        assert took((mnt / "scullv1").read_bytes) >= 0.2
        assert took((mnt / "scullp0").read_bytes) >= 0.2
    with mnt.delay(0.1, device="scullv0", read=0.2):
        assert took((mnt / "scullv0").read_bytes) >= 0.4  # opened, and read once
    before = knobs(mnt)
    with mnt.delay(3600, device="scullv0", read=3600):
        (mnt / "scullv1").read_bytes()
    (mnt / "scullv0").read_bytes()
    assert knobs(mnt) == before


@pytest.mark.long
def test_delay_ends(mnt: Mount) -> None:
    """With the context, for those who wait, too."""
    (mnt / "scullv0").write_bytes(b"hello")
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append((mnt / "scullv0").read_bytes()))
    with mnt.delay(open=3600):
        reader.start()
        reader.join(0.2)
        assert read == []
    reader.join(DEADLINE)
    assert read == [b"hello"]


@pytest.mark.long
def test_delay_interrupted(mnt: Mount) -> None:
    """A signal ends the call: EINTR, and nothing was written."""

    class Interrupted(Exception):
        """By the handler, as Python would call again."""

    def handler(*_: object) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGALRM, handler)
    try:
        with opened(mnt / "scullv0") as fd, mnt.delay(write=3600):
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            with pytest.raises(Interrupted):
                os.write(fd, b"x")
    finally:
        signal.signal(signal.SIGALRM, before)
    assert (mnt / "scullv0").read_bytes() == b""


@pytest.mark.long
@pytest.mark.parametrize(
    ("seconds", "operations", "words"),
    [
        (-1, {}, "seconds=-1 is no number of seconds"),
        (float("nan"), {}, "seconds=nan"),
        (None, {"read": float("inf")}, "read=inf"),
        (None, {"write": 1e12}, "write=1000000000000.0 is no .* from 0 to 9007199254$"),
        (10**400, {}, "is no number of seconds from 0 to 9007199254$"),
        (None, {"close": 1}, "unknown operation 'close'"),
        (None, {}, "Give the seconds of each call, as 0.05, or of an operation, .* fallocate, "),
        (None, {"device": "scullv0"}, "Give the seconds of each call"),
    ],
)
def test_delay_of_nothing(mnt: Mount, seconds: Any, operations: Any, words: str) -> None:
    """What cannot be is said, and sets nothing."""
    before = knobs(mnt)
    with pytest.raises(ValueError, match=words):
        mnt.delay(seconds, **operations)
    assert knobs(mnt) == before


# It gives less


@pytest.mark.long
def test_short(mnt: Mount) -> None:
    """A byte a call, of all devices; then all at once again."""
    (mnt / "scullp0").write_bytes(b"hello")
    with mnt.short(read=1, write=3), opened(mnt / "scullp0") as fd:
        assert os.pread(fd, 100, 0) == b"h"
        assert os.pwrite(fd, b"HELLO", 0) == 3
        with mnt.short(read="random", device="scullp0"):
            lengths = {len(os.pread(fd, 5, 0)) for _ in range(200)}
        assert lengths == {1, 2, 3, 4, 5}
        assert os.pread(fd, 100, 0) == b"H"
    assert (mnt / "scullp0").read_bytes() == b"HELlo"


@pytest.mark.long
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"read": 0}, "read=0 is not from 1"),
        ({"write": -1}, "write=-1 is not from 1"),
        ({"write": "few"}, "write='few' is neither a number of bytes nor \"random\""),
        ({"read": 1, "device": "scullv"}, "unknown device 'scullv'"),
        ({}, "Give read= or write="),
        ({"device": "scullv0"}, "Give read= or write="),
    ],
)
def test_short_of_nothing(mnt: Mount, options: Any, words: str) -> None:
    """What cannot be is said, and sets nothing."""
    before = knobs(mnt)
    with pytest.raises(ValueError, match=words):
        mnt.short(**options)
    assert knobs(mnt) == before


# Memory that is refused


@pytest.mark.long
def test_page_alloc(mnt: Mount) -> None:
    """A block of frames, though all are free."""
    (mnt / "scullp0").write_bytes(b"x")  # now there is a slab for its quantum set
    with mnt.faults.page_alloc():
        with fails(errno.ENOMEM):
            (mnt / "scullp0").write_bytes(b"x")
        (mnt / "scullp0").write_bytes(b"x")
    assert "name fail_page_alloc, " in mnt.kmsg()
    mnt.ioctl("scullp0", "set-order", 2)
    (mnt / "scullp0").write_bytes(b"x")
    with mnt.faults.page_alloc(times=None, min_order=2):
        (mnt / "scullv0").write_bytes(b"x")
        with fails(errno.ENOMEM):
            (mnt / "scullp0").write_bytes(b"x")
    (mnt / "scullp0").write_bytes(b"x")


@pytest.mark.long
def test_slab(mnt: Mount) -> None:
    """Objects; of each four the last one is not given, so often as it is said."""
    with mnt.faults.slab(times=None), fails(errno.ENOMEM):
        (mnt / "scullv0").write_bytes(b"x")
    (mnt / "scullv0").write_bytes(b"x")
    outcomes = ""
    with opened(mnt / "sys/kernel/debug/mm/command") as fd, mnt.faults.slab(interval=4, times=2):
        for number in range(13):
            try:
                os.write(fd, b"kmalloc h%d 8" % number)
                outcomes += "."
            except OSError:
                outcomes += "F"
    assert outcomes == "...F...F....."
    assert "name failslab, interval 4" in mnt.kmsg()


@pytest.mark.long
@pytest.mark.parametrize("name", ["times", "interval", "probability", "space", "min_order"])
def test_faults_of_nothing(mnt: Mount, name: str) -> None:
    """What cannot be is said, and sets nothing."""
    before = knobs(mnt)
    fault: Any = mnt.faults.page_alloc if name == "min_order" else mnt.faults.slab
    for value in (-1, 1 << 31):
        with pytest.raises(ValueError, match=f"{name}={value} is not from"):
            fault(**{name: value})
    assert knobs(mnt) == before


# It is put back


@pytest.mark.long
def test_undone(mnt: Mount) -> None:
    """Whatever was set, and by an exception, too."""
    mnt.fail("scullv0", "read", errno.EPIPE, call=1000)
    before = knobs(mnt)
    with suppress(ZeroDivisionError), ExitStack() as stack:
        for undo in (
            mnt.fail("scullv0", "read", errno.EIO, at=5, times=7),
            mnt.fail("scullv1", "write", errno.EIO),
            mnt.delay(0.001, fallocate=0.001),
            mnt.short(read=1, write="random"),
            mnt.faults.page_alloc(interval=3, space=1000),
            mnt.faults.slab(probability=3, times=5),
        ):
            stack.enter_context(undo)
        during = knobs(mnt)
        raise ZeroDivisionError
    assert knobs(mnt) == before
    assert sum(during[path] != before[path] for path in before) > 20


@pytest.mark.long
def test_reset(mnt: Mount) -> None:
    """Of one device, or of all and the machine."""
    before = knobs(mnt)
    for device in ("scullv0", "scullp0"):
        mnt.fail(device, "open", errno.EIO, times=None)
    mnt.delay(3600)
    mnt.short(read=1)
    mnt.faults.slab(times=None)
    mnt.reset("scullp0")
    (mnt / "scullp0").read_bytes()
    with pytest.raises(ValueError, match="unknown device"):
        mnt.reset("scull0")
    mnt.reset()
    (mnt / "scullv0").write_bytes(b"hello")
    assert knobs(mnt) == before


@pytest.mark.long
def test_at_the_end(mnt: Mount) -> None:
    """A mount that has everything wrong ends as any other, with nobody to put it back."""
    for operation in ("open", "read", "write", "truncate"):
        mnt.fail("scullv0", operation, errno.EIO, times=None)
    mnt.delay(3600)
    mnt.faults.page_alloc(times=None)
    mnt.faults.slab(times=None)
    mnt.unmount()
    assert mnt._daemon.returncode == 0


@pytest.mark.long
def test_of_a_dead_one(mnt: Mount) -> None:
    """Nothing is left to be put back; what is new is ENOTCONN."""
    with mnt.fail("scullv0", "open", errno.EIO), mnt.delay(1), mnt.faults.slab():
        os.kill(mnt.pid, signal.SIGKILL)
        mnt._daemon.wait()
    for break_it in (mnt.delay, mnt.short, mnt.faults.slab, mnt.reset):
        with fails(errno.ENOTCONN):
            break_it()


@pytest.mark.long
def test_of_an_unmounted_one(mnt: Mount) -> None:
    """It is said; to put back there is nothing."""
    fault = mnt.short(read=1)
    mnt.unmount()
    ask: list[Callable[[], object]] = [
        lambda: mnt.fail("scullv0", "read", errno.EIO),
        lambda: mnt.delay(1),
        lambda: mnt.short(read=1),
        lambda: mnt.fill(0),
        lambda: mnt.calls("scullv0", "read"),
        lambda: mnt.ioctl("scullv0", "query-order"),
        lambda: mnt.reset("scullv0"),
        lambda: mnt.devices,
        mnt.faults.slab,
        mnt.faults.page_alloc,
        mnt.reset,
        mnt.status,
        mnt.kmsg,
        mnt.meminfo,
        lambda: mnt.stalled().__enter__(),
    ]
    for each in ask:
        with pytest.raises(NotMountedError, match=f"^{mnt} is not mounted any more$"):
            each()
    fault.undo()


@pytest.mark.long
def test_words_that_are_none(mnt: Mount) -> None:
    """A kind of call and a command are words; what is none says which there are, or one of them."""
    with pytest.raises(TypeError, match=r"^5 is no kind of call, as 'read'$"):
        mnt.calls("scullv0", cast(str, 5))
    with pytest.raises(TypeError, match=r"^None is no command, as '[a-z-]+', and no number$"):
        mnt.ioctl("scullv0", cast(str, None))


@pytest.mark.long
def test_of_one_unmounted_from_outside(mnt: Mount, scullvfs: Any) -> None:
    """As by the test."""
    with mnt.fail("scullv0", "read", errno.EIO):
        assert scullvfs("umount", mnt).returncode == 0
        with pytest.raises(NotMountedError, match="is not mounted any more"):
            mnt.reset()


@pytest.mark.long
def test_of_a_stalled_one(mnt: Mount) -> None:
    """It is said, and what could not be put back then can be later."""
    before = knobs(mnt)
    fault = mnt.short(read=1)
    with mnt.stalled():
        for ask in (fault.undo, mnt.faults.slab, mnt.reset, mnt.short):
            with pytest.raises(BusyError, match="is stalled"):
                ask()
    fault.undo()
    assert knobs(mnt) == before


@pytest.mark.long
def test_told(mnt: Mount) -> None:
    """What is armed, and how often it came, is in the status."""
    mnt.fail("scullv0", "open", errno.EIO, times=2)
    with fails(errno.EIO):
        (mnt / "scullv0").read_bytes()
    assert mnt.status()["faults"]["scullv0/open"] == {"injected": 1, "armed": True}
