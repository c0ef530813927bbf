"""Measures the memory manager: `python tests/bench/mm.py [--json] [--rounds N]`.

Each number is the median of some rounds; beside it stands the best one, which other
work on the machine disturbs least.  Run it with nothing else going on: the load is
printed with the table.  Not a test: pytest does not collect it.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[2]))

from scullvfs.mm import Machine

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30

LIVE = 100_000
"""Areas in a crowded address space."""


class Result(NamedTuple):
    """One line of the table."""

    name: str
    median: float
    best: float
    unit: str


def measure(
    name: str, work: Callable[[], object], rounds: int, calls: int = 1, unit: str = "us"
) -> Result:
    """Time `work`, which does `calls` of what is measured, `rounds` times."""
    work()  # warms caches and per-cpu lists
    times = []
    gc.collect()
    gc.disable()
    for _ in range(rounds):
        start = time.perf_counter_ns()
        work()
        times.append((time.perf_counter_ns() - start) / calls)
    gc.enable()
    scale = {"us": 1e3, "ms": 1e6}[unit]
    return Result(name, statistics.median(times) / scale, min(times) / scale, unit)


def vmalloc_vfree(machine: Machine, size: int, calls: int) -> Callable[[], None]:
    """Allocates and frees, one after the other, as who fills all of it."""
    vmalloc, vfree = machine.vm.vmalloc, machine.vm.vfree

    def work() -> None:
        for _ in range(calls):
            vfree(vmalloc(size, whole=True))

    return work


def areas(machine: Machine, count: int, size: int = 4 * KIB) -> list[int]:
    """That many live areas."""
    addresses = [machine.vm.vmalloc(size) for _ in range(count)]
    return [address for address in addresses if address is not None]


def bench_vmalloc(rounds: int) -> Iterator[Result]:
    """vmalloc and vfree of a quantum, in address spaces that are more and more crowded."""
    calls, size = 500, 64 * KIB
    name = "vmalloc(64 KiB)+vfree, {}"

    machine = Machine(GIB)
    areas(machine, 100)
    work = vmalloc_vfree(machine, size, calls)
    yield measure(name.format("100 areas live"), work, rounds, calls)

    machine = Machine(2 * GIB)
    live = areas(machine, LIVE)
    work = vmalloc_vfree(machine, size, calls)
    yield measure(name.format("100,000 areas live"), work, rounds, calls)

    for address in live[::2]:
        machine.vm.vfree(address)
    machine.vm.vm_unmap_aliases()
    yield measure(name.format("every other one freed"), work, rounds, calls)
    small = vmalloc_vfree(machine, 4 * KIB, calls)
    text = "vmalloc(4 KiB)+vfree, every other one freed"
    yield measure(text, small, rounds, calls)

    machine = Machine(2 * GIB)
    hole = machine.vm.vmalloc(64 * MIB)
    areas(machine, LIVE)
    machine.vm.vfree(hole)
    machine.vm.vm_unmap_aliases()
    work = vmalloc_vfree(machine, size, calls)
    yield measure(name.format("100,000 behind a low hole"), work, rounds, calls)


def bench_access(rounds: int) -> Iterator[Result]:
    """Reads and writes of areas on scattered frames."""
    machine = Machine(GIB)
    quanta = areas(machine, 1000, 64 * KIB)
    memory = machine.memory
    for size in (64 * KIB, 4 * KIB):
        data = bytes(size)

        def reads(size: int = size) -> None:
            for address in quanta:
                bytes(memory.read(address, size))  # a copy, which makes it a read

        def writes(data: bytes = data) -> None:
            for address in quanta:
                memory.write(address, data)

        text = f"{size // KIB} KiB, scattered frames"
        yield measure(f"write {text}", writes, rounds, len(quanta))
        yield measure(f"read {text}", reads, rounds, len(quanta))


def bench_first_write(rounds: int) -> Iterator[Result]:
    """What a first write is for the memory manager: areas, one after the other, that are filled.

    Warm, their frames were freed just before; cold, the host has the memory behind these.
    """
    calls = 1000
    for size in (64 * KIB, 4 * KIB):
        machine = Machine(GIB)
        vm, memory, data = machine.vm, machine.memory, bytes(size)
        times: dict[str, list[float]] = {"vmalloc": [], "warm": [], "cold": []}
        gc.collect()
        gc.disable()
        for number in range(rounds + 1):
            for name, column in times.items():
                if name == "cold":
                    machine.page_alloc.release_free()
                start = time.perf_counter_ns()
                found = []
                for _ in range(calls):
                    address = vm.vmalloc(size, whole=True)
                    assert address is not None
                    if name != "vmalloc":
                        memory.write(address, data)
                    found.append(address)
                if number:  # the first round warms caches and per-cpu lists
                    column.append((time.perf_counter_ns() - start) / calls / 1e3)
                vm.vfree_bulk(found)
        gc.enable()
        texts = {
            "vmalloc": f"vmalloc({size // KIB} KiB), one after the other",
            "warm": f"the same, and filled: {size // KIB} KiB, warm",
            "cold": f"the same, and filled: {size // KIB} KiB, cold",
        }
        for name, column in times.items():
            yield Result(texts[name], statistics.median(column), min(column), "us")


def bench_slab(rounds: int) -> Iterator[Result]:
    """kmalloc and kfree."""
    slab, calls = Machine(GIB).slab, 5000

    def one_by_one() -> None:
        for _ in range(calls):
            slab.kfree(slab.kmalloc(32))

    def many() -> None:
        for address in [slab.kmalloc(32) for _ in range(calls)]:
            slab.kfree(address)

    yield measure("kmalloc(32)+kfree", one_by_one, rounds, calls)
    yield measure("kmalloc(32)+kfree, 5,000 at a time", many, rounds, calls)


START_UP = """
import os, time
from scullvfs.mm import Machine
page = os.sysconf("SC_PAGE_SIZE")
resident = lambda: int(open("/proc/self/statm").read().split()[1]) * page
before, start = resident(), time.perf_counter_ns()
machine = Machine(mem=16 << 30)
print(time.perf_counter_ns() - start, resident() - before, resident())
"""


def bench_start_up(rounds: int) -> Iterator[Result]:
    """A machine of 16 GiB, each time in a fresh process."""
    environment = {**os.environ, "PYTHONPATH": sys.path[0]}
    rows = []
    for _ in range(rounds):
        output = subprocess.run(
            [sys.executable, "-c", START_UP],
            check=True,
            capture_output=True,
            text=True,
            env=environment,
        ).stdout
        rows.append([int(word) for word in output.split()])
    names = (("start-up", "ms"), ("memory added", "MB"), ("process resident", "MB"))
    for (name, unit), column in zip(names, zip(*rows, strict=True), strict=True):
        median, best = statistics.median(column) / 1e6, min(column) / 1e6
        yield Result(f"Machine of 16 GiB: {name}", median, best, unit)


def bench_trim(rounds: int) -> Iterator[Result]:
    """Freeing 512 MiB in quanta, then draining and releasing it in idle slices."""
    freed, idled, slices = [], [], []
    for _ in range(max(rounds // 3, 3)):
        machine = Machine(GIB)
        quanta = areas(machine, 512 * MIB // (64 * KIB), 64 * KIB)
        for address in quanta:
            machine.memory.memset(address, 0xA5, 64 * KIB)
        start = time.perf_counter_ns()
        for address in quanta:
            machine.vm.vfree(address)
        freed.append(time.perf_counter_ns() - start)
        start = before = time.perf_counter_ns()
        more = True
        while more:
            more = machine.idle_work()
            now = time.perf_counter_ns()
            slices.append(now - before)
            before = now
        idled.append(before - start)
    text = "512 MiB in 64 KiB quanta: "
    for name, times in (
        ("vfree all", freed),
        ("idle_work() to the end", idled),
        ("one idle_work() slice", slices),
    ):
        yield Result(text + name, statistics.median(times) / 1e6, min(times) / 1e6, "ms")
    yield Result(text + "longest slice", max(slices) / 1e6, max(slices) / 1e6, "ms")


def bench_mm(rounds: int) -> Iterator[Result]:
    """Everything that is measured here."""
    for bench in (
        bench_vmalloc,
        bench_first_write,
        bench_access,
        bench_slab,
        bench_start_up,
        bench_trim,
    ):
        yield from bench(rounds)


def main() -> None:
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--rounds", type=int, default=15, help="rounds a number (default 15)")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    results = list(bench_mm(options.rounds))
    if options.json:
        rows = [result._asdict() for result in results]
        print(json.dumps({"load": load, "rounds": options.rounds, "results": rows}, indent=2))
        return
    width = max(len(result.name) for result in results)
    python = f"Python {platform.python_version()}, {os.cpu_count()} CPUs"
    print(f"{python}, load {load:.2f} at the start, {options.rounds} rounds\n")
    print(f"{'':{width}}  {'median':>10}  {'best':>10}")
    for name, median, best, unit in results:
        print(f"{name:{width}}  {median:10.2f}  {best:10.2f}  {unit}")


if __name__ == "__main__":
    main()
