"""`scullvfs umount`: the command line of `scullvfs.mounts.unmount`."""

import click

from scullvfs.errors import ExitStatus

from .candidates import complete_mounts
from .help import Command
from .seconds import Seconds

__all__ = ["umount"]


@click.command(
    cls=Command,
    examples=[
        ("scullvfs umount /mnt/scullv", "When it returns, the daemon is gone and its RAM free."),
        ("scullvfs umount --lazy /mnt/scullv", "Although a file is open there, or it hangs."),
    ],
    statuses=(
        ExitStatus.NO_FUSE,
        ExitStatus.PERMISSION,
        ExitStatus.NOT_MOUNTED,
        ExitStatus.BUSY,
    ),
)
@click.option(
    "-l",
    "--lazy",
    is_flag=True,
    help="Unmount although it is in use or does not answer; wait for nothing.",
)
@click.option(
    "--timeout",
    type=Seconds(min=0, max=86400),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for the daemon to answer and to end.",
)
@click.option(
    "--dead",
    is_flag=True,
    help="Unmount, although it is in use, only if its daemon is gone; else do nothing.",
)
# Not a click.Path, which would look at it.
@click.argument("mountpoint", shell_complete=complete_mounts)
def umount(lazy: bool, timeout: float, dead: bool, mountpoint: str) -> None:
    """Unmount MOUNTPOINT, and wait for its daemon's end.

    Works for a dead mount, too, whose daemon was killed.
    """
    if dead:
        from scullvfs.mounts.stale import unmount_dead

        unmount_dead(mountpoint, timeout=timeout)
        return
    from scullvfs.mounts.unmount import unmount

    unmount(mountpoint, lazy=lazy, timeout=timeout)
