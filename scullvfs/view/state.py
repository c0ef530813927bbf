"""What the page of `scullvfs view` is told: plain data, as JSON objects.

Its format is here and only here.  The names of the fields are those that the page knows; whatever a
person reads is words already, and addresses are texts, as JavaScript's numbers have 53 bits.
`telling` makes it of the models; everything in it has a bound, however much of it the mount has.

    Now       a few numbers, and whether anything has changed
    Tree      the devices: their items, and the quanta of each set as cells
    Maps      RAM and the window as cells, with legends
    Chosen    one quantum, the way to it, and which cells it lies in
"""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = [
    "FULL",
    "NOTHING",
    "PART",
    "Branch",
    "Cells",
    "Chosen",
    "Items",
    "Maps",
    "Now",
    "Page",
    "Row",
    "Step",
    "Tree",
    "as_json",
]

FULL, PART, NOTHING = "#", "+", "."
"""What of the places that a cell stands for lead to a quantum: all, some, none."""


class Now(NamedTuple):
    """What is cheap to ask for."""

    mark: str
    """While it stays the same, nothing has changed that the mount counts."""
    words: str


class Items(NamedTuple):
    """List items that are alike, and the quantum set of each."""

    heading: str
    words: str
    first: int
    """The number of the quantum at place 0 of the first of them."""
    share: int
    """Places of a cell."""
    cells: str
    """FULL, PART and NOTHING; behind the last one all places are empty."""


class Branch(NamedTuple):
    """A device."""

    name: str
    letter: str
    """In the maps; empty, it has no quantum."""
    words: str
    quantum: int
    """Bytes of one."""
    quanta: int
    places: int
    """How many its items have: the numbers of its quanta are below that."""
    items: tuple[Items, ...]
    left: str
    """What is not told."""


class Tree(NamedTuple):
    """All devices that are told."""

    devices: tuple[Branch, ...]
    left: str


class Row(NamedTuple):
    """One of a legend."""

    letter: str
    name: str
    number: int
    size: str


class Cells(NamedTuple):
    """RAM, or a part of the window."""

    start: str
    end: str
    digits: int
    """Of an address."""
    share: int
    """Pages of a cell."""
    letters: str
    """Whose or what most of each cell is."""
    others: str
    """Which device has something in it beside that; a blank, none."""
    words: str


class Maps(NamedTuple):
    """RAM and the window."""

    ram: Cells
    ram_rows: tuple[Row, ...]
    """Who has frames: their numbers add up to `total`."""
    total: Row
    ram_notes: tuple[str, ...]
    band: Cells
    window: str
    """All of it, in words."""
    band_rows: tuple[Row, ...]


class Step(NamedTuple):
    """A table entry on the way to a page."""

    level: str
    frame: str
    place: int
    entry: str
    leads: str
    cell: int
    """Of RAM, where the table is."""


class Page(NamedTuple):
    """A page of a quantum."""

    address: str
    name: str
    entry: str
    """Empty in the linear mapping, where a single page has none."""
    frame: str
    cell: int
    """Of RAM; -1, nothing is mapped."""


class Chosen(NamedTuple):
    """A quantum of a device."""

    device: str
    number: int
    where: str
    there: bool
    """Whether there is one; if not, `moral` says why."""
    words: str
    byte: str
    """Whose way it is."""
    start: str
    end: str
    """Addresses of its pages, with the guard page."""
    path: tuple[Step, ...]
    pages: tuple[Page, ...]
    left: str
    """What is not told of its pages."""
    cells: tuple[int, ...]
    """Of RAM, where its frames are."""
    moral: str


def as_json(model: Any) -> Any:
    """A model as the objects of JSON."""
    if isinstance(model, tuple) and hasattr(model, "_asdict"):
        return {name: as_json(value) for name, value in model._asdict().items()}
    if isinstance(model, (tuple, list)):
        return [as_json(each) for each in model]
    return model
