"""What lies over the live view when a key is pressed: help, faults, the picture of a device."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from rich.console import Group as Stack
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.events import Resize
from textual.screen import Screen
from textual.widgets import Footer, Static

from .device import Device
from .marks import NARROWEST, Marks
from .show import device_title, draw_device
from .table import COLUMNS
from .words import count_words

__all__ = ["FaultsScreen", "HelpScreen", "PictureScreen"]

KEYS: Final = (
    ("Up, Down, ...", "select a device"),
    ("Enter", "its picture, as 'scullvfs show' draws it"),
    ("Left, Right", "sort by another column, as does a click on its heading"),
    ("R", "sort the other way round"),
    ("F", "what is made to fail"),
    ("Esc", "back; this is ?"),
    ("Q, Ctrl-C", "quit"),
)
LINES: Final = (
    ("RAM", "of the machine: quanta of devices, then what else is in use"),
    ("window", "addresses of vmalloc(): in use, then freed and not yet purged"),
    ("free", "free memory by the order of its blocks: 0 to 9, X is 10"),
    ("slabs", "what the kernel's caches have, the largest first"),
    ("calls", "calls to all devices, as a curve over the last looks"),
)


class Sheet(Screen[None]):
    """Something to read, which can be scrolled."""

    BINDINGS = [
        Binding("escape", "app.pop_screen", "Back", key_display="Esc"),
        Binding("q,Q,f,F,question_mark", "app.pop_screen", "Back", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._text = Static()

    def compose(self) -> ComposeResult:
        """The text, and the keys."""
        with VerticalScroll():
            yield self._text
        yield Footer(compact=True)

    def put(self, content: RenderableType) -> None:
        """Show it."""
        self._text.update(content)


class HelpScreen(Sheet):
    """Keys, lines and columns."""

    def on_mount(self) -> None:
        """Say what there is."""
        columns = [(column.title, column.meaning) for column in COLUMNS]
        parts = [("Keys", KEYS), ("Lines", LINES), ("Columns", columns)]
        self.put(Stack(*(each for part in parts for each in _list(*part))))


def _list(heading: str, rows: Iterable[tuple[str, str]]) -> Iterator[RenderableType]:
    yield Text(heading, style="underline")
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(style="bold", width=13)
    table.add_column()
    for word, meaning in rows:
        table.add_row(word, meaning)
    yield table


class FaultsScreen(Sheet):
    """What may fail on demand, and what has."""

    def show(self, faults: Mapping[str, Mapping[str, Any]]) -> None:
        """Have the report's faults."""
        if not faults:
            self.put("Nothing is armed, and nothing has been made to fail.\n\n" + WHERE)
            return
        table = Table(box=None, padding=(0, 2, 0, 0))
        table.add_column("FAULT", overflow="fold")
        table.add_column("ARMED")
        table.add_column("INJECTED", justify="right")
        for name, fault in sorted(faults.items(), key=lambda item: (not item[1]["armed"], item[0])):
            armed = Text("armed", style="bold red") if fault["armed"] else Text("no", style="dim")
            table.add_row(name, armed, f"{fault['injected']:,}")
        self.put(Stack(table, Text(), Text(WHERE)))


WHERE: Final = (
    "It is set in sys/kernel/debug: failslab/, fail_page_alloc/, fail_usercopy/, fail_function/ "
    "for the machine, scull/ for the devices."
)


class PictureScreen(Sheet):
    """A device down to its page frames.

    Args:
        path: of the mount.
        again: has the device read anew.
    """

    BINDINGS = [Binding("r,R", "again", "Read again", key_display="R")]

    def __init__(self, name: str, path: str, marks: Marks, again: Callable[[], object]) -> None:
        super().__init__()
        self.device = name
        """Its name."""
        self._path = path
        self._marks = marks
        self._again = again
        self._model: Device | None = None

    def on_mount(self) -> None:
        """Until it has been read."""
        self.put(f"Reading {self.device} ...")
        self._again()

    def action_again(self) -> None:
        """Read it anew."""
        self._again()

    def show(self, model: Device) -> None:
        """Draw it."""
        self._model = model
        self._draw()

    def fail(self, why: str) -> None:
        """Say why there is none."""
        self._model = None
        self.put(Text(why, style="bold red"))

    def on_resize(self, _event: Resize) -> None:
        """Draw it as wide as it may be now."""
        if self._model is not None:
            self._draw()

    def _draw(self) -> None:
        assert self._model is not None
        width = self.size.width
        if width < NARROWEST:
            self.put(f"A picture takes {count_words(NARROWEST, 'column')}.")
            return
        picture = draw_device(self._model, width, self._marks)
        self.put(Stack(device_title(self._model, self._path), picture))
