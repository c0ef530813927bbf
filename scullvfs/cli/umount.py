"""`scullvfs umount`: the command line of `scullvfs.daemon.unmount`."""

import click

from scullvfs.daemon.unmount import unmount

__all__ = ["umount"]


@click.command()
@click.option(
    "-l",
    "--lazy",
    is_flag=True,
    help="Unmount although it is in use or does not answer; wait for nothing.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, max=86400),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for the daemon to answer and to end.",
)
@click.argument("mountpoint")  # not click.Path, which would look at it
def umount(lazy: bool, timeout: float, mountpoint: str) -> None:
    """Unmount MOUNTPOINT and wait until its daemon is gone.

    Works for a dead mount, too, whose daemon was killed. The exit statuses are those
    that 'scullvfs mount --help' lists.
    """
    unmount(mountpoint, lazy=lazy, timeout=timeout)
