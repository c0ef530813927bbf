"""Which request of one write fails, and with what, as recorded on a kernel of 6.12.

The recording was made with page_owner=on, where frames come one by one, and with all knobs that
spare requests off.  Where it differs is in `OTHERWISE`, with the reason.
"""

from __future__ import annotations

import errno
import os
import re
from typing import NamedTuple

from scullvfs.mm import Machine
from scullvfs.mm.gfp import GFP_KERNEL
from scullvfs.mm.sched import Task
from scullvfs.scull import Module
from scullvfs.scull.faults import add_faults

from .conftest import HERE

LINE = re.compile(
    r"fail-nth (?P<nth>\d+): (?P<result>ret \d+|E\w+); fail-nth then reads (?P<reads>[^;]+); "
    r"size (?P<size>\d+); injected: \[(?P<injected>.*)\]"
)


class Outcome(NamedTuple):
    """What came of a write."""

    result: str
    size: int
    injected: str
    """What the log says has failed."""


OTHERWISE = {
    ("nothing there", 1): "the first call of all: a page of the process itself was refused, which "
    "nobody reports, and fail-nth was used up; the request for the quantum set came after that",
}
"""(What is there, fail-nth) -> why that line differs."""


def recorded() -> dict[tuple[str, int], Outcome]:
    """(What is there, fail-nth) -> what came of it."""
    found: dict[tuple[str, int], Outcome] = {}
    device = ""
    for line in (HERE / "text-debug" / "fail_nth.txt").read_text().splitlines():
        if line.startswith("== "):
            device = line.rpartition(", ")[2]
        match = LINE.match(line.strip())
        if match is None:
            continue
        reads_fails = match["reads"].startswith("(")
        injected = match["injected"].strip("'")
        found[device, int(match["nth"])] = Outcome(
            match["result"], int(match["size"]), "" if reads_fails else injected
        )
    return found


class Played:
    """The machine of the recording, with its write."""

    def __init__(self) -> None:
        self.machine = Machine(64 << 20, page_owner=True)
        self.machine.running.current = Task(os.getpid(), 0, 0)
        self.module = Module(self.machine)
        add_faults(self.machine, [self.module])
        self.device = self.module.devices[0]
        faults = self.machine.faults
        faults.failslab.ignore_gfp_wait = faults.fail_page_alloc.ignore_gfp_wait = False
        faults.fail_page_alloc.ignore_gfp_highmem, faults.fail_page_alloc.min_order = False, 0
        for _ in range(2):  # so that page tables are there, and a struct vmap_area in reserve
            self.device.write(0, b"x" * 65536)
            self.device.trim()

    def prepare(self, device: str) -> None:
        """Have the device as the recording had it."""
        self.device.trim()
        if device == "quantum set there":
            self.device.write(1 << 20, b"x")

    def have_slabs(self) -> None:
        """Have no cache need a new slab for the next write: that would be one request more."""
        slab, areas = self.machine.slab, self.machine.vmap_space.vmap_areas
        kept = [slab.kmalloc(size) for size in (4096, 128, 64) for _ in range(2)]
        numbers = [areas.alloc(GFP_KERNEL) for _ in range(2)]
        for address in kept:
            slab.kfree(address)
        areas.free_bulk(numbers)

    def write(self, nth: int) -> Outcome:
        """Write with the `nth` request failing."""
        faults, log = self.machine.faults, self.machine.log
        first = log.nr_records
        self.have_slabs()
        faults.tasks.set_fail_nth(os.getpid(), nth)
        try:
            result = f"ret {self.device.write(0, b'x' * 65536)}"
        except OSError as error:
            result = errno.errorcode[error.errno or 0]
        faults.tasks.clear()
        lines = [record.text for _, record in log.records_from(first)]
        names = [line.split()[1].strip(",") for line in lines if line.startswith("name ")]
        assert len(names) == lines.count("FAULT_INJECTION: forcing a failure.")
        return Outcome(result, self.device.size, ", ".join(names))


def test_each_line() -> None:
    """The same result, the same size, and a report of the same fault, or none."""
    lines = recorded()
    assert len(lines) == 43
    assert OTHERWISE.keys() < lines.keys()
    played = Played()
    differing = {}
    for (device, nth), outcome in lines.items():
        played.prepare(device)
        found = played.write(nth)
        if found != outcome:
            differing[device, nth] = (found, outcome)
    assert differing.keys() == OTHERWISE.keys(), differing
    played.module.check()
    played.machine.check()
