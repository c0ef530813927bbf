"""Truncate, which the driver lacks, and trim, which takes the geometry over."""

from __future__ import annotations

import os

import pytest

from scullvfs.mm import Machine
from scullvfs.scull import DRIVERS, Driver, Module, ScullDev

from ..mm.helpers import other_slabs
from .helpers import ITEM, MIB, QUANTUM, content, fill


@pytest.mark.parametrize(
    ("length", "quanta"),
    [
        (1, 1),
        (QUANTUM - 1, 1),
        (QUANTUM, 1),
        (QUANTUM + 1, 2),
        (ITEM - 1, 4),
        (ITEM, 4),
        (ITEM + 1, 5),
        (3 * ITEM - 1, 12),
        (3 * ITEM, 12),
    ],
)
def test_truncate_down(device: ScullDev, length: int, quanta: int) -> None:
    """Every quantum behind the length is freed, and its addresses and frames with it."""
    data = os.urandom(3 * ITEM)
    fill(device, data)
    device.truncate(length)
    assert (device.size, device.nr_quanta) == (length, quanta)
    assert device.machine.vm.nr_vmalloc_pages == quanta * 2
    assert content(device) == data[:length]


@pytest.mark.parametrize("length", [1, QUANTUM - 1, QUANTUM + 100, ITEM + 1])
def test_truncate_down_and_up_gives_zeros(device: ScullDev, length: int) -> None:
    """What was cut off does not come back: in the last quantum there are zeros, then holes."""
    data = os.urandom(3 * ITEM)
    fill(device, data)
    device.truncate(length)
    device.truncate(3 * ITEM)
    rest = -length % QUANTUM
    assert device.size == 3 * ITEM
    assert content(device) == data[:length] + bytes(rest)
    assert device.read(length + rest, QUANTUM) == b""


def test_truncate_down_into_a_hole(device: ScullDev) -> None:
    """Where the new end lies in a hole there is nothing to zero, and none is made."""
    device.write(0, b"first")
    device.write(2 * ITEM, b"last")
    device.truncate(ITEM + 7)
    assert (device.size, device.nr_quanta) == (ITEM + 7, 1)
    device.truncate(QUANTUM + 7)
    assert (device.size, device.nr_quanta) == (QUANTUM + 7, 1)
    assert content(device) == b"first" + bytes(QUANTUM - 5)


def test_truncate_up(device: ScullDev) -> None:
    """Growing costs nothing: the new part is a hole."""
    device.write(0, b"hello")
    device.truncate(3 * ITEM)
    assert (device.size, device.nr_quanta, device.items.count) == (3 * ITEM, 1, 1)
    assert device.read(0, QUANTUM) == b"hello" + bytes(QUANTUM - 5)
    assert device.read(QUANTUM, 1) == b""


def test_truncate_to_the_same(device: ScullDev) -> None:
    """Its own size changes nothing."""
    data = os.urandom(ITEM + 5)
    fill(device, data)
    device.truncate(ITEM + 5)
    assert content(device) == data


def test_truncate_frees_quantum_sets_and_items(device: ScullDev) -> None:
    """With the last quantum of an item its quantum set goes, and items behind the end."""
    device.write(0, b"x")
    before = other_slabs(device.machine).objects
    fill(device, bytes(3 * ITEM))
    device.truncate(QUANTUM)
    assert other_slabs(device.machine).objects == before
    assert (device.items.count, device.qset_address(1)) == (1, 0)


def test_truncate_to_zero_trims(module: Module, device: ScullDev) -> None:
    """Truncating to nothing is a trim, with the new geometry."""
    fill(device, bytes(ITEM))
    module.parameters["scullv_order"] = 0
    device.truncate(0)
    assert (device.size, device.nr_quanta, device.measure) == (0, 0, 0)


def test_truncate_keeps_the_geometry(module: Module, device: ScullDev) -> None:
    """To any other length the device stays as it is laid out."""
    fill(device, bytes(ITEM))
    module.parameters["scullv_order"], module.parameters["scullv_qset"] = 0, 9
    device.truncate(1)
    assert (device.measure, device.qset, device.quantum) == (1, 4, QUANTUM)


def test_trim_frees_everything(device: ScullDev) -> None:
    """An emptied device holds no quantum, no quantum set and no item but the first."""
    machine = device.machine
    before = other_slabs(machine).objects
    for pos in range(0, 20 * ITEM, ITEM // 2 + 11):
        device.write(pos, b"x")
    device.trim()
    assert (device.size, device.nr_quanta, device.items.count) == (0, 0, 1)
    assert other_slabs(machine).objects == before
    assert machine.vm.nr_vmalloc_pages == 0


def test_trim_takes_the_geometry_over(module: Module, device: ScullDev) -> None:
    """A new order and qset hold from the next trim on, and not before."""
    fill(device, b"x" * ITEM)
    module.parameters["scullv_order"], module.parameters["scullv_qset"] = 3, 7
    assert (device.measure, device.qset) == (1, 4)
    assert device.write(0, bytes(ITEM)) == QUANTUM
    device.trim()
    assert (device.measure, device.qset, device.itemsize) == (3, 7, 7 * 32768)
    assert device.write(0, bytes(1 << 20)) == 32768


def test_trim_takes_the_geometry_over_device_by_device(module: Module) -> None:
    """Each device has the geometry of its own last trim."""
    first, second, third, fourth = module.devices
    module.parameters["scullv_order"] = 2
    second.trim()
    module.parameters["scullv_order"], module.parameters["scullv_qset"] = 0, 1
    third.open(os.O_WRONLY)
    assert [(d.measure, d.qset) for d in (first, second, third, fourth)] == [
        (1, 4),
        (2, 4),
        (0, 1),
        (1, 4),
    ]
    for device in module.devices:
        fill(device, bytes([device.index]) * 3 * ITEM)
    assert [device.nr_quanta for device in module.devices] == [12, 6, 24, 12]
    assert all(content(d) == bytes([d.index]) * 3 * ITEM for d in module.devices)


@pytest.mark.parametrize("quirk_ldd3", [False, True])
@pytest.mark.parametrize("driver", DRIVERS.values(), ids=DRIVERS)
def test_all_is_well_between_the_steps(driver: Driver, quirk_ldd3: bool) -> None:
    """What is taken off, and not yet freed, has its holder, whoever asks, and after a trim, too."""
    machine = Machine(16 * MIB)
    module = Module(machine, driver, quirk_ldd3=quirk_ldd3, **{driver.qset.name: 2})
    device = module.devices[0]
    for trimmed in (False, True):
        for number in range(12):
            device.write(number * device.quantum, b"x")
        for number, _ in enumerate(device.truncating(device.itemsize)):
            if trimmed and number == 3:
                device.trim(later=True)
            machine.workqueue.state()
            module.check()
            machine.check()
        machine.workqueue.flush()
        module.check()
        machine.check()
