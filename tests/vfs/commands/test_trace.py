"""`scullvfs trace`: events on, what they record, and all as it was before."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from scullvfs.errors import ExitStatus
from scullvfs.mounts.health import PID_FILE

from ..helpers import Scullvfs, shell, wait_until
from ..troubles import refusal

TRACING = "sys/kernel/tracing"


def on(mount: Path) -> list[str]:
    """The events that are on."""
    return (mount / TRACING / "set_event").read_text().split()


def follow(
    scullvfs: Scullvfs, mount: Path, *words: object, lines: int
) -> subprocess.CompletedProcess[str]:
    """Run it while a device is written, until it has printed so many lines."""
    before = on(mount)
    with scullvfs.start("trace", "-n", lines, *words) as process:
        wait_until(lambda: on(mount) != before or process.poll() is not None, "events are on")
        done = shell('dd if=/dev/zero of="$mnt/scullv0" bs=64k count=4', mnt=mount)
        assert done.returncode == 0, done.stderr
        out, err = process.communicate()
        return subprocess.CompletedProcess([], process.returncode, out, err)


@pytest.mark.long
def test_follows_and_puts_back(scullvfs: Scullvfs, mounted: Path) -> None:
    """What is named is printed as it happens; what was on before stays on, and nothing else."""
    (mounted / TRACING / "set_event").write_text("kfree")
    done = follow(scullvfs, mounted, mounted, "alloc_vmap_area", "kmem:kfree", lines=4)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert len(lines) == 4
    assert all(": alloc_vmap_area: va_start: " in line for line in lines if ": kfree: " not in line)
    assert on(mounted) == ["kmem:kfree"]


@pytest.mark.long
def test_without_events_all_are_on(scullvfs: Scullvfs, mounted: Path) -> None:
    """And without a mount it is the only one that there is."""
    done = follow(scullvfs, mounted, mounted, lines=8)
    assert len({line.split(": ")[1] for line in done.stdout.splitlines()}) >= 3
    assert on(mounted) == []


@pytest.mark.long
def test_what_is_on_is_followed(scullvfs: Scullvfs, mounted: Path) -> None:
    """Without events, where some are on; tracing that was switched off is so again."""
    (mounted / TRACING / "set_event").write_text("alloc_vmap_area")
    (mounted / TRACING / "tracing_on").write_text("0")
    with scullvfs.start("trace", "-n", 2, mounted) as process:
        wait_until(lambda: (mounted / TRACING / "tracing_on").read_text() == "1\n", "it is on")
        (mounted / "scullv0").write_bytes(b"x" * 200_000)
        out, _ = process.communicate()
    assert out.count(": alloc_vmap_area: ") == 2
    assert on(mounted) == ["vmalloc:alloc_vmap_area"]
    assert (mounted / TRACING / "tracing_on").read_text() == "0\n"


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_it(scullvfs: Scullvfs, mounted: Path, number: int) -> None:
    """Ctrl-C is its usual end, and leaves nothing on and nobody behind."""
    with scullvfs.start("trace", mounted, "vmalloc") as process:
        wait_until(lambda: on(mounted), "events are on")
        time.sleep(0.2)
        process.send_signal(number)
        assert process.communicate()[1] == ""
        assert process.returncode == 0
    assert on(mounted) == []
    assert scullvfs("umount", mounted).returncode == 0  # no reader keeps it busy


@pytest.mark.long
def test_killed(scullvfs: Scullvfs, mounted: Path) -> None:
    """What reads for it ends with it, so nobody keeps the mount busy; the events stay on."""
    with scullvfs.start("trace", mounted, "vmalloc") as process:
        wait_until(lambda: on(mounted), "events are on")
        time.sleep(0.2)
        process.kill()
        process.communicate()
    wait_until(lambda: scullvfs("umount", mounted).returncode == 0, "nobody reads any more")


def test_pipe_that_is_closed(scullvfs: Scullvfs, mounted: Path) -> None:
    """`| head`: it ends when there is nobody to print to, and all is put back."""
    command = " ".join(scullvfs.command)
    with subprocess.Popen(
        ["bash", "-c", f'{command} trace "$0" vmalloc | head -n 1', mounted],
        env=scullvfs.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        wait_until(lambda: on(mounted), "events are on")
        wait_until(
            lambda: (
                (mounted / "scullv0").write_bytes(b"x" * 200_000) and process.poll() is not None
            ),
            "it has ended",
        )
        assert "alloc_vmap_area" in process.communicate()[0]
    wait_until(lambda: not on(mounted), "all is off again")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["vmaloc"], "unknown event 'vmaloc'; did you mean 'vmalloc'?"),
        (["kmem:kmaloc"], "unknown event 'kmem:kmaloc'; did you mean 'kmem:kmalloc'?"),
        (["kmem", "zz"], "unknown event 'zz'; sys/kernel/tracing/available_events has them all"),
        (["kmem:mm_page_*"], "unknown event 'kmem:mm_page_*'; did you mean "),
        (["\n"], r"unknown event '\012'; sys/kernel/tracing/available_events has them all"),
        ([""], "unknown event ''; sys/kernel/tracing/available_events has them all"),
    ],
)
def test_unknown_events(scullvfs: Scullvfs, mounted: Path, words: list[str], said: str) -> None:
    """Nothing is switched on, not what is right beside it either."""
    done = scullvfs("trace", mounted, *words)
    assert done.returncode == ExitStatus.USAGE
    assert done.stderr.startswith(f"scullvfs: {said}")
    assert on(mounted) == []


def test_empty_path(scullvfs: Scullvfs, mounted: Path) -> None:
    """Not the only mount, either: it comes of a variable that is not set."""
    refusal(scullvfs("trace", "-n", 0, ""), "no-path")


def test_no_mount(scullvfs: Scullvfs, tmp_path: Path) -> None:
    """A path without one."""
    done = scullvfs("trace", tmp_path)
    assert done.returncode == ExitStatus.NOT_MOUNTED
    assert "is not mounted" in done.stderr


@pytest.mark.long
def test_several_mounts(scullvfs: Scullvfs, mount: Callable[[str], Path]) -> None:
    """Then one has to be named."""
    first, second = mount("mem=16M"), mount("mem=16M")
    done = scullvfs("trace", "vmalloc")
    assert done.returncode == ExitStatus.USAGE
    assert "there are several mounts" in done.stderr
    done = follow(scullvfs, second, second, "vmalloc", lines=2)
    assert done.returncode == 0
    assert on(first) == on(second) == []


@pytest.mark.long
def test_hung_mount(scullvfs: Scullvfs, mounted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon that is stopped while it is followed: Ctrl-C ends the command all the same."""
    pid = int((mounted / PID_FILE).read_bytes())
    with scullvfs.start("trace", mounted, "vmalloc") as process:
        wait_until(lambda: on(mounted), "events are on")
        time.sleep(0.2)
        os.kill(pid, signal.SIGSTOP)
        try:
            process.send_signal(signal.SIGINT)
            _, said = process.communicate()
        finally:
            os.kill(pid, signal.SIGCONT)
        assert process.returncode == ExitStatus.BUSY
        assert "does not answer" in said or "no answer" in said


@pytest.mark.long
def test_mount_that_ends(scullvfs: Scullvfs, mounted: Path) -> None:
    """While it is followed: the command says so."""
    pid = int((mounted / PID_FILE).read_bytes())
    with scullvfs.start("trace", mounted, "vmalloc") as process:
        wait_until(lambda: on(mounted), "events are on")
        time.sleep(0.2)
        os.kill(pid, signal.SIGTERM)
        _, said = process.communicate()
        assert process.returncode == ExitStatus.NOT_MOUNTED
        assert said.startswith(f"scullvfs: {mounted} is gone")
