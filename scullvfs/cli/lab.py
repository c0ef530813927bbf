"""`scullvfs lab`: the command line of `scullvfs.labs`, and of what runs by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import click

from scullvfs.errors import ExitStatus, UsageError
from scullvfs.labs.titles import TITLES
from scullvfs.options.hint import did_you_mean
from scullvfs.text import argument, one_line, shown

from . import fragmentation
from .candidates import candidate, complete_directory, complete_mounts
from .hang import hang
from .help import Command

if TYPE_CHECKING:
    from .candidates import Items

__all__ = ["lab"]

ABOUT: Final = {
    **{str(number): title for number, title in TITLES.items()},
    "fragmentation": "why scullp has no memory where scullv goes on; runs by itself",
}
"""Each lab, and what it is about."""

EXPERIMENTS: Final[dict[str, Callable[[], None]]] = {"fragmentation": fragmentation.run}
"""Those that run by themselves, and ask nothing."""


def _complete(_ctx: click.Context, _parameter: click.Parameter, word: str) -> Items:
    return [candidate(name, help=about) for name, about in ABOUT.items() if name.startswith(word)]


def _complete_place(ctx: click.Context, parameter: click.Parameter, word: str) -> Items:
    """A mount to check, or a directory to mount on."""
    return (complete_mounts if ctx.params.get("checks") else complete_directory)(
        ctx, parameter, word
    )


@click.command(
    cls=Command,
    tables={"Labs": list(ABOUT.items())},
    examples=[
        ("scullvfs lab 3 --seed ada", "Mounts on lab3, and says what ada is to do."),
        ("scullvfs lab 3 --check --seed ada", "Is it hers, and what is still missing?"),
    ],
    statuses=ExitStatus,
)
@click.option("--check", "checks", is_flag=True, help="Look what is still missing on a mount.")
@click.option(
    "--seed",
    "student",
    metavar="STUDENT",
    help="Any word, of which addresses and answers follow; with --check, whose mount it has to be.",
)
@click.argument("name", metavar="[LAB]", required=False, shell_complete=_complete)
@click.argument("mountpoint", required=False, shell_complete=_complete_place)
def lab(
    checks: bool, student: str | None, name: str | None, mountpoint: str | None
) -> ExitStatus | None:
    """Set up a lab on a mount, check its answers, or list all labs.

    LAB is mounted on MOUNTPOINT, by default the directory labN, which is made if it is not there,
    and its tasks are printed. Answers are written to devices of the mount, where --check finds
    them; the status is 9 if something is missing. docs/labs has a page for each lab.
    """
    if name is None:
        if checks or student is not None:
            raise UsageError("name a lab; 'scullvfs lab' lists them all")
        for known, about in ABOUT.items():
            click.echo(f"{known}  {about}")
        return None
    if name not in ABOUT:
        hint = did_you_mean(name, ABOUT) or "; 'scullvfs lab' lists them all"
        raise UsageError(f"unknown lab '{name}'{hint}")
    if name in EXPERIMENTS:
        if checks or student is not None or mountpoint is not None:
            raise UsageError(f"{name} runs by itself, and takes nothing else")
        EXPERIMENTS[name]()
        return None
    path = f"lab{name}" if mountpoint is None else mountpoint
    if checks:
        return _check(int(name), path, student)
    _begin(int(name), path, student)
    return None


def _begin(number: int, path: str, student: str | None) -> None:
    from scullvfs.labs.begin import begin
    from scullvfs.labs.check import tasks
    from scullvfs.labs.numbers import seed_of

    begin(number, path, student or "")
    click.echo(f"lab {number}, {TITLES[number]}, is on {shown(path)}")
    for place, task in enumerate(tasks(number, seed_of(student or "")), 1):
        click.echo(f"{place}  {hang(task.text, 3)}")
    click.echo(f"'scullvfs lab {number} --check {argument(path)}' says what is missing")


def _check(number: int, path: str, student: str | None) -> ExitStatus:
    from scullvfs.labs.check import check
    from scullvfs.labs.numbers import seed_of
    from scullvfs.mounts.place import find_scullvfs

    seed = None if student is None else seed_of(student)
    results = check(number, find_scullvfs(path), path, seed)
    for place, result in enumerate(results, 1):
        state, colour = ("missing", "yellow") if result.missing else ("done   ", "green")
        click.echo(f"{place}  {click.style(state, fg=colour)}  {hang(result.text, 12)}")
        if result.missing:
            click.echo(f"{'':12}{hang(one_line(result.missing), 12)}")
    done = sum(not result.missing for result in results)
    click.echo(f"lab {number}: {done} of {len(results)} done")
    return ExitStatus.SUCCESS if done == len(results) else ExitStatus.FOUND
