"""The command group: click, with every error in one line.

click prints the usage and an error below it; here each error is one line that begins
with `scullvfs:`, whoever found it, and ends the program with its documented exit status.
"""

import errno
import os
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import click

from scullvfs.errors import ExitStatus, ScullvfsError
from scullvfs.options.hint import did_you_mean
from scullvfs.text import make_streams_safe

from .commands import COMPLETE_VAR, OnDemand
from .fail import fail
from .hang import columns
from .help import write_exit_statuses

__all__ = ["OneLineErrors"]

OUTPUT_ERRORS: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)
"""What a write to a file may give (write(2)), and nothing else that a command lets out."""

WIDEST: Final = 80
NARROWEST: Final = 50
"""Columns: of the terminal a text takes no more than the one, and has no fewer than the other."""


class OneLineErrors(OnDemand):
    """A group of commands that fail with one line on stderr."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the program and exit, unless `standalone_mode` is false; see click."""
        make_streams_safe()
        if COMPLETE_VAR in os.environ:
            from . import completion  # noqa: F401  (it tells click of its shells)
        run = partial(super().main, args, prog_name, complete_var, standalone_mode=False, **extra)
        if not standalone_mode:
            return run()
        try:
            sys.exit(run())
        except click.NoSuchOption as error:
            hint = did_you_mean(error.option_name, error.possibilities or ()) or _see_help(error)
            fail("scullvfs", f"unknown option '{error.option_name}'{hint}", error.exit_code)
        except click.UsageError as error:
            message = error.format_message().rstrip(".")
            if isinstance(error, click.MissingParameter):  # with the choices on lines of their own
                message = " ".join(message.split())
            fail("scullvfs", message + _see_help(error), error.exit_code)
        except click.ClickException as error:
            fail("scullvfs", error.format_message(), error.exit_code)
        except ScullvfsError as error:
            fail("scullvfs", str(error), error.status)
        except click.Abort:
            fail("scullvfs", "interrupted", ExitStatus.INTERRUPTED)
        except BrokenPipeError:  # `scullvfs mount --help | true`
            sys.stdout = None  # nothing is left to flush at exit
            sys.exit(ExitStatus.FAILURE)
        except OSError as error:
            if error.errno not in OUTPUT_ERRORS or error.filename is not None:
                raise
            sys.stdout = None
            fail("scullvfs", f"cannot write the output: {error.strerror}", ExitStatus.FAILURE)

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        """As click's; colours are for terminals, and for none where NO_COLOR is set.

        https://no-color.org: present and not empty, whatever its value. The width of a help text
        is what click would find out.
        """
        extra.setdefault("terminal_width", max(min(columns(), WIDEST) - 2, NARROWEST))
        if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
            extra.setdefault("color", False)
        return super().make_context(*args, **extra)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that `args` begins with, or suggest one."""
        name = args[0]
        known = self.get_command(ctx, name) is not None
        # Shell completion asks with "resilient parsing", and wants no errors.
        if not known and not name.startswith("-") and not ctx.resilient_parsing:
            raise click.UsageError(f"unknown command '{name}'{did_you_mean(name, self.commands)}")
        return super().resolve_command(ctx, args)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write where to read on, and all exit statuses."""
        formatter.write_paragraph()
        formatter.write_text(
            f"'{ctx.command_path} COMMAND --help' says more, with examples; "
            f"'{ctx.command_path} doctor' finds out what is missing on this machine."
        )
        write_exit_statuses(formatter)


def _see_help(error: click.UsageError) -> str:
    """Where to read on, unless the message already says what to do."""
    if error.format_message().endswith("?"):
        return ""
    command = error.ctx.command_path if error.ctx is not None else "scullvfs"
    return f"; '{command} --help' says more"
