"""Truncate, which the driver lacks, and trim, which takes the geometry over."""

from __future__ import annotations

import os

import pytest

from scullvfs.scull import Module, ScullvDev

from .helpers import ITEM, QUANTUM, content, fill


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
def test_truncate_down(device: ScullvDev, length: int, quanta: int) -> None:
    """Every quantum behind the length is freed, and its addresses and frames with it."""
    data = os.urandom(3 * ITEM)
    fill(device, data)
    device.truncate(length)
    assert (device.size, device.nr_quanta) == (length, quanta)
    assert device.machine.vm.nr_vmalloc_pages == quanta * 2
    assert content(device) == data[:length]


@pytest.mark.parametrize("length", [1, QUANTUM - 1, QUANTUM + 100, ITEM + 1])
def test_truncate_down_and_up_gives_zeros(device: ScullvDev, length: int) -> None:
    """What was cut off does not come back: in the last quantum there are zeros, then holes."""
    data = os.urandom(3 * ITEM)
    fill(device, data)
    device.truncate(length)
    device.truncate(3 * ITEM)
    rest = -length % QUANTUM
    assert device.size == 3 * ITEM
    assert content(device) == data[:length] + bytes(rest)
    assert device.read(length + rest, QUANTUM) == b""


def test_truncate_down_into_a_hole(device: ScullvDev) -> None:
    """Where the new end lies in a hole there is nothing to zero, and none is made."""
    device.write(0, b"first")
    device.write(2 * ITEM, b"last")
    device.truncate(ITEM + 7)
    assert (device.size, device.nr_quanta) == (ITEM + 7, 1)
    device.truncate(QUANTUM + 7)
    assert (device.size, device.nr_quanta) == (QUANTUM + 7, 1)
    assert content(device) == b"first" + bytes(QUANTUM - 5)


def test_truncate_up(device: ScullvDev) -> None:
    """Growing costs nothing: the new part is a hole."""
    device.write(0, b"hello")
    device.truncate(3 * ITEM)
    assert (device.size, device.nr_quanta, device.items.count) == (3 * ITEM, 1, 1)
    assert device.read(0, QUANTUM) == b"hello" + bytes(QUANTUM - 5)
    assert device.read(QUANTUM, 1) == b""


def test_truncate_to_the_same(device: ScullvDev) -> None:
    """Its own size changes nothing."""
    data = os.urandom(ITEM + 5)
    fill(device, data)
    device.truncate(ITEM + 5)
    assert content(device) == data


def test_truncate_frees_quantum_sets_and_items(device: ScullvDev) -> None:
    """With the last quantum of an item its quantum set goes, and items behind the end."""
    slab = device.machine.slab
    device.write(0, b"x")
    before = slab.statistics().objects
    fill(device, bytes(3 * ITEM))
    device.truncate(QUANTUM)
    assert slab.statistics().objects == before
    assert (device.items.count, device.qset_address(1)) == (1, 0)


def test_truncate_to_zero_trims(module: Module, device: ScullvDev) -> None:
    """Truncating to nothing is a trim, with the new geometry."""
    fill(device, bytes(ITEM))
    module.scullv_order = 0
    device.truncate(0)
    assert (device.size, device.nr_quanta, device.order) == (0, 0, 0)


def test_truncate_keeps_the_geometry(module: Module, device: ScullvDev) -> None:
    """To any other length the device stays as it is laid out."""
    fill(device, bytes(ITEM))
    module.scullv_order, module.scullv_qset = 0, 9
    device.truncate(1)
    assert (device.order, device.qset, device.quantum) == (1, 4, QUANTUM)


def test_trim_frees_everything(device: ScullvDev) -> None:
    """An emptied device holds no quantum, no quantum set and no item but the first."""
    machine = device.machine
    before = machine.slab.statistics().objects
    for pos in range(0, 20 * ITEM, ITEM // 2 + 11):
        device.write(pos, b"x")
    device.trim()
    assert (device.size, device.nr_quanta, device.items.count) == (0, 0, 1)
    assert machine.slab.statistics().objects == before
    assert machine.vm.nr_vmalloc_pages == 0


def test_trim_takes_the_geometry_over(module: Module, device: ScullvDev) -> None:
    """A new order and qset hold from the next trim on, and not before."""
    fill(device, b"x" * ITEM)
    module.scullv_order, module.scullv_qset = 3, 7
    assert (device.order, device.qset) == (1, 4)
    assert device.write(0, bytes(ITEM)) == QUANTUM
    device.trim()
    assert (device.order, device.qset, device.itemsize) == (3, 7, 7 * 32768)
    assert device.write(0, bytes(1 << 20)) == 32768


def test_trim_takes_the_geometry_over_device_by_device(module: Module) -> None:
    """Each device has the geometry of its own last trim."""
    first, second, third, fourth = module.devices
    module.scullv_order = 2
    second.trim()
    module.scullv_order, module.scullv_qset = 0, 1
    third.open(os.O_WRONLY)
    assert [(d.order, d.qset) for d in (first, second, third, fourth)] == [
        (1, 4),
        (2, 4),
        (0, 1),
        (1, 4),
    ]
    for device in module.devices:
        fill(device, bytes([device.index]) * 3 * ITEM)
    assert [device.nr_quanta for device in module.devices] == [12, 6, 24, 12]
    assert all(content(d) == bytes([d.index]) * 3 * ITEM for d in module.devices)
