"""What is tried in the booted container, a step each, in this order.

A step is a function that returns what was seen, in a few words, and fails with an
assertion. Its docstring says what holds. The steps share nothing but the container.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .container import UID, USER, Container, wait_until

Step = Callable[[Container], str]
STEPS: list[Step] = []

UNIT = "scullvfs@test"
MOUNT = "/mnt/test"
OPTIONS = "devs=2,mem=64M,allow_other"
MOST_EXPOSURE = 4.0
"""The highest `systemd-analyze security` that the system unit may have; 10 is the worst."""


def step(function: Step) -> Step:
    """Make a function a step."""
    STEPS.append(function)
    return function


def configure(at: Container, options: str = OPTIONS, path: str = MOUNT) -> None:
    """Write the instance's conf, and make its mount point."""
    at.write("/etc/scullvfs/test.conf", f"MOUNTPOINT={path}\nOPTIONS={options}\n")
    at(f"mkdir -p {path}")


@contextmanager
def started(at: Container, drop_in: str = "") -> Iterator[int]:
    """The unit, started, with settings in a drop-in; yields the daemon's pid."""
    configure(at)
    directory = f"/etc/systemd/system/{UNIT}.service.d"
    if drop_in:
        at.write(f"{directory}/test.conf", f"[Service]\n{drop_in}\n")
    try:
        at(f"systemctl start {UNIT}")
        yield main_pid(at)
    finally:
        at(f"systemctl stop {UNIT}; systemctl reset-failed {UNIT} 2>&1", status=None)
        at(f"rm -rf {directory}; systemctl daemon-reload")
    assert mounts(at, MOUNT) == "", f"left: {mounts(at, MOUNT)}"
    assert not running(at, "scullvfs"), "a daemon is left"


def show(at: Container, name: str, unit: str = UNIT) -> str:
    """A property of a unit."""
    return at(f"systemctl show --property={name} --value {unit}")


def running(at: Container, name: str) -> list[str]:
    """The pids of the processes of that name."""
    return re.findall(r"/proc/(\d+)/", at(f"grep -lsx {name} /proc/[0-9]*/comm", status=None))


def main_pid(at: Container) -> int:
    """The pid of the daemon."""
    return int(show(at, "MainPID"))


def mounts(at: Container, path: str) -> str:
    """What is mounted on *path*; reads the list of mounts and touches none."""
    return at(f"awk '$2 == \"{path}\" {{print $1, $3, $4}}' /proc/self/mounts")


def comes_back(at: Container, old: int) -> None:
    """Wait until systemd has another daemon running."""
    wait_until(
        lambda: show(at, "ActiveState") == "active" and main_pid(at) not in (0, old),
        "the service is back",
    )


@step
def verify(at: Container) -> str:
    """systemd-analyze finds nothing to say against any unit."""
    at.write("/etc/scullvfs/test.conf", f"MOUNTPOINT={MOUNT}\nOPTIONS={OPTIONS}\n")
    units = f"{UNIT}.service mnt-scullv.mount mnt-scullv.automount"
    said = at(f"systemd-analyze --man=no verify {units}")
    assert said == "", said
    return f"nothing to say about {units}"


@step
def security(at: Container) -> str:
    """The exposure level of the system unit."""
    said = at(f"systemd-analyze security --no-pager {UNIT}.service")
    level = re.search(r"Overall exposure level.*: ([\d.]+) (\w+)", said)
    assert level is not None, said[-200:]
    assert float(level[1]) <= MOST_EXPOSURE, level[0]
    return f"exposure {level[1]} {level[2]}"


@step
def start(at: Container) -> str:
    """When systemctl returns, the mount answers, and the status says where."""
    with started(at) as pid:
        listed = at(f"ls {MOUNT}").split()
        assert {"scullv0", "scullv1", "proc", "sys"} <= set(listed), listed
        status = show(at, "StatusText")
        assert status.startswith(f"mounted on {MOUNT}: 2 devices"), status
        return f"pid {pid}, '{status}', {mounts(at, MOUNT)}"


@step
def use(at: Container) -> str:
    """A shell, another unit and an ordinary user all see the same files."""
    with started(at):
        at(f"systemd-run --quiet --wait --pipe sh -c 'echo from a unit >{MOUNT}/scullv0'")
        seen = at(f"cat {MOUNT}/scullv0"), at(f"cat {MOUNT}/scullv0", user=USER)
        assert seen == ("from a unit", "from a unit"), seen
        return f"written by a unit, read by root and by {USER}"


@step
def reload(at: Container) -> str:
    """A reload takes order and qset over, in the same daemon; a bad conf changes nothing."""
    with started(at) as pid:
        configure(at, f"{OPTIONS},order=2,qset=7")
        at(f"systemctl reload {UNIT}")
        read = f"cat {MOUNT}/sys/module/scullv/parameters/scullv_order"
        read += f" {MOUNT}/sys/module/scullv/parameters/scullv_qset"
        assert at(read).split() == ["2", "7"], at(read)
        said = at(f"journalctl -u {UNIT} -o cat | grep -e was -e every")
        configure(at, f"{OPTIONS},order=99")
        at(f"systemctl reload {UNIT}", status=1)
        assert (at(read).split(), main_pid(at)) == (["2", "7"], pid)
        return "; ".join(said.splitlines()[-3:])


@step
def stop(at: Container) -> str:
    """A stop unmounts, although a file is open, and is a success."""
    with started(at):
        at(f"systemd-run --quiet --unit=reader sh -c 'exec sleep 1000 <{MOUNT}/scullv0'")
        wait_until(lambda: running(at, "sleep"), "a file is open")
        at(f"systemctl stop {UNIT}")
        assert mounts(at, MOUNT) == ""
        result = show(at, "Result"), show(at, "ActiveState")
        at("systemctl stop reader")
        assert result == ("success", "inactive"), result
        return f"{result[1]}, {result[0]}, with a file open"


@step
def hangup(at: Container) -> str:
    """SIGHUP is a clean end, not a reload."""
    with started(at):
        at(f"systemctl kill --signal=HUP {UNIT}")
        wait_until(lambda: show(at, "ActiveState") == "inactive", "the service has ended")
        assert mounts(at, MOUNT) == ""
        result = show(at, "Result")
        assert result == "success", result
        return f"inactive, {result}"


@step
def killed(at: Container) -> str:
    """After kill -9 under a user the service comes back, with a fresh mount."""
    with started(at) as old:
        at(f"echo old >{MOUNT}/scullv0")
        at(f"systemd-run --quiet --unit=reader --working-directory={MOUNT} sleep 1000")
        at(f"kill -9 {old}")
        comes_back(at, old)
        assert mounts(at, MOUNT).count("\n") == 0, "the dead mount is still there"
        size = at(f"stat -c %s {MOUNT}/scullv0")
        assert size == "0", f"the old data is there: {size}"
        at("systemctl stop reader")
        return f"pid {old} is now {main_pid(at)}, {show(at, 'NRestarts')} restart, device empty"


@step
def killed_for_good(at: Container) -> str:
    """Where nothing restarts it, a killed daemon leaves no dead mount."""
    with started(at, "Restart=no") as pid:
        at(f"kill -9 {pid}")
        wait_until(lambda: show(at, "ActiveState") == "failed", "the service has failed")
        assert mounts(at, MOUNT) == ""
        return f"{show(at, 'Result')}, nothing is mounted"


@step
def in_the_way(at: Container) -> str:
    """A mount of somebody else on the same place stays; the service fails, once."""
    configure(at)
    at(f"scullvfs mount -o mem=16M {MOUNT}; echo theirs >{MOUNT}/scullv0")
    at(f"systemctl start {UNIT}", status=1)
    seen = show(at, "ExecMainStatus"), show(at, "NRestarts"), at(f"cat {MOUNT}/scullv0")
    at(f"scullvfs umount {MOUNT}; systemctl reset-failed {UNIT}")
    assert seen == ("3", "0", "theirs"), seen
    return "exit status 3, no restart, their mount lives"


@step
def watchdog(at: Container) -> str:
    """A daemon that stands still is ended by the watchdog, and comes back."""
    with started(at, "WatchdogSec=2s\nTimeoutAbortSec=1s") as old:
        at("sleep 5")
        assert main_pid(at) == old, "the watchdog ended a daemon that was well"
        at(f"kill -STOP {old}")
        comes_back(at, old)
        at(f"ls {MOUNT}/scullv0")
        said = at(f"journalctl -u {UNIT} -o cat | grep -i watchdog | tail -1")
        return f"{said} pid {old} is now {main_pid(at)}"


@step
def fstab(at: Container) -> str:
    """A line of fstab: mount -a, once more, findmnt, umount."""
    at(f"mkdir -p {MOUNT}")
    options = "scullv_devs=8,mem=16M,nofail,_netdev,noexec,x-test=1"
    at(f"echo 'none {MOUNT} scullvfs {options} 0 0' >>/etc/fstab; systemctl daemon-reload")
    at("env -i /bin/mount -a")
    at("mount -a")
    shown = at(f"findmnt -n -t fuse.scullvfs -o TARGET,SOURCE,FSTYPE,OPTIONS {MOUNT}")
    assert re.match(rf"{MOUNT} +none +fuse.scullvfs +rw,nosuid,nodev,noexec,", shown), shown
    assert shown.count("\n") == 0, f"mounted twice: {shown}"
    at(f"ls {MOUNT}/scullv7")
    at(f"umount {MOUNT}")
    wait_until(lambda: not running(at, "mount.scullvfs"), "the daemon is gone")
    said = at("mount -a -o ordr=3", status=None)
    at("sed -i /scullvfs/d /etc/fstab; systemctl daemon-reload")
    assert "unknown option 'ordr'" in said, said
    return " ".join(shown.split())


@step
def fstab_user(at: Container) -> str:
    """With `user` in fstab an ordinary user mounts and unmounts, on a directory of hers."""
    path = f"/home/{USER}/devices"
    at(f"mkdir -p {path}", user=USER)
    at(f"echo 'none {path} scullvfs user,noauto,mem=16M 0 0' >>/etc/fstab")
    at(f"mount {path}; echo hers >{path}/scullv0", user=USER)
    shown = mounts(at, path)
    at(f"cat {path}/scullv0", status=1)  # closed to root, too
    at(f"umount {path}", user=USER)
    at("sed -i /scullvfs/d /etc/fstab; systemctl daemon-reload")
    assert f"user_id={UID}" in shown, shown
    return shown


@step
def fstab_automount(at: Container) -> str:
    """x-systemd.automount in fstab mounts at the first look."""
    path = "/mnt/auto"
    options = "noauto,x-systemd.automount,x-systemd.idle-timeout=1s,mem=16M,devs=1"
    at(f"echo 'none {path} scullvfs {options} 0 0' >>/etc/fstab; systemctl daemon-reload")
    at("systemctl start mnt-auto.automount")
    before = mounts(at, path)
    listed = at(f"ls {path}").split()
    at.until("! grep -q fuse.scullvfs /proc/self/mounts", "it is unmounted when idle", 60)
    at("systemctl stop mnt-auto.automount; sed -i /scullvfs/d /etc/fstab; systemctl daemon-reload")
    assert "fuse.scullvfs" not in before, before
    assert "scullv0" in listed, listed
    return f"'{before.split()[1]}' before, {' '.join(listed)} at a look, gone again when idle"


@step
def mount_units(at: Container) -> str:
    """The examples of a .mount and an .automount unit."""
    at("systemctl start mnt-scullv.automount")
    idle = show(at, "ActiveState", "mnt-scullv.mount")
    listed = at("ls /mnt/scullv").split()
    active = show(at, "ActiveState", "mnt-scullv.mount")
    at("systemctl stop mnt-scullv.automount mnt-scullv.mount")
    wait_until(lambda: not running(at, "mount.scullvfs"), "the daemon is gone")
    assert (idle, active, "scullv3" in listed) == ("inactive", "active", True), (idle, active)
    return f"mnt-scullv.mount {idle}, then {active}"


@step
def user_unit(at: Container) -> str:
    """An ordinary user's service: start, reload, kill -9, stop, without being logged in."""
    path, conf = f"/home/{USER}/mnt", f"/home/{USER}/.config/scullvfs/test.conf"
    at(f"loginctl enable-linger {USER}")
    at.until(f"test -S /run/user/{UID}/systemd/private", "the user's systemd is up")

    def systemctl(*words: str, status: int | None = 0) -> str:
        return at(f"systemctl --user {' '.join(words)}", user=USER, status=status)

    def pid() -> int:
        return int(systemctl("show", "--property=MainPID", "--value", UNIT))

    said = at(f"systemd-analyze --user --man=no verify {UNIT}.service", user=USER)
    assert said == "", said
    at(f"mkdir -p {path} $(dirname {conf})", user=USER)
    write = f"printf 'MOUNTPOINT={path}\\nOPTIONS=mem=16M,order=%s\\n' %s >{conf}"
    at(write % ("%s", 4), user=USER)
    systemctl("start", UNIT)
    at(f"echo hers >{path}/scullv0; test $(cat {path}/scullv0) = hers", user=USER)
    at(f"ls {path}", status=2)  # closed to root, too
    at(write % ("%s", 3), user=USER)
    systemctl("reload", UNIT)
    order = at(f"cat {path}/sys/module/scullv/parameters/scullv_order", user=USER)
    old = pid()
    at(f"kill -9 {old}")
    wait_until(lambda: pid() not in (0, old), "the user's service is back")
    systemctl("start", UNIT)
    at(f"ls {path}/scullv0", user=USER)
    shown = mounts(at, path)
    systemctl("stop", UNIT)
    at(f"loginctl disable-linger {USER}; systemctl stop user@{UID}")
    assert order == "3", order
    assert mounts(at, path) == ""
    return shown
