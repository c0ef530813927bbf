"""Measures what recording adds to a call: `python tests/bench/record.py [--rounds N]`.

    in process    a machine, its driver and tree: no kernel; what a call takes with its line
    mount         preads and pwrites (client.c) of two mounts, of which one is recorded into a file
    daemon        the CPU time that their daemons take for these, the reader of the lines included

Of the first, CPU time, the best of many short rounds; lines are taken out as a reader does.  Of the
others, medians, all on one CPU: client, daemons and who writes the file.  A round asks both in
turn, in the other order each time.

Not a test: pytest does not collect it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[2]))

from client import KIB, MIB, compiled_client, microseconds

from scullvfs.bench.affinity import moved, pinned
from scullvfs.bench.targets import Target, own_mount
from scullvfs.daemon.assemble import assemble
from scullvfs.fs.vfs import Vfs
from scullvfs.mounts.recording import record_file
from scullvfs.options.table import parse_options

OPTIONS = "mem=64M,order=4,devs=1"
CASES = (
    ("write", 16),
    ("write", 4 * KIB),
    ("read", 4 * KIB),
    ("write", 64 * KIB),
    ("read", 64 * KIB),
)
SPAN = 640 * KIB
"""How much of the device is gone over; a round in process moves no more, and has room for its lines
before calls wait."""
CALLS = 50
"""Of a round in process at the most; of one of a mount as many as move BYTES, up to 2000."""
BYTES = 32 * MIB


class Cost(NamedTuple):
    """Microseconds a call."""

    where: str
    call: str
    size: int
    plain: float
    recorded: float


def walk(vfs: Vfs, path: str) -> int:
    """The inode number of a path."""
    ino = 1
    for name in path.split("/"):
        ino = vfs.lookup(ino, name.encode()).ino
    return ino


def rounds_of(vfs: Vfs, take: Callable[[], object]) -> Callable[[str, int], float]:
    """What makes the calls of a round in process, and says what one took."""
    fh, _ = vfs.open(walk(vfs, "scullv0"), os.O_RDWR)
    buffer = memoryview(os.urandom(64 * KIB))

    def one_round(call: str, size: int) -> float:
        data, at, read, write = buffer[:size], 0, vfs.read, vfs.write
        calls = min(CALLS, SPAN // size)
        start = time.thread_time_ns()
        for _ in range(calls):
            if call == "write":
                write(fh, at, data, None)
            else:
                read(fh, at, size, False)
            at = (at + size) % SPAN
        take()
        return (time.thread_time_ns() - start) / calls / 1000

    one_round("write", len(buffer))  # fills it
    return one_round


def bench_in_process(whole: bool, rounds: int) -> Iterator[Cost]:
    """All cases, with the data or without."""
    with ExitStack() as stack:
        plain, recorded = (assemble(parse_options([OPTIONS]), stack)[1].vfs for _ in range(2))
        lines, _ = recorded.open(walk(recorded, record_file(whole)), os.O_RDONLY)
        take = recorded.file(lines).current().take  # type: ignore[attr-defined]
        make = [rounds_of(plain, lambda: None), rounds_of(recorded, lambda: take(1 << 26))]
        for call, size in CASES:
            costs: list[list[float]] = [[], []]
            for number in range(rounds * 30):
                for which in (0, 1) if number % 2 else (1, 0):
                    costs[which].append(make[which](call, size))
            yield Cost("in process", call, size, min(costs[0]), min(costs[1]))


@contextmanager
def recorded_mount(whole: bool) -> Iterator[Target]:
    """A mount that is recorded into a file of its own."""
    with (
        own_mount(parse_options([OPTIONS]), "scullv0") as target,
        tempfile.NamedTemporaryFile(prefix="scullvfs-bench-") as file,
    ):
        source = os.path.join(os.path.dirname(target.file), record_file(whole))
        reader = subprocess.Popen(["cat", source], stdout=file)
        try:
            while not os.stat(file.name).st_size:
                time.sleep(0.01)
            yield target
        finally:
            reader.terminate()
            reader.wait()


def cpu_ns(target: Target) -> int:
    """The CPU time that a mount's daemon has taken."""
    return int(Path(f"/proc/{target.server}/schedstat").read_text().split()[0])


def bench_mount(client: str, whole: bool, rounds: int) -> Iterator[Cost]:
    """The same through mounts."""
    cpu = min(os.sched_getaffinity(0))
    with (
        pinned(cpu),
        own_mount(parse_options([OPTIONS]), "scullv0") as plain,
        recorded_mount(whole) as recorded,
        moved(plain.server, cpu),
        moved(recorded.server, cpu),
    ):
        for call, size in CASES:
            calls = min(BYTES // size, 2000)
            seen: list[list[float]] = [[], []]
            taken: list[list[float]] = [[], []]
            for number in range(rounds + 1):
                for which in (0, 1) if number % 2 else (1, 0):
                    target = (plain, recorded)[which]
                    before = cpu_ns(target)
                    seen[which].append(microseconds(client, target.file, call, size, calls, SPAN))
                    time.sleep(0.15)  # what is left of the lines is read
                    taken[which].append((cpu_ns(target) - before) / calls / 1000)
            for where, costs in (("mount", seen), ("daemon", taken)):
                yield Cost(where, call, size, *(statistics.median(each[1:]) for each in costs))


def main() -> None:
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9, help="rounds a number (default 9)")
    rounds = parser.parse_args().rounds
    print(f"{'':40}{'plain':>10}{'recorded':>10}{'ratio':>8}")
    with compiled_client() as client:
        for whole in (False, True):
            for bench in (bench_in_process, lambda *how: bench_mount(client, *how)):
                for cost in bench(whole, rounds):
                    size = f"{cost.size // KIB} KiB" if cost.size >= KIB else f"{cost.size} bytes"
                    how = ", --data" if whole else ""
                    name = f"{size} {cost.call}, {cost.where}{how}"
                    ratio = cost.recorded / cost.plain
                    print(f"{name:40}{cost.plain:10.2f}{cost.recorded:10.2f}{ratio:8.2f}")
    print("microseconds a call")


if __name__ == "__main__":
    main()
