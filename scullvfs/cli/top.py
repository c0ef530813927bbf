"""`scullvfs top`: the command line of the live view of a mount."""

from __future__ import annotations

import os
import sys
from typing import Final

import click

from scullvfs.errors import ExitStatus, ScullvfsError, UsageError
from scullvfs.text import argument, shown

from .candidates import complete_mounts
from .help import Command
from .seconds import Seconds

__all__ = ["top"]

MISSING: Final = (
    "top needs Textual; run 'pip install scullvfs[view]' or 'pip install textual'; "
    "'scullvfs status' does without"
)
SHORTEST: Final = 0.1
LONGEST: Final = 3600.0
"""Seconds between two looks."""


@click.command(
    cls=Command,
    examples=[
        ("scullvfs top /mnt/scullv", "Until Q or Ctrl-C; ? has the keys."),
        ("scullvfs top --interval 0.2 /mnt/scullv", "Five times a second."),
    ],
    statuses=(ExitStatus.PERMISSION, ExitStatus.NOT_MOUNTED, ExitStatus.BUSY),
)
@click.option(
    "--interval",
    type=Seconds(min=SHORTEST, max=LONGEST),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait from one look to the next.",
)
@click.option("--ascii", "ascii_only", is_flag=True, help="Draw with characters of ASCII only.")
@click.argument("mountpoint", shell_complete=complete_mounts)
def top(interval: float, ascii_only: bool, mountpoint: str) -> None:
    """Watch a mount in the terminal.

    Its RAM, addresses, free blocks and slabs; its devices, with what is asked of each and what
    that costs; the last lines of its kernel log, and the events that are recorded. Enter draws the
    device that is selected, F says what is made to fail, ? has all keys. When the mount is gone it
    says so, and looks for another one at the same place.
    """
    from scullvfs.mounts.place import find_scullvfs
    from scullvfs.view.asker import MOMENT, Asker
    from scullvfs.view.marks import marks
    from scullvfs.view.moment import Moment, checked_report

    _check_terminal(mountpoint)
    path = find_scullvfs(mountpoint).path
    moments, devices = Asker(path), Asker(path)
    try:
        first = moments.ask(Moment, MOMENT)
        try:
            checked_report(first.report)
        except ValueError as error:
            raise ScullvfsError(f"{shown(path)}: {error}") from None
        try:
            from scullvfs.view.top import LOWEST, NARROWEST, TopApp
        except ImportError:
            raise ScullvfsError(MISSING) from None
        columns, lines = os.get_terminal_size(sys.stdout.fileno())
        if columns < NARROWEST or lines < LOWEST:
            raise UsageError(
                f"top takes a terminal of {NARROWEST}x{LOWEST}, and this one has {columns}x{lines}"
            )
        if not os.environ.get("NO_COLOR"):  # Textual heeds an empty one
            os.environ.pop("NO_COLOR", None)
        app = TopApp(path, first, moments, devices, interval, marks(ascii_only))
        app.run()
    finally:
        moments.close()
        devices.close()
    if app.interrupted:
        raise KeyboardInterrupt


def _check_terminal(mountpoint: str) -> None:
    """Textual reads from stdin, and writes to stderr.

    Raises:
        UsageError: one of the standard streams is no terminal, or cannot move its cursor.
    """
    streams = (sys.stdin, sys.stdout, sys.stderr)
    if not all(stream is not None and stream.isatty() for stream in streams):
        raise UsageError(
            "top takes a terminal, and here is none; "
            f"'scullvfs status --json {argument(mountpoint)}' is for programs"
        )
    if os.environ.get("TERM") in (None, "", "dumb"):
        raise UsageError(
            "top takes a terminal that can move its cursor (TERM); "
            f"'scullvfs status {argument(mountpoint)}' does without"
        )
