"""`trace_pipe` on a real mount: reads that wait, and every way in which they end."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from scullvfs.mounts.health import PID_FILE

from .helpers import Scullvfs, opened, read_all, shell, wait_until
from .test_lowlevel import bare, without  # noqa: F401
from .test_plain_loop import PROGRAM

TRACING = "sys/kernel/tracing"

SOON = 10.0
"""Seconds within which what is to happen at once has happened, on a busy machine, too; what waits
for the next event waits for good here."""


@contextmanager
def cat(mount: Path, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    """A reader of trace_pipe that waits; killed at the end if it is still there."""
    path = str(mount / TRACING / "trace_pipe")
    with subprocess.Popen([*(command or ("cat",)), path], stdout=subprocess.PIPE) as process:
        try:
            wait_until(lambda: waits(process.pid, path), "a read waits")
            yield process
        finally:
            process.kill()


def waits(pid: int, path: str) -> bool:
    """Whether a process, or a child of it, is in a read of the file."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for each in (str(pid), *children):
        try:
            call = Path(f"/proc/{each}/syscall").read_text().split()
            if call[0] == "0" and os.readlink(f"/proc/{each}/fd/{int(call[1], 16)}") == path:
                return True
        except (OSError, IndexError, ValueError):
            continue
    return False


def mark(mount: Path, text: str) -> None:
    """Write to trace_marker."""
    (mount / TRACING / "trace_marker").write_text(text)


def lines(process: subprocess.Popen[bytes], count: int) -> list[str]:
    """The next lines that a reader prints, as many as there are to come."""
    assert process.stdout is not None
    return [process.stdout.readline().decode() for _ in range(count)]


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Whatever happens, it happens in this time."""
    begin = time.monotonic()
    yield
    assert time.monotonic() - begin < seconds


@pytest.fixture
def tracing(mnt: Path) -> Iterator[Path]:
    """The mount; nothing is traced at first, nor at the end."""
    for name in ("set_event", "trace"):
        (mnt / TRACING / name).write_text("")
    yield mnt
    (mnt / TRACING / "set_event").write_text("")


def test_cat_goes_on_as_it_happens(tracing: Path) -> None:
    """What comes is printed when it comes; meanwhile devices and files are served."""
    with cat(tracing) as reader:
        for number in range(3):
            mark(tracing, f"marker {number}\n")
            (line,) = lines(reader, 1)
            assert line.endswith(f": tracing_mark_write: marker {number}\n")
            device = tracing / f"scullv{number}"
            device.write_bytes(b"x" * 200_000)
            assert read_all(device) == b"x" * 200_000
            assert "scullv0" in os.listdir(tracing)
        assert reader.poll() is None


def test_vmalloc_of_a_write(tracing: Path) -> None:
    """As in the kernel: a quantum's addresses, by the process that writes."""
    (tracing / TRACING / "set_event").write_text("alloc_vmap_area")
    with cat(tracing) as reader:
        done = shell('dd if=/dev/zero of="$mnt/scullv0" bs=64k count=4', mnt=tracing)
        assert done.returncode == 0, done.stderr
        found = lines(reader, 4)
    pattern = r" +dd-\d+ +\[000\] \.{5} +\d+\.\d{6}: alloc_vmap_area: va_start: \d+ size=69632 .*\n"
    assert all(re.fullmatch(pattern, line) for line in found)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_signal_ends_it_at_once(tracing: Path, number: int) -> None:
    """Ctrl-C, kill and kill -9; what comes after is not lost."""
    with cat(tracing) as reader, within(SOON):
        reader.send_signal(number)
        assert reader.wait() == -number
    mark(tracing, "afterwards\n")
    assert "afterwards" in (tracing / TRACING / "trace").read_text()


def test_timeout_ends_it(tracing: Path) -> None:
    """As users do it."""
    with within(SOON):
        done = shell('timeout 0.3 cat "$mnt/$tracing/trace_pipe"', mnt=tracing, tracing=TRACING)
    assert (done.returncode, done.stdout) == (124, "")


def test_interrupt_is_eintr(tracing: Path) -> None:
    """A handler that does not start the call again: errno is EINTR, at once."""
    program = (
        "import ctypes, os, signal, sys\n"
        "signal.signal(signal.SIGUSR1, lambda *_: None)\n"
        "signal.siginterrupt(signal.SIGUSR1, True)\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "fd = os.open(sys.argv[1], os.O_RDONLY)\n"
        "print(libc.read(fd, ctypes.create_string_buffer(9), 9), ctypes.get_errno())\n"
    )
    with cat(tracing, sys.executable, "-c", program) as reader, within(SOON):
        reader.send_signal(signal.SIGUSR1)
        assert reader.communicate()[0] == b"-1 %d\n" % errno.EINTR


READ_AGAIN = "import os, sys; os.write(1, os.read(os.open(sys.argv[1], os.O_RDONLY), 4096))"
"""A reader that tries again after EINTR, as Python does, and not every cat."""


def test_stop_and_go_on(tracing: Path) -> None:
    """Ctrl-Z and fg: the read is EINTR, as in Linux, and the next one goes on where it was."""
    with cat(tracing, sys.executable, "-c", READ_AGAIN) as reader:
        reader.send_signal(signal.SIGSTOP)
        stat = Path(f"/proc/{reader.pid}/stat")
        wait_until(lambda: stat.read_text().split(") ")[1][0] == "T", "it has stopped")
        reader.send_signal(signal.SIGCONT)
        mark(tracing, "gone on\n")
        assert lines(reader, 1)[0].endswith("gone on\n")


def test_nonblock(tracing: Path) -> None:
    """EAGAIN without data, by the flag of open(2) and by that of fcntl(2)."""
    pipe = tracing / TRACING / "trace_pipe"
    done = shell('dd if="$pipe" iflag=nonblock bs=4096', pipe=pipe)
    assert done.returncode == 1
    assert "Resource temporarily unavailable" in done.stderr
    with opened(pipe, os.O_RDONLY) as fd:
        fcntl.fcntl(fd, fcntl.F_SETFL, os.O_NONBLOCK)
        with pytest.raises(BlockingIOError):
            os.read(fd, 4096)
        mark(tracing, "there\n")
        assert os.read(fd, 4096).endswith(b"there\n")


def test_two_readers_share(tracing: Path) -> None:
    """Each line comes to one of them."""
    with cat(tracing) as first, cat(tracing) as second:
        for number in range(100):
            mark(tracing, f"line {number}.\n")
        pipe = tracing / TRACING / "trace_pipe"
        with opened(pipe, os.O_RDONLY | os.O_NONBLOCK) as fd:
            wait_until(lambda: select.select([fd], [], [], 0)[0] == [], "all is taken")
        for reader in (first, second):
            wait_until(lambda pid=reader.pid: waits(pid, str(pipe)), "it waits again")
            reader.terminate()
        texts = [reader.communicate()[0].decode() for reader in (first, second)]
    found = re.findall(r"line (\d+)\.", "".join(texts))
    assert sorted(map(int, found)) == list(range(100))


def test_many_wait_and_others_are_served(tracing: Path) -> None:
    """Fifty readers hold nobody up, nor each other's end."""
    pipe = str(tracing / TRACING / "trace_pipe")
    readers = [subprocess.Popen(["cat", pipe], stdout=subprocess.DEVNULL) for _ in range(50)]
    try:
        for reader in readers:
            wait_until(lambda pid=reader.pid: waits(pid, pipe), "it waits")
        with within(SOON):
            for _ in range(200):
                (tracing / "scullv0").write_bytes(b"x" * 4096)
        with within(SOON):
            for reader in readers:
                reader.kill()
            for reader in readers:
                assert reader.wait() == -signal.SIGKILL
    finally:
        for reader in readers:
            reader.kill()
            reader.wait()


def test_tracing_off_ends_it(tracing: Path) -> None:
    """For who has read something."""
    with cat(tracing) as reader:
        mark(tracing, "something\n")
        lines(reader, 1)
        wait_until(lambda: waits(reader.pid, str(tracing / TRACING / "trace_pipe")), "it waits")
        (tracing / TRACING / "tracing_on").write_text("0")
        try:
            with within(SOON):
                assert reader.wait() == 0
        finally:
            (tracing / TRACING / "tracing_on").write_text("1")


def test_no_position(tracing: Path) -> None:
    """lseek(2) and pread(2) are refused, and writing is."""
    with opened(tracing / TRACING / "trace_pipe", os.O_RDONLY) as fd:
        for call in (lambda: os.lseek(fd, 0, os.SEEK_SET), lambda: os.pread(fd, 10, 0)):
            with pytest.raises(OSError, match="Illegal seek"):
                call()


# poll(2)


def test_poll(tracing: Path) -> None:
    """It waits until there is something, then it is readable until that is read."""
    poll = select.poll()
    with opened(tracing / TRACING / "trace_pipe", os.O_RDONLY) as fd:
        poll.register(fd, select.POLLIN)
        assert poll.poll(0) == []
        assert poll.poll(100) == []
        timer = threading.Timer(0.2, mark, (tracing, "wake up\n"))
        timer.start()
        with within(SOON):
            assert poll.poll(30_000) == [(fd, select.POLLIN)]
        timer.join()
        assert poll.poll(0) == [(fd, select.POLLIN)]
        assert os.read(fd, 4096).endswith(b"wake up\n")
        assert poll.poll(0) == []


def test_epoll(tracing: Path) -> None:
    """Level by level, event by event."""
    with (
        opened(tracing / TRACING / "trace_pipe", os.O_RDONLY) as fd,
        select.epoll() as epoll,
    ):
        epoll.register(fd, select.EPOLLIN)
        assert epoll.poll(0.05) == []
        for number in range(3):
            mark(tracing, f"{number}\n")
            with within(SOON):
                assert epoll.poll(30) == [(fd, select.EPOLLIN)]
            os.read(fd, 4096)
            assert epoll.poll(0.05) == []


def test_epoll_edge_by_edge(tracing: Path) -> None:
    """With EPOLLET each event is told of, though nobody asks in between; Go's runtime waits so."""
    with (
        opened(tracing / TRACING / "trace_pipe", os.O_RDONLY | os.O_NONBLOCK) as fd,
        select.epoll() as epoll,
    ):
        epoll.register(fd, select.EPOLLIN | select.EPOLLET)
        for number in range(3):
            mark(tracing, f"{number}\n")
            with within(SOON):
                assert epoll.poll(30) == [(fd, select.EPOLLIN)]
            assert os.read(fd, 4096).endswith(b"%d\n" % number)
            with pytest.raises(BlockingIOError):
                os.read(fd, 4096)
            assert epoll.poll(0.05) == []


def test_poll_of_a_device(tracing: Path) -> None:
    """It never waits, neither for reading nor for writing."""
    poll = select.poll()
    with opened(tracing / "scullv0") as fd:
        poll.register(fd, select.POLLIN | select.POLLOUT)
        for _ in range(3):
            assert poll.poll(0) == [(fd, select.POLLIN | select.POLLOUT)]


# the mount's end


@pytest.mark.long
def test_unmount_is_refused_while_one_waits(scullvfs: Scullvfs, mounted: Path) -> None:
    """As any mount with an open file; a lazy one ends the reader, and then the daemon."""
    pid = int((mounted / PID_FILE).read_bytes())
    with cat(mounted) as reader:
        assert scullvfs("umount", mounted).returncode != 0
        assert reader.poll() is None
        assert scullvfs("umount", "--lazy", mounted).returncode == 0
        with within(SOON):
            assert reader.wait() == 0
    wait_until(lambda: not os.path.exists(f"/proc/{pid}"), "the daemon has ended")


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_daemon_ends_while_one_waits(mounted: Path, number: int) -> None:
    """A daemon that is told to end ends the reader; one that is killed, with an error."""
    pid = int((mounted / PID_FILE).read_bytes())
    with cat(mounted) as reader:
        os.kill(pid, number)
        with within(SOON):
            reader.wait()
    wait_until(lambda: not os.path.exists(f"/proc/{pid}"), "the daemon has ended")


@pytest.mark.long
def test_read_that_came_first_is_no_loss(mounted: Path) -> None:
    """Readers that are killed take nothing with them that they were not given."""
    for number in range(20):
        with cat(mounted) as reader:
            reader.kill()
            reader.wait()
        mark(mounted, f"number {number}.\n")
        assert f"number {number}." in (mounted / TRACING / "trace").read_text()


# other loops


@pytest.mark.long
def test_plain_loop(scullvfs: Scullvfs, mountpoint: Path) -> None:
    """Where pyfuse3 waits by itself, with the extension: it waits, is interrupted, and ends."""
    program = PROGRAM.format(change='pyfuse3.__version__ = "3.6.0"')
    scullvfs.command = [sys.executable, "-c", program]
    with scullvfs.start("mount", "-f", "-o", "mem=16M", mountpoint) as process:
        wait_until(
            lambda: process.poll() is not None or scullvfs.mounted(mountpoint), "it is mounted"
        )
        with cat(mountpoint) as reader, cat(mountpoint) as other:
            mark(mountpoint, "hello\n")
            mark(mountpoint, "world\n")
            (mountpoint / "scullv0").write_bytes(b"x" * 100_000)
            with within(SOON):
                reader.send_signal(signal.SIGINT)
                assert reader.wait() == -signal.SIGINT
                other.kill()
                assert other.wait() == -signal.SIGKILL
        assert scullvfs("umount", mountpoint).returncode == 0
        process.communicate()


@pytest.mark.long
def test_without_the_extension_nothing_waits(bare: Path) -> None:  # noqa: F811
    """A read is EAGAIN, since nobody would hear of an interrupt; with data it is as ever."""
    with opened(bare / TRACING / "trace_pipe", os.O_RDONLY) as fd:
        with pytest.raises(BlockingIOError):
            os.read(fd, 4096)
        mark(bare, "there\n")
        assert os.read(fd, 4096).endswith(b"there\n")


# bad input


HUGE = 1 << 20


@pytest.mark.parametrize(
    "data",
    [b"nonsense\n", b"-1\n", b"9" * 40, b"\0" * 100, b"a" * HUGE, b"9" * HUGE, b" " * HUGE],
    ids=["text", "negative", "number", "nul", "1 MiB", "1 MiB of digits", "1 MiB of blanks"],
)
def test_bad_input(tracing: Path, data: bytes) -> None:
    """Through the kernel: an errno, or some of it is taken, and all of it goes on."""
    refused = {errno.EINVAL, errno.ERANGE, errno.ENOMEM, errno.EPERM, errno.ENOENT, errno.ESRCH}
    for path in sorted((tracing / TRACING).rglob("*")):
        if path.is_file() and path.name != "tracing_on":
            with opened(path, os.O_WRONLY | os.O_TRUNC) as fd:
                result = 0
                try:
                    os.write(fd, data)
                except OSError as error:
                    result = error.errno or -1
                assert result in {0, *refused}, path
    (tracing / TRACING / "trace").read_bytes()
    (tracing / TRACING / "set_event").write_text("")
    mark(tracing, "still there\n")
    assert "still there" in (tracing / TRACING / "trace").read_text()
