"""`scullvfs mount`: from the command to a mount that answers, and to its end by a signal."""

import ctypes
import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from scullvfs.daemon.log import destination
from scullvfs.mounts.mountinfo import mount_at

from ..helpers import wait_until
from ..troubles import TROUBLES, refusal

STOP_SIGNALS = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]
PR_SET_CHILD_SUBREAPER = 36


@pytest.fixture
def subreaper() -> Iterator[None]:
    """Daemons become our children when their parents end, so that we can see their status."""
    prctl = ctypes.CDLL(None).prctl
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    yield
    prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


@pytest.fixture
def foreground(
    scullvfs: Any, mountpoint: Path, wait: Callable[..., None]
) -> Iterator[subprocess.Popen[str]]:
    """`scullvfs mount -f`, once it is mounted."""
    with scullvfs.start("mount", "-f", "-o", "mem=16M", mountpoint) as process:
        wait(lambda: scullvfs.mounted(mountpoint) or process.poll() is not None, "it is mounted")
        yield process
        process.terminate()


def test_mount_answers_at_once(mounted: Path) -> None:
    """When the command is done, the devices are there."""
    assert {f"scullv{n}" for n in range(4)} <= set(os.listdir(mounted))


def test_mount_type(mounted: Path) -> None:
    """findmnt and /proc/mounts show what it is."""
    mount = mount_at(str(mounted))
    assert mount is not None
    assert mount.fstype == "fuse.scullvfs"
    assert "default_permissions" in mount.super_options
    assert "allow_other" not in mount.super_options


@pytest.mark.long
def test_mount_options_reach_the_devices(scullvfs: Any, mountpoint: Path) -> None:
    """devs, mode, uid and gid can be seen from outside; allow_other in the mount."""
    options = "devs=2,mode=0640,uid=nobody,gid=12,allow_other,mem=16M"
    assert scullvfs("mount", "-o", options, mountpoint).returncode == 0
    status = os.stat(mountpoint / "scullv1")
    assert (status.st_mode & 0o777, status.st_uid, status.st_gid) == (0o640, 65534, 12)
    assert not os.path.exists(mountpoint / "scullv2")
    mount = mount_at(str(mountpoint))
    assert mount is not None
    assert "allow_other" in mount.super_options
    assert scullvfs("umount", mountpoint).returncode == 0


def test_mount_daemon_leaves_its_parents(scullvfs: Any, mounted: Path) -> None:
    """A session of its own, / as its directory, and nobody's terminal."""
    pid = scullvfs.pid(mounted)
    assert os.getsid(pid) == pid
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    assert {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in range(3)} == {"/dev/null"}


@pytest.mark.long
def test_mount_relative_path(
    scullvfs: Any, mountpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path relative to the caller is as good, through a symbolic link, too."""
    (mountpoint.parent / "link").symlink_to(mountpoint.name)
    monkeypatch.chdir(mountpoint.parent)
    assert scullvfs("mount", "-o", "mem=16M", "link/").returncode == 0
    assert scullvfs.mounted(mountpoint)
    assert scullvfs("umount", "./link").returncode == 0
    assert not scullvfs.mounted(mountpoint)


@pytest.mark.long
def test_mount_in_small_pieces(scullvfs: Any, mountpoint: Path) -> None:
    """fragment= is what a look into the mount finds, and what its status says."""
    assert scullvfs("mount", "-o", "mem=64M,fragment=75", mountpoint).returncode == 0
    index = (mountpoint / "sys/kernel/debug/extfrag/unusable_index").read_text()
    assert 0.749 <= float(index.split()[8]) <= 0.751
    assert "fragment=75" in scullvfs("status", mountpoint).stdout
    (mountpoint / "scullv0").write_bytes(bytes(40 << 20))
    (mountpoint / "sys/kernel/debug/validate").write_text("1")
    assert scullvfs("umount", mountpoint).returncode == 0


@pytest.mark.long
@pytest.mark.parametrize("init_on_alloc", ["0", "1"])
def test_mount_shows_what_was_there(scullvfs: Any, mountpoint: Path, init_on_alloc: str) -> None:
    """Under init_on_alloc=0 what a handle has written is in the next one's memory."""
    options = f"mem=16M,init_on_alloc={init_on_alloc}"
    assert scullvfs("mount", "-o", options, mountpoint).returncode == 0
    command = mountpoint / "sys/kernel/debug/mm/command"
    for line in ("vmalloc a 4096", "poke a 100 65 66 67", "free a", "vmalloc b 4096"):
        command.write_text(line)
    command.write_text("peek b 100 3")
    left = "41 42 43" if init_on_alloc == "0" else "00 00 00"
    assert command.read_text().split(": ")[1] == f"{left}\n"
    assert ("init_on_alloc=0" in scullvfs("status", mountpoint).stdout) == (init_on_alloc == "0")
    assert scullvfs("umount", mountpoint).returncode == 0


@pytest.mark.long
def test_mount_16_gib(scullvfs: Any, mountpoint: Path) -> None:
    """RAM that nobody touches costs nothing, so all that is free can be promised."""
    if os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") < 17 << 30:
        pytest.skip("less than 17 GiB free")
    assert scullvfs("mount", "-o", "mem=16G", mountpoint).returncode == 0
    assert scullvfs("umount", mountpoint).returncode == 0


@pytest.mark.long
@pytest.mark.parametrize(
    ("options", "why", "driver", "row"),
    [
        (
            "order=12,qset=1,mem=16M",
            "quantum of scullv_order=12 (16M) does not fit into mem=16M",
            "scullv",
            "huge-quantum",
        ),
        (
            "drivers=scullp,scullp_order=11,scullp_qset=1",
            "quantum of scullp_order=11 (8M) is more than __get_free_pages() ever gives, 4M",
            "scullp",
            "large-quantum",
        ),
        (
            "drivers=scull,scull_qset=524289,scull_quantum=10",
            "quantum set of scull_qset=524289 (4194312) is more than kmalloc() ever gives, 4M",
            "scull",
            "large-quantum-set",
        ),
    ],
)
def test_mount_warns_of_large_quanta(
    scullvfs: Any, mountpoint: Path, options: str, why: str, driver: str, row: str
) -> None:
    """A quantum that can never be had is allowed, as in the driver, but not silently."""
    done = scullvfs("mount", "-o", options, mountpoint)
    assert done.returncode == 0
    assert done.stderr == (
        f"scullvfs: warning: a {why}; every write to {driver} will fail with ENOMEM\n"
    )
    refusal(done, row)
    device = os.open(mountpoint / f"{driver}0", os.O_WRONLY)
    with pytest.raises(OSError, match=os.strerror(errno.ENOMEM)):
        os.write(device, b"!")
    os.close(device)
    assert scullvfs("umount", mountpoint).returncode == 0


@pytest.mark.parametrize(
    ("options", "row"),
    [
        ("drivers=scullv:scully", "drivers"),
        ("drivers=scullp:scullp", "drivers"),
        ("drivers=scullp:", "drivers"),
        ("drivers=", "option-no-value"),
        ("drivers", "option-no-value"),
        ("scullc_quantum=4000", "driver-not-loaded"),
        ("drivers=scull,devs=2", "driver-not-loaded"),
        ("drivers=scull,scull_quantum=0", "option-value"),
        ("drivers=scullc,scullc_quantum=4194305", "option-value"),
        ("scullx_devs=1", "unknown-option"),
    ],
)
def test_mount_of_drivers_that_cannot_be(
    scullvfs: Any, mountpoint: Path, options: str, row: str
) -> None:
    """One line and the status of the table, and no mount."""
    refusal(scullvfs("mount", "-o", options, mountpoint), row)
    assert not scullvfs.mounted(mountpoint)


@pytest.mark.long
@pytest.mark.parametrize("names", ["scullp", "scull:scullc", "scullc:scull:scullp:scullv"])
def test_mount_drivers(scullvfs: Any, mountpoint: Path, names: str) -> None:
    """Those that are named are there, with as many devices as each is to have, and no others."""
    drivers = names.split(":")
    devs = ",".join(f"{'scull_nr' if d == 'scull' else d}_devs=2" for d in drivers)
    assert scullvfs("mount", "-o", f"drivers={names},{devs},mem=16M", mountpoint).returncode == 0
    found = {path.name for path in mountpoint.iterdir()}
    assert found == {"proc", "sys", *drivers, *(f"{d}{n}" for d in drivers for n in (0, 1))}
    for driver in drivers:
        assert os.readlink(mountpoint / driver) == f"{driver}0"
        (mountpoint / driver).write_bytes(b"through the link")
        assert (mountpoint / f"{driver}0").read_bytes() == b"through the link"
    assert {path.name for path in (mountpoint / "sys/class").iterdir()} == {*drivers}
    assert {path.name for path in (mountpoint / "sys/module").iterdir()} == {*drivers}
    (mountpoint / "sys/kernel/debug/validate").write_text("1")
    assert scullvfs("umount", mountpoint).returncode == 0


@pytest.mark.usefixtures("subreaper")
@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_mount_daemon_stops_on_signal(scullvfs: Any, mounted: Path, number: signal.Signals) -> None:
    """The daemon unmounts and ends with status 0."""
    pid = scullvfs.pid(mounted)
    os.kill(pid, number)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert not scullvfs.mounted(mounted)
    assert list(mounted.iterdir()) == []


@pytest.mark.long
@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_mount_foreground_stops_on_signal(
    scullvfs: Any,
    mountpoint: Path,
    foreground: subprocess.Popen[str],
    number: signal.Signals,
) -> None:
    """-f stays, says on stderr what happens, and stops as the daemon does."""
    assert scullvfs.pid(mountpoint) == foreground.pid
    foreground.send_signal(number)
    said = foreground.communicate()[1].splitlines()
    assert foreground.returncode == 0
    assert not scullvfs.mounted(mountpoint)
    assert_logged(said, "log-mounted", "log-signal", "log-gone")
    assert said[0] == f"scullvfs: mounted on {mountpoint}: 4 devices, mem=16M, arch=x86_64"
    assert said[1:] == [
        f"scullvfs: {number.name}: unmounting",
        f"scullvfs: no longer mounted on {mountpoint}",
    ]


@pytest.mark.long
def test_mount_foreground_many_signals(
    scullvfs: Any, mountpoint: Path, foreground: subprocess.Popen[str], wait: Callable[..., None]
) -> None:
    """An impatient user does not kill a daemon that is just unmounting."""
    os.stat(mountpoint / "scullv0")

    def ended() -> bool:
        foreground.send_signal(signal.SIGINT)
        return foreground.poll() is not None

    wait(ended, "the daemon has ended")
    assert foreground.returncode == 0
    assert not scullvfs.mounted(mountpoint)


def test_mount_foreground_signal_before_it_is_ready(scullvfs: Any, mountpoint: Path) -> None:
    """Whenever the signal comes, no mount is left."""
    with scullvfs.start("mount", "-f", "-o", "mem=16M", mountpoint) as process:
        process.terminate()
    assert not scullvfs.mounted(mountpoint)


@pytest.mark.long
def test_mount_foreground_unmounted_from_outside(
    scullvfs: Any, mountpoint: Path, foreground: subprocess.Popen[str]
) -> None:
    """fusermount3 -u ends the daemon with status 0, too."""
    os.stat(mountpoint / "scullv0")
    subprocess.run(["fusermount3", "-u", mountpoint], check=True)
    said = foreground.communicate()[1].splitlines()
    assert foreground.returncode == 0
    assert_logged(said, "log-mounted", "log-outside", "log-gone")


def assert_logged(said: list[str], *troubles: str) -> None:
    """The log has these lines, in this order."""
    assert len(said) == len(troubles)
    for line, trouble in zip(said, troubles, strict=True):
        assert TROUBLES[trouble].fits(line.removeprefix("scullvfs: ")), line


@pytest.mark.long
def test_mount_foreground_unexpected_failure(scullvfs: Any, mountpoint: Path) -> None:
    """A bug of ours is logged with its traceback; the mount is taken down, status 1."""
    program = (
        "from scullvfs.daemon import server\n"
        "async def broken(operations, busy_poll): raise RuntimeError('the loop broke')\n"
        "server.serve = broken\n"
        "from scullvfs.cli import main\n"
        "main()\n"
    )
    scullvfs.command = [sys.executable, "-c", program]
    done = scullvfs("mount", "-f", "-o", "mem=16M", mountpoint)
    assert done.returncode == 1
    assert f"scullvfs: {TROUBLES['log-failure'].message}\n" in done.stderr
    assert "RuntimeError: the loop broke" in done.stderr
    assert not scullvfs.mounted(mountpoint)


@pytest.mark.long
def test_mount_background_unexpected_failure(
    scullvfs: Any, mountpoint: Path, state_home: Path
) -> None:
    """In the background the user gets one line that says where to look, and there is the rest."""
    program = (
        "from scullvfs.daemon import server\n"
        "def broken(*_): raise RuntimeError('no tree')\n"
        "server.assemble = broken\n"
        "from scullvfs.cli import main\n"
        "main()\n"
    )
    scullvfs.command = [sys.executable, "-c", program]
    done = scullvfs("mount", "-o", "mem=16M", mountpoint)
    refusal(done, "daemon-died")
    assert done.stderr == (
        "scullvfs: the daemon ended before the mount was ready "
        f"(exit status 1; {destination()} or 'scullvfs mount -f' says why)\n"
    )
    if not os.path.exists("/dev/log"):
        assert "RuntimeError: no tree\n" in (state_home / "scullvfs.log").read_text()


@pytest.mark.long
def test_mount_does_not_answer(scullvfs: Any, mountpoint: Path) -> None:
    """A daemon that is there and answers nothing is ended, and no mount is left."""
    program = (
        "from scullvfs.daemon import assemble\n"
        "from scullvfs.fuse.operations import Operations\n"
        "class Deaf(Operations):\n"
        "    async def lookup(*_): raise RuntimeError('deaf')\n"
        "assemble.Operations = Deaf\n"
        "from scullvfs.cli import main\n"
        "main()\n"
    )
    scullvfs.command = [sys.executable, "-c", program]
    refusal(scullvfs("mount", "-o", "mem=16M", mountpoint), "no-answer")
    wait_until(lambda: not scullvfs.mounted(mountpoint), "it is unmounted")


def test_mount_interrupted(scullvfs: Any, mountpoint: Path, wait: Callable[..., None]) -> None:
    """Ctrl-C before the mount is ready ends the daemon, which has a session of its own, too."""
    program = (
        "import signal\n"
        # A test run in the background of a shell script inherits that it is ignored.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from scullvfs.daemon import serving\n"
        "serving.log_to_syslog = lambda *_, **__: signal.pause()\n"
        "from scullvfs.cli import main\n"
        "main()\n"
    )
    scullvfs.command = [sys.executable, "-c", program]
    with scullvfs.start("mount", mountpoint) as process:
        wait(lambda: len(scullvfs.processes()) == 2, "the daemon is there")
        process.send_signal(signal.SIGINT)
        said = process.communicate()
    assert said == ("", "\nscullvfs: interrupted\n")
    refusal(subprocess.CompletedProcess([], process.returncode, *said), "interrupted")
    assert not scullvfs.mounted(mountpoint)
