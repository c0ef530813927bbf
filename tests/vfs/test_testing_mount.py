"""What a test has of its mount: a daemon that stands still, calls counted, ioctl(2), the status."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scullvfs.errors import BusyError
from scullvfs.mounts.mountinfo import mount_at
from scullvfs.scull.ioctl import COMMANDS
from scullvfs.testing import Mount, ScullvfsError, mounted

from ..scull.helpers import fails
from .helpers import DEADLINE, opened, wait_until


@pytest.fixture
def mnt(scullvfs: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mount]:
    """A mount of two drivers; no process of it may outlive the test."""
    name, _, value = scullvfs.mark.partition("=")
    monkeypatch.setenv(name, value)
    with mounted(mem="16M", drivers="scullv:scull", devs=2) as mount:
        yield mount


def state(pid: int) -> str:
    """R, S, T ... of a process (proc(5))."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


# The daemon stands still


@pytest.mark.long
def test_stalled(mnt: Mount) -> None:
    """A call meanwhile waits, and is done afterwards; the mount's own methods do not hang."""
    (mnt / "scullv0").write_bytes(b"hello")
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append((mnt / "scullv0").read_bytes()))
    with mnt.stalled():
        assert state(mnt.pid) == "T"
        reader.start()
        reader.join(0.2)
        assert read == []
        for ask in (mnt.kmsg, mnt.meminfo, mnt.status, lambda: mnt.devices):
            with pytest.raises(BusyError, match="is stalled"):
                ask()
        with mnt.stalled():
            pass
        assert state(mnt.pid) == "T"
    reader.join(DEADLINE)
    assert read == [b"hello"]
    assert "vmalloc" not in mnt.kmsg()


@pytest.mark.long
def test_stalled_caller_killed(mnt: Mount) -> None:
    """SIGKILL ends who waits."""
    with mnt.stalled():
        reader = subprocess.Popen(["cat", mnt / "scullv0"], stdout=subprocess.DEVNULL)
        wait_until(lambda: state(reader.pid) in "SD", "it waits")
        reader.kill()
        assert reader.wait(DEADLINE) == -signal.SIGKILL


@pytest.mark.long
def test_stalled_and_an_exception(mnt: Mount) -> None:
    """The daemon goes on."""
    with pytest.raises(ZeroDivisionError), mnt.stalled():
        assert mnt.pid / 0
    assert mnt.kmsg()


@pytest.mark.long
def test_stalled_at_the_end(mnt: Mount) -> None:
    """A context that nobody leaves ends with the mount."""
    stalled = mnt.stalled()  # which goes on, too, when nobody has it any more
    stalled.__enter__()
    assert state(mnt.pid) == "T"


@pytest.mark.long
def test_stalled_and_already_stopped(mnt: Mount) -> None:
    """By the test's own hand, too."""
    os.kill(mnt.pid, signal.SIGSTOP)
    with mnt.stalled():
        pass
    assert mnt.kmsg()


@pytest.mark.long
def test_stalled_and_killed(mnt: Mount) -> None:
    """A daemon that dies while it stands still is none that goes on; who waits gets ENOTCONN."""
    with mnt.stalled():
        os.kill(mnt.pid, signal.SIGKILL)
        mnt._daemon.wait()
    with fails(errno.ENOTCONN):
        mnt.kmsg()
    with pytest.raises(ScullvfsError, match=r"was killed by SIGKILL$"), mnt.stalled():
        pass


@pytest.mark.long
def test_stalled_and_the_test_is_killed(tmp_path: Path, scullvfs: Any) -> None:
    """Neither the mount nor a stopped daemon stays."""
    code = (
        "import os, signal\n"
        "from scullvfs.testing import mounted\n"
        "with mounted() as mnt, mnt.stalled():\n"
        "    print(mnt, mnt.pid, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**scullvfs.env, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == -signal.SIGKILL
    path, pid = done.stdout.split()
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), "the daemon has ended")
    wait_until(lambda: mount_at(path) is None, "it is unmounted")


# What there was


@pytest.mark.long
def test_calls(mnt: Mount) -> None:
    """Each kind is counted by itself, on each device, and nothing that asks for it."""
    assert mnt.calls("scullv0", "open") == mnt.calls("scullv0", "read") == 0
    with opened(mnt / "scullv0") as fd:
        assert os.write(fd, bytes(100_000)) == 65536
        os.write(fd, b"x")
        os.lseek(fd, 0, os.SEEK_SET)
        while os.read(fd, 30_000):
            pass
        os.ftruncate(fd, 10)
    counted = {kind: mnt.calls("scullv0", kind) for kind in ("open", "read", "write", "truncate")}
    assert counted == {"open": 1, "read": 5, "write": 2, "truncate": 1}
    assert mnt.calls(mnt / "scullv1", "read") == mnt.calls("scull0", "write") == 0


@pytest.mark.long
@pytest.mark.parametrize(
    ("device", "kind", "words"),
    [
        ("scullv7", "read", "unknown device 'scullv7'; did you mean 'scullv"),
        ("scullv", "read", "unknown device 'scullv'; did you mean"),
        ("/dev/scullv0", "read", "unknown device '/dev/scullv0'"),
        ("scullv0", "rad", "unknown kind of call 'rad'; did you mean 'read'?"),
        ("scullv0", "", "unknown kind of call ''; there are fallocate, ioctl, lseek, open, read, "),
    ],
)
def test_calls_of_nothing(mnt: Mount, device: str, kind: str, words: str) -> None:
    """The error says what there is."""
    with pytest.raises(ValueError, match=words):
        mnt.calls(device, kind)


@pytest.mark.long
def test_calls_of_many(scullvfs: Any) -> None:
    """One that the status leaves out has no number, and is not said to have none."""
    with mounted(devs=40, mem="16M") as mnt:
        for device in mnt.devices[:32]:
            device.read_bytes()
        assert mnt.calls("scullv31", "open") == 1
        with pytest.raises(BusyError, match=r"32 devices .* more often than scullv39"):
            mnt.calls("scullv39", "open")


def test_status(mnt: Mount) -> None:
    """As the daemon gives it; it is no call on a device."""
    mnt.ioctl("scullv0", "tell-order", 2)
    before = mnt.status()
    assert (before["pid"], before["devices"], before["ram"]["total"]) == (mnt.pid, 6, 4095 << 12)
    assert before["options"]["scullv_order"] == 2
    assert mnt.status()["calls"] == before["calls"]


@pytest.mark.long
def test_ioctl(mnt: Mount) -> None:
    """By word, for each way that a value goes, and by number; each driver has its own."""
    assert mnt.ioctl("scullv0", "query-order") == 4
    assert mnt.ioctl("scullv0", "set-order", 2) is None
    assert mnt.ioctl(mnt / "scullv1", "exchange-order", 3) == 2
    assert mnt.ioctl("scullv0", COMMANDS["HORDER"], 5) == 3
    assert mnt.ioctl("scullv0", COMMANDS["GORDER"]) == 5
    assert mnt.ioctl("scullv0", COMMANDS["TORDER"], 1) is None
    assert mnt.ioctl("scullv0", "reset") is None
    assert mnt.ioctl("scullv0", "get-order") == 4
    assert mnt.ioctl("scull0", "query-quantum") == 4000


@pytest.mark.parametrize(
    ("command", "value", "words"),
    [
        ("set-ordr", 1, "unknown command of scullv 'set-ordr'; did you mean 'set-order'?"),
        ("set-quantum", 1, "unknown command of scullv 'set-quantum'"),
        ("set-order", None, "'set-order' needs a value"),
        (COMMANDS["SORDER"], None, "needs a value"),
        ("query-order", 1, "'query-order' takes no value"),
        ("reset", 0, "'reset' takes no value"),
        ("set-order", 1 << 31, "2147483648 is no int of C"),
        ("tell-order", 1 << 40, "1099511627776 is no int of C"),
        (0x1234, 1 << 80, "is no int of C"),
    ],
)
def test_ioctl_of_nothing(mnt: Mount, command: str | int, value: int | None, words: str) -> None:
    """What cannot be asked is refused before anything is set."""
    with pytest.raises(ValueError, match=words):
        mnt.ioctl("scullv0", command, value)
    assert mnt.calls("scullv0", "ioctl") == 0


@pytest.mark.parametrize(
    ("command", "value", "number"),
    [
        ("set-order", 99, errno.EINVAL),
        ("tell-order", -1, errno.EINVAL),
        (0x1234, None, errno.ENOTTY),
        (COMMANDS["SORDER"] + 0x20, 1, errno.EFAULT),  # 1 is no address
    ],
)
def test_ioctl_refused(mnt: Mount, command: str | int, value: int | None, number: int) -> None:
    """The driver's own errno."""
    with fails(number):
        mnt.ioctl("scullv0", command, value)
    assert mnt.ioctl("scullv0", "query-order") == 4


def test_of_a_dead_one(mnt: Mount) -> None:
    """ENOTCONN, as of everything that is read."""
    os.kill(mnt.pid, signal.SIGKILL)
    mnt._daemon.wait()
    for ask in (
        mnt.status,
        lambda: mnt.calls("scullv0", "read"),
        lambda: mnt.ioctl("scullv0", "query-order"),
    ):
        with fails(errno.ENOTCONN):
            ask()
