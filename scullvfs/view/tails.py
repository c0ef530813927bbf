"""The last lines of a file, as many as there is room for: a panel of the live view."""

from __future__ import annotations

import re
from typing import Final

from rich.text import Text
from textual.widget import Widget

from scullvfs.mm.printk import KERN_WARNING

from .marks import Marks
from .moment import Tail

__all__ = ["TailView"]

LEVEL: Final = re.compile(r"<[0-7]>")
STYLES: Final = {**dict.fromkeys(range(KERN_WARNING), "bold red"), KERN_WARNING: "yellow"}
"""Level -> how a line of it is written."""


class TailView(Widget):
    """A heading, and below it the lines.

    Args:
        heading: what they are.
        empty: what to say when there are none.
    """

    def __init__(self, heading: str, empty: str, marks: Marks, *, id: str) -> None:
        super().__init__(id=id)
        self._heading = heading
        self._empty = empty
        self._marks = marks
        self._tail: Tail | None = None

    def show(self, tail: Tail) -> None:
        """Have other lines."""
        if tail != self._tail:
            self._tail = tail
            self.refresh()

    def render(self) -> Text:
        """What fits; of a line the beginning."""
        width, height = self.size
        heading = self._heading
        lines: tuple[str, ...] = ()
        if self._tail is not None:
            lines = self._tail.lines[-max(height - 1, 1) :]
            heading += f": {self._tail.note}" if self._tail.note else ""
        rule = "-" if self._marks.ascii else "─"
        text = Text(f"{rule * 2} {heading} ".ljust(width, rule), style="bold", end="")
        text.truncate(width)
        for line in lines or (self._empty,):
            part = self._line(line) if lines else Text(line, style="dim")
            part.truncate(width, overflow="crop" if self._marks.ascii else "ellipsis")
            text = Text.assemble(text, "\n", part)
        return text

    def _line(self, line: str) -> Text:
        """A level of the kernel log becomes a colour."""
        if LEVEL.match(line):
            return Text(line[3:], style=STYLES.get(int(line[1]), ""))
        return Text(line)
