"""`scullvfs reload` and `scullvfs umount --dead`: what a service manager runs beside the daemon."""

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ..helpers import opened

Wait = Callable[[Callable[[], object], str], None]

LAST = "every other option takes effect at the next mount only\n"


def refusal(done: subprocess.CompletedProcess[str], status: int) -> str:
    """The one line of a command that failed with `status`."""
    assert (done.returncode, done.stdout) == (status, ""), done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("scullvfs: ")
    return line.removeprefix("scullvfs: ")


def parameters(mount: Path) -> dict[str, int]:
    """The module's parameters, as the tree shows them."""
    directory = mount / "sys/module/scullv/parameters"
    return {path.name: int(path.read_text()) for path in directory.iterdir()}


def kill(scullvfs: Any, mount: Path, wait: Wait) -> None:
    """Kill the daemon; its mount stays, dead."""
    os.kill(scullvfs.pid(mount), signal.SIGKILL)
    wait(lambda: not scullvfs.processes(), "the daemon is gone")


def test_reload(scullvfs: Any, mounted: Path) -> None:
    """Both parameters follow; the number of devices, of which it speaks too, does not."""
    done = scullvfs("reload", "-o", "devs=9,order=2,mem=32M", "-o", "qset=7", mounted)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        f"{mounted}: scullv_order was 4 and is 2\n{mounted}: scullv_qset was 500 and is 7\n{LAST}"
    )
    assert parameters(mounted) == {"scullv_devs": 4, "scullv_order": 2, "scullv_qset": 7}


@pytest.mark.long
def test_reload_of_what_fits_together_only(scullvfs: Any, mounted: Path) -> None:
    """The one that becomes smaller is set first, so that no item is ever too large."""
    for order, qset in ((18, 1), (0, 524287), (18, 1), (4, 32767), (10, 511)):
        done = scullvfs("reload", "-o", f"order={order},qset={qset}", mounted)
        assert (done.returncode, done.stderr) == (0, "")
        found = parameters(mounted)
        assert (found["scullv_order"], found["scullv_qset"]) == (order, qset)
    done = scullvfs("reload", "-o", "order=11", mounted)
    assert refusal(done, 2).startswith("order=11 with qset=500 is not possible")


@pytest.mark.long
def test_reload_default(scullvfs: Any, mounted: Path) -> None:
    """What is not given is the default again; what is so already is not set anew."""
    assert scullvfs("reload", "-o", "order=2,qset=7", mounted).returncode == 0
    done = scullvfs("reload", "-o", "qset=7", mounted)
    assert done.stdout == f"{mounted}: scullv_order was 2 and is 4\n{LAST}"
    done = scullvfs("reload", "-o", "qset=7", mounted)
    assert done.stdout == f"{mounted}: scullv_order and scullv_qset are what they were\n{LAST}"


@pytest.mark.long
def test_reload_of_several_drivers(scullvfs: Any, mountpoint: Path) -> None:
    """Each in its own directory; one that is not there is a mistake, as is too large a quantum."""
    drivers = "drivers=scullp:scullc,mem=16M"
    assert scullvfs("mount", "-o", drivers, mountpoint).returncode == 0
    done = scullvfs("reload", "-o", f"{drivers},scullp_order=2,scullc_quantum=7", mountpoint)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        f"{mountpoint}: scullp_order was 0 and is 2\n"
        f"{mountpoint}: scullc_quantum was 4000 and is 7\n{LAST}"
    )
    found = mountpoint / "sys/module/scullc/parameters/scullc_quantum"
    assert found.read_text() == "7\n"
    refused = f"{drivers},scullp_order=1,scullp_qset=9,scullc_quantum=4097"
    said = refusal(scullvfs("reload", "-o", refused, mountpoint), 2)
    assert said.startswith(f"{mountpoint} cannot have such parameters; scullc_quantum is no larger")
    orders = mountpoint / "sys/module/scullp/parameters/scullp_order"
    assert orders.read_text() == "2\n"  # nothing of it is carried out
    said = refusal(scullvfs("reload", mountpoint), 2)
    assert said.startswith(f"{mountpoint} was not mounted with drivers=scullv; ")
    assert scullvfs("umount", mountpoint).returncode == 0


def test_reload_impossible(scullvfs: Any, mounted: Path) -> None:
    """A bad option changes nothing."""
    done = scullvfs("reload", "-o", "order=2,qset=0", mounted)
    assert refusal(done, 2).startswith("qset=0 is not possible")
    assert parameters(mounted)["scullv_order"] == 4


def test_reload_not_mounted(scullvfs: Any, mountpoint: Path) -> None:
    """Without a mount, or on one of another kind, there is nothing to set."""
    assert refusal(scullvfs("reload", mountpoint), 7).startswith(f"{mountpoint} is not mounted")
    assert refusal(scullvfs("reload", "/proc"), 7).startswith("/proc is not a scullvfs mount")
    assert "No such file" in refusal(scullvfs("reload", ""), 7)


def test_reload_dead(scullvfs: Any, mounted: Path, wait: Wait) -> None:
    """Nor on a dead one."""
    kill(scullvfs, mounted, wait)
    assert refusal(scullvfs("reload", mounted), 7).startswith(f"the mount on {mounted} is dead")
    assert scullvfs("umount", mounted).returncode == 0


@pytest.mark.long
def test_reload_read_only(scullvfs: Any, mountpoint: Path) -> None:
    """The kernel lets nobody write into a mount that is read-only."""
    assert scullvfs("mount", "-o", "ro,mem=16M", mountpoint).returncode == 0
    done = scullvfs("reload", "-o", "order=2", mountpoint)
    assert refusal(done, 5) == f"{mountpoint} is mounted read-only"
    assert scullvfs("umount", mountpoint).returncode == 0


def test_umount_dead(scullvfs: Any, mounted: Path, wait: Wait) -> None:
    """A dead mount goes, even while somebody is in it."""
    with opened(mounted, os.O_PATH):
        kill(scullvfs, mounted, wait)
        done = scullvfs("umount", "--dead", mounted)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert not scullvfs.mounted(mounted)


@pytest.mark.parametrize("stopped", [False, True])
def test_umount_dead_alive(scullvfs: Any, mounted: Path, stopped: bool) -> None:
    """A living mount stays, even one that does not answer just now."""
    pid = scullvfs.pid(mounted)
    if stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        done = scullvfs("umount", "--dead", "--timeout", "0.2", mounted)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert scullvfs.pid(mounted) == pid


@pytest.mark.parametrize("path", ["/proc", "/no/such/place", "/etc"])
def test_umount_dead_nothing(scullvfs: Any, path: str) -> None:
    """Where no mount of ours is, there is nothing to do."""
    done = scullvfs("umount", "--dead", path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
