"""Measures what a first write costs: `python tests/bench/first_write.py [--free] [--rounds N]`.

A pwrite of a whole quantum, for which it has to be allocated, beside one that finds it there:

    cold     the file has been empty for half a second: what the data took has gone back to the host
    warm     the file was emptied just before
    rewrite  the data is there

One goes through 125 MiB, which is more than a mount keeps for the next write.  Mounts with
scattered frames and without, and a file on a tmpfs, are measured in turn, so that a change of the
machine's speed falls on all.  Client and daemons are pinned to one CPU, or with `--free` not.

Not a test: pytest does not collect it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[2]))

from client import KIB, MIB, compiled_client, microseconds

from scullvfs.bench.affinity import moved, pinned
from scullvfs.bench.disturb import watched
from scullvfs.bench.targets import Target, own_mount, tmpfs
from scullvfs.options.table import parse_options

CASES = ((4, 64 * KIB), (0, 4 * KIB))
"""(scullv_order, bytes of a call)."""
MOUNTS = {"scullvfs, default": "shuffle=1", "scullvfs, shuffle=0": "shuffle=0"}
SPAN = 125 * MIB
REST = 0.5
"""Seconds after which a file that was emptied is cold."""


class FirstWrite(NamedTuple):
    """One line of the table: microseconds a call, medians; and of the rounds' ratios."""

    target: str
    size: int
    cold: float
    warm: float
    rewrite: float
    cold_ratio: float
    warm_ratio: float

    @property
    def name(self) -> str:
        """What was measured."""
        return f"{self.size // KIB} KiB, {self.target}"


def measure_round(client: str, target: Target, size: int) -> tuple[float, float, float]:
    """Microseconds of a call: cold, warm, rewrite."""
    target.empty()
    time.sleep(REST)
    calls = "first", "first", "write"
    cold, warm, rewrite = (
        microseconds(client, target.file, call, size, SPAN // size, SPAN) for call in calls
    )
    return cold, warm, rewrite


def bench_first_writes(rounds: int, free: bool = False) -> Iterator[FirstWrite]:
    """All cases on all targets."""
    cpu = None if free else min(os.sched_getaffinity(0))
    for order, size in CASES:
        with ExitStack() as stack:
            client = stack.enter_context(compiled_client())
            targets = {
                name: stack.enter_context(
                    own_mount(parse_options([f"order={order},{options}"]), "scullv0")
                )
                for name, options in MOUNTS.items()
            }
            targets["tmpfs"] = stack.enter_context(tmpfs())
            stack.enter_context(pinned(cpu))
            for target in targets.values():
                stack.enter_context(moved(target.server, cpu))
            yield from _bench(client, targets, size, rounds)


def _bench(client: str, targets: dict[str, Target], size: int, rounds: int) -> Iterator[FirstWrite]:
    costs: dict[str, list[Sequence[float]]] = {name: [] for name in targets}
    for _ in range(rounds):
        for name, target in targets.items():
            costs[name].append(measure_round(client, target, size))
    for name, rows in costs.items():
        cold, warm, rewrite = (statistics.median(column) for column in zip(*rows, strict=True))
        ratios = (statistics.median(row[column] / row[2] for row in rows) for column in (0, 1))
        yield FirstWrite(name, size, cold, warm, rewrite, *ratios)


def main() -> None:
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--free", action="store_true", help="pin nothing")
    parser.add_argument("--rounds", type=int, default=7, help="rounds a number (default 7)")
    arguments = parser.parse_args()
    with watched([]) as watch:
        found = list(bench_first_writes(arguments.rounds, arguments.free))
    print("| a write of | cold, us | warm, us | rewrite, us | cold ratio | warm ratio |")
    print("|---|---:|---:|---:|---:|---:|")
    for row in found:
        numbers = " | ".join(f"{each:.1f}" for each in row[2:5])
        print(f"| {row.name} | {numbers} | {row.cold_ratio:.2f} | {row.warm_ratio:.2f} |")
    print()
    for line in watch.seen.sentences()[1:]:
        print(f"- {line}")


if __name__ == "__main__":
    main()
