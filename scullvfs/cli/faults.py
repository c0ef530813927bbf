"""`scullvfs faults`: the command line of `scullvfs.faults`."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Sequence
from signal import Signals
from typing import TYPE_CHECKING

import click

from scullvfs.errors import ExitStatus, UsageError
from scullvfs.text import shown

from .candidates import complete_mount_options
from .help import Command
from .seconds import Seconds

if TYPE_CHECKING:
    from scullvfs.faults.trial import Trial

__all__ = ["faults"]


@click.command(
    cls=Command,
    context_settings={"allow_interspersed_args": False},
    examples=[
        (
            "scullvfs faults dd if=/dev/zero of=scullv0 bs=64k count=2",
            "Which errors dd meets, and that the driver leaks nothing.",
        ),
        (
            "scullvfs faults -q -o drivers=scullp,mem=16M ./my_test.sh",
            "Only what was found; the script has the mount in $MOUNTPOINT.",
        ),
    ],
    statuses=(
        ExitStatus.NO_FUSE,
        ExitStatus.PERMISSION,
        ExitStatus.NO_MEMORY,
        ExitStatus.BUSY,
        ExitStatus.FOUND,
        ExitStatus.BAD_FILE,
    ),
)
@click.option(
    "-o",
    "options",
    multiple=True,
    metavar="OPT[,OPT]...",
    help="Options of the mounts, as 'scullvfs mount' takes them.",
    shell_complete=complete_mount_options,
)
@click.option(
    "--timeout",
    type=Seconds(0.1, 86400),
    default=60,
    show_default=True,
    metavar="SECONDS",
    help="How long COMMAND may take each time.",
)
@click.option("-q", "--quiet", is_flag=True, help="Print only what was found, and the summary.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="COMMAND...")
def faults(options: tuple[str, ...], timeout: float, quiet: bool, command: tuple[str, ...]) -> None:
    """Run COMMAND again and again, with another request for memory failing.

    Each time on a fresh mount, which is its working directory and in $MOUNTPOINT. First without
    a fault; then the first request for an object fails (failslab), then the second, up to the
    last that COMMAND makes; then so with page frames (fail_page_alloc).

    A line says how COMMAND ended, and what it said last on stderr. It may fail. What may not be
    is said below the line: memory that has leaked, a machine that finds fault with itself, other
    content on the last device, where something is stored before and COMMAND has no business, and
    a device that cannot be written any more.
    """
    from scullvfs.faults.walk import walk
    from scullvfs.interrupts import interruptible
    from scullvfs.snapshot.options import mount_options

    temporary = mount_options(options)
    program = _program(command[0])
    trials: list[Trial] = []
    try:
        with interruptible():
            for trial in walk(temporary, program, command, timeout):
                trials.append(trial)
                if trial.found or not quiet:
                    click.echo(_line(trial))
                for found in trial.found:
                    click.echo(f"  {shown(found)}")
    finally:
        if trials:
            click.echo(_summary(trials))
    if any(trial.found for trial in trials):
        click.get_current_context().exit(ExitStatus.FOUND)


def _program(name: str) -> str:
    """The program that a word means here, since COMMAND begins elsewhere."""
    if (path := shutil.which(name)) is None:
        raise UsageError(f"cannot run {shown(name)}: there is no such program")
    return os.path.abspath(path)


def _line(trial: Trial) -> str:
    what = f"{trial.fault} {trial.nth}" if trial.nth else "no fault"
    said = f": {shown(trial.said)}" if trial.said else ""
    return f"{what:20} {_ended(trial.status)}{said}"


def _ended(status: int | None) -> str:
    if status is None:
        return "killed"
    if status >= 0:
        return f"exit status {status}"
    names = {number.value: number.name for number in Signals}
    return f"killed by {names.get(-status, f'signal {-status}')}"


def _summary(trials: Sequence[Trial]) -> str:
    made = Counter(trial.fault for trial in trials if trial.nth and trial.reached)
    failed = sum(bool(trial.status) for trial in trials if trial.nth)
    found = [trial for trial in trials if trial.found]
    requests = ", ".join(f"{count} of {fault}" for fault, count in made.items()) or "none"
    return f"requests made to fail: {requests}; the command failed in {failed}; " + (
        f"something was found in {len(found)}" if found else "nothing was found"
    )
