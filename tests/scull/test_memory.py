"""Memory that runs out, positions far out, and the end of the module: nothing may leak."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

import psutil
import pytest

from scullvfs.mm import PAGE_SIZE
from scullvfs.scull import Module, ScullDev

from ..mm.helpers import books
from .helpers import GIB, ITEM, KIB, MIB, QUANTUM, content, fails, fill, shortage

FAR = 1 << 45


def refused(device: ScullDev, pos: int, what: str) -> None:
    """A write of one byte fails with ENOMEM for want of `what`."""
    with pytest.raises(OSError, match=rf"^\[Errno {errno.ENOMEM}\] no memory for the {what}$"):
        device.write(pos, b"x")


def test_no_memory_for_an_item(device: ScullDev) -> None:
    """A write into a new item that cannot be had changes nothing, and works later."""
    data = os.urandom(ITEM)
    fill(device, data)
    with shortage(device.machine):
        refused(device, ITEM, "list items")
        assert (device.size, device.items.count) == (ITEM, 1)
        assert content(device) == data
        device.write(5, data[5:9])  # where memory is, nothing more is needed
    assert device.write(ITEM, b"x") == 1


def test_no_memory_for_items_to_read(device: ScullDev) -> None:
    """Reading needs the items up to its position, too; without memory for them it is a hole."""
    device.write(0, b"hello")
    device.truncate(3 * ITEM)
    with shortage(device.machine):
        assert device.read(2 * ITEM, 1) == b""
        assert device.items.count == 1
        assert device.read(0, 5) == b"hello"
    assert device.read(2 * ITEM, 1) == b""
    assert device.items.count == 3


def test_no_memory_at_the_end(device: ScullDev) -> None:
    """The end of a device is the end, though the driver makes an item on the way to it."""
    fill(device, bytes(ITEM))
    with shortage(device.machine):
        assert device.read(ITEM, 1) == b""
        assert device.items.count == 1
    assert device.read(ITEM, 1) == b""
    assert device.items.count == 2


def test_no_memory_for_a_quantum_set(load: Callable[..., Module]) -> None:
    """The item may be there and its quantum set not: what was written stays as it was."""
    device = load(1, 0, 2048).devices[0]  # a quantum set takes four frames that follow each other
    device.write(0, b"hello")
    device.truncate(2 * device.itemsize)
    assert device.read(device.itemsize, 1) == b""  # makes item 1
    with shortage(device.machine, leave=64):
        refused(device, device.itemsize, "quantum set")
        assert device.qset_address(1) == 0
        assert device.read(0, 5) == b"hello"
    assert device.write(device.itemsize, b"x") == 1


def test_no_memory_for_a_quantum(device: ScullDev) -> None:
    """The quantum set may be there and the quantum not."""
    fill(device, b"x" * QUANTUM)
    with shortage(device.machine, leave=1):
        refused(device, QUANTUM, "quantum")
        assert (device.size, device.nr_quanta) == (QUANTUM, 1)
        assert content(device) == b"x" * QUANTUM
        device.check()
    assert device.write(QUANTUM, b"y") == 1


def test_no_memory_and_what_stays(device: ScullDev) -> None:
    """A failed write may leave items and an empty quantum set, and a trim frees them."""
    machine = device.machine
    before = books(machine)
    device.truncate(2 * ITEM)
    device.read(ITEM, 1)
    with shortage(machine, leave=1):
        refused(device, ITEM, "quantum")
    device.check()
    device.trim()
    assert books(machine) == before


def test_no_memory_for_any_quantum(load: Callable[..., Module]) -> None:
    """Nor need a quantum fit into the machine."""
    device = load(1, 12, 4).devices[0]
    refused(device, 0, "quantum")
    assert device.size == 0


@pytest.mark.long
def test_ram_used_up(module: Module) -> None:
    """A device grows until no quantum can be had; all of it is there, and a trim frees it."""
    device, other = module.devices[:2]
    other.write(0, b"other")
    before = books(module.machine)
    data = os.urandom(16 * MIB)
    with fails(errno.ENOMEM):
        fill(device, data)
    assert device.size > 14 * MIB
    assert content(device) == data[: device.size]
    assert other.read(0, 9) == b"other"
    module.machine.check()
    device.trim()
    assert books(module.machine) == before
    fill(device, data[: 14 * MIB])
    assert content(device) == data[: 14 * MIB]


def test_addresses_used_up(load: Callable[..., Module]) -> None:
    """On i386 the vmalloc window of 128 MiB ends long before the RAM does."""
    module = load(1, 10, 500, mem=512 * MIB, arch="i386", shuffle=False)
    device = module.devices[0]
    for number in range(31):  # each of 4 MiB, a guard page, and an array of page pointers
        device.write(number * device.quantum, b"x")
    refused(device, 31 * device.quantum, "quantum")
    assert module.machine.page_alloc.nr_free * PAGE_SIZE > 256 * MIB


def test_far_out(load: Callable[..., Module]) -> None:
    """A byte at 2**45 takes a million items of the machine's RAM and nothing of the host's."""
    module = load(1, 4, 500, mem=GIB)
    device, machine = module.devices[0], module.machine
    before, host = books(machine), psutil.Process().memory_info().rss
    assert device.write(FAR, b"x") == 1
    items = FAR // device.itemsize
    assert (device.size, device.nr_quanta, device.items.count) == (FAR + 1, 1, items + 1)
    assert machine.slab.statistics().pages * PAGE_SIZE == pytest.approx(items * 192, rel=0.03)
    assert psutil.Process().memory_info().rss - host < 32 * MIB
    assert device.read(FAR, 9) == b"x"
    assert device.read(FAR // 2, 9) == b""
    device.trim()
    assert books(machine) == before


def test_far_out_and_cut_back(load: Callable[..., Module]) -> None:
    """Truncate gives the items behind the new end back."""
    module = load(1, 4, 500, mem=GIB)
    device, machine = module.devices[0], module.machine
    device.write(0, b"first")
    before = books(machine)
    device.write(FAR, b"x")
    device.truncate(5)
    assert books(machine) == before
    assert content(device) == b"first"


@pytest.mark.parametrize("pos", [FAR, 1 << 62, (1 << 63) - 2])
def test_too_far_out(load: Callable[..., Module], pos: int) -> None:
    """Where the RAM does not suffice for the items, nothing is taken of it."""
    module = load(1, 4, 500, mem=64 * MIB)
    device = module.devices[0]
    device.write(0, b"hello")
    before = books(module.machine)
    refused(device, pos, "list items")
    assert books(module.machine) == before
    assert (device.size, device.items.count) == (5, 1)
    assert content(device) == b"hello"


def test_far_out_read_past_the_size(device: ScullDev) -> None:
    """Behind the size no item is made, wherever it is."""
    assert device.read((1 << 63) - 1, 1) == b""
    assert device.items.count == 1


@pytest.mark.parametrize("arch", ["x86_64", "i386", "arm64"])
def test_unload_frees_everything(load: Callable[..., Module], arch: str) -> None:
    """After the module's end the machine's books are as before it was loaded."""
    machine = load(arch=arch, mem=32 * MIB).machine
    before = books(machine)
    module = Module(machine, scullv_devs=10, scullv_order=0, scullv_qset=3)
    for device in module.devices:
        fill(device, bytes(100 * KIB))
        device.write(1 << 24, b"far")
    module.unload()
    machine.vm.vm_unmap_aliases()
    assert books(machine) == before
    assert (machine.vm.nr_vmalloc_pages, machine.vmap_space.nr_lazy_pages) == (0, 0)
