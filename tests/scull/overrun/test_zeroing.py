"""scullc zeroes a new quantum by the module's setting, however long the object is."""

from __future__ import annotations

import errno

from scullvfs.mm import Machine

from ..helpers import MIB, fails
from .helpers import Load, log


def test_zeroing_by_the_module(machine: Machine, load: Load) -> None:
    """A new quantum is zeroed as long as the module's setting is, over what lies behind it."""
    device = load("scullc", scullc_quantum=4000)
    for at in range(3):
        device.write(at * 4000, b"%d" % at * 4000)
    device.free_quanta(0, 1, 1)
    device.parameters.store("scullc_quantum", 8064)
    device.write(4000, b"n")
    assert bytes(device.read(8000, 4000)) == bytes(4000)
    assert bytes(device.read(0, 4000)) == b"0" * 4000
    (line,) = machine.overruns.report()
    assert "is 4032 bytes long, accessed as 8064: overwrote 4032 bytes: scullc0 quantum" in line


def test_zeroing_of_megabytes(machine: Machine, load: Load) -> None:
    """All of what lies there is zeros, the last byte included."""
    device = load("scullc", scullc_qset=2)
    device.parameters.store("scullc_quantum", 4 * MIB)
    device.trim()
    assert device.write(0, b"b") == 1
    assert f"overwrote {4 * MIB - 4032} bytes" in machine.overruns.report()[0]
    assert bytes(machine.memory.read(device.quanta(0)[0], 4 * MIB)) == b"b" + bytes(4 * MIB - 1)


def test_zeroing_past_the_end_of_ram(machine: Machine, load: Load) -> None:
    """It is an oops, and nothing is zeroed; the quantum is there."""
    device = load("scullc", scullc_qset=2)
    end = machine.page_alloc.high_memory
    taken = (machine.slab.kmem_cache_alloc(device.shared) for _ in range(4000))
    assert any(at is not None and at > end - 3 * MIB for at in taken)
    device.parameters.store("scullc_quantum", 4 * MIB)
    device.trim()
    with fails(errno.EFAULT):
        device.write(0, b"b")
    pointer = machine.layout.pointer(end)
    assert f"BUG: unable to handle page fault for address: {pointer}" in log(machine)
    assert (device.nr_quanta, device.size) == (1, 0)
    assert machine.overruns.report() == []
    device.check()


def test_reset_is_larger_than_the_objects(machine: Machine, load: Load) -> None:
    """The default is taken, whatever the cache was made with."""
    device = load("scullc", scullc_quantum=100)
    device.parameters.reset()
    device.trim()
    assert device.write(0, b"a" * 4000) == 4000
    assert "is 128 bytes long, accessed as 4000" in machine.overruns.report()[0]
