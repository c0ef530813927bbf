"""Where a mount is made: by two at once, from nowhere, and around the daemon's own paths."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scullvfs.daemon.lock import MountPointLock
from scullvfs.host.requirements import DEV_FUSE
from scullvfs.mounts.mountinfo import read_mounts

from ..helpers import DEADLINE
from ..troubles import refusal

Wait = Callable[[Callable[[], object], str], None]

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root makes bind mounts")

STOPS_BETWEEN = """
import os, signal
from scullvfs.daemon import start
start.check_memory = lambda *_: os.kill(os.getpid(), signal.SIGSTOP)
from scullvfs.cli import main
main()
"""


def stands(pid: int) -> bool:
    """Whether a process is stopped."""
    return "T (stopped)" in Path(f"/proc/{pid}/status").read_text()


def has_device_open(pid: int) -> bool:
    """Whether a process is at work with FUSE."""
    try:
        return DEV_FUSE in [os.readlink(fd) for fd in Path(f"/proc/{pid}/fd").iterdir()]
    except FileNotFoundError:  # a descriptor was closed meanwhile
        return False


@pytest.mark.long
@pytest.mark.parametrize("flags", [[], ["-f"]], ids=["background", "foreground"])
def test_mount_two_at_once(scullvfs: Any, mountpoint: Path, wait: Wait, flags: list[str]) -> None:
    """The first stands between its look at the directory and its mount: the second waits."""
    usual = scullvfs.command
    scullvfs.command = [sys.executable, "-c", STOPS_BETWEEN]
    with scullvfs.start("mount", *flags, "-o", "mem=16M", mountpoint) as first:
        wait(lambda: stands(first.pid), "the first stands")
        scullvfs.command = usual
        with scullvfs.start("mount", "-o", "mem=16M", mountpoint) as second:
            wait(
                lambda: has_device_open(second.pid) or second.poll() is not None,
                "the second waits, or has mounted",
            )
            first.send_signal(signal.SIGCONT)
            said = second.communicate(timeout=DEADLINE)
        refusal(subprocess.CompletedProcess([], second.returncode, *said), "living-mount")
        assert [mount.path for mount in read_mounts()].count(str(mountpoint)) == 1
        assert scullvfs("umount", mountpoint).returncode == 0
        first.communicate(timeout=DEADLINE)
    assert first.returncode == 0


def test_mount_at_work(scullvfs: Any, mountpoint: Path) -> None:
    """The second does not wait for ever."""
    program = "from scullvfs.daemon.lock import MountPointLock\nMountPointLock.TIMEOUT = 0\n"
    scullvfs.command = [sys.executable, "-c", f"{program}from scullvfs.cli import main\nmain()\n"]
    with MountPointLock(str(mountpoint)):
        refusal(scullvfs("mount", "-o", "mem=16M", mountpoint), "mount-at-work")
    assert not scullvfs.mounted(mountpoint)


@pytest.mark.long
def test_mount_from_a_directory_that_is_gone(
    scullvfs: Any, mountpoint: Path, tmp_path: Path
) -> None:
    """`..` leads out of it, as the kernel has it."""
    (tmp_path / "gone").mkdir()
    script = 'cd "$1" && rmdir "$1" && shift && exec "$@"'
    start = ["sh", "-c", script, "sh", str(tmp_path / "gone")]
    # Python itself wants a directory that is there for `-m`, and for an empty name in its path.
    scullvfs.env["PYTHONPATH"] = scullvfs.env["PYTHONPATH"].rstrip(":")
    start += [sys.executable, "-c", "from scullvfs.__main__ import main; main()"]
    done = scullvfs.run([*start, "mount", "-o", "mem=16M", f"../{mountpoint.name}"])
    assert (done.returncode, done.stderr) == (0, "")
    assert scullvfs.mounted(mountpoint)
    (tmp_path / "gone").mkdir()
    done = scullvfs.run([*start, "umount", f"../{mountpoint.name}/"])
    assert (done.returncode, done.stderr) == (0, "")
    (tmp_path / "gone").mkdir()
    refusal(scullvfs.run([*start, "mount", "x"]), "deleted-directory")


@pytest.mark.long
@pytest.mark.parametrize("state", ["{mountpoint}/../state", "{link}"])
def test_mount_log_leads_through_the_mount(
    scullvfs: Any, mountpoint: Path, tmp_path: Path, state: str
) -> None:
    """The daemon does not wait for itself to look the path of its log up."""
    if os.path.exists("/dev/log"):
        pytest.skip("a syslog daemon keeps the log")
    (tmp_path / "state").mkdir()
    (tmp_path / "link").symlink_to(f"{mountpoint}/../state")
    path = state.format(mountpoint=mountpoint, link=tmp_path / "link")
    scullvfs.env["XDG_STATE_HOME"] = path
    assert scullvfs("mount", "-o", "mem=16M", mountpoint).returncode == 0
    assert scullvfs("umount", mountpoint).returncode == 0
    log = (tmp_path / "state/scullvfs.log").read_text()
    assert f"no longer mounted on {mountpoint}" in log


@pytest.mark.long
def test_mount_imports_lead_into_the_mount(scullvfs: Any, mountpoint: Path) -> None:
    """Nor does it look for a module in its own mount, as after `cd /mnt; python -m scullvfs`."""
    program = (
        "from scullvfs.daemon import assemble\n"
        "from scullvfs.fuse.operations import Operations\n"
        "class Late(Operations):\n"
        "    async def statfs(self, ctx):\n"
        "        try: import no_such_module\n"
        "        except ImportError: return await super().statfs(ctx)\n"
        "assemble.Operations = Late\n"
        "from scullvfs.cli import main\n"
        "main()\n"
    )
    scullvfs.command = [sys.executable, "-c", program]
    scullvfs.env["PYTHONPATH"] += f":{mountpoint}"
    assert scullvfs("mount", "-o", "mem=16M", mountpoint).returncode == 0
    del scullvfs.env["PYTHONPATH"]
    try:
        done = scullvfs.run(["stat", "-f", str(mountpoint)])
        assert done.returncode == 0
    finally:
        if scullvfs("umount", "--timeout", "5", mountpoint).returncode != 0:
            for pid in scullvfs.processes():
                os.kill(pid, signal.SIGKILL)


@needs_root
def test_umount_one_of_two_names(scullvfs: Any, mounted: Path, tmp_path: Path) -> None:
    """The daemon lives on, and is not waited for; the one that it serves is named."""
    other = tmp_path / "other"
    other.mkdir()
    subprocess.run(["mount", "--bind", mounted, other], check=True)
    try:
        said = refusal(scullvfs("umount", "--timeout", "3600", mounted), "other-name")
        assert f"'umount {other}'" in said
        assert not scullvfs.mounted(mounted)
        assert (other / "scullv0").exists()
    finally:
        subprocess.run(["umount", other], check=True)


@pytest.mark.long
@pytest.mark.parametrize("below", ["", "sub"])
def test_mount_leaves_no_log_in_its_way(scullvfs: Any, mountpoint: Path, below: str) -> None:
    """Where the log would come to lie below the mount, the directory is as empty as it was."""
    scullvfs.env["XDG_STATE_HOME"] = str(mountpoint / below)
    done = scullvfs("mount", "-o", "mem=16M", mountpoint)
    if not os.path.exists("/dev/log"):
        refusal(subprocess.CompletedProcess([], 0, done.stdout, done.stderr), "silent")
    assert scullvfs("umount", mountpoint).returncode == 0
    assert list(mountpoint.iterdir()) == []
