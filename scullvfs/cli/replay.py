"""`scullvfs replay`: the command line of `scullvfs.daemon.replaying`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

import scullvfs
from scullvfs.errors import BadFileError, ExitStatus
from scullvfs.text import noun, shown

from .candidates import complete_directory, complete_file
from .help import Command

if TYPE_CHECKING:
    from scullvfs.daemon.replaying import Replayed

__all__ = ["replay"]


@click.command(
    cls=Command,
    examples=[
        ("scullvfs replay run.scull", "Make all its calls again, on a machine of its own."),
        (
            "scullvfs replay --to 211 --mount /mnt/scullv run.scull",
            "Mount what there was after call 211.",
        ),
    ],
    statuses=(
        ExitStatus.MOUNT_POINT,
        ExitStatus.NO_FUSE,
        ExitStatus.PERMISSION,
        ExitStatus.NO_MEMORY,
        ExitStatus.BUSY,
        ExitStatus.BAD_FILE,
        ExitStatus.DIFFERENT,
    ),
)
@click.option(
    "--to",
    type=click.IntRange(min=0),
    metavar="N",
    help="Stop after the N-th call.",
)
@click.option(
    "--mount",
    metavar="MOUNTPOINT",
    help="Mount the machine as it is then, on an empty directory.",
    shell_complete=complete_directory,
)
# Not a click.Path: what is wrong with it has a status of its own.
@click.argument("file", shell_complete=complete_file)
def replay(to: int | None, mount: str | None, file: str) -> ExitStatus:
    """Make the calls of a recording again, without a mount.

    Says the first call that gives something else, or for which the machine gives other addresses or
    page frames. FILE is what 'scullvfs record' has written, on this machine or on another.
    """
    from scullvfs.daemon.replaying import opened, options_of, replaying, report

    with opened(file) as lines:
        if lines.header.version != scullvfs.__version__:
            click.echo(
                f"scullvfs: warning: {shown(file)} was recorded by scullvfs "
                f"{shown(lines.header.version)}, and this is {scullvfs.__version__}: "
                "what is different may be between the two",
                err=True,
            )
        options = options_of(lines)
        with replaying(lines) as made:
            done = made.run(to)
            if done.difference is not None:
                where, *what = report(made, done.difference)
                click.echo(f"{shown(file)}: {where}")
                for line in what:
                    click.echo(line)
                return ExitStatus.DIFFERENT
    _look_at_end(done, file, to)
    if mount is None:
        click.echo(f"{_made_again(done)}: no difference")
        return ExitStatus.SUCCESS
    from dataclasses import replace

    from scullvfs.daemon.start import mount as mount_scullvfs

    options = replace(options, replay=os.path.abspath(file), replay_to=done.calls)
    return mount_scullvfs(options, mount, foreground=False, last=True)


def _made_again(done: Replayed) -> str:
    return f"{done.calls} {noun(done.calls, 'call')} made again"


def _look_at_end(done: Replayed, file: str, to: int | None) -> None:
    """Raise BadFileError for a recording that is not whole, as far as it was to be made again."""
    so_far = f"its {_made_again(done)} without a difference"
    if done.lost:
        raise BadFileError(f"{shown(file)} ends where its recorder was too slow; {so_far}")
    if not done.whole:
        raise BadFileError(f"{shown(file)} is cut: it has no end mark; {so_far}")
    if to is not None and done.calls < to:
        raise BadFileError(f"{shown(file)} has no call {to}; {so_far}")
