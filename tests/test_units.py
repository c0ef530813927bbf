"""The units of systemd/ call commands and name statuses that there are."""

import re
import shlex
from pathlib import Path

import click
import pytest

from scullvfs.cli import main
from scullvfs.errors import ExitStatus
from scullvfs.options.fstab import options_of_fstab
from scullvfs.options.table import parse_options

ROOT = Path(__file__).parent.parent
SYSTEMD = ROOT / "systemd"
SERVICES = ["scullvfs@.service", "user/scullvfs@.service"]

# systemd: src/core/execute.c:exec_needs_mount_namespace(); all but PrivateUsers=, which
# takes the right to mount away.
HIDE_THE_MOUNT = (
    *("PrivateTmp", "PrivateDevices", "PrivateMounts", "PrivateIPC", "PrivateUsers"),
    *("ProtectSystem", "ProtectHome", "ProtectProc", "ProcSubset", "ProtectKernelTunables"),
    *("ProtectKernelModules", "ProtectKernelLogs", "ProtectControlGroups", "DynamicUser"),
    *("ReadWritePaths", "ReadOnlyPaths", "InaccessiblePaths", "ExecPaths", "NoExecPaths"),
    *("TemporaryFileSystem", "BindPaths", "BindReadOnlyPaths", "MountFlags", "MountAPIVFS"),
    *("RootDirectory", "RootImage", "LoadCredential", "SetCredential"),
)


def settings(unit: str) -> list[tuple[str, str]]:
    """The settings of a unit, in their order."""
    return re.findall(r"^(\w+)=(.*)$", (SYSTEMD / unit).read_text(), re.MULTILINE)


def values(unit: str, name: str) -> list[str]:
    """All values that a unit gives one setting."""
    return [value for key, value in settings(unit) if key == name]


@pytest.mark.parametrize("unit", SERVICES)
@pytest.mark.parametrize("name", ["ExecStart", "ExecReload", "ExecStopPost"])
def test_commands(unit: str, name: str) -> None:
    """Each command line is one of ours, and parses."""
    (line,) = values(unit, name)
    line = line.replace("${OPTIONS}", "devs=2").replace("${MOUNTPOINT}", "/mnt/s")
    program, command, *arguments = shlex.split(line)
    assert program == "scullvfs"
    subcommand = main.get_command(click.Context(main), command)
    assert subcommand is not None
    assert subcommand.make_context(command, arguments).params["mountpoint"] == "/mnt/s"


@pytest.mark.parametrize("unit", SERVICES)
def test_statuses(unit: str) -> None:
    """No restart where a restart does not help."""
    (statuses,) = values(unit, "RestartPreventExitStatus")
    assert {ExitStatus(int(status)) for status in statuses.split()} == {
        ExitStatus.USAGE,
        ExitStatus.MOUNT_POINT,
        ExitStatus.NO_FUSE,
        ExitStatus.PERMISSION,
    }


@pytest.mark.parametrize("unit", SERVICES)
def test_mount_stays_visible(unit: str) -> None:
    """Nothing gives the unit a mount namespace, in which the mount would be hidden."""
    given = {name: value for name, value in settings(unit) if name in HIDE_THE_MOUNT}
    if values(unit, "PrivateNetwork") == ["yes"]:  # newer versions of systemd take it for one
        assert given.pop("PrivateMounts") == "no"
    assert given == {}


def test_user_unit_may_gain_privileges() -> None:
    """fusermount3 is set-user-ID root: what implies NoNewPrivileges= keeps it from mounting."""
    harmless = {"LimitCORE", "UMask", "Environment", "EnvironmentFile", "Type", "WatchdogSec"}
    harmless |= {"TimeoutAbortSec", "ExecSearchPath"}
    text = (SYSTEMD / SERVICES[1]).read_text()
    service = re.findall(r"^(\w+)=", text[text.index("[Service]") : text.index("[Install]")], re.M)
    assert {name for name in service if not name.startswith(("Exec", "Restart"))} <= harmless


def test_example_conf() -> None:
    """The example names a mount point and options that there are."""
    lines = (SYSTEMD / "examples/example.conf").read_text().splitlines()
    conf = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert set(conf) == {"MOUNTPOINT", "OPTIONS"}
    assert parse_options([conf["OPTIONS"]]).allow_other


def test_mount_units() -> None:
    """The automount unit belongs to the mount unit, and that one's options are possible."""
    mount, automount = "examples/mnt-scullv.mount", "examples/mnt-scullv.automount"
    assert values(mount, "Where") == values(automount, "Where") == ["/mnt/scullv"]
    (options,) = values(mount, "Options")
    assert options_of_fstab([options], source="none", sloppy=False).scullv_devs == 4
