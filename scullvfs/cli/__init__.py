"""The command line: `main`, a click group, and a module of its own for each command.

`commands` is the table of them, `group` puts every error in one line, `fail` writes it, `help` ends
`--help` with examples and statuses, `hang` breaks lines, `candidates` are what completion offers,
`seconds` is a time as an option has it, and `click_alone` keeps the import of click short; `demo`
and `lab`'s experiment, `fragmentation`, are made of what is in `tour`;
`mount_helper` is the program that mount(8) runs, and shell/ has the scripts that `completion`
prints. A command parses its arguments, calls the rooms below and prints; it decides nothing, but
for `doctor`, whose `checks` mount. Must not import pyfuse3 or trio, nor anything that does, at
import time: `--help` and the line that says what is missing work without them.

Each TAB starts the program, too. So a command's module is imported when the command is asked
for (`commands`), and imports what its help and its completion need; what carries the command
out, where that is more, is imported by the command itself.
"""

from . import click_alone  # isort: skip  # noqa: F401  (before click)
import click

from scullvfs.errors import ExitStatus

from .commands import Commands
from .group import OneLineErrors

__all__ = ["main"]


def _print_version(ctx: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from scullvfs.host.versions import version_line

        click.echo(version_line())
        ctx.exit()


@click.group(
    cls=OneLineErrors,
    commands=Commands(),
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
    """A directory of devices, backed by an emulated kernel's memory.

    The devices are files that behave like those of scullv, and of its kin scullp, scullc and
    scull, in Linux Device Drivers, chapter 8. Their data lies in the memory of an emulated
    machine, as vmalloc, __get_free_pages, a slab cache and kmalloc give it.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help(), err=True)
        ctx.exit(ExitStatus.USAGE)
