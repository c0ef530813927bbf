"""What comes between two steps of a long call, on a device alone."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

import pytest

from scullvfs.mm import PAGE_SIZE, Machine
from scullvfs.mm.workqueue import Steps, finish
from scullvfs.scull import Module, ScullDev, posix

from .helpers import ITEM, QUANTUM

LENGTH = 20 * ITEM


@pytest.fixture
def device() -> ScullDev:
    """A device of items of four quanta, with a byte in the sixth quantum."""
    device = Module(
        Machine(mem=1 << 24, panic_on_warn=True), scullv_devs=1, scullv_order=1, scullv_qset=4
    ).devices[0]
    assert (device.quantum, device.itemsize) == (QUANTUM, ITEM)
    device.write(5 * QUANTUM, b"x")
    return device


def books(device: ScullDev) -> tuple[int, ...]:
    """What there is of a device."""
    sets = len(device.items_with_qset())
    return device.nr_quanta, device.allocated, device.size, device.items.count, sets


def begin(steps: Steps[None], count: int) -> None:
    """Do so many steps."""
    for _ in range(count):
        next(steps)


def interrupt(steps: Steps[None]) -> None:
    """Interrupt some work, which fails with EINTR once it has undone what it undoes."""

    def interrupted() -> Steps[None]:
        yield steps.throw(InterruptedError(errno.EINTR, os.strerror(errno.EINTR)))
        yield from steps

    with pytest.raises(InterruptedError):
        finish(interrupted())


@pytest.mark.parametrize("count", [1, 3, 4, 5, 30, 80])
@pytest.mark.parametrize("call", [posix.allocate, posix.zero_range])
def test_interrupted(
    device: ScullDev, call: Callable[[ScullDev, int, int, bool], Steps[None]], count: int
) -> None:
    """Wherever it stops, what it has added goes, and what was there stays."""
    before = books(device)
    steps = call(device, 100, LENGTH, False)
    begin(steps, count)
    interrupt(steps)
    assert books(device) == before
    assert bytes(device.peek(5 * QUANTUM, 10)) == b"x"
    device.check()
    device.machine.check()


def test_written_meanwhile(device: ScullDev) -> None:
    """What somebody has written to is not taken away again."""
    steps = posix.allocate(device, 0, LENGTH, keep_size=False)
    begin(steps, 40)
    device.write(33 * QUANTUM + 7, b"new")
    device.write(60 * QUANTUM, b"far")
    interrupt(steps)
    assert bytes(device.peek(33 * QUANTUM + 7, 3)) == b"new"
    assert bytes(device.peek(60 * QUANTUM, 3)) == b"far"
    assert books(device) == (3, 3 * QUANTUM, 60 * QUANTUM + 3, 16, 3)
    device.check()


@pytest.mark.parametrize("count", [1, 10, 70])
@pytest.mark.parametrize("end", [finish, interrupt])
def test_trimmed_meanwhile(
    device: ScullDev, end: Callable[[Steps[None]], None], count: int
) -> None:
    """Nothing is left, and what comes after the trim is not touched, whatever the geometry."""
    for call in (posix.allocate, posix.zero_range):
        steps = call(device, 0, LENGTH, False)
        begin(steps, count)
        device.parameters["scullv_order"] = 0
        device.trim()
        device.write(5, b"new")
        end(steps)
        assert (device.nr_quanta, device.size, device.quantum) == (1, 8, 4096)
        assert bytes(device.peek(5, 3)) == b"new"
        device.machine.check()
        device.parameters["scullv_order"] = 1
        device.trim()


@pytest.mark.parametrize("count", [1, 3, 5])
def test_cut_and_trimmed_meanwhile(device: ScullDev, count: int) -> None:
    """A trim ends it: what is written then stays."""
    finish(posix.allocate(device, 0, LENGTH, keep_size=False))
    steps = device.truncating(QUANTUM + 1)
    begin(steps, count)
    assert device.size == QUANTUM + 1
    device.trim(later=True)
    device.write(10 * ITEM, b"new")
    finish(steps)
    assert (device.nr_quanta, device.items.count, device.size) == (1, 11, 10 * ITEM + 3)
    finish(device.machine.workqueue.drain())
    device.check()
    device.machine.check()


def test_cut_leaves_the_memory_for_later(device: ScullDev) -> None:
    """The quanta are no part of the device at once, and free once the work is done."""
    vm = device.machine.vm
    finish(posix.allocate(device, 0, LENGTH, keep_size=False))
    finish(device.truncating(QUANTUM + 1))
    assert books(device) == (2, 2 * QUANTUM, QUANTUM + 1, 1, 1)
    assert vm.nr_vmalloc_pages > 4
    finish(device.machine.workqueue.drain())
    assert vm.nr_vmalloc_pages == 4
    device.machine.check()


def test_seek_among_many_sets(monkeypatch: pytest.MonkeyPatch, device: ScullDev) -> None:
    """Where there are too many to sort them, the items are gone over one by one."""
    monkeypatch.setattr("scullvfs.scull.quanta.FEW", 1)
    device.write(17 * ITEM + QUANTUM, b"y")
    assert finish(posix.seek_data(device, 0)) == 5 * QUANTUM
    assert finish(posix.seek_data(device, 6 * QUANTUM)) == 17 * ITEM + QUANTUM
    assert finish(posix.seek_hole(device, 5 * QUANTUM)) == 6 * QUANTUM
    finish(posix.punch_hole(device, 0, 18 * ITEM))
    assert device.nr_quanta == 0
    device.truncate(1)
    assert books(device) == (0, 0, 1, 1, 0)


@pytest.mark.parametrize("how", ["trim", "open", "truncating"])
def test_what_is_left_is_told(device: ScullDev, how: str) -> None:
    """Steps after which the memory is free, but not what others have left for later since."""
    machine = device.machine
    finish(posix.allocate(device, 0, LENGTH, keep_size=False))
    if how == "trim":
        left = device.trim(later=True)
    elif how == "open":
        left = device.open(os.O_WRONLY, later=True)
    else:
        left = finish(device.truncating(0))
    assert left is not None
    assert machine.vm.nr_vmalloc_pages > 0
    device.write(0, b"x")
    device.trim(later=True)
    finish(left)
    assert machine.vm.nr_vmalloc_pages == device.quantum // PAGE_SIZE
    assert len(machine.workqueue) > 0


def test_nothing_is_left(device: ScullDev) -> None:
    """Of what is done at once, and of what empties nothing."""
    device.write(0, b"x")
    assert device.open(os.O_RDWR, later=True) is None
    assert finish(device.truncating(1 << 20)) is None
    assert device.trim() is None
