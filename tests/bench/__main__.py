"""All benchmarks of the repository, for before and after a change: `make bench`.

    python tests/bench [--save FILE] [--base FILE] [--rounds N]

Prints tables in Markdown. `--save` keeps the numbers in a file, and `--base` compares with
those of a file that an earlier run has kept: the last column is now / before, of the costs for
the machine, and for requests of their ratio to the floor, which depends less on the day, or for
first writes to a rewrite.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

# The directory itself is first in the path; its requests.py is not the package of that name.
from first_write import bench_first_writes
from mm import bench_mm
from requests import bench_requests

from scullvfs.bench.disturb import watched
from scullvfs.host.versions import version_line

Numbers = dict[str, dict[str, Any]]
"""What is kept of one part: name of a line -> its columns."""


def main() -> None:
    """Measure, print, and keep or compare."""
    parser = argparse.ArgumentParser(prog="tests/bench", description=__doc__.splitlines()[0])
    parser.add_argument("--save", metavar="FILE", help="keep the numbers in this file")
    parser.add_argument("--base", metavar="FILE", help="compare with the numbers in this file")
    parser.add_argument("--rounds", type=int, default=9, help="rounds a number (default 9)")
    arguments = parser.parse_args()
    base = load(parser, arguments.base) if arguments.base else {}
    with watched([]) as watch:
        machine = {
            result.name: {"median": result.median, "best": result.best, "unit": result.unit}
            for result in bench_mm(arguments.rounds)
        }
        requests = {
            cost.name: {"us": cost.us, "floor_us": cost.floor_us, "ratio": cost.ratio}
            for cost in bench_requests(arguments.rounds)
        }
        first = {
            f"{row.name}, {name}": {"us": us, "rewrite_us": row.rewrite, "ratio": ratio}
            for row in bench_first_writes(arguments.rounds)
            for name, us, ratio in (
                ("cold", row.cold, row.cold_ratio),
                ("warm", row.warm, row.warm_ratio),
            )
        }
    print("\n".join(tables(machine, requests, first, base)))
    print()
    # The first sentence is about pinning, which the table itself names.
    print("\n".join(f"- {line}" for line in (version_line(), *watch.seen.sentences()[1:])))
    if arguments.save:
        kept = {
            "machine": machine,
            "requests": requests,
            "first": first,
            "disturbance": watch.seen.as_dict(),
        }
        Path(arguments.save).write_text(json.dumps(kept, indent=1) + "\n")


def load(parser: argparse.ArgumentParser, path: str) -> dict[str, Numbers]:
    """The numbers that --save has kept; a file without them is an error of one line."""
    try:
        kept = json.loads(Path(path).read_text())
        return {part: kept[part] for part in ("machine", "requests")} | {
            "first": kept.get("first", {})
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        parser.error(f"--base {path} is no file that --save has written: {error!r}")


def tables(
    machine: Numbers, requests: Numbers, first: Numbers, base: dict[str, Numbers]
) -> Iterator[str]:
    """All tables, with columns for *base* if there is one."""
    before = base.get("machine", {})
    header = ["the machine", "median", "best", "", *(["before", "now / before"] if base else [])]
    rows = [
        [
            name,
            *(number(row[column]) for column in ("median", "best")),
            row["unit"],
            *compared(row, before.get(name), "median", wanted=bool(base)),
        ]
        for name, row in machine.items()
    ]
    yield from markdown(header, rows)
    yield ""
    yield from _beside(
        ["a request", "scullvfs, us", "floor, us"], "floor_us", requests, base, "requests"
    )
    yield ""
    yield from _beside(
        ["a first write of", "us", "rewrite, us"], "rewrite_us", first, base, "first"
    )


def _beside(
    header: list[str], column: str, numbers: Numbers, base: dict[str, Numbers], part: str
) -> Iterator[str]:
    """A table of costs in microseconds, another cost in `column`, and how the first is to it."""
    before = base.get(part, {})
    header = [*header, "ratio", *(["ratio before", "now / before"] if base else [])]
    rows = [
        [
            name,
            *(number(row[each]) for each in ("us", column, "ratio")),
            *compared(row, before.get(name), "ratio", wanted=bool(base)),
        ]
        for name, row in numbers.items()
    ]
    yield from markdown(header, rows)


def compared(
    now: dict[str, Any], before: dict[str, Any] | None, column: str, *, wanted: bool
) -> list[str]:
    """The columns `before` and `now / before`; empty for a line that was not there before."""
    if not wanted:
        return []
    if before is None:
        return ["", ""]
    return [number(before[column]), f"{now[column] / before[column]:.2f}"]


def number(value: float) -> str:
    """With two decimals, as the smallest ones need."""
    return f"{value:.2f}"


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """A table whose columns are in line as text, too; all but the first to the right."""
    lines = [header, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    lines.insert(1, ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])])
    for line in lines:
        cells = [line[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        yield f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
