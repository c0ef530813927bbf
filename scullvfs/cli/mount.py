"""`scullvfs mount`: options from the command line to the daemon, and the help on them.

The tables of the help are those that the parser and the daemon use, so they cannot
disagree.
"""

import click

from scullvfs.errors import ExitStatus
from scullvfs.options.parsers import format_size
from scullvfs.options.table import OPTIONS, MountOptions, Option, parse_options
from scullvfs.text import one_line

from .candidates import complete_directory, complete_mount_options
from .help import Command

__all__ = ["mount", "name_of", "warn_of_huge_quantum", "warn_of_silence"]


def name_of(option: Option) -> str:
    """How the option is written: `scullv_order=, order=`."""
    return ", ".join(option.forms if option.parse is None else (f"{f}=" for f in option.forms))


def _in_one_line(option: Option) -> str:
    """What the option does, takes, and is when not given; the manual page says more."""
    takes = "" if option.parse is None else f": {option.parse.brief}"
    return f"{option.help}{takes} [{option.default}]"


@click.command(
    cls=Command,
    tables={
        "Mount options [default]": [(name_of(option), _in_one_line(option)) for option in OPTIONS]
    },
    examples=[
        ("scullvfs mount /mnt/scullv", "Four devices, 1 GiB of RAM."),
        (
            "scullvfs mount -o devs=8,order=0,mem=64M,seed=7 /mnt/scullv",
            "Eight devices, quanta of one page, and the same page frames at each run.",
        ),
        (
            "scullvfs mount -f -o semantics=file /mnt/scullv",
            "In the foreground, by the rules of a regular file.",
        ),
    ],
    statuses=(
        ExitStatus.MOUNT_POINT,
        ExitStatus.NO_FUSE,
        ExitStatus.PERMISSION,
        ExitStatus.NO_MEMORY,
        ExitStatus.BUSY,
    ),
)
@click.option("-f", "--foreground", is_flag=True, help="Stay in the foreground and log to stderr.")
@click.option(
    "-o",
    "arguments",
    multiple=True,
    metavar="OPT[,OPT]...",
    help="Mount options, see below; of one option the last counts.",
    shell_complete=complete_mount_options,
)
# Not a click.Path, which would look at it.
@click.argument("mountpoint", shell_complete=complete_directory)
def mount(foreground: bool, arguments: tuple[str, ...], mountpoint: str) -> ExitStatus:
    """Mount the scullv devices on MOUNTPOINT, an empty directory.

    Returns once the mount answers, and leaves a daemon behind that serves it until
    'scullvfs umount MOUNTPOINT', or a signal.
    """
    from scullvfs.daemon.start import mount as mount_scullvfs

    options = parse_options(arguments)
    warn_of_huge_quantum(options)
    if not foreground:
        warn_of_silence(mountpoint)
    return mount_scullvfs(options, mountpoint, foreground=foreground, last=True)


def warn_of_huge_quantum(options: MountOptions) -> None:
    """Such a mount is allowed, as it is for the real driver, but every write will fail."""
    if options.quantum >= options.mem:
        click.echo(
            f"scullvfs: warning: a quantum of order {options.scullv_order} "
            f"({format_size(options.quantum)}) does not fit into mem={format_size(options.mem)}; "
            "every write will fail with ENOMEM",
            err=True,
        )


def warn_of_silence(mountpoint: str) -> None:
    """A daemon in the background that can log nowhere would fail without a word."""
    from scullvfs.daemon.log import unheard

    silence = unheard(mountpoint=mountpoint)
    if silence is not None:
        click.echo(f"scullvfs: warning: {one_line(silence)}", err=True)
