"""`scullvfs status`: every mount and how it is, for people and as JSON."""

import os
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Final

import click

import scullvfs
from scullvfs.errors import ExitStatus, NotMountedError
from scullvfs.mounts.health import State
from scullvfs.mounts.mountinfo import Mount, scullvfs_mounts
from scullvfs.mounts.place import find_scullvfs
from scullvfs.mounts.status import ANSWER_TIMEOUT, EXIT_STATUS, MountStatus
from scullvfs.mounts.status import status as ask
from scullvfs.mounts.users import user_name
from scullvfs.text import argument, one_line, shown, unicode

from .candidates import complete_mounts
from .hang import hang
from .help import Command

__all__ = ["status"]

INDENT: Final = 12
"""Columns before what there is to say of a mount."""

COLORS: Final = {State.RUNNING: "green", State.DEAD: "red", State.HUNG: "red"}
"""Of a state on a terminal; the others are yellow."""

WORDS: Final = {
    State.DEAD: "its daemon is gone; 'scullvfs umount {argument}' clears it away",
    State.HUNG: (
        f"no answer within {ANSWER_TIMEOUT:g} s; "
        "'scullvfs umount --lazy {argument}' takes it down"
    ),
    State.CLOSED: "only its user may look into it",
    State.HIDDEN: "another mount lies above it",
    State.UNKNOWN: "no report from it: {reason}",
}
"""What there is to say about a mount that has not answered."""


@click.command(
    cls=Command,
    examples=[
        ("scullvfs status", "Every scullvfs mount, for people."),
        (
            "scullvfs status --json | jq '.[].requests'",
            "One number of each, for programs. Sizes are in bytes, times in seconds.",
        ),
        ("scullvfs status /mnt/scullv || echo trouble", "Is this one there, and does it answer?"),
    ],
    statuses=(ExitStatus.PERMISSION, ExitStatus.NOT_MOUNTED, ExitStatus.BUSY),
)
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print a JSON list, an object a mount, with each device's calls.",
)
@click.argument("mountpoints", nargs=-1, metavar="[MOUNTPOINT]...", shell_complete=complete_mounts)
def status(as_json: bool, mountpoints: tuple[str, ...]) -> ExitStatus:
    """Show the mounts, and how they are.

    Every scullvfs mount of this mount namespace, or only those on each MOUNTPOINT.

    Of each: its daemon; what is made to fail; the memory and CPU time that it takes; the mount
    options that are not at their defaults, order and qset as they are now; the RAM and the
    vmalloc addresses of the emulated machine in use; the devices; and the requests served.

    A mount that is dead, or does not answer within 3 seconds, is shown as such. The status is
    0 when all of them answer; one that is closed to you counts only if you named it.
    """
    found, missing = _find(mountpoints)
    answers = ask(found if mountpoints else scullvfs_mounts())
    if as_json:
        import json  # here and below, so that a look where nothing is mounted does without

        click.echo(json.dumps([_as_json(answer) for answer in answers], indent=2))
    else:
        for answer in answers:
            _show(answer)
        if not mountpoints and not answers:
            click.echo("scullvfs: nothing is mounted", err=True)
    for error in missing:
        click.echo(f"scullvfs: {one_line(str(error))}", err=True)
    return _exit_status(answers, named=bool(mountpoints), missing=bool(missing))


def _find(mountpoints: tuple[str, ...]) -> tuple[list[Mount], list[NotMountedError]]:
    """The mounts on `mountpoints`, and what is to be said about the others."""
    found, missing = [], []
    for path in mountpoints:
        try:
            found.append(find_scullvfs(path))
        except NotMountedError as error:
            missing.append(error)
    return found, missing


def _exit_status(answers: list[MountStatus], *, named: bool, missing: bool) -> ExitStatus:
    """The worst of all: a mount that is not there, a dead or hung one, a closed one."""
    statuses = {
        EXIT_STATUS[answer.state] for answer in answers if named or answer.state != State.CLOSED
    }
    if missing:
        statuses.add(ExitStatus.NOT_MOUNTED)
    worst = (ExitStatus.NOT_MOUNTED, ExitStatus.BUSY, ExitStatus.PERMISSION, ExitStatus.FAILURE)
    return next((status for status in worst if status in statuses), ExitStatus.SUCCESS)


def _as_json(answer: MountStatus) -> dict[str, Any]:
    """What the daemon says, and what is known without it, which nothing that it says changes."""
    mount = answer.mount
    known: dict[str, Any] = {"mountpoint": unicode(mount.path)}
    if not _is_utf8(mount.path):
        known["mountpoint_hex"] = os.fsencode(mount.path).hex()
    known |= {
        "state": answer.state,
        "uid": mount.user_id,
        "user": user_name(mount.user_id),
        "source": unicode(mount.source),
    }
    if answer.report:
        known["pid"] = answer.pid
    return known | {name: value for name, value in answer.report.items() if name not in known}


def _is_utf8(path: str) -> bool:
    try:
        os.fsencode(path).decode()
    except UnicodeDecodeError:
        return False
    return True


def _show(answer: MountStatus) -> None:
    state = click.style(answer.state, fg=COLORS.get(answer.state, "yellow"), bold=True)
    path = shown(answer.mount.path)
    if answer.state == State.RUNNING:
        click.echo(f"{path}: {state}")
        for name, value in _facts(answer):
            text = hang(value, INDENT, after="," if name == "options" else " ")
            click.echo(f"{f'  {name}':<{INDENT - 1}} {text}")
    else:
        words = WORDS[answer.state].format(
            argument=argument(answer.mount.path), reason=one_line(answer.reason)
        )
        click.echo(f"{path}: {state}, mounted by {user_name(answer.mount.user_id)}; {words}")


def _facts(answer: MountStatus) -> Iterator[tuple[str, str]]:
    report = answer.report
    yield "daemon", _daemon(answer)
    if report["version"] != scullvfs.__version__:  # updated meanwhile: its words may have changed
        said = {name: value for name, value in report.items() if name not in ("pid", "version")}
        import json

        yield from ((name, json.dumps(value)) for name, value in said.items())
        return
    if report["faults"]:
        yield "faults", _faults(report["faults"])
    yield "uptime", str(timedelta(seconds=int(report["uptime"])))  # 2 days, 4:05:06
    yield "cost", f"{_size(report['rss'])} resident, {report['cpu']:.2f} s of CPU time"
    yield "options", _options(answer)
    yield "RAM", _use(report["ram"])
    yield "vmalloc", _use(report["vmalloc"])
    yield "devices", _devices(report)
    requests = report["requests"]
    yield "requests", "not counted" if requests is None else str(requests)
    if not report["lowlevel"]:
        yield "missing", "ioctl, SEEK_DATA and fallocate; 'scullvfs doctor' says more"


def _daemon(answer: MountStatus) -> str:
    """Whose process it is the kernel says, and which one is only said where it is proven."""
    pid = "pid not known here," if answer.pid is None else f"pid {answer.pid}"
    return f"{pid} of {user_name(answer.mount.user_id)}, scullvfs {answer.report['version']}"


def _options(answer: MountStatus) -> str:
    """What is not at its default, as it could stand behind `-o`."""
    from scullvfs.options.table import changed_options, format_options

    mount = answer.mount
    options = answer.report["options"] | {"fsname": mount.source}  # as the kernel has it
    changed = changed_options(options, uid=mount.user_id, gid=mount.group_id)
    return format_options(changed) or "all at their defaults"


def _devices(report: dict[str, Any]) -> str:
    """How many, and of several drivers how many of each."""
    from scullvfs.scull.family import DRIVERS

    options = report["options"]
    drivers = options["drivers"].split(":")
    each = (f"{options[DRIVERS[driver].devs.name]} of {driver}" for driver in drivers)
    return ", ".join(each) if len(drivers) > 1 else str(report["devices"])


def _faults(faults: dict[str, dict[str, Any]]) -> str:
    """What is made to fail, then what has been: `failslab armed, injected 3 times`."""

    def told(name: str, injected: int, armed: bool) -> str:
        times = "once" if injected == 1 else f"{injected} times"
        said = [*(["armed"] if armed else []), *([f"injected {times}"] if injected else [])]
        return f"{name} {', '.join(said)}"

    first = sorted(faults.items(), key=lambda item: not item[1]["armed"])
    return "; ".join(told(name, **each) for name, each in first)


def _use(of: dict[str, int]) -> str:
    lazy = of.get("lazy")
    waiting = f", {_size(lazy)} freed and not yet purged" if lazy else ""
    return f"{_size(of['used'])} of {_size(of['total'])} in use{waiting}"


def _size(count: int) -> str:
    """`count` bytes in the largest unit that it fills; a whole number as it is in `-o`: 1G."""
    from humanize import naturalsize  # not for --help and TAB

    return naturalsize(count, gnu=True).replace(".0", "") if count else "0"
