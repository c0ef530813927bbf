"""The table at the end of a soak."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import click

from .books import Books
from .errors import SoakError

__all__ = ["print_summary"]

MIB = 1 << 20

COUNTS = (
    "fio runs",
    "devices emptied",
    "devices cut off",
    "changes of order or qset",
    "ioctl calls",
    "opens and closes",
    "files of proc and sys read",
)

AT_REST = (
    ("slabs of the machine", "slab", 1, " kB"),
    ("page tables of the machine", "page_tables", 1, " kB"),
    ("resident memory of the daemon", "rss", MIB, " MiB"),
    ("descriptors of the daemon", "fds", 1, ""),
)
"""Name, field of a Rest, unit, suffix."""


def print_summary(
    rounds: int, books: Mapping[str, Books], counts: Mapping[str, Counter[str]]
) -> None:
    """Print what was done and what it took, a column a mount."""
    _line(f"after {rounds} rounds", *books)
    verified = [f"{count['bytes verified'] / MIB:.0f} MiB" for count in counts.values()]
    _line("verified by fio", *verified)
    for name in COUNTS:
        _line(name, *(f"{count[name]}" for count in counts.values()))
    _line("checks of all invariants", *(f"{b.validations}" for b in books.values()))
    click.echo("\nat rest: before all, after the warm-up, at the end")
    for name, field, unit, suffix in AT_REST:
        _line(f"  {name}", *(_rests(b, field, unit, suffix) for b in books.values()))
    _line("  slope of resident memory", *map(_slope, books.values()))
    click.echo("under load, at most")
    _line("  resident memory", *(f"{b.peak_rss / MIB:.1f} MiB" for b in books.values()))
    _line("  descriptors", *(f"{b.most_fds}" for b in books.values()))


def _line(name: str, *values: str) -> None:
    click.echo(f"{name:34}" + "".join(f"{value:>22}" for value in values))


def _rests(books: Books, field: str, unit: int, suffix: str) -> str:
    """The value at three rests: the first, the first warm one, the last."""
    if not books.rests:
        return "-"
    values = [getattr(rest, field) for rest in (books.rests[0], books.warm()[0], books.rests[-1])]
    return " ".join(f"{v}" if unit == 1 else f"{v / unit:.1f}" for v in values) + suffix


def _slope(books: Books) -> str:
    try:
        _, slope = books.growth()
    except SoakError:
        return "-"
    return f"{slope / MIB:+.2f} MiB/h"
