"""`scullvfs umount`: what it waits for, and what it says when it cannot."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scullvfs.mounts import unmount
from scullvfs.mounts.mountinfo import mount_at
from scullvfs.text import shell_word

from ..troubles import refusal

Wait = Callable[[Callable[[], object], str], None]

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root makes mount namespaces")


def test_umount_waits_for_the_daemon(scullvfs: Any, mounted: Path) -> None:
    """When the command is done, so is the daemon, and the directory is free again."""
    assert scullvfs.processes() == [scullvfs.pid(mounted)]
    done = scullvfs("umount", mounted)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert scullvfs.processes() == []
    assert not scullvfs.mounted(mounted)
    assert list(mounted.iterdir()) == []


@pytest.mark.long
def test_umount_then_mount_again(scullvfs: Any, mountpoint: Path) -> None:
    """Over and over, without a pause between."""
    for _ in range(3):
        assert scullvfs("mount", "-o", "mem=16M", mountpoint).returncode == 0
        assert scullvfs("umount", mountpoint).returncode == 0


@pytest.mark.long
def test_umount_while_another_looks(
    scullvfs: Any, mounted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who uses it for a moment is waited for, seen or not."""
    device = (mounted / "scullv0").open("rb")
    held = os.dup(device.fileno())
    device.close()
    monkeypatch.setattr(unmount, "PATIENCE", 30)
    run = subprocess.run

    def run_once(*args: Any, **options: Any) -> subprocess.CompletedProcess[bytes]:
        nonlocal held
        done = run(*args, **options)
        if held >= 0:
            assert b"busy" in done.stderr
            os.close(held)
            held = -1
        return done

    monkeypatch.setattr(subprocess, "run", run_once)
    mount = mount_at(str(mounted))
    assert mount is not None
    unmount.take_down(mount, lazy=False)
    assert held == -1
    assert not scullvfs.mounted(mounted)


LOOKER = """
import os, sys, time
for _ in range(24):
    if not os.fork():
        os.open(sys.argv[1], os.O_RDONLY)
        os.write(1, b"looks\\n")
        time.sleep(0.15)
        os._exit(0)
    time.sleep(0.05)
"""
"""Has the file open at each moment of more than a second, each time by another process."""


@pytest.mark.long
def test_umount_while_another_looks_on(scullvfs: Any, mounted: Path) -> None:
    """Who looks again and again is waited for, longer than a file may stay open."""
    command = [sys.executable, "-c", LOOKER, mounted / "scullv0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as looker:
        assert looker.stdout is not None
        looker.stdout.readline()
        done = scullvfs("umount", mounted)
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.long
def test_umount_busy_beside_a_looker(scullvfs: Any, mounted: Path) -> None:
    """Of all who have it open only who stays is named."""
    command = [sys.executable, "-c", LOOKER, mounted / "scullv0"]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE) as looker,
        open(mounted / "scullv1", "rb"),
    ):
        assert looker.stdout is not None
        looker.stdout.readline()
        said = refusal(scullvfs("umount", mounted), "busy")
        comm = Path("/proc/self/comm").read_text().strip()
        assert f" is in use by {comm} (pid {os.getpid()}); " in said


@pytest.mark.long
def test_umount_busy(scullvfs: Any, mounted: Path) -> None:
    """Who has it open is named, and the way out; nothing is unmounted."""
    comm = Path("/proc/self/comm").read_text().strip()
    with open(mounted / "scullv0", "rb"):
        assert refusal(scullvfs("umount", mounted), "busy") == (
            f"{mounted} is in use by {comm} (pid {os.getpid()}); "
            f"close it, or run 'scullvfs umount --lazy {shell_word(mounted)}'"
        )
        assert os.path.exists(mounted / "scullv0")
    assert scullvfs("umount", mounted).returncode == 0


def test_umount_lazy(scullvfs: Any, mounted: Path, wait: Wait) -> None:
    """The name goes at once, the daemon when the last file is closed."""
    with open(mounted / "scullv0", "r+b", buffering=0) as device:
        device.write(b"still here")
        assert scullvfs("umount", "--lazy", mounted).returncode == 0
        assert not scullvfs.mounted(mounted)
        device.seek(0)
        assert device.read(10) == b"still here"
    wait(lambda: not scullvfs.processes(), "the daemon is gone")


def test_sigterm_after_lazy_umount(scullvfs: Any, mounted: Path, wait: Wait) -> None:
    """A daemon that only waits for its last file still ends when told so."""
    pid = scullvfs.pid(mounted)
    with open(mounted / "scullv0", "rb"):
        assert scullvfs("umount", "--lazy", mounted).returncode == 0
        os.kill(pid, signal.SIGTERM)
        wait(lambda: not scullvfs.processes(), "the daemon is gone")


@pytest.mark.long
def test_sigterm_after_lazy_umount_spares_the_next_mount(
    scullvfs: Any, mounted: Path, wait: Wait
) -> None:
    """The old daemon, when it ends, does not take down what is mounted there by now."""
    old = scullvfs.pid(mounted)
    with open(mounted / "scullv0", "rb"):
        assert scullvfs("umount", "--lazy", mounted).returncode == 0
        assert scullvfs("mount", "-o", "mem=16M", mounted).returncode == 0
        new = scullvfs.pid(mounted)
        os.kill(old, signal.SIGTERM)
        wait(lambda: scullvfs.processes() == [new], "the old daemon is gone")
        assert scullvfs.pid(mounted) == new


@pytest.mark.long
def test_umount_of_a_dead_mount(scullvfs: Any, mounted: Path, wait: Wait) -> None:
    """After kill -9, mount says what is in the way, umount removes it, and mount works again."""
    os.kill(scullvfs.pid(mounted), signal.SIGKILL)
    wait(lambda: not scullvfs.processes(), "the daemon is gone")
    assert refusal(scullvfs("mount", mounted), "dead-mount") == (
        f"a dead scullvfs mount is in the way at {mounted}, its daemon is gone; "
        f"run 'scullvfs umount {shell_word(mounted)}' first, or mount with '-o remount_stale'"
    )
    done = scullvfs("umount", mounted)
    assert (done.returncode, done.stderr) == (0, "")
    assert not scullvfs.mounted(mounted)
    assert scullvfs("mount", "-o", "mem=16M", mounted).returncode == 0


@pytest.mark.long
def test_umount_does_not_answer(scullvfs: Any, mounted: Path) -> None:
    """A stopped daemon makes nobody hang, neither umount nor mount."""
    pid = scullvfs.pid(mounted)
    os.kill(pid, signal.SIGSTOP)
    try:
        assert refusal(scullvfs("umount", "--timeout", "0.1", mounted), "stopped-daemon") == (
            f"the daemon of {mounted} does not answer within 0.1 s; "
            f"'scullvfs umount --lazy {shell_word(mounted)}' unmounts without asking it"
        )
        assert scullvfs("umount", "--lazy", mounted).returncode == 0
        assert not scullvfs.mounted(mounted)
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.long
@needs_root
def test_umount_daemon_does_not_end(scullvfs: Any, mounted: Path) -> None:
    """A copy of the mount in another namespace keeps the daemon alive; umount says so."""
    pid = scullvfs.pid(mounted)
    # "private": unmounting here does not reach into the copy.
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", "echo ready; cat"]
    with scullvfs.start_command(command) as elsewhere:
        assert elsewhere.stdout.readline() == "ready\n"
        assert refusal(scullvfs("umount", "--timeout", "0.1", mounted), "daemon-stays") == (
            f"{mounted} is unmounted, but its daemon (pid {pid}) still runs after 0.1 s, maybe "
            "since another mount namespace (a container) has a copy of the mount; "
            f"'kill {pid}' ends it"
        )
        assert not scullvfs.mounted(mounted)
        elsewhere.stdin.close()


def test_umount_waits_no_longer_than_the_daemon(scullvfs: Any, mounted: Path) -> None:
    """It is the daemon's end that is waited for, whatever the time-out."""
    assert scullvfs("umount", "--timeout", "86400", mounted).returncode == 0


def test_umount_not_mounted(scullvfs: Any, mountpoint: Path) -> None:
    """An ordinary directory."""
    assert refusal(scullvfs("umount", mountpoint), "not-mounted") == (
        f"{mountpoint} is not mounted; 'findmnt -t fuse.scullvfs' lists what is"
    )


def test_umount_missing(scullvfs: Any, tmp_path: Path) -> None:
    """A directory that is not there is not mounted, either."""
    (tmp_path / "loop").symlink_to("loop")
    for path in ("", tmp_path / "loop"):
        refusal(scullvfs("umount", path), "no-path")
    refusal(scullvfs("umount", "/no/such/directory"), "not-mounted")


@pytest.mark.long
def test_umount_nameless(scullvfs: Any, mountpoint: Path) -> None:
    """A daemon that does not say who it is is not waited for; lazily it needs not be asked."""
    program = (
        "import errno\n"
        "from scullvfs.daemon import assemble\n"
        "def nameless(): raise OSError(errno.EUCLEAN, 'no name')\n"
        "assemble.Report = lambda *_, **__: nameless\n"
        "assemble.own_pid = nameless\n"
        "from scullvfs.cli import main\n"
        "main()\n"
    )
    scullvfs.command = [sys.executable, "-c", program]
    assert scullvfs("mount", "-o", "mem=16M", mountpoint).returncode == 0
    refusal(scullvfs("umount", mountpoint), "nameless-daemon")
    assert scullvfs("umount", "--lazy", mountpoint).returncode == 0


@needs_root
def test_umount_without_the_capability(scullvfs: Any, mounted: Path) -> None:
    """Root without the capability to mount has not that to unmount, either."""
    weak = ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"]
    command = [*weak, *scullvfs.command, "umount", str(mounted)]
    refusal(scullvfs.run(command), "umount-denied")
    assert scullvfs.mounted(mounted)


def test_umount_other_mount(scullvfs: Any) -> None:
    """Other people's mounts are left alone."""
    assert refusal(scullvfs("umount", "/proc"), "not-scullvfs") == (
        "/proc is not a scullvfs mount but of type proc; use 'umount /proc'"
    )


def test_umount_inside_the_mount(scullvfs: Any, mounted: Path) -> None:
    """A file in the mount is not the mount."""
    refusal(scullvfs("umount", mounted / "scullv0"), "not-mounted")
    assert scullvfs.mounted(mounted)


def test_umount_mount_from_outside_meanwhile(scullvfs: Any, mounted: Path, wait: Wait) -> None:
    """fusermount3 -u ends a daemon as well, and umount then finds nothing."""
    subprocess.run(["fusermount3", "-u", mounted], check=True)
    wait(lambda: not scullvfs.processes(), "the daemon is gone")
    refusal(scullvfs("umount", mounted), "not-mounted")


@pytest.mark.long
@needs_root
def test_umount_without_fusermount(scullvfs: Any, mountpoint: Path) -> None:
    """Root needs no fusermount3, neither to mount nor to unmount."""
    script = (
        'mount --bind /dev/null "$(command -v fusermount3)" && '
        'scullvfs mount -o mem=16M "$1" && scullvfs umount "$1" && ! mountpoint -q "$1"'
    )
    prelude = f'scullvfs() {{ {" ".join(scullvfs.command)} "$@"; }}; '
    done = scullvfs.run(["unshare", "--mount", "sh", "-c", prelude + script, "sh", str(mountpoint)])
    assert (done.returncode, done.stderr) == (0, "")
