"""Commands whose `--help` ends with examples, tables and exit statuses.

It is to fit on a screen, so of the statuses it has the numbers. What they mean is one table for
all commands, in `scullvfs.errors`, which the help of the program prints.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import click

from scullvfs.errors import ExitStatus

__all__ = ["ALWAYS", "Command", "write_exit_statuses"]

Rows = Sequence[tuple[str, str]]

ALWAYS: Final = (
    ExitStatus.SUCCESS,
    ExitStatus.FAILURE,
    ExitStatus.USAGE,
    ExitStatus.INTERRUPTED,
)
"""The statuses that every command may exit with."""


class Command(click.Command):
    """A command with tables, examples and exit statuses below its options.

    Args:
        tables: title -> rows of a word and what it means.
        examples: command lines, each with what it does.
        statuses: what the command may exit with, besides `ALWAYS`.
    """

    def __init__(
        self,
        *args: Any,
        examples: Rows,
        tables: dict[str, Rows] | None = None,
        statuses: Iterable[ExitStatus] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.examples = examples
        self.tables = tables or {}
        self.statuses = sorted({*ALWAYS, *statuses})

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples, the tables and the exit statuses.

        What is looked up most comes last: on a small screen it is the end that stays.
        """
        with formatter.section("Examples"):
            for line, meaning in self.examples:
                formatter.write(f"{'':{formatter.current_indent}}{line}\n")
                with formatter.indentation():
                    formatter.write_text(meaning)
        for title, rows in self.tables.items():
            with formatter.section(title):
                formatter.write_dl(rows)
        with formatter.section("Exit status"):
            numbers = ", ".join(str(status.value) for status in self.statuses)
            formatter.write_text(f"{numbers}; 'scullvfs --help' says more.")


def write_exit_statuses(formatter: click.HelpFormatter) -> None:
    """Write the table of all statuses."""
    with formatter.section("Exit status"):
        formatter.write_dl([(str(status.value), status.meaning) for status in ExitStatus])
