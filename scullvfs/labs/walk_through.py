"""Lab 9: scullv_write() and scullv_trim() line by line, by tracepoints and faults."""

from __future__ import annotations

import re

from scullvfs.mm.layout import PAGE_SIZE

from .answers import number
from .lab import Lab, Task, fill
from .numbers import Numbers
from .sight import Sight

__all__ = ["LAB"]

TRACE = "sys/kernel/tracing/trace"


class _Steps:
    """The numbers of this lab."""

    def __init__(self, numbers: Numbers) -> None:
        self.order = numbers.pick("order", 0, 2)
        self.qset = numbers.pick("qset", 3, 6)
        self.quantum = PAGE_SIZE << self.order
        itemsize = self.quantum * self.qset
        self.items = numbers.pick("items", 3, 30)
        self.write = itemsize * self.items + numbers.pick("write", 1, itemsize - 2)
        """Where scullv0 is to be written to: in item `items`, counted from 0."""
        self.failed = numbers.pick("failed", 2, 30)
        self.fail = itemsize * self.failed + numbers.pick("fail", 1, itemsize - 2)
        """Where the write to scullv1 is to fail: in item `failed`."""
        count = numbers.pick("filled", 6, 30)
        self.filled = (*numbers.some("filled", count, 2, 5), count)
        """The items of scullv3 that have a quantum set, of `count` + 1."""
        self.places = [item * itemsize for item in self.filled]


def _options(numbers: Numbers) -> str:
    steps = _Steps(numbers)
    return f"drivers=scullv:scull,mem=64M,scullv_order={steps.order},scullv_qset={steps.qset}"


def _prepare(mnt: str, numbers: Numbers) -> None:
    for place in _Steps(numbers).places:
        fill(f"{mnt}/scullv3", numbers.text("data", 100), place)


def _tasks(numbers: Numbers) -> tuple[Task, ...]:
    steps = _Steps(numbers)

    def traced(sight: Sight) -> str:
        before: list[str] = []
        for line in sight.text(TRACE).splitlines():
            if re.search(
                rf": scull_write: dev=scullv0 pos={steps.write} count=\d+ ret=[1-9]", line
            ):
                kmallocs = sum("kmalloc: call_site=scullv_write" in each for each in before)
                vmallocs = sum(": alloc_vmap_area: " in each for each in before)
                if kmallocs == steps.items + 1 and vmallocs == 1:
                    return ""
            if ": scull_" in line:
                before.clear()
            before.append(line)
        return "the trace has no such write with all its allocations"

    def failed(sight: Sight) -> str:
        device = sight.device("scullv1")
        if device.size or device.quanta:
            return f"scullv1 has {device.size} bytes and {device.quanta} quanta"
        if device.items != steps.failed + 1:
            return f"scullv1 has {device.items} items"
        return "" if sight.items("scullv1")[-1].qset else "scullv1's last item has no quantum set"

    return (
        Task(
            f"Write something to byte {steps.write} of scullv0, which is empty before, and leave "
            "all its allocations in the trace.",
            traced,
        ),
        number(
            "scull1",
            "how often scullv_write() itself calls kmalloc() for that",
            lambda sight: steps.items + 1,
        ),
        Task(
            f"Have a write to byte {steps.fail} of scullv1 fail where it allocates the quantum: "
            "items and a quantum set are left, and no quantum.",
            failed,
        ),
        number(
            "scull2",
            "how often scullv_trim() itself calls kfree() when scullv3 is emptied, as the lab has "
            "filled it",
            lambda sight: steps.filled[-1] + len(steps.filled),
        ),
    )


LAB = Lab(_options, _prepare, _tasks)
