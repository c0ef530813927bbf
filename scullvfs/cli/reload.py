"""`scullvfs reload`: the command line of `scullvfs.mounts.reload`."""

import click

from scullvfs.errors import ExitStatus
from scullvfs.mounts.reload import reload as reload_mount
from scullvfs.options.table import parse_options
from scullvfs.text import shown

from .candidates import complete_mount_options, complete_mounts
from .help import Command

__all__ = ["reload"]


@click.command(
    cls=Command,
    examples=[
        (
            "scullvfs reload -o order=0,qset=1000 /mnt/scullv",
            "Quanta of one page from now on, in each device that is emptied.",
        ),
    ],
    statuses=(ExitStatus.PERMISSION, ExitStatus.NOT_MOUNTED, ExitStatus.BUSY),
)
@click.option(
    "-o",
    "arguments",
    multiple=True,
    metavar="OPT[,OPT]...",
    help="The mount options as they are to be; 'scullvfs mount --help' lists them.",
    shell_complete=complete_mount_options,
)
# Not a click.Path, which would look at it.
@click.argument("mountpoint", shell_complete=complete_mounts)
def reload(arguments: tuple[str, ...], mountpoint: str) -> None:
    """Take new values of the drivers' parameters over into a mount.

    Order or quantum, and qset, of each driver. Takes all options that the mount is to have,
    drivers= among them; one that is not given has its default.
    A device follows when it is next emptied. Every other option waits for the next mount.
    """
    options = parse_options(arguments)
    changed = reload_mount(options, mountpoint)
    for name, (old, new) in changed.items():
        click.echo(f"{shown(mountpoint)}: {name} was {old} and is {new}")
    if not changed:
        names = [name for driver in options.loaded() for name in driver.settable]
        listed = f"{', '.join(names[:-1])} and {names[-1]}"
        click.echo(f"{shown(mountpoint)}: {listed} are what they were")
    click.echo("every other option takes effect at the next mount only")
