"""Copies to and from processes that are made to fail."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

import pytest

from scullvfs.mm import Machine
from scullvfs.mm.ratelimit import RatelimitState
from scullvfs.mm.sched import Task
from scullvfs.scull import Module, ScullDev, posix
from scullvfs.scull.family import DRIVERS
from scullvfs.scull.faults import add_faults
from scullvfs.scull.tracepoints import add_tracepoints

from .helpers import MIB, QUANTUM, fails


@pytest.fixture
def device(load: Callable[..., Module]) -> ScullDev:
    """One that this process uses, and that can be made to fail."""
    module = load(panic_on_warn=False)
    module.machine.running.current = Task(os.getpid(), 0, 0)
    module.machine.log.nopage = RatelimitState(0, 1)
    add_faults(module.machine, [module])
    return module.devices[0]


def test_write(device: ScullDev) -> None:
    """EFAULT; the quantum is there, what was to be written is zeros, and the size is as it was."""
    device.write(0, b"x" * 100)
    fault = device.machine.faults.fail_usercopy
    fault.arm(times=2)
    with fails(errno.EFAULT):
        device.write(10, b"y" * 20)
    with fails(errno.EFAULT):
        device.write(QUANTUM, b"y" * 20)
    assert device.size == 100
    assert bytes(device.read(0, 100)) == b"x" * 10 + bytes(20) + b"x" * 70
    assert (device.nr_quanta, fault.injected) == (2, 2)
    assert device.write(10, b"y" * 20) == 20


def test_nothing_of_the_last_owner_is_left(load: Callable[..., Module]) -> None:
    """A quantum that was to be filled at once is zeros, where nothing else makes it zeros."""
    module = load(init_on_alloc=False)
    add_faults(module.machine, [module])
    device = module.devices[0]
    device.write(0, b"x" * QUANTUM)
    device.trim()
    module.machine.faults.fail_usercopy.arm(times=1)
    module.machine.faults.fail_usercopy.verbose = 0
    with fails(errno.EFAULT):
        device.write(0, b"y" * QUANTUM)
    device.truncate(QUANTUM)
    assert bytes(device.read(0, QUANTUM)) == bytes(QUANTUM)


def test_read(device: ScullDev) -> None:
    """EFAULT, and nothing is changed; where there is nothing to copy nothing fails."""
    device.write(0, b"x" * 100)
    fault = device.machine.faults.fail_usercopy
    fault.arm(times=-1)
    with fails(errno.EFAULT):
        device.read(0, 10)
    assert bytes(device.read(100, 10)) == b""
    assert fault.injected == 1
    assert bytes(posix.read_span(device, 0, 10)) == b"x" * 10  # for the page cache
    fault.reset()
    assert bytes(device.read(0, 10)) == b"x" * 10


def test_count_is_one_a_copy(device: ScullDev) -> None:
    """However long it is: `space` goes by the calls (Linux: should_fail_usercopy())."""
    device.machine.faults.fail_usercopy.arm(times=-1, space=3)
    device.write(0, b"x" * 100)
    device.write(0, b"x" * 100)
    with fails(errno.EFAULT):
        device.write(0, b"x" * 100)


@pytest.mark.parametrize("first", ["trace", "fault"])
def test_record_of_a_failure(load: Callable[..., Module], first: str) -> None:
    """The record of a call has its errno, behind that of the fault, whichever was on first."""
    module = load()
    machine, device = module.machine, module.devices[0]
    add_tracepoints(machine, [module])
    add_faults(machine, [module])
    machine.faults.fail_usercopy.verbose = 0
    device.write(0, b"x" * 100)
    for what in ("trace", "fault") if first == "trace" else ("fault", "trace"):
        if what == "trace":
            machine.trace.set_event("scull", on=True)
        else:
            machine.faults.fail_usercopy.arm(times=-1)
    with fails(errno.EFAULT):
        device.read(5, 10)
    with fails(errno.EFAULT):
        device.write(5, b"y")
    records = [line.partition(": ")[2] for line in machine.trace.take(1000).splitlines()]
    assert records == [
        "fault_inject: name=fail_usercopy function=_copy_to_user result=-EFAULT",
        "scull_read: dev=scullv0 pos=5 count=10 ret=-14",
        "fault_inject: name=fail_usercopy function=_copy_from_user result=-EFAULT",
        "scull_write: dev=scullv0 pos=5 count=1 ret=-14",
    ]


def test_off_replaces_nothing(device: ScullDev) -> None:
    """When no fault is armed the device's methods are those of its class."""
    machine = device.machine
    before = set(vars(device))
    machine.faults.fail_usercopy.arm(times=1)
    assert set(vars(device)) > before
    machine.faults.reset()
    assert set(vars(device)) == before
    assert device.copy_from_user == machine.memory.write


@pytest.mark.long
@pytest.mark.parametrize("name", DRIVERS)
def test_every_request_of_a_write_in_turn(name: str) -> None:
    """Whichever one of one write fails: an errno, what is stored is as it was, and it goes on."""
    machine = Machine(32 * MIB, page_owner=True)
    machine.running.current = Task(os.getpid(), 0, 0)
    module = Module(machine, DRIVERS[name])
    add_faults(machine, [module])
    faults, device, other = machine.faults, module.devices[0], module.devices[1]
    for attr in (faults.failslab, faults.fail_page_alloc, faults.fail_usercopy):
        attr.verbose = 0
    faults.failslab.ignore_gfp_wait = faults.fail_page_alloc.ignore_gfp_wait = False
    faults.fail_page_alloc.ignore_gfp_highmem, faults.fail_page_alloc.min_order = False, 0
    stored = bytes(range(256)) * 16
    other.write(0, stored)
    far = 70 * device.itemsize  # behind so many items that they come by the page
    seen = set()
    for nth in range(1, 500):
        device.trim()
        faults.tasks.set_fail_nth(os.getpid(), nth)
        try:
            device.write(far, b"x" * device.quantum)
            number = 0
        except OSError as error:
            number = error.errno or -1
        seen.add(number)
        left = bool(faults.tasks.fail_nth)
        faults.tasks.clear()
        assert device.size == (0 if number else far + device.quantum)
        assert bytes(other.read(0, len(stored))) == stored[: other.quantum]
        module.check()
        machine.check()
        if left:
            break
    assert seen == {0, errno.ENOMEM, errno.EFAULT}
    assert nth > 70
