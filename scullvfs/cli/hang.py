"""Lines for people: on a terminal a long text is broken to its width, with a hanging indent."""

import os
import re
import sys

__all__ = ["columns", "hang"]

NARROW = 20
"""Columns that a text gets, however narrow the terminal is."""


def hang(text: str, indent: int, *, after: str = " ", terminal: bool | None = None) -> str:
    """`text` as it goes behind a head of `indent` columns; the lines that follow begin below it.

    On a terminal a line ends behind the last `after` that fits. Elsewhere, for grep and its like,
    all of it stays one line. `terminal` says which of it stdout is; not given, it is asked.
    """
    if not (sys.stdout.isatty() if terminal is None else terminal):
        return text
    width = max(columns() - indent, NARROW)
    lines = [""]
    for piece in re.split(f"(?<={re.escape(after)})", text):
        if lines[-1] and len((lines[-1] + piece).rstrip()) > width:
            lines.append("")
        lines[-1] += piece
    return f"\n{'':{indent}}".join(line.rstrip() for line in lines)


def columns() -> int:
    """The width of the terminal, or what COLUMNS says; 80 where neither tells.

    As `shutil.get_terminal_size`, which comes with modules for archives of all kinds.
    """
    said = os.environ.get("COLUMNS", "")
    if said.isdecimal() and int(said) > 0:
        return int(said)
    try:
        return os.get_terminal_size(sys.__stdout__.fileno()).columns or 80  # type: ignore[union-attr]
    except (AttributeError, ValueError, OSError):  # it is closed, or no terminal
        return 80
