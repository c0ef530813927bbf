"""From the runs to what is printed: medians, spreads, ratios; a table, JSON, CSV.

The spread is half the distance between the quartiles: half of the rounds lie within about
that much of the median. A ratio is the median of the rounds' ratios, since a round's runs
were made on the same machine within a moment. It is one of rates, so 0.5 is half as fast.
"""

import csv
import io
import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from scullvfs.options.parsers import format_size

from .dd import CALLS
from .disturb import Disturbance
from .measure import Sample
from .targets import FLOOR, SCULLVFS, TMPFS

__all__ = ["Cell", "Row", "as_csv", "as_json", "rows", "table"]

ORDER: Final = (SCULLVFS, TMPFS, FLOOR)
"""The columns, from left to right."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One number of the table: a call with a block size on a target."""

    rates: tuple[float, ...]
    """MB/s of each round."""
    bytes: int
    """What one run moved."""
    short: bool
    """Whether one call of read(2) or write(2) moved less than a block here."""

    @property
    def median(self) -> float:
        """MB/s."""
        return statistics.median(self.rates)

    @property
    def spread(self) -> float:
        """Half the interquartile range in MB/s; 0 for a single round."""
        if len(self.rates) < 2:
            return 0.0
        first, _, third = statistics.quantiles(self.rates, n=4, method="inclusive")
        return (third - first) / 2


@dataclass(frozen=True, slots=True)
class Row:
    """A call with a block size, on all targets."""

    call: str
    size: int
    cells: dict[str, Cell]
    """By target, in the order of the columns."""

    def ratio(self, target: str) -> float | None:
        """How fast scullvfs is beside `target`; None if that was not measured."""
        other = self.cells.get(target)
        if other is None:
            return None
        pairs = zip(self.cells[SCULLVFS].rates, other.rates, strict=True)
        return statistics.median(ours / theirs for ours, theirs in pairs)


def rows(samples: Iterable[Sample]) -> list[Row]:
    """All runs, put together: calls in the order of CALLS, block sizes ascending."""
    runs: dict[tuple[str, int, str], list[Sample]] = {}
    for sample in samples:
        runs.setdefault((sample.call, sample.size, sample.target), []).append(sample)
    sizes = sorted({size for _, size, _ in runs})
    return [
        Row(
            call,
            size,
            {
                target: _cell(runs[call, size, target], runs["read", size, target])
                for target in ORDER
                if (call, size, target) in runs
            },
        )
        for call in CALLS
        for size in sizes
    ]


def _cell(runs: Sequence[Sample], reads: Sequence[Sample]) -> Cell:
    """Only a read shows whether a call is cut short: dd repeats a short write by itself."""
    return Cell(
        rates=tuple(run.outcome.rate for run in sorted(runs, key=lambda run: run.round)),
        bytes=runs[0].outcome.bytes,
        short=any(read.outcome.partial for read in reads),
    )


def table(rows: Sequence[Row]) -> str:
    """A table for people, a part for each call, for terminals of 80 columns.

    Not by a library: tabulate drops the blanks that keep the numbers of a column in line where
    only some bear a mark, and takes longer to import than the command; rich takes longer still.
    """
    targets = list(rows[0].cells)
    against = [target for target in (TMPFS, FLOOR) if target in targets]
    width = 17
    lines = []
    for call in CALLS:
        lines.append(
            f"{call:8}"
            + "".join(f"{target:>{width}}" for target in targets)
            + "".join(f"{'/ ' + target:>9}" for target in against)
        )
        lines += [
            f"{format_size(row.size):>8}"
            + "".join(f"{_in_words(row.cells[target]):>{width}}" for target in targets)
            + "".join(f"{row.ratio(target):9.2f}" for target in against)
            for row in rows
            if row.call == call
        ]
        lines.append("")
    rounds = len(rows[0].cells[SCULLVFS].rates)
    many = (
        "one round" if rounds == 1 else f"median of {rounds} rounds ± half the quartiles' distance"
    )
    lines.append(f"MB/s (10^6 bytes), {many};")
    lines.append("ratios of rates, more is faster")
    if any(cell.short for row in rows for cell in row.cells.values()):
        lines.append("* one call moves less than a block, by the driver's rules at most to the end")
        lines.append("  of a quantum; dd makes more calls, and the rate is of what they moved")
    return "\n".join(lines)


def _in_words(cell: Cell) -> str:
    """`812 ± 5 *`; the space at the end keeps the numbers of a column in line."""
    return (
        f"{_three_digits(cell.median)} ± {_three_digits(cell.spread)}{' *' if cell.short else '  '}"
    )


def _three_digits(value: float) -> str:
    return (
        f"{value:.0f}" if value >= 99.95 else f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"
    )


def as_json(
    rows: Sequence[Row], disturbance: Disturbance, about: dict[str, Any], notes: Sequence[str]
) -> str:
    """Everything, the rate of each round included; `about` says what was measured on what."""
    whole = {
        **about,
        "notes": list(notes),
        "disturbance": disturbance.as_dict(),
        "results": [
            {**record, "rounds": [round(rate, 3) for rate in row.cells[record["target"]].rates]}
            for row in rows
            for record in _records(row)
        ],
    }
    return json.dumps(whole, indent=1)


def as_csv(rows: Sequence[Row]) -> str:
    """One line a number, with a header; an empty field where there is nothing to compare with."""
    text = io.StringIO()
    records = [record for row in rows for record in _records(row)]
    writer = csv.DictWriter(text, list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue().rstrip("\n")


def _records(row: Row) -> list[dict[str, Any]]:
    return [
        {
            "call": row.call,
            "block_size": row.size,
            "target": target,
            "bytes": cell.bytes,
            "mb_per_s": round(cell.median, 3),
            "spread": round(cell.spread, 3),
            "short_calls": int(cell.short),
            "to_tmpfs": _rounded(row.ratio(TMPFS)) if target == SCULLVFS else None,
            "to_floor": _rounded(row.ratio(FLOOR)) if target == SCULLVFS else None,
        }
        for target, cell in row.cells.items()
    ]


def _rounded(ratio: float | None) -> float | None:
    return None if ratio is None else round(ratio, 4)
