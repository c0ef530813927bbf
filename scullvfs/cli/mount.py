"""`scullvfs mount`: options from the command line to the daemon, and the help on them.

The tables of the help are those that the parser and the daemon use, so they cannot
disagree.
"""

import click

from scullvfs.daemon.errors import ExitStatus
from scullvfs.daemon.mount import mount as mount_scullvfs
from scullvfs.daemon.options import OPTIONS, MountOptions, Option, parse_options
from scullvfs.daemon.values import format_size

__all__ = ["mount"]


class MountCommand(click.Command):
    """A command whose help ends with the mount options and the exit statuses."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write both tables."""
        with formatter.section("Mount options"):
            formatter.write_dl([(_name(option), _meaning(option)) for option in OPTIONS])
        with formatter.section("Exit status"):
            formatter.write_dl([(str(status.value), status.meaning) for status in ExitStatus])


@click.command(cls=MountCommand)
@click.option("-f", "--foreground", is_flag=True, help="Stay in the foreground and log to stderr.")
@click.option(
    "-o",
    "arguments",
    multiple=True,
    metavar="OPT[,OPT]...",
    help="Mount options, see below; of one option the last counts.",
)
@click.argument("mountpoint")  # not click.Path, which would look at it
def mount(foreground: bool, arguments: tuple[str, ...], mountpoint: str) -> ExitStatus:
    """Mount the scullv devices on MOUNTPOINT, an empty directory.

    Returns once the mount answers, and leaves a daemon behind that serves it until
    'scullvfs umount MOUNTPOINT'. SIGTERM, SIGINT and SIGHUP make it unmount and end, too.
    """
    options = parse_options(arguments)
    _warn_of_huge_quantum(options)
    return mount_scullvfs(options, mountpoint, foreground=foreground)


def _warn_of_huge_quantum(options: MountOptions) -> None:
    """Such a mount is allowed, as it is for the real driver, but every write will fail."""
    if options.quantum >= options.mem:
        click.echo(
            f"scullvfs: warning: a quantum of order {options.scullv_order} "
            f"({format_size(options.quantum)}) does not fit into mem={format_size(options.mem)}; "
            "every write will fail with ENOMEM",
            err=True,
        )


def _name(option: Option) -> str:
    """How the option is written: `scullv_order=, order=`."""
    return ", ".join(option.forms if option.parse is None else (f"{f}=" for f in option.forms))


def _meaning(option: Option) -> str:
    """What the option does, what it takes and what it is when not given."""
    expects = "" if option.parse is None else f": {option.parse.expects}"
    return f"{option.help}{expects}; default {option.default}"
