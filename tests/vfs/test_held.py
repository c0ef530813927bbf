"""Calls that are answered later: a device that takes its time, and every way in which that ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .faults import CALLS, HOUR, calling, everything, faults, put
from .helpers import Scullvfs, mount_point, mounted_on, opened, program, read_all, wait_until
from .test_lowlevel import bare, without  # noqa: F401
from .test_plain_loop import PROGRAM
from .test_trace_pipe import SOON, within
from .troubles import TROUBLES

DATA = bytes(range(256)) * 300
"""What a device has at first."""

RESULTS = {
    "open": "open",
    "read": "4096",
    "write": "4096",
    "ioctl": "4",
    "llseek": "65536",
    "fallocate": "0",
    "truncate": "0",
}
"""What each call gives by the rules of files."""

BY_THE_DRIVER = {**RESULTS, "llseek": "EINVAL", "fallocate": "ENODEV"}


@pytest.fixture(scope="module", params=["device", "file"])
def semantics(request: pytest.FixtureRequest) -> str:
    """Whose rules the devices follow."""
    rules: str = request.param
    return rules


@pytest.fixture(scope="module")
def shared(semantics: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A mount by each set of rules."""
    with (
        program() as scullvfs,
        mount_point(scullvfs, tmp_path_factory.mktemp("held") / "mnt") as path,
        mounted_on(scullvfs, path, f"mem=64M,semantics={semantics}"),
    ):
        yield path


@pytest.fixture
def results(semantics: str) -> dict[str, str]:
    """What each call gives."""
    return RESULTS if semantics == "file" else BY_THE_DRIVER


@pytest.fixture
def mnt(shared: Path) -> Iterator[Path]:
    """The mount, with something in its devices, and no faults."""
    for device in shared.glob("scullv[0-9]"):
        os.truncate(device, 0)
        with opened(device) as fd:
            assert os.pwrite(fd, DATA[: 1 << 16], 0) == 1 << 16
    yield shared
    everything(shared)


def state(mount: Path) -> tuple[bytes, int, int]:
    """What calls change of the first device."""
    device = mount / "scullv0"
    stat = device.stat()
    return read_all(device), stat.st_size, stat.st_blocks


@pytest.mark.long
@pytest.mark.parametrize("call", CALLS)
def test_later(mnt: Path, results: dict[str, str], call: str) -> None:
    """It gives what it gives at once, so much later; other calls and devices are served."""
    put(mnt, {f"{call}/delay_us": 400_000})
    began = time.monotonic()
    with calling(mnt / "scullv0", call) as caller:
        caller.waits()
        with within(SOON):
            assert read_all(mnt / "scullv1") == DATA[: 1 << 16]
            assert os.stat(mnt / "scullv0").st_size == 1 << 16
            if call not in ("open", "read"):
                assert len(read_all(mnt / "scullv0")) == 1 << 16
        assert caller.result() == results[call]
    assert time.monotonic() - began > 0.4


@pytest.mark.parametrize("call", CALLS)
def test_interrupt(mnt: Path, semantics: str, call: str) -> None:
    """EINTR at once, and nothing has happened; nor has a fault that comes after the delay."""
    if (call, semantics) == ("read", "file"):
        pytest.skip("the page cache reads, and only a signal that kills ends that")
    put(mnt, {f"{call}/delay_us": HOUR, f"{call}/errno": "EIO"})
    with calling(mnt / "scullv0", call) as caller:
        caller.waits()
        with within(SOON):
            caller.process.send_signal(signal.SIGUSR1)
            assert caller.result() == TROUBLES["delay-interrupted"].outcome == "EINTR"
    assert (faults(mnt) / call / "times").read_text() == "1\n"
    everything(mnt)
    assert state(mnt) == (DATA[: 1 << 16], 1 << 16, 128)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("call", CALLS)
def test_kill(mnt: Path, semantics: str, call: str, number: int) -> None:
    """Ctrl-C and kill -9: it is gone at once, and nothing has happened."""
    put(mnt, {f"{call}/delay_us": HOUR})
    with calling(mnt / "scullv0", call) as caller:
        caller.waits()
        with within(SOON):
            caller.process.send_signal(number)
            assert caller.process.wait() == -number
    everything(mnt)
    assert state(mnt) == (DATA[: 1 << 16], 1 << 16, 128)


@pytest.mark.parametrize("how", ["reset", "delay_us"])
@pytest.mark.parametrize("call", CALLS)
def test_let_go(mnt: Path, results: dict[str, str], call: str, how: str) -> None:
    """Who waits goes by what is set now, not by what was when he came."""
    put(mnt, {"delay_us": HOUR})
    everything(mnt)
    put(mnt, {f"{call}/delay_us": HOUR})
    with calling(mnt / "scullv0", call) as caller:
        caller.waits()
        put(mnt, {f"{call}/delay_us": HOUR + 1})
        time.sleep(0.05)
        assert caller.process.poll() is None
        with within(SOON):
            put(mnt, {"reset": 1} if how == "reset" else {f"{call}/delay_us": 0})
            assert caller.result() == results[call]


@pytest.mark.long
def test_device_and_operation_add_up(mnt: Path) -> None:
    """Of the device's calls each is delayed; nonblocking ones, too, as a device is slow or not."""
    put(mnt, {"delay_us": 100_000, "write/delay_us": 200_000})
    with within(SOON), opened(mnt / "scullv0", os.O_RDWR | os.O_NONBLOCK) as fd:
        began = time.monotonic()
        assert os.pwrite(fd, b"x", 0) == 1
        assert time.monotonic() - began > 0.3
        put(mnt, {"write/delay_us": HOUR})
        began = time.monotonic()
        os.ftruncate(fd, 3)
        assert time.monotonic() - began > 0.1


@pytest.mark.long
def test_writes_keep_their_data(mount: Callable[[str], Path]) -> None:
    """Forty that wait at the same time, while others come: each stores its own."""
    path = mount("mem=64M,scullv_devs=40")
    texts = {f"scullv{number}": b"%02d" % number * 20_000 for number in range(40)}
    done: list[str] = []

    def write(device: str, text: bytes) -> None:
        with opened(path / device) as fd:
            assert os.pwrite(fd, text, 0) == len(text)
        done.append(device)

    for device in texts:
        put(path, {"write/delay_us": HOUR}, device)
    threads = [threading.Thread(target=write, args=each) for each in texts.items()]
    for thread in threads:
        thread.start()
    calls = faults(path, "scullv39") / "write/delay_us"
    time.sleep(0.5)
    assert (done, calls.read_text()) == ([], f"{HOUR}\n")
    with within(SOON):
        everything(path)
        for thread in threads:
            thread.join()
    assert {device: read_all(path / device) for device in texts} == texts


@pytest.mark.long
def test_delayed_open_empties_a_large_device(mount: Callable[[str], Path]) -> None:
    """What it has to free takes long, too, and others come in between."""
    path = mount("mem=64M,order=0,qset=1")
    with opened(path / "scullv0") as fd:
        for page in range(4000):
            assert os.pwrite(fd, b"x" * 4096, page * 4096) == 4096
    put(path, {"open/delay_us": HOUR})
    with calling(path / "scullv0", "open") as caller:
        caller.waits()
        (path / "scullv1").write_bytes(DATA)
        everything(path)
        assert caller.result() == "open"
    assert (path / "scullv0").stat().st_size == 0
    (path / "sys/kernel/debug/validate").write_text("1")


def test_many_wait_for_one_device(mnt: Path) -> None:
    """Reads of the same device, each on its way, hold nobody up."""
    put(mnt, {"read/delay_us": HOUR})
    with calling(mnt / "scullv0", "read") as first, calling(mnt / "scullv0", "read") as second:
        first.waits()
        second.waits()
        with within(SOON):
            (mnt / "scullv1").write_bytes(DATA)
            everything(mnt)
            assert (first.result(), second.result()) == ("4096", "4096")


def test_many_fills_hold_up_no_other_device(mnt: Path) -> None:
    """As many readers as wait, the page cache goes on filling itself from another device."""
    size = 1 << 20
    for device in (mnt / "scullv0", mnt / "scullv1"):
        with opened(device) as fd:
            done = 0
            while done < size:
                done += os.pwrite(fd, bytes(size - done), done)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    put(mnt, {"read/delay_us": HOUR})
    command = ["dd", f"if={mnt}/scullv0", "bs=4k", "count=1", "status=none", "of=/dev/null"]
    readers = [subprocess.Popen([*command, f"skip={8 * number}"]) for number in range(30)]
    try:
        status = [Path(f"/proc/{reader.pid}/syscall") for reader in readers]
        wait_until(lambda: all(path.read_text()[:2] == "0 " for path in status), "all wait")
        with within(SOON):
            assert len(read_all(mnt / "scullv1")) == size
        assert [reader.poll() for reader in readers] == [None] * 30
        everything(mnt)
        with within(SOON):
            assert [reader.wait() for reader in readers] == [0] * 30
    finally:
        for reader in readers:
            reader.kill()
            reader.wait()


# the mount's end


@pytest.mark.long
@pytest.mark.parametrize("call", ["read", "write", "ioctl"])
def test_lazy_unmount(scullvfs: Scullvfs, mounted: Path, call: str) -> None:
    """An open file keeps a mount; unmounted lazily, who waits hears that the device has gone."""
    pid = scullvfs.pid(mounted)
    put(mounted, {f"{call}/delay_us": HOUR})
    with calling(mounted / "scullv0", call) as caller:
        caller.waits()
        assert scullvfs("umount", mounted).returncode != 0
        assert scullvfs("umount", "--lazy", mounted).returncode == 0
        with within(SOON):
            assert caller.result() == TROUBLES["delay-unmounted"].outcome == "ENODEV"
    wait_until(lambda: not os.path.exists(f"/proc/{pid}"), "the daemon has ended")


@pytest.mark.long
@pytest.mark.parametrize("call", ["open", "truncate", "read", "write"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_daemon_ends(scullvfs: Scullvfs, mounted: Path, call: str, number: int) -> None:
    """It does not wait for who waits, and he is answered."""
    pid = scullvfs.pid(mounted)
    put(mounted, {f"{call}/delay_us": HOUR})
    with calling(mounted / "scullv0", call) as caller:
        caller.waits()
        with within(SOON):
            os.kill(pid, number)
            assert caller.result() in ("ENODEV", "EINTR", "ENOTCONN", "ECONNABORTED")
            wait_until(lambda: not os.path.exists(f"/proc/{pid}"), "the daemon has ended")


# other loops


@pytest.mark.long
def test_plain_loop(scullvfs: Scullvfs, mountpoint: Path) -> None:
    """Where pyfuse3 waits by itself, with the extension."""
    change = 'pyfuse3.__version__ = "3.6.0"'
    scullvfs.command = [sys.executable, "-c", PROGRAM.format(change=change)]
    with scullvfs.start("mount", "-f", "-o", "mem=16M", mountpoint) as process:
        wait_until(
            lambda: process.poll() is not None or scullvfs.mounted(mountpoint), "it is mounted"
        )
        for call in ("open", "write", "truncate"):
            put(mountpoint, {f"{call}/delay_us": HOUR})
            with calling(mountpoint / "scullv0", call) as caller, within(SOON):
                caller.waits()
                (mountpoint / "scullv1").write_bytes(b"x" * 100_000)
                caller.process.send_signal(signal.SIGUSR1)
                assert caller.result() == "EINTR"
            everything(mountpoint)
        assert scullvfs("umount", mountpoint).returncode == 0
        process.communicate()


@pytest.mark.long
@pytest.mark.parametrize("call", ["open", "read", "write", "truncate"])
def test_without_the_extension(bare: Path, call: str) -> None:  # noqa: F811
    """It takes its time, and others are served; nobody hears of an interrupt."""
    with opened(bare / "scullv0") as fd:
        os.pwrite(fd, DATA[:4096], 0)
    put(bare, {f"{call}/delay_us": HOUR})
    with calling(bare / "scullv0", call) as caller:
        caller.waits()
        with within(SOON):
            (bare / "scullv1").write_bytes(b"x" * 100)
            assert os.stat(bare / "scullv0").st_size == 4096
            everything(bare)
            assert caller.result() == RESULTS[call]
    if call == "write":
        assert read_all(bare / "scullv0") == b"w" * 4096
