"""Every allocation of every operation made to fail in turn: ENOMEM, no leak, nothing changed."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count

import pytest

from scullvfs.mm import PAGE_SIZE, Machine
from scullvfs.mm.fault_attr import FaultAttr
from scullvfs.mm.ratelimit import RatelimitState
from scullvfs.mm.workqueue import finish
from scullvfs.scull import DRIVERS, Module, ScullDev, posix, scull_ioctl
from scullvfs.scull.ioctl import commands

from ..mm.helpers import books
from ..thorough import rounds
from .helpers import MIB, content, fill

PARAMETERS = {
    "scullv": {"scullv_order": 1, "scullv_qset": 4},
    "scullp": {"scullp_order": 1, "scullp_qset": 4},
    "scullc": {"scullc_qset": 4},
    "scull": {"scull_qset": 4},
}
"""Small items, so that each operation goes over several."""
FAULTS = ("failslab", "fail_page_alloc")
LATER = ("alone", "and all after it")
"""What fails: frames that are refused in bulk are asked for one by one, and are there then."""

DATA = bytes(range(1, 252)) * 300
STORED = DATA[5:20_000]


def write_by_parts(device: ScullDev) -> None:
    """Some quanta, and a single byte far behind."""
    fill(device, DATA)
    device.write(9 * device.itemsize + 7, b"x")


def write_span(device: ScullDev) -> None:
    """By the rules of a regular file, which give what there was memory for."""
    done = 0
    while done < len(DATA):
        done += posix.write_span(device, done, DATA[done:])


def mapped(device: ScullDev) -> None:
    """A page cache that fills its pages, and writes them back one by one."""
    device.truncate(len(DATA))
    for pos in range(0, len(DATA), PAGE_SIZE):
        page = DATA[pos : pos + PAGE_SIZE]
        assert posix.read_span(device, pos, PAGE_SIZE) == bytes(len(page))
        while page:  # a quantum may end in the middle of it
            written = posix.write_span(device, pos, page)
            pos, page = pos + written, page[written:]


def truncate(device: ScullDev) -> None:
    """Longer, shorter, and in the middle of a quantum."""
    device.truncate(9 * device.itemsize)
    fill(device, DATA)
    device.truncate(50)
    device.truncate(3 * device.itemsize + 9)


def allocate(device: ScullDev) -> None:
    """All quanta of a range, or none of them."""
    before = device.nr_quanta, device.size
    try:
        finish(posix.allocate(device, 100, 6 * device.itemsize, keep_size=False))
    except OSError:
        assert (device.nr_quanta, device.size) == before
        raise


def zero_range(device: ScullDev) -> None:
    """The same over data."""
    device.write(0, DATA[:100])
    finish(posix.zero_range(device, 50, 3 * device.itemsize, keep_size=False))


def read_far(device: ScullDev) -> None:
    """A read adds the items on its way."""
    device.truncate(150 * device.itemsize)
    assert bytes(device.read(149 * device.itemsize, 10)) == b""


def ioctl(device: ScullDev) -> None:
    """Other items, which an open takes over."""
    numbers = commands(device.driver)
    scull_ioctl(device, numbers["TQSET"], 2, b"", lambda: True)
    try:
        device.open(os.O_WRONLY)
        assert device.qset == 2
        fill(device, DATA)
    finally:
        scull_ioctl(device, numbers["TQSET"], 4, b"", lambda: True)


OPERATIONS = [
    *(write_by_parts, write_span, mapped, truncate, allocate, zero_range, read_far, ioctl)
]


def machine_with(fault: str) -> tuple[Machine, FaultAttr]:
    """A fresh machine, and a fault that can reach all of its allocations."""
    machine = Machine(4 * MIB, shuffle=False)
    machine.log.nopage = RatelimitState(0, 1)
    attr = getattr(machine.faults, fault)
    attr.ignore_gfp_wait = attr.ignore_gfp_highmem = False
    attr.min_order = attr.verbose = 0
    return machine, attr


def arm(machine: Machine, attr: FaultAttr, nth: int, later: str) -> None:
    """Have the N-th request fail, and those after it if they are to."""
    machine.faults.tell = None if later == "alone" else lambda *_: attr.arm(times=-1)
    attr.arm(interval=nth, times=1)


def walk(fault: str) -> Iterator[tuple[int, Machine, FaultAttr]]:
    """A machine for each N, up to the first whose N-th request is not reached.

    By hand for each third one.
    """
    for nth in count(1, rounds(1, 3)):
        machine, attr = machine_with(fault)
        yield nth, machine, attr
        if not attr.injected:
            assert nth > 1, "nothing is asked for"
            return


@pytest.mark.parametrize("later", LATER)
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_operation(
    operation: Callable[[ScullDev], None], driver: str, fault: str, later: str
) -> None:
    """The caller sees ENOMEM or nothing; what was there stays, and the device goes on."""
    for nth, machine, attr in walk(fault):
        module = Module(machine, DRIVERS[driver], **PARAMETERS[driver])
        device, other = module.devices[:2]
        fill(other, STORED)
        machine.vm.vmalloc(2 * MIB - 64 * 1024)  # soon another page table is needed
        before = books(machine)
        arm(machine, attr, nth, later)
        with suppress_enomem():
            operation(device)
        machine.faults.tell = None
        attr.reset()
        module.check()
        machine.check()
        assert content(other) == STORED
        device.trim()
        operation(device)
        device.trim()
        assert content(other) == STORED
        assert books(machine) == before
        module.check()
        machine.check()


@pytest.mark.parametrize("later", LATER)
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("driver", DRIVERS)
def test_load(driver: str, fault: str, later: str) -> None:
    """A module that cannot be loaded leaves nothing behind, and can be loaded then."""
    for nth, machine, attr in walk(fault):
        before = books(machine)
        arm(machine, attr, nth, later)
        with suppress_enomem():
            Module(machine, DRIVERS[driver]).unload()
        machine.faults.tell = None
        attr.reset()
        assert books(machine) == before
        module = Module(machine, DRIVERS[driver])
        fill(module.devices[0], STORED)
        assert content(module.devices[0]) == STORED
        module.unload()
        assert books(machine) == before
        machine.check()


@contextmanager
def suppress_enomem() -> Iterator[None]:
    """Let it fail for want of memory, and in no other way."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOMEM:
            raise
