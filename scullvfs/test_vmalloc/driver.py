"""The module at work: workers, which take turns on one CPU, and what it says at its end.

Linux: lib/test_vmalloc.c:do_concurrent_test()
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from itertools import groupby, takewhile
from operator import attrgetter
from random import Random
from typing import Final, NamedTuple

from scullvfs.mm import Machine, PageFault
from scullvfs.mm.fault import page_fault_oops
from scullvfs.mm.printk import KERN_INFO, Record
from scullvfs.mm.sched import IDLE, KernelThread
from scullvfs.mm.workqueue import Steps

from .cases import CASES, Case, Setting
from .parameters import Parameters

__all__ = ["Module", "Turns"]

FIRST_PID: Final = 3
"""Of the workers: kthreadd, whose children they are, is 2."""
SOME: Final = 256
"""Turns after which it is said how far it is."""


class Turns(NamedTuple):
    """What has been done since last told."""

    done: int
    """How many."""
    name: str
    """Of the scenario that is being run."""


class CaseData:
    """How a scenario went with one worker (Linux: struct test_case_data)."""

    __slots__ = ("failed", "passed", "time")

    def __init__(self) -> None:
        self.failed = 0
        self.passed = 0
        self.time = 0
        """Microseconds of one run, on average; those of other workers meanwhile are in it."""


class Worker:
    """A thread of the kernel that runs all scenarios (Linux: struct test_driver)."""

    def __init__(self, number: int, machine: Machine, parameters: Parameters, seed: int) -> None:
        self.task: Final = KernelThread(FIRST_PID + number, f"vmalloc_test/{number}")
        self.data: Final = {case: CaseData() for case in _wanted(parameters)}
        self.cycles = 0
        """Nanoseconds that all of it took: the clock goes at 1 GHz."""
        self.name = ""
        """Of the scenario that it runs."""
        self._at = Setting(machine, parameters, Random(f"test_vmalloc {seed} {number}"))

    def test_func(self) -> Steps[None]:
        """Run them in the order that the parameters say.

        Linux: lib/test_vmalloc.c:test_func(), shuffle_array()
        """
        order = list(CASES)
        if not self._at.parameters.sequential_test_order:
            for i in range(len(order) - 1, 0, -1):
                j = self._at.random.randrange(i)
                order[i], order[j] = order[j], order[i]
        repeat, start = self._at.parameters.test_repeat_count, time.monotonic_ns()
        for case in order:
            data = self.data.get(case)
            if data is None:
                continue
            self.name, begun = case.name, time.monotonic_ns()
            for _ in range(repeat):
                if (yield from self._run(case)):
                    data.passed += 1
                else:
                    data.failed += 1
            data.time = (time.monotonic_ns() - begun) // 1000 // repeat
        self.cycles = time.monotonic_ns() - start

    def _run(self, case: Case) -> Steps[bool]:
        try:
            return (yield from case.run(self._at))
        except PageFault as fault:
            functions = [f"{name} [test_vmalloc]" for name in (case.name, "test_func")]
            trace = [*functions, "kthread", "ret_from_fork"]
            if self._at.machine.layout.name != "arm64":
                trace.append("ret_from_fork_asm")
            page_fault_oops(self._at.machine, fault, trace)
            return False


class Module:
    """The module, loaded into a machine.

    Args:
        seed: what is random in it follows from; whose turn it is does not depend on the clock.
    """

    def __init__(self, machine: Machine, parameters: Parameters, seed: int) -> None:
        self._machine = machine
        self._parameters = parameters.as_run()
        self._workers = [
            Worker(number, machine, self._parameters, seed)
            for number in range(self._parameters.nr_threads)
        ]
        machine.log.add_module("test_vmalloc")
        self._first_record = machine.log.nr_records
        self._reports: list[str] = []

    @property
    def turns(self) -> int:
        """How many there are if nothing fails."""
        at = Setting(self._machine, self._parameters, Random())
        once = sum(case.turns(at) for case in _wanted(self._parameters))
        return once * self._parameters.test_repeat_count * self._parameters.nr_threads

    def run(self) -> Iterator[Turns]:
        """Run it all, and have it in the kernel log.

        A worker's turn ends when it holds something that it has got, and then it is the next one's.
        """
        running, count = deque((worker, worker.test_func()) for worker in self._workers), 0
        try:
            while running:
                worker, steps = running[0]
                self._machine.running.current = worker.task
                try:
                    next(steps)
                    running.rotate(-1)
                except StopIteration:
                    running.popleft()
                count += 1
                if count == SOME:
                    yield Turns(count, worker.name)
                    count = 0
        finally:
            self._machine.running.current = IDLE
        self._reports = self._headlines()
        for line in self._summary():
            self._machine.log.printk(KERN_INFO, line)

    def _summary(self) -> Iterator[str]:
        repeat, loops = self._parameters.test_repeat_count, self._parameters.test_loop_count
        for number, worker in enumerate(self._workers):
            for case, data in worker.data.items():
                yield (
                    f"Summary: {case.name} passed: {data.passed} failed: {data.failed} "
                    f"repeat: {repeat} loops: {loops} avg: {data.time} usec"
                )
            yield f"All test took worker{number}={worker.cycles} cycles"

    def _records(self) -> list[Record]:
        """What has come into the kernel's log and has not fallen out again."""
        return [record for _, record in self._machine.log.records_from(self._first_record)]

    def dmesg(self) -> list[str]:
        """All lines of the log as dmesg(1) prints them, with their times."""
        return [str(record).partition(">")[2] for record in self._records()]

    def _headlines(self) -> list[str]:
        """Of each report in the log the first lines.

        Those behind them have the same time: who was running, a stack, memory.
        """
        found = []
        for _, records in groupby(self._records(), attrgetter("nanoseconds")):
            first, *more = [record.text for record in records]
            found += [first, *takewhile(lambda text: not text.startswith("CPU: "), more)]
        return found

    def lines(self) -> list[str]:
        """What it has to say: the first lines of the kernel's reports, and how each one went."""
        return [*self._reports, *self._summary()]

    def wrong(self) -> list[str]:
        """The scenarios that failed and must not, or passed and must not, a sentence each."""
        return [
            f"{case.name} {'passed' if case.must_fail else 'failed'}"
            for case in _wanted(self._parameters)
            for books in [[worker.data[case] for worker in self._workers]]
            if any(data.passed if case.must_fail else data.failed for data in books)
        ]


def _wanted(parameters: Parameters) -> list[Case]:
    """Those in the mask, in their order there."""
    return [case for place, case in enumerate(CASES) if parameters.run_test_mask >> place & 1]
