"""`scullvfs faults`: every allocation of a real command made to fail, and what is found then."""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from scullvfs.errors import ExitStatus
from scullvfs.scull.family import DRIVERS
from scullvfs.scull.ioctl import commands

from ...thorough import rounds
from ..helpers import DEADLINE, Scullvfs, wait_until
from ..troubles import TROUBLES, refusal

PARTS = rounds(6, 1)
"""How many times 40 KB each command moves."""

QUANTA = {
    "scullp": ",scullp_order=3",
    "scullc": ",scullc_quantum=20000",
    "scull": ",scull_quantum=20000",
}
"""Larger ones than usual, so that there are not ten times as many requests as of the others."""

PYTHON = f"{sys.executable} -I -S -c"

WRITE = "dd if=/dev/zero of={device} bs=40k count={parts} conv=notrunc status=none"
FAULT_IN = (
    "import mmap, os; fd = os.open('{device}', os.O_RDWR); size = {parts} * 40960; "
    "os.ftruncate(fd, size); pages = mmap.mmap(fd, size); pages[:] = b'x' * size; "
    "pages.flush(); os.fsync(fd); pages.close(); os.posix_fadvise(fd, 0, 0, 4); "
    "assert os.read(fd, size) == b'x' * size, 'silently lost'"
)
SET_QSET = (
    "import fcntl, os; fd = os.open('{device}', os.O_RDWR); fcntl.ioctl(fd, {number}, 2); "
    "os.close(os.open('{device}', os.O_WRONLY)); os.write(fd, bytes(40960 * {parts}))"
)

COMMANDS = {
    "write": ("device", [*WRITE.split()]),
    "write by pages": ("file", [*WRITE.split()]),
    "truncate": (
        "device",
        ["sh", "-c", f"{WRITE} && truncate -s 50000 {{device}} && truncate -s 1M {{device}}"],
    ),
    "fallocate": ("file", ["fallocate", "-l", "{size}", "{device}"]),
    "zero range": ("file", ["sh", "-c", f"{WRITE} && fallocate -z -l {{size}} {{device}}"]),
    "mmap": ("file", [*PYTHON.split(), FAULT_IN]),
    "ioctl": ("device", [*PYTHON.split(), SET_QSET]),
}
"""What is done -> by whose rules, and the command."""

LINE = re.compile(
    r"(no fault|(?:failslab|fail_page_alloc) \d+) +(exit status \d+|killed by \w+)(.*)"
)


def walked(output: str) -> list[tuple[str, str, str]]:
    """The trials and how each went; nothing was found."""
    *lines, summary = output.splitlines()
    assert summary.startswith("requests made to fail: "), output
    assert summary.endswith("; nothing was found"), output
    matches = [LINE.fullmatch(line) for line in lines]
    assert all(matches), output
    return [match.groups() for match in matches if match is not None]  # type: ignore[misc]


@pytest.fixture(autouse=True)
def nothing_left(scullvfs: Scullvfs, tmp_path: Path) -> Any:
    """No mount and no directory of the walk outlives it."""
    scullvfs.env["TMPDIR"] = str(tmp_path)
    yield
    assert list(tmp_path.glob("scullvfs-faults-*")) == []


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("what", COMMANDS)
def test_every_allocation(scullvfs: Scullvfs, driver: str, what: str) -> None:
    """Want of memory is all that the command may meet; nothing leaks, nothing changes."""
    rules, command = COMMANDS[what]
    device, number = f"{driver}0", commands(DRIVERS[driver])["TQSET"]
    words = [
        word.format(device=device, parts=PARTS, size=40960 * PARTS, number=number)
        for word in command
    ]
    options = f"drivers={driver},semantics={rules},mem=8M{QUANTA.get(driver, '')}"
    done = subprocess.run(
        [*scullvfs.command, "faults", "-o", options, "--", *words],
        env=scullvfs.env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    first, *trials = walked(done.stdout)
    assert first[:2] == ("no fault", "exit status 0")
    assert {name.split()[0] for name, *_ in trials} >= {"failslab"}
    failed = [said for _, ended, said in trials if ended != "exit status 0"]
    assert all("Cannot allocate memory" in said for said in failed), failed
    assert failed


@pytest.mark.long
def test_mount_itself(scullvfs: Scullvfs, mountpoint: Path) -> None:
    """A mount whose N-th allocation fails comes up, or says in one line what has failed."""
    ended = set()
    for fault in ("failslab", "fail_page_alloc"):
        for nth in (1, 2, 3, 4, 1000):
            options = f"mem=8M,drivers=scullv:scullc:scull:scullp,{fault}={nth}:100:0:1"
            done = scullvfs.quickly("mount", "-o", options, mountpoint)
            ended.add(done.returncode)
            if done.returncode == ExitStatus.SUCCESS:
                assert done.stderr == ""
                (mountpoint / "sys/kernel/debug/validate").write_text("1")
                (mountpoint / "scullv3").write_bytes(b"it goes on")
                assert (mountpoint / "scullv3").read_bytes() == b"it goes on"
                assert scullvfs.quickly("umount", mountpoint).returncode == 0
            else:
                assert fault in refusal(done, "fault-at-mount")
            assert not scullvfs.mounted(mountpoint)
    assert ended == {ExitStatus.SUCCESS, ExitStatus.USAGE}


# -- what it says ------------------------------------------------------------------------------


LEAKING = """
import sys
from scullvfs.mm.vmalloc import Vmalloc
real = Vmalloc._free_vm_area
Vmalloc._free_vm_area = lambda self, start, size, objects: {broken}
from scullvfs.cli import main
main()
"""
"""The program, with the error path of an area changed."""


@pytest.mark.long
def test_a_leak_is_found(scullvfs: Scullvfs) -> None:
    """Addresses that are never free again are: by its line, the summary and the status."""
    scullvfs.command = [sys.executable, "-c", LEAKING.format(broken="None")]
    done = scullvfs("faults", "-q", "-o", "mem=8M", "sh", "-c", "echo hello >scullv0")
    assert (done.returncode, done.stderr) == (ExitStatus.FOUND, "")
    first, second, *_, summary = done.stdout.splitlines()
    assert first.startswith("failslab ")
    assert second.startswith("  validate: ")
    assert TROUBLES["faults-found"].fits(summary)


@pytest.mark.long
@pytest.mark.parametrize("quiet", [False, True])
def test_a_command_that_asks_for_nothing(scullvfs: Scullvfs, quiet: bool) -> None:
    """It is run once without a fault, once for each kind, and that is all."""
    done = scullvfs("faults", *["-q"] * quiet, "-o", "mem=8M", "sh", "-c", "echo oops >&2; exit 3")
    assert (done.returncode, done.stderr) == (0, "")
    *lines, summary = done.stdout.splitlines()
    assert lines == ([] if quiet else ["no fault             exit status 3: oops"])
    assert summary == "requests made to fail: none; the command failed in 0; nothing was found"


@pytest.mark.long
def test_where_the_command_is(scullvfs: Scullvfs, tmp_path: Path) -> None:
    """In the mount, which is in its environment, too; a program by a relative path is found."""
    script = tmp_path / "script"
    script.write_text('#!/bin/sh\ntest "$(pwd)" = "$MOUNTPOINT" && test -e scullv0\n')
    script.chmod(0o755)
    command = shlex.join([*scullvfs.command, "faults", "-o", "mem=8M", "./script"])
    done = scullvfs.run(["sh", "-c", f"cd {shlex.quote(str(tmp_path))} && {command}"])
    assert done.stdout.startswith("no fault             exit status 0\n"), done


@pytest.mark.long
def test_a_command_that_does_not_end(scullvfs: Scullvfs) -> None:
    """It is killed with all that it has started, and that is something that was found."""
    words = ("--timeout", 0.3, "-o", "mem=8M", "sh", "-c", "sleep 600 & sleep 600")
    done = scullvfs("faults", *words)
    assert (done.returncode, done.stderr) == (ExitStatus.FOUND, "")
    first, second, *_ = done.stdout.splitlines()
    assert (first, second) == ("no fault             killed", "  COMMAND did not end within 0.3 s")


@pytest.mark.long
def test_what_is_stored_is_looked_at(scullvfs: Scullvfs) -> None:
    """A command that writes to the last device is told of."""
    done = scullvfs("faults", "-o", "mem=8M", "sh", "-c", ": >scullv3")
    assert done.returncode == ExitStatus.FOUND
    assert done.stdout.splitlines()[1] == "  scullv3: what was stored there has changed"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["no-such-program"], "cannot run no-such-program: there is no such program"),
        (["/etc/passwd"], "cannot run /etc/passwd: there is no such program"),
        (["-o", "devs=1", "true"], "one device is not enough: "),
        (["-o", "ordr=1", "true"], "unknown option 'ordr'; did you mean 'order'?"),
        ([], "Missing argument 'COMMAND...'"),
        (["--timeout", "0", "true"], "Invalid value for '--timeout': "),
        (
            ["--timeout", "nan", "true"],
            "Invalid value for '--timeout': 'nan' is not a number of seconds",
        ),
    ],
)
def test_refusal(scullvfs: Scullvfs, words: list[str], said: str) -> None:
    """One line, and the status of bad usage."""
    done = scullvfs("faults", *words)
    assert (done.returncode, done.stdout) == (ExitStatus.USAGE, "")
    (line,) = done.stderr.splitlines()
    assert line.removeprefix("scullvfs: ").startswith(said)


@pytest.mark.long
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_interrupted(scullvfs: Scullvfs, signum: int) -> None:
    """The summary of what was done, and nothing of command and mount is left."""
    with scullvfs.start("faults", "-o", "mem=8M", "sh", "-c", "echo go >&2; sleep 600") as walk:
        wait_until(lambda: b"sleep" in running(scullvfs), "the command runs")
        walk.send_signal(signum)
        out, err = walk.communicate(timeout=DEADLINE)
    assert (walk.returncode, out) == (ExitStatus.INTERRUPTED, "")
    assert err.strip() == "scullvfs: interrupted"
    wait_until(lambda: not scullvfs.processes(), "all of it is gone")


def running(scullvfs: Scullvfs) -> set[bytes]:
    """The names of the programs that run."""
    names = set()
    for pid in scullvfs.processes():
        with suppress(OSError):
            names.add(Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0])
    return names
