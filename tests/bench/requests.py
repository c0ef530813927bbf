"""Measures what one pread or pwrite costs: `python tests/bench/requests.py [--json] [--rounds N]`.

Beside it stands what it costs on the floor, the FUSE server in C of scullvfs.bench that keeps
nothing: the ratio is what the emulator, the driver and Python add. Both servers are up all the
time, and the client (client.c) goes to one and the other in turn, so that a change of the
machine's speed falls on both; the ratio is the median of the rounds' ratios.

    one cpu   client and servers pinned to one CPU: the cost of the work
    free      nothing pinned: what a user sees, wake-ups between CPUs included

Not a test: pytest does not collect it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[2]))

from client import KIB, MIB, compiled_client, microseconds

from scullvfs.bench.affinity import moved, pinned
from scullvfs.bench.disturb import watched
from scullvfs.bench.floor import floor
from scullvfs.bench.targets import Target, own_mount
from scullvfs.options.table import parse_options

CASES = ((4, (4 * KIB, 64 * KIB)), (8, (MIB,)))
"""(scullv_order, bytes of a call): a call is a quantum at most, so none is short."""

SPAN = 4 * MIB
"""How much of the device is gone over."""

BYTES = 64 * MIB
CALLS = (100, 4000)
"""What a round moves, as long as the number of its calls stays between these."""


class Cost(NamedTuple):
    """One line of the table: microseconds a call, medians."""

    placement: str
    call: str
    size: int
    us: float
    floor_us: float
    ratio: float

    @property
    def name(self) -> str:
        """What was measured."""
        size = f"{self.size // MIB} MiB" if self.size >= MIB else f"{self.size // KIB} KiB"
        return f"{size} {self.call}, {self.placement}"


def measure_one(
    client: str, targets: Sequence[Target], call: str, size: int, rounds: int
) -> list[list[float]]:
    """Microseconds a call, for each round those of the targets; the first round warms up."""
    calls = min(max(BYTES // size, CALLS[0]), CALLS[1])
    costs = []
    for number in range(rounds + 1):
        cost = {}
        for target in targets if number % 2 else reversed(targets):
            cost[target.name] = microseconds(client, target.file, call, size, calls, SPAN)
        costs.append([cost[target.name] for target in targets])
    return costs[1:]


def bench_requests(rounds: int, options: str = "") -> Iterator[Cost]:
    """All cases in both placements, with these mount options beside the order."""
    cpu = min(os.sched_getaffinity(0))
    with ExitStack() as stack:
        client = stack.enter_context(compiled_client())
        floor_target = stack.enter_context(floor())
        for order, sizes in CASES:
            mount_options = parse_options([options, f"order={order}"])
            with own_mount(mount_options, "scullv0") as ours:
                targets = (ours, floor_target)
                for placement, where in (("one cpu", cpu), ("free", None)):
                    with (
                        pinned(where),
                        moved(ours.server, where),
                        moved(floor_target.server, where),
                    ):
                        yield from _bench_sizes(client, targets, sizes, placement, rounds)


def _bench_sizes(
    client: str, targets: Sequence[Target], sizes: Sequence[int], placement: str, rounds: int
) -> Iterator[Cost]:
    for size in sizes:
        for call in ("write", "read"):  # the first fills what the second reads
            pairs = measure_one(client, targets, call, size, rounds)
            ratio = statistics.median(ours / floor for ours, floor in pairs)
            us, floor_us = (statistics.median(column) for column in zip(*pairs, strict=True))
            yield Cost(placement, call, size, us, floor_us, ratio)


def main() -> None:
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--rounds", type=int, default=7, help="rounds a number (default 7)")
    parser.add_argument("-o", dest="options", default="", help="more mount options")
    arguments = parser.parse_args()
    with watched([]) as watch:
        costs = list(bench_requests(arguments.rounds, arguments.options))
    if arguments.json:
        rows = [cost._asdict() for cost in costs]
        print(json.dumps({"disturbance": watch.seen.as_dict(), "results": rows}, indent=2))
        return
    print(f"{'':24}{'scullvfs':>10}{'floor':>10}{'ratio':>8}")
    for cost in costs:
        print(f"{cost.name:24}{cost.us:10.2f}{cost.floor_us:10.2f}{cost.ratio:8.2f}")
    print("microseconds a call, medians; ratio: of the costs, round by round")


if __name__ == "__main__":
    main()
