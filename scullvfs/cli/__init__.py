"""The command line: `main`, a click group with one module a command.

A command parses its arguments, calls `scullvfs.daemon` and prints; it decides nothing.
Must not import pyfuse3 or trio, nor anything that does, at import time: `--help` and the
line that says what is missing work without them.
"""

import click

from scullvfs.cli.bench import bench
from scullvfs.cli.completion import completion
from scullvfs.cli.demo import demo
from scullvfs.cli.doctor import doctor
from scullvfs.cli.group import OneLineErrors
from scullvfs.cli.ioctl import ioctl
from scullvfs.cli.mount import mount
from scullvfs.cli.reload import reload
from scullvfs.cli.status import status
from scullvfs.cli.umount import umount
from scullvfs.daemon.errors import ExitStatus
from scullvfs.daemon.versions import version_line

__all__ = ["main"]


def _print_version(ctx: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        click.echo(version_line())
        ctx.exit()


@click.group(
    cls=OneLineErrors,
    context_settings={"help_option_names": ["-h", "--help"]},
    invoke_without_command=True,
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the versions of scullvfs and of what it stands on, and exit.",
)
@click.pass_context
def main(ctx: click.Context) -> None:
    """A directory of scullv devices, backed by an emulated vmalloc.

    The devices are files that behave like the scullv driver of Linux Device Drivers,
    chapter 8; each quantum of their data lies in emulated vmalloc memory.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help(), err=True)
        ctx.exit(ExitStatus.USAGE)


for command in (mount, umount, reload, status, doctor, ioctl, bench, demo, completion):
    main.add_command(command)
