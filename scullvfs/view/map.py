"""RAM by owner and the window of vmalloc(), in a terminal.

Each cell is a letter with a colour, so that neither alone is needed to read it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Final

from rich import box
from rich.console import Group as Stack
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

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
from .marks import Marks
from .memory import ROWS, Memory
from .ram import FREE, KERNEL, LETTERS
from .window import KINDS
from .words import hexadecimal

__all__ = ["draw_map", "map_title", "style"]

MARGIN: Final = 14
"""Columns before the cells of RAM."""

TITLE: Final = "bold"
DEVICES: Final = ("cyan", "yellow", "green", "bright_magenta", "bright_blue", "bright_red")
STYLES: Final = {
    **dict.fromkeys(FREE, "dim"),
    **dict.fromkeys(KINDS, "dim"),
    **dict.fromkeys(KERNEL, "magenta"),
    "Z": "red",
    "P": "blue",
    "|": "bold",
    **{letter: DEVICES[at % len(DEVICES)] for at, letter in enumerate(LETTERS)},
}
"""Letter -> how it is written."""


def style(letter: str) -> str:
    """How a letter is written."""
    return STYLES.get(letter, "")


def map_title(mount: str) -> Text:
    """What is drawn, of the mount with that path."""
    return Text.assemble(("RAM", TITLE), f" of {shown(mount)}")


def draw_map(model: Memory, width: int, marks: Marks) -> RenderableType:
    """The picture, `width` columns wide."""
    ram = model.ram
    parts: list[RenderableType] = [Text(ram_words(ram))]
    share, cells = cells_of(ram.letters, ROWS * (width - MARGIN))
    parts.append(_rows(cells, 0, share << PAGE_SHIFT, width, 12))
    owners = {owner.letter for owner in ram.owners}
    parts += [Text(share_words(share, "frame", cells, owners)), Text()]
    parts.append(_legend(("whose", "frames", "kB"), ram_rows(ram), marks))
    parts += [Text(note) for note in ram_notes(ram)]
    parts += [Text(), *_window(model, width, marks)]
    return Stack(*parts)


def _rows(cells: str, start: int, size: int, width: int, digits: int) -> Text:
    """Lines of cells, each with the address of its first one."""
    text = Text()
    room = width - digits - 2
    for at in range(0, len(cells), room):
        if at:
            text.append("\n")
        text.append(f"{hexadecimal(start + at * size, digits)}  ", "dim")
        for letter, same in groupby(cells[at : at + room]):
            text.append("".join(same), style(letter))
    return text


def _legend(
    head: tuple[str, str, str], rows: Iterable[tuple[str, str, str, str]], marks: Marks
) -> Table:
    """Whose or what is how much; below what has no letter there is a sum."""
    table = Table(box=box.ASCII if marks.ascii else box.SQUARE, padding=(0, 1), header_style=TITLE)
    table.add_column("")
    table.add_column(head[0])
    table.add_column(head[1], justify="right")
    table.add_column(head[2], justify="right")
    for letter, *words in rows:
        if not letter:
            table.add_section()
        table.add_row(Text(letter, style(letter)), *words)
    return table


def _window(model: Memory, width: int, marks: Marks) -> Iterator[RenderableType]:
    """The band, and what is in all of the window."""
    window, digits = model.window, model.digits
    band = window.band
    yield Text.assemble(("The window of vmalloc()", TITLE), f": {window_words(window, digits)}")
    yield _rows(band.letters, band.start, band.cell << PAGE_SHIFT, width, digits)
    for note in window_notes(window, width - digits - 2):
        yield Text(note)
    yield Text()
    yield _legend(("what", "ranges", "addresses"), window_rows(window), marks)
