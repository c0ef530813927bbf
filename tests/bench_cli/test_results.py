"""Medians, spreads and ratios, and the three ways to print them."""

import csv
import io
import json

import pytest

from scullvfs.bench.dd import CALLS, Outcome
from scullvfs.bench.disturb import Disturbance
from scullvfs.bench.measure import Sample
from scullvfs.bench.results import Cell, Row, as_csv, as_json, rows, table

MB = 1_000_000

RATES = {"scullvfs": (10, 30, 20), "tmpfs": (40, 60, 100), "floor": (20, 20, 20)}


def samples(targets: tuple[str, ...] = ("floor", "tmpfs", "scullvfs")) -> list[Sample]:
    """Three rounds of two block sizes; large blocks of scullvfs are read in two calls each."""
    found = []
    for number in range(3):
        for size in (MB, 1000):
            for call in CALLS:
                for target in targets:
                    short = size == MB and target == "scullvfs" and call == "read"
                    seconds = 4 / RATES[target][number]
                    outcome = Outcome(4 * MB, seconds, 0 if short else 4, 8 if short else 0)
                    found.append(Sample(target, call, size, number, outcome))
    return found


def test_cell() -> None:
    """Of 1, 2, 3, 4, 10 the quartiles are 2 and 4."""
    cell = Cell((3, 1, 10, 2, 4), 512, False)
    assert (cell.median, cell.spread) == (3, 1)


def test_cell_single_round() -> None:
    """One number has no spread."""
    assert Cell((3,), 512, False).spread == 0


def test_rows() -> None:
    """Calls in their order, sizes ascending, targets in the order of the columns."""
    found = rows(samples())
    assert [(row.call, row.size) for row in found] == [
        (call, size) for call in CALLS for size in (1000, MB)
    ]
    assert all(list(row.cells) == ["scullvfs", "tmpfs", "floor"] for row in found)
    assert found[0].cells["scullvfs"].rates == pytest.approx((10, 30, 20))


def test_rows_short_calls() -> None:
    """Reads show it, writes have it too; the other targets and the small blocks do not."""
    short = {
        (row.call, row.size, target)
        for row in rows(samples())
        for target, cell in row.cells.items()
        if cell.short
    }
    assert short == {(call, MB, "scullvfs") for call in CALLS}


def test_ratio_is_that_of_rounds() -> None:
    """Of 1/4, 1/2 and 1/5 the median, not 20/60."""
    row = rows(samples())[0]
    assert row.ratio("tmpfs") == pytest.approx(0.25)
    assert row.ratio("floor") == pytest.approx(1.0)


def test_ratio_to_nothing() -> None:
    """What was not measured has none."""
    row = Row("read", 512, {"scullvfs": Cell((1.0,), 512, False)})
    assert row.ratio("floor") is None


def test_table() -> None:
    """Medians with spreads, ratios, and the mark where calls are short."""
    text = table(rows(samples()))
    lines = text.splitlines()
    assert lines[0].split() == ["cold", "scullvfs", "tmpfs", "floor", "/", "tmpfs", "/", "floor"]
    assert " ".join(lines[1].split()) == "1000 20.0 ± 5.00 60.0 ± 15.0 20.0 ± 0.00 0.25 1.00"
    assert lines[2].split()[:5] == ["1000000", "20.0", "±", "5.00", "*"]
    assert len({len(line) for line in lines[:3]}) == 1
    assert "median of 3 rounds" in text
    assert "\n* one call moves less than a block" in text


def test_table_fits_a_terminal() -> None:
    """No line is wrapped at 80 columns, and no column runs into the next, however fast it is."""
    cells = {name: Cell((12345.0, 23456.0, 34567.0), 512, True) for name in RATES}
    lines = table([Row(call, 4 << 20, cells) for call in CALLS]).splitlines()
    assert "23456 ± 5556 *" in lines[1]
    assert all(len(line) < 80 for line in lines)
    assert len(lines[1].split()) == 1 + 4 * 3 + 2


def test_table_without_others() -> None:
    """No columns for what was not measured, and no mark that nothing bears."""
    text = table(rows(sample for sample in samples(("scullvfs",)) if sample.size == 1000))
    assert text.splitlines()[0].split() == ["cold", "scullvfs"]
    assert "*" not in text


def test_csv() -> None:
    """A line a number, ratios on the lines of scullvfs."""
    lines = list(csv.DictReader(io.StringIO(as_csv(rows(samples())))))
    assert len(lines) == 4 * 2 * 3
    assert lines[0] == {
        "call": "cold",
        "block_size": "1000",
        "target": "scullvfs",
        "bytes": "4000000",
        "mb_per_s": "20.0",
        "spread": "5.0",
        "short_calls": "0",
        "to_tmpfs": "0.25",
        "to_floor": "1.0",
    }
    assert lines[1]["to_tmpfs"] == ""


def test_json() -> None:
    """The same, with every round, and what disturbed it."""
    text = as_json(rows(samples()), Disturbance(others=0.5), {"sizes": "4K"}, ["no floor"])
    whole = json.loads(text)
    assert (whole["sizes"], whole["notes"]) == ("4K", ["no floor"])
    assert whole["disturbance"]["others"] == 0.5
    assert whole["results"][0]["rounds"] == [10, 30, 20]
    assert whole["results"][-1]["target"] == "floor"
    assert {record["short_calls"] for record in whole["results"]} == {0, 1}
