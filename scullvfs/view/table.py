"""The table of devices in a live view: its columns, and what they are sorted by."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from rich.text import Text
from textual.binding import Binding
from textual.widgets import DataTable

from .gauges import USED, cost_words, curve_words, rate_words, short_bytes
from .marks import Marks
from .rates import Row

__all__ = ["COLUMNS", "WIDTH", "DeviceTable"]

UNKNOWN: Final = "-"

ACTIVE: Final = "bold"
FAILED: Final = "bold red"


class Column(NamedTuple):
    """One of the table."""

    title: str
    width: int
    value: Callable[[Row], float | None]
    """What it is sorted by; None, it is not known."""
    words: Callable[[float, Marks], str]
    meaning: str
    style: str = ""
    """Of what is not 0."""


def _number(value: float, _marks: Marks) -> str:
    return f"{value:,.0f}"


def _bytes(value: float, _marks: Marks) -> str:
    return short_bytes(value)


COLUMNS: Final = (
    Column("SIZE", 7, lambda row: row.sizes.size, _bytes, "bytes, as ls -l has them"),
    Column("QUANTA", 9, lambda row: row.sizes.quanta, _number, "how many are allocated"),
    Column("MEMORY", 7, lambda row: row.sizes.allocated, _bytes, "bytes of these"),
    Column(
        "CALLS/s",
        8,
        lambda row: row.rates and row.rates.calls,
        lambda value, _marks: rate_words(value),
        "calls; - where the mount does not tell of the device",
        ACTIVE,
    ),
    Column("READ/s", 7, lambda row: row.rates and row.rates.read, _bytes, "bytes read", ACTIVE),
    Column(
        "WRITE/s", 7, lambda row: row.rates and row.rates.written, _bytes, "bytes written", ACTIVE
    ),
    Column(
        "COST",
        7,
        lambda row: row.rates and row.rates.cost,
        cost_words,
        "mean time that a call takes the daemon",
    ),
    Column(
        "ERRORS", 7, lambda row: row.errors, _number, "calls that failed since the mount", FAILED
    ),
)
"""Behind the name, by which they are sorted at first."""
NAME: Final = "DEVICE"
NAME_WIDTH: Final = 10
WIDTH: Final = NAME_WIDTH + sum(column.width + 1 for column in COLUMNS)
"""Of all of them."""
CURVE: Final = "  CALLS/s, the last looks"
"""What is behind them where there is room for it."""
CURVE_KEY: Final = "curve"
MOST: Final = 200
"""Looks that a curve has."""


class DeviceTable(DataTable[Text]):
    """The devices, one of which is selected.

    Args:
        marks: the characters that it may have.
    """

    BINDINGS = [
        Binding("enter", "select_cursor", "Picture", key_display="Enter"),
        Binding("left", "sort_by(-1)", "Sort", key_display="Left/Right"),
        Binding("right", "sort_by(1)", "Sort", show=False),
        Binding("r,R", "reverse", "Reverse", key_display="R"),
    ]

    def __init__(self, marks: Marks) -> None:
        super().__init__(cursor_type="row", cell_padding=0)
        self._marks = marks
        self._sorted_by = 0
        """A column; 0 is the name."""
        self._reversed = False
        self._rows: dict[str, Row] = {}
        self._same: set[str] = set()
        """Those that were the same at the last look."""
        self._curves: dict[str, deque[float]] = {}
        """Calls a second of each device that had any."""
        self._curve_width = 0
        self._shown: dict[tuple[str, str], Text] = {}
        """Device, key of a column -> what is in the cell."""

    def on_mount(self) -> None:
        """Make the columns."""
        self._make_columns()

    def _make_columns(self) -> None:
        self.add_column(self._title(0), width=NAME_WIDTH, key="0")
        for number, column in enumerate(COLUMNS, start=1):
            self.add_column(self._title(number), width=column.width + 1, key=str(number))
        if self._curve_width:
            self.add_column(CURVE, width=self._curve_width, key=CURVE_KEY)

    def _title(self, number: int) -> Text:
        """With an arrow at that by which they are sorted."""
        arrow = ""
        if number == self._sorted_by:
            down = bool(number) != self._reversed
            arrow = ("v" if down else "^") if self._marks.ascii else ("▼" if down else "▲")
        if not number:
            return Text(NAME + arrow)
        return Text(arrow + COLUMNS[number - 1].title, justify="right")

    @property
    def selected(self) -> str | None:
        """The device."""
        if not self.is_valid_row_index(self.cursor_row):
            return None
        return self.coordinate_to_cell_key(self.cursor_coordinate).row_key.value

    def fit(self, width: int) -> None:
        """Have a curve for each device, if there are so many columns."""
        curve = width - WIDTH if width - WIDTH > len(CURVE) else 0
        if curve != self._curve_width:
            self._curve_width = curve
            selected = self.selected
            self.clear(columns=True)
            self._shown.clear()
            self._make_columns()
            self._same.clear()
            self._fill(selected)

    def forget(self) -> None:
        """Begin the curves anew."""
        self._curves.clear()

    def show(self, rows: Sequence[Row]) -> None:
        """Have these rows, with the selected device selected still."""
        selected = self.selected
        now = {row.sizes.name: row for row in rows}
        for name in self._rows.keys() - now.keys():
            self.remove_row(name)
            self._shown = {key: cell for key, cell in self._shown.items() if key[0] != name}
        self._same = {name for name, row in now.items() if self._rows.get(name) == row}
        self._rows = now
        for name, row in now.items():
            calls = row.rates.calls if row.rates is not None else 0.0
            if calls or name in self._curves:
                self._curves.setdefault(name, deque(maxlen=MOST)).append(calls)
        self._fill(selected)

    def _fill(self, selected: str | None) -> None:
        """Write what is another one than before."""
        most = max((max(curve) for curve in self._curves.values()), default=0.0)
        for name, row in self._rows.items():
            if name in self._same and name not in self._curves:
                continue
            cells = {"0": Text(name)}
            cells |= {str(at): self._cell(each, row) for at, each in enumerate(COLUMNS, start=1)}
            if self._curve_width:
                curve = self._curves.get(name, ())
                words = curve_words(curve, most, self._curve_width - 2, self._marks)
                cells[CURVE_KEY] = Text(f"  {words.strip()}" if curve else "", style=USED)
            if (name, "0") not in self._shown:
                self.add_row(*cells.values(), key=name)
                self._shown |= {(name, key): cell for key, cell in cells.items()}
                continue
            for key, cell in cells.items():
                old = self._shown[name, key]
                if (old.plain, old.style) != (cell.plain, cell.style):
                    self.update_cell(name, key, cell)
                    self._shown[name, key] = cell
        self._arrange(selected)

    def _cell(self, column: Column, row: Row) -> Text:
        value = column.value(row)
        if value is None:
            return Text(UNKNOWN, style="dim", justify="right")
        words = column.words(value, self._marks)
        return Text(words, style=column.style if value else "dim", justify="right")

    def _arrange(self, selected: str | None) -> None:
        """Sort, if need be, and find the device that was selected."""
        names = [*self._rows]
        if self._sorted_by:
            column = COLUMNS[self._sorted_by - 1]

            def value(name: str) -> float:
                known = column.value(self._rows[name])
                return -1.0 if known is None else known

            names.sort(key=value, reverse=not self._reversed)
        elif self._reversed:
            names.reverse()
        if names != [row.key.value for row in self.ordered_rows]:
            places = {name: place for place, name in enumerate(names)}
            self.sort("0", key=lambda cell: places[cell.plain])
        if selected in self._rows:
            row = self.get_row_index(selected)
            if row != self.cursor_row:
                self.move_cursor(row=row)

    def action_sort_by(self, step: int) -> None:
        """By the column beside."""
        self._sort((self._sorted_by + step) % (len(COLUMNS) + 1), False)

    def action_reverse(self) -> None:
        """The other way round."""
        self._sort(self._sorted_by, not self._reversed)

    def on_data_table_header_selected(self, event: DataTable.HeaderSelected) -> None:
        """A click: by that column, and again the other way round."""
        number = event.column_index
        if number <= len(COLUMNS):
            self._sort(number, number == self._sorted_by and not self._reversed)

    def _sort(self, number: int, other_way: bool) -> None:
        old, self._sorted_by, self._reversed = self._sorted_by, number, other_way
        for each in {old, number}:
            self.ordered_columns[each].label = self._title(each)
        self._arrange(self.selected)
        self.refresh()
