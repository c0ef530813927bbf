"""The characters of a picture in a terminal, with a set for those that have ASCII only."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final, NamedTuple

from scullvfs.errors import ScullvfsError, UsageError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

__all__ = ["ASCII", "MISSING", "NARROWEST", "UNICODE", "Marks", "console", "draw", "marks"]

MISSING: Final = (
    "pictures need Rich and Jinja2; run 'pip install scullvfs[view]' or 'pip install rich jinja2'"
)
NARROWEST: Final = 56
"""Columns below which no picture is legible."""


class Marks(NamedTuple):
    """What lines, arrows and fillings are made of."""

    right: str
    down: str
    bar: str
    full: str
    part: str
    empty: str
    ascii: bool


UNICODE: Final = Marks("──▶", "▼", "│", "█", "▒", "·", False)
ASCII: Final = Marks("-->", "v", "|", "#", "+", ".", True)


def marks(ascii_only: bool) -> Marks:
    """Those that the terminal can show, or whatever reads stdout."""
    try:
        "".join(part for part in UNICODE if isinstance(part, str)).encode(
            sys.stdout.encoding or "ascii"
        )
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return ASCII if ascii_only else UNICODE


def draw(screen: Console, title: RenderableType, picture: RenderableType) -> None:
    """Print it.

    Where it is not for a terminal there are no blanks at the ends of lines, and the title, which
    has a path, is one line.
    """
    if screen.is_terminal:
        screen.print(title)
        screen.print(picture)
        return
    with screen.capture() as drawn:
        screen.print(title, soft_wrap=True)
        screen.print(picture)
    for line in drawn.get().splitlines():
        screen.file.write(f"{line.rstrip()}\n")


def console(width: int) -> Console:
    """Where a picture is drawn to: stdout, in colours only if it is a terminal that wants them.

    Raises:
        ScullvfsError: Rich is not installed.
        UsageError: so few columns have no room for one.
    """
    if width < NARROWEST:
        raise UsageError(
            f"a picture takes {NARROWEST} columns, and here are {width}; make the terminal wider, "
            "set COLUMNS, or have it drawn to a file: -o picture.svg"
        )
    try:
        from rich.console import Console
    except ImportError:
        raise ScullvfsError(MISSING) from None
    plain = not sys.stdout.isatty() or bool(os.environ.get("NO_COLOR"))
    return Console(
        width=width,
        no_color=plain,
        color_system=None if plain else "auto",
        force_terminal=None if not plain else False,
        highlight=False,
        markup=False,
        emoji=False,
        legacy_windows=False,
    )
