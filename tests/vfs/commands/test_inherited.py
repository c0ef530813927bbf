"""What a command inherits from whoever starts it: signals, streams and descriptors."""

from __future__ import annotations

import itertools
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ..helpers import DEADLINE, Scullvfs

IGNORE = "import os, signal, sys\nsignal.signal({number}, signal.SIG_IGN)\n"
IGNORE += "os.execv(sys.executable, [sys.executable, '-m', 'scullvfs', *sys.argv[1:]])\n"

CLOSED = [
    " ".join(streams)
    for count in (1, 2, 3)
    for streams in itertools.combinations(("<&-", ">&-", "2>&-"), count)
]


def ignoring(number: signal.Signals) -> list[str]:
    """The program, started by what ignores a signal, which execve(2) hands down."""
    return [sys.executable, "-c", IGNORE.format(number=int(number))]


def with_streams(scullvfs: Scullvfs, streams: str, *arguments: object) -> int:
    """The exit status of the program, started by a shell with these redirections."""
    command = shlex.join([*scullvfs.command, *map(str, arguments)])
    return scullvfs.run(["sh", "-c", f"exec {command} {streams}"]).returncode


@pytest.mark.long
def test_sigchld_ignored(scullvfs: Any, mountpoint: Path) -> None:
    """The statuses of children are there all the same."""
    scullvfs.command = ignoring(signal.SIGCHLD)
    done = scullvfs("mount", "-o", "mem=16M", mountpoint)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert ": running\n" in scullvfs("status", mountpoint).stdout
    done = scullvfs("umount", mountpoint)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert "missing" not in scullvfs("doctor", "--no-mount").stdout


@pytest.mark.long
@pytest.mark.parametrize("streams", CLOSED)
def test_streams_closed(scullvfs: Any, streams: str) -> None:
    """Nothing to write to is no failure; what a command has to say is its status then."""
    assert with_streams(scullvfs, streams, "mount", "/no/such/directory") == 3
    assert with_streams(scullvfs, streams, "mount", "--help") == 0


@pytest.mark.long
@pytest.mark.parametrize("streams", ["<&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_streams_closed_mount(scullvfs: Any, mountpoint: Path, streams: str) -> None:
    """What is opened by a number that is free is not mistaken for a stream."""
    assert with_streams(scullvfs, streams, "mount", "-o", "mem=16M", mountpoint) == 0
    pid = scullvfs.pid(mountpoint)
    assert {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in range(3)} == {"/dev/null"}
    assert with_streams(scullvfs, streams, "umount", mountpoint) == 0


@pytest.mark.long
def test_descriptors_are_closed_in_the_daemon(scullvfs: Any, mountpoint: Path) -> None:
    """Who waits for the end of a pipe, or for a lock, does not wait for the daemon."""
    receiver, sender = os.pipe()
    done = subprocess.run(
        [*scullvfs.command, "mount", "-o", "mem=16M", mountpoint],
        env=scullvfs.env,
        pass_fds=[sender],
        timeout=DEADLINE,
    )
    os.close(sender)
    with open(receiver, "rb") as pipe:
        assert pipe.read() == b""
    assert done.returncode == 0
    assert scullvfs.mounted(mountpoint)
    assert scullvfs("umount", mountpoint).returncode == 0


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT])
def test_ignored_signal_stays_ignored(
    scullvfs: Any, mountpoint: Path, wait: Any, number: signal.Signals
) -> None:
    """`nohup scullvfs mount -f`, and `sh -c 'scullvfs mount -f &'`."""
    scullvfs.command = ignoring(number)
    with scullvfs.start("mount", "-f", "-o", "mem=16M", mountpoint) as process:
        wait(lambda: scullvfs.mounted(mountpoint) or process.poll() is not None, "it is mounted")
        os.stat(mountpoint / "scullv0")
        process.send_signal(number)
        process.terminate()
        said = process.communicate()[1]
    assert process.returncode == 0
    assert f"{number.name}: unmounting" not in said
    assert "SIGTERM: unmounting" in said


@pytest.mark.long
def test_all_signals_ignored(scullvfs: Any, mountpoint: Path) -> None:
    """A daemon in the background that hears none ends with its mount."""
    program = "import signal\n"
    program += "for n in (1, 2, 15): signal.signal(n, signal.SIG_IGN)\n"
    scullvfs.command = [sys.executable, "-c", program + IGNORE.format(number=1)]
    assert scullvfs("mount", "-o", "mem=16M", mountpoint).returncode == 0
    pid = scullvfs.pid(mountpoint)
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        os.kill(pid, number)
    assert scullvfs.pid(mountpoint) == pid
    assert scullvfs("umount", mountpoint).returncode == 0
