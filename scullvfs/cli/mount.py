"""`scullvfs mount`: options from the command line to the daemon, and the help on them.

The tables of the help are those that the parser and the daemon use, so they cannot
disagree.
"""

import click

from scullvfs.errors import ExitStatus
from scullvfs.options.parsers import format_size
from scullvfs.options.table import OPTIONS, MountOptions, Option
from scullvfs.scull.driver import Driver
from scullvfs.scull.family import DRIVERS, KMALLOC_MAX_SIZE, SCULLV, driver_of_parameter
from scullvfs.text import one_line

from .candidates import complete_directory, complete_mount_options
from .help import Command

__all__ = ["mount", "name_of", "warn_of_large_quanta", "warn_of_silence"]


def name_of(option: Option) -> str:
    """How the option is written: `scullv_order=, order=`."""
    return ", ".join(option.forms if option.parse is None else (f"{f}=" for f in option.forms))


def _in_one_line(option: Option) -> str:
    """What the option does, takes, and is when not given; the manual page says more."""
    takes = "" if option.parse is None else f": {option.parse.brief}"
    return f"{option.help}{takes} [{option.default}]"


def _parameters(driver: Driver) -> tuple[str, str]:
    """All of one driver in a line."""
    each = (f"{parameter.name}= [{parameter.default}]" for parameter in driver.parameters)
    return driver.name, ", ".join(each)


@click.command(
    cls=Command,
    tables={
        "Parameters of the other drivers [default]": [
            _parameters(driver) for driver in DRIVERS.values() if driver is not SCULLV
        ],
        "Mount options [default]": [
            (name_of(option), _in_one_line(option))
            for option in OPTIONS
            if driver_of_parameter(option.name) in (None, SCULLV)
        ],
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
        (
            "scullvfs mount -o drivers=scullv:scullp:scullc:scull /mnt/ldd3",
            "The whole family, on one machine.",
        ),
    ],
    statuses=(
        ExitStatus.MOUNT_POINT,
        ExitStatus.NO_FUSE,
        ExitStatus.PERMISSION,
        ExitStatus.NO_MEMORY,
        ExitStatus.BUSY,
        ExitStatus.BAD_FILE,
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
    """Mount the devices on MOUNTPOINT, an empty directory.

    Returns once the mount answers, and leaves a daemon behind that serves it until
    'scullvfs umount MOUNTPOINT', or a signal.
    """
    from scullvfs.daemon.start import mount as mount_scullvfs
    from scullvfs.snapshot.options import mount_options

    options = mount_options(arguments)
    warn_of_large_quanta(options)
    if not foreground:
        warn_of_silence(mountpoint)
    return mount_scullvfs(options, mountpoint, foreground=foreground, last=True)


def warn_of_large_quanta(options: MountOptions) -> None:
    """Such a mount is allowed, as it is for the real driver, but every write will fail."""
    for driver in options.loaded():
        reason = _why_no_quantum(options, driver) or _why_no_quantum_set(options, driver)
        if reason is not None:
            click.echo(
                f"scullvfs: warning: {reason}; every write to {driver.name} will fail with ENOMEM",
                err=True,
            )


def _why_no_quantum(options: MountOptions, driver: Driver) -> str | None:
    quantum, name = options.quantum(driver), driver.measure.name
    if driver.largest and quantum > driver.largest:
        reason = f"is more than {driver.memory}() ever gives, {format_size(driver.largest)}"
    elif quantum >= options.mem:
        reason = f"does not fit into mem={format_size(options.mem)}"
    else:
        return None
    return f"a quantum of {name}={getattr(options, name)} ({format_size(quantum)}) {reason}"


def _why_no_quantum_set(options: MountOptions, driver: Driver) -> str | None:
    nbytes, name = options.quantum_set(driver), driver.qset.name
    if nbytes <= KMALLOC_MAX_SIZE:
        return None
    return (
        f"a quantum set of {name}={getattr(options, name)} ({format_size(nbytes)}) "
        f"is more than kmalloc() ever gives, {format_size(KMALLOC_MAX_SIZE)}"
    )


def warn_of_silence(mountpoint: str) -> None:
    """A daemon in the background that can log nowhere would fail without a word."""
    from scullvfs.daemon.log import unheard

    silence = unheard(mountpoint=mountpoint)
    if silence is not None:
        click.echo(f"scullvfs: warning: {one_line(silence)}", err=True)
