"""`scullvfs snapshot`: the command line of `scullvfs.snapshot`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from scullvfs.errors import ExitStatus, UsageError

from .candidates import complete_file, complete_mounts
from .help import Command

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

__all__ = ["snapshot"]


def _complete_place(
    ctx: click.Context, parameter: click.Parameter, word: str
) -> list[CompletionItem[str]]:
    """A mount to be saved, or a file to be shown."""
    if ctx.params.get("action") == "show":
        return complete_file(ctx, parameter, word)
    return complete_mounts(ctx, parameter, word)


@click.command(
    cls=Command,
    examples=[
        ("scullvfs snapshot save /mnt/scullv -o machine.snap", "Save it; the mount goes on."),
        ("scullvfs snapshot show machine.snap", "Look whether the file is well, and what it has."),
    ],
    statuses=(
        ExitStatus.PERMISSION,
        ExitStatus.NOT_MOUNTED,
        ExitStatus.BUSY,
        ExitStatus.BAD_FILE,
    ),
)
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    help="For 'save': the file, which is replaced as a whole, and when all is well.",
)
@click.argument("action", type=click.Choice(["save", "show"]), metavar="save|show")
# Not a click.Path, which would look at it.
@click.argument("path", metavar="PATH", shell_complete=_complete_place)
def snapshot(action: str, path: str, output: str | None) -> None:
    """Save the machine of a mount in a file, or show what such a file has.

    'save' takes the mount on PATH, which goes on serving meanwhile: devices with their content,
    memory, log, trace, faults that are set, and what decides all that comes next. A mount with
    -o restore=FILE goes on exactly as this one would have. 'show' takes a file.
    """
    if action == "show":
        if output is not None:
            raise UsageError("-o is for 'snapshot save'")
        from scullvfs.snapshot.summary import summary

        for line in summary(path):
            click.echo(line)
        return
    if output is None:
        raise UsageError("'snapshot save' needs a file to write: -o FILE")
    from scullvfs.interrupts import interruptible
    from scullvfs.snapshot.saving import save

    with interruptible():
        save(path, output)
