"""The end of a program that has failed: one line on stderr, and a status."""

import sys
from typing import NoReturn

import click

from scullvfs.text import one_line

__all__ = ["fail"]


def fail(program: str, message: str, status: int) -> NoReturn:
    """Say why `program` has failed, and exit; where nobody can be told, the status tells."""
    try:
        click.echo(f"{program}: {one_line(message)}", err=True)
    except OSError:
        sys.stderr = None  # else what it has kept of the line would be flushed at exit
    sys.exit(status)
