"""RAM by owner and the window of vmalloc(), as SVG: cells with a colour and a letter each."""

from __future__ import annotations

from itertools import groupby
from typing import Final

from scullvfs.mm.layout import PAGE_SHIFT
from scullvfs.text import shown

from .cells import (
    cells_of,
    ram_notes,
    ram_rows,
    ram_words,
    share_words,
    window_notes,
    window_rows,
    window_words,
)
from .memory import SVG_ACROSS as ACROSS
from .memory import SVG_CELLS, Memory
from .night import FREE_FILLS
from .ram import FREE, GUARD, LARGE, LETTERS, OTHER, SLAB, TABLES, VMALLOC
from .shapes import PAPER, QUIET, Canvas
from .words import hexadecimal

__all__ = ["memory_svg"]

WIDTH: Final = 1200
LEFT: Final = 30
ROOM: Final = WIDTH - 2 * LEFT
CELLS: Final = LEFT + 150.0
"""Where rows of cells begin."""
CELL: Final = 9.0
HIGH: Final = 16
COLUMN: Final = 600
"""From one half of a legend to the other."""
RIGHT: Final = (420, 540)
"""Where the numbers of a half end."""
FEW: Final = 8
"""Rows that are not worth two halves."""

DEVICES: Final = ("#8ecae6", "#ffb703", "#95d5b2", "#f4a6c0", "#cdb4db", "#e9c46a", "#a8dadc")
FILLS: Final = {
    **dict(zip(FREE, FREE_FILLS, strict=True)),
    SLAB: "#b7b7d7",
    LARGE: "#9fc1c1",
    TABLES: "#c39bd3",
    VMALLOC: "#d5c7a3",
    OTHER: "#e4e1f2",
    ".": "#f7f7f7",
    GUARD: "#e07a5f",
    "Z": "#f2b8b0",
    "P": "#bde0fe",
    **{letter: DEVICES[at % len(DEVICES)] for at, letter in enumerate(LETTERS)},
}
"""Letter -> colour."""


def memory_svg(model: Memory, mount: str) -> str:
    """The picture.

    Args:
        mount: its path.

    Raises:
        ScullvfsError: Jinja2 is not installed.
    """
    ram, window = model.ram, model.window
    canvas = Canvas("memory", WIDTH, f"RAM and vmalloc window of {shown(mount)}")
    canvas.text(LEFT, 40, "RAM", 20, bold=True)
    y = canvas.paragraph(LEFT, 64, f"of {shown(mount)}: {ram_words(ram)}", ROOM, QUIET)
    share, cells = cells_of(ram.letters, SVG_CELLS)
    y = _rows(canvas, cells, 0, share << PAGE_SHIFT, y, 12)
    owners = {owner.letter for owner in ram.owners}
    y = canvas.paragraph(LEFT, y + 20, share_words(share, "frame", cells, owners), ROOM)
    y = _legend(canvas, ["", "whose", "frames", "kB"], ram_rows(ram), y + 14)
    for note in ram_notes(ram):
        y = canvas.paragraph(LEFT, y + 8, note, ROOM)
    y += 40
    canvas.text(LEFT, y, "The window of vmalloc()", 20, bold=True)
    digits = model.digits
    canvas.text(LEFT, y + 24, window_words(window, digits), fill=QUIET)
    band = window.band
    y = _rows(canvas, band.letters, band.start, band.cell << PAGE_SHIFT, y + 44, digits)
    for note in window_notes(window, ACROSS):
        y = canvas.paragraph(LEFT, y + 20, note, ROOM) - 8
    y = _legend(canvas, ["", "what", "ranges", "addresses"], window_rows(window), y + 22)
    return canvas.svg(y + 20)


def _rows(canvas: Canvas, cells: str, start: int, size: int, y: float, digits: int) -> float:
    """Rows of cells; those that are alike and side by side are one rectangle and one text."""
    letter_width = canvas.extent("X", 10)
    for at in range(0, len(cells), ACROSS):
        canvas.text(LEFT, y + 12, hexadecimal(start + at * size, digits), 12, QUIET)
        x: float = CELLS
        for letter, same in groupby(cells[at : at + ACROSS]):
            count = sum(1 for _ in same)
            canvas.box(x, y, count * CELL, HIGH, FILLS.get(letter, PAPER), "")
            left = x + (CELL - letter_width) / 2
            # From the first one's left to the last one's right, so each is in its cell's middle.
            spread = (count - 1) * CELL + letter_width if count > 1 else 0
            canvas.text(left, y + 12, letter * count, 10, length=spread)
            x += count * CELL
        y += HIGH + 1
    return y


def _legend(
    canvas: Canvas, head: list[str], rows: list[tuple[str, str, str, str]], y: float
) -> float:
    """A table with a cell before each row, in two halves; what has no letter is below them."""
    letters = [row for row in rows if row[0]]
    half = max(-(-len(letters) // 2), FEW)
    for left, part in ((LEFT, letters[:half]), (LEFT + COLUMN, letters[half:])):
        if not part:
            continue
        canvas.text(left + 34, y + 13, head[1], bold=True)
        for right, words in zip(RIGHT, head[2:], strict=True):
            canvas.right(left + right, y + 13, words, fill=QUIET)
        for number, (letter, name, *numbers) in enumerate(part, 1):
            at = y + 2 + 20 * number
            canvas.box(left, at, 24, HIGH, FILLS.get(letter, PAPER))
            canvas.centred(left + 12, at + 12, letter, 12)
            canvas.text(left + 34, at + 13, name)
            for right, words in zip(RIGHT, numbers, strict=True):
                canvas.right(left + right, at + 13, words)
    y += 22 + 20 * min(half, len(letters))
    for _, name, *numbers in rows[len(letters) :]:
        left = LEFT + COLUMN if len(letters) > half else LEFT
        canvas.line(f"M{LEFT} {y + 4}H{left + RIGHT[1]}", QUIET, 0.8)
        canvas.text(left + 34, y + 19, name, bold=True)
        for right, words in zip(RIGHT, numbers, strict=True):
            canvas.right(left + right, y + 19, words)
        y += 26
    return y + 10
