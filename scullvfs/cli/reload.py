"""`scullvfs reload`: the command line of `scullvfs.daemon.reload`."""

import click

from scullvfs.daemon.options import parse_options
from scullvfs.daemon.reload import reload as reload_mount

__all__ = ["reload"]


@click.command()
@click.option(
    "-o",
    "arguments",
    multiple=True,
    metavar="OPT[,OPT]...",
    help="The mount options as they are to be; 'scullvfs mount --help' lists them.",
)
@click.argument("mountpoint")  # not click.Path, which would look at it
def reload(arguments: tuple[str, ...], mountpoint: str) -> None:
    """Take new values of scullv_order and scullv_qset over into a running mount.

    Takes all options that the mount is to have; one that is not given has its default.
    A device follows when it is next emptied. Every other option waits for the next mount.
    """
    changed = reload_mount(parse_options(arguments), mountpoint)
    for name, (old, new) in changed.items():
        click.echo(f"{mountpoint}: {name} was {old} and is {new}")
    if not changed:
        click.echo(f"{mountpoint}: scullv_order and scullv_qset are what they were")
    click.echo("every other option takes effect at the next mount only")
