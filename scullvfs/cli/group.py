"""The command group: click, with every error in one line.

click prints the usage and an error below it; here each error is one line that begins
with `scullvfs:`, whoever found it, and ends the program with its documented exit status.
"""

import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

import click

from scullvfs.daemon.errors import ExitStatus, ScullvfsError
from scullvfs.daemon.options import did_you_mean

__all__ = ["OneLineErrors"]


class OneLineErrors(click.Group):
    """A group of commands that fail with one line on stderr."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the program and exit, unless *standalone_mode* is false; see click."""
        run = partial(super().main, args, prog_name, complete_var, standalone_mode=False, **extra)
        if not standalone_mode:
            return run()
        try:
            sys.exit(run())
        except click.UsageError as error:
            _fail(f"{error.format_message().rstrip('.')}{_see_help(error)}", error.exit_code)
        except click.ClickException as error:
            _fail(error.format_message(), error.exit_code)
        except ScullvfsError as error:
            _fail(str(error), error.status)
        except click.Abort:
            _fail("interrupted", ExitStatus.INTERRUPTED)
        except BrokenPipeError:  # `scullvfs mount --help | true`
            sys.stdout = None  # nothing is left to flush at exit
            sys.exit(ExitStatus.FAILURE)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that *args* begins with, or suggest one."""
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            raise click.UsageError(f"unknown command '{name}'{did_you_mean(name, self.commands)}")
        return super().resolve_command(ctx, args)


def _see_help(error: click.UsageError) -> str:
    """Where to read on, unless the message already says what to do."""
    if error.format_message().endswith("?"):
        return ""
    command = error.ctx.command_path if error.ctx is not None else "scullvfs"
    return f"; '{command} --help' says more"


def _fail(message: str, status: int) -> None:
    click.echo(f"scullvfs: {message}", err=True)
    sys.exit(status)
