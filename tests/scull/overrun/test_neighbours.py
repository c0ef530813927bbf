"""What lies behind a quantum: whose memory it is, and what its owner sees of it then."""

from __future__ import annotations

import errno
from contextlib import suppress

import pytest

from scullvfs.mm import PAGE_SIZE, Machine
from scullvfs.mm.gfp import __GFP_ZERO as GFP_ZERO
from scullvfs.mm.gfp import GFP_KERNEL
from scullvfs.mm.pgtable import PageTables
from scullvfs.scull import DRIVERS, Module, ScullProcmem

from ..helpers import MIB, fails
from .helpers import ARCHES, ONE_EACH, Load, log, overwrite_frame, scullp, slot


@pytest.mark.parametrize("machine", ARCHES, indirect=True)
def test_past_the_end_of_ram(machine: Machine, load: Load) -> None:
    """Behind the last frame there is nothing: an oops, and nothing is written."""
    device = scullp(load)
    device.write(device.itemsize, b"a")
    last = machine.page_alloc.high_memory - PAGE_SIZE
    machine.memory.store(slot(device, 1, 0), last)
    device.write(device.itemsize, b"b" * PAGE_SIZE)
    with fails(errno.EFAULT):
        device.write(device.itemsize, b"c" * (PAGE_SIZE + 1))
    assert bytes(machine.memory.read(last, PAGE_SIZE)) == b"b" * PAGE_SIZE
    assert f"address{':' * (machine.layout.name != 'arm64')} " in log(machine)
    assert machine.layout.pointer(machine.page_alloc.high_memory) in log(machine)


def test_victims(machine: Machine, load: Load) -> None:
    """The report has whose memory it was, whatever of it was hit; each once."""
    device, other = scullp(load), load("scullv", scullv_order=1)
    device.write(0, b"a")
    other.write(0, b"v")
    scull = load("scull", scull_quantum=20000)
    scull.write(0, b"s")
    pointer = machine.layout.pointer
    pages, area, large = device.quanta(0)[0], other.quanta(0)[0], scull.quanta(0)[0]
    for address in (pages + 3 * PAGE_SIZE, large + 2 * PAGE_SIZE):
        for at in (0, 100):
            pfn = machine.memory.virt_to_pfn(address)
            overwrite_frame(machine, device, pfn, b"x" * (at + 1))
    frames = machine.vm.vmalloc_to_pfn(area + PAGE_SIZE)
    assert frames is not None
    overwrite_frame(machine, device, frames, b"x" * 10)
    lines = [line.partition("overwrote ")[2] for line in machine.overruns.report()]
    assert lines == [
        f"101 bytes: scullp0 quantum {pointer(pages)}",
        f"101 bytes: scull0 quantum {pointer(large)}",
        f"10 bytes: scullv0 quantum {pointer(area)}",
    ]


@pytest.mark.long
def test_victims_are_bounded(machine: Machine, load: Load) -> None:
    """Of many that were overrun, and of many victims of one, some are remembered."""
    device = load("scullc", scullc_quantum=8)
    device.parameters.store("scullc_quantum", 4000)
    device.trim()
    for at in range(200):
        with suppress(OSError):
            device.write(at * 4000, b"x" * 4000)
    assert len(machine.overruns.report()) <= 65
    assert max(map(len, machine.overruns.report())) < 1500


def test_free_frames(machine: Machine, load: Load) -> None:
    """Who gets one that was overwritten while it was free has zeros, if it asks for them."""
    device = scullp(load)
    device.write(device.itemsize, b"a")
    machine.page_alloc.free_frames(machine.page_alloc.alloc_pages_bulk(GFP_KERNEL, 20))
    while machine.idle_work():
        pass
    for zone in machine.page_alloc.zones:
        zone.settle(1 << 20)
        zone.released = len(zone.hot)
    assert device.write(device.itemsize, b"!" * 65536) == 65536
    assert bytes(device.read(device.itemsize, 65536)) == b"!" * 65536
    assert "free pages" in machine.overruns.report()[0]
    blocks = [
        (order, machine.page_alloc.alloc_pages(GFP_KERNEL | GFP_ZERO, order)) for order in (2, 4)
    ]
    frames = machine.page_alloc.alloc_pages_bulk(GFP_KERNEL | GFP_ZERO, 500)
    for pfn in [*frames, *(pfn + at for order, pfn in blocks for at in range(1 << order))]:
        phys = pfn * PAGE_SIZE
        assert bytes(machine.ram.bytes[phys : phys + PAGE_SIZE]) == bytes(PAGE_SIZE)
    machine.page_alloc.free_frames(frames)
    for order, pfn in blocks:
        machine.page_alloc.free_unref_page(pfn, order)
    machine.page_alloc.check()


def test_free_blocks() -> None:
    """So it is with small blocks that wait on the per-cpu list and were never handed out."""
    machine = Machine(256 * MIB)
    driver = DRIVERS["scullp"]
    device = Module(machine, driver, quirk_ldd3=True, scullp_order=4, scullp_qset=2).devices[0]
    zero = GFP_KERNEL | GFP_ZERO
    first = machine.page_alloc.alloc_pages(zero, 2)
    assert first is not None
    waiting = machine.page_alloc.zones[0].blocks.state()[2]
    overwrite_frame(machine, device, waiting[-1], b"x" * PAGE_SIZE)
    assert machine.page_alloc.alloc_pages(zero, 2) == waiting[-1]
    phys = waiting[-1] * PAGE_SIZE
    assert bytes(machine.ram.bytes[phys : phys + PAGE_SIZE]) == bytes(PAGE_SIZE)
    machine.page_alloc.check()


def test_quantum_sets(machine: Machine, load: Load) -> None:
    """One device's quantum set under another one's data: a trim survives it."""
    device, other = scullp(load), load("scullv", scullv_qset=500)
    other.write(0, b"v")
    pfn = machine.memory.virt_to_pfn(other.qset_address(0))
    overwrite_frame(machine, device, pfn, b"x" * PAGE_SIZE)
    assert f"scullv0 quantum set {other.qset_address(0):x}" in machine.overruns.report()[0]
    with fails(errno.EFAULT):
        other.read(0, 1)
    with pytest.raises(AssertionError, match="a pointer is overwritten"):
        other.check()
    other.trim()
    assert log(machine).count("Trying to vfree() nonexistent vm area") > 100
    machine.vm.check()


def test_listing(machine: Machine, load: Load) -> None:
    """It is as long as it says, whatever stands in the quantum set."""
    device, other = scullp(load), load("scullv", scullv_qset=500)
    other.write(0, b"v")
    pfn = machine.memory.virt_to_pfn(other.qset_address(0))
    words = (1, 0x1234, 0, 1 << 63, 0x00FF_0000_0000_0001)
    data = b"".join(word.to_bytes(8, "little") for word in words)
    overwrite_frame(machine, device, pfn, data * 20)
    (module,) = (m for m in machine.overruns.owners if "scullv" in repr(m))
    listing = ScullProcmem(module.__self__)  # type: ignore[attr-defined]
    assert sum(len(line) for line, _ in listing.lines((0, 0))) == listing.size()


@pytest.mark.parametrize("name", ONE_EACH)
def test_without_the_quirk(machine: Machine, name: str) -> None:
    """Later items have whole quanta, larger ones are refused, and nobody is overwritten."""
    device = Module(machine, DRIVERS[name]).devices[0]
    measure = device.driver.measure.name
    if name == "scullc":
        with fails(errno.EINVAL):
            device.parameters.store(measure, 4033)
        device.parameters.store(measure, 4032)
    else:
        device.parameters.store(measure, 2 if device.driver.by_order else 16384)
    device.parameters.store(device.driver.qset.name, 2)
    device.trim()
    for at in range(7):
        assert device.write(at * device.quantum, b"%d" % at * device.quantum) == device.quantum
    for at in range(7):
        assert bytes(device.read(at * device.quantum, 1 << 20)) == b"%d" % at * device.quantum
    assert machine.overruns.report() == []
    assert type(machine.pgtable) is PageTables
    device.check()
    machine.check()
