"""hardened_usercopy: which copies of a device's memory it forbids."""

from __future__ import annotations

import errno

import pytest

from scullvfs.mm import Machine
from scullvfs.mm.slab_common import KMALLOC_SIZES
from scullvfs.scull import DRIVERS, Module

from ..helpers import MIB, fails
from .helpers import ARCHES, log, slot


@pytest.mark.parametrize("arch", ARCHES)
def test_hardened_usercopy(arch: str) -> None:
    """No byte of scullc's objects may be copied; the quantum is there all the same."""
    machine = Machine(16 * MIB, arch, hardened_usercopy=True)
    device = Module(machine, DRIVERS["scullc"]).devices[0]
    assert device.write(5, b"") == 0
    assert (device.nr_quanta, device.size) == (1, 5)
    with fails(errno.EFAULT):
        device.write(3, b"twelve bytes")
    with fails(errno.EFAULT):
        device.read(0, 3)
    text = log(machine)
    for what in (
        "Kernel memory overwrite attempt detected to SLUB object 'scullc' (offset 3, size 12)!\n"
        "------------[ cut here ]------------\nkernel BUG at mm/usercopy.c:102!\n",
        "Kernel memory exposure attempt detected from SLUB object 'scullc' (offset 0, size 3)!\n",
        "Internal error: Oops - BUG: 00000000f2000800 [#1] PREEMPT SMP\n"
        if arch == "arm64"
        else "Oops: invalid opcode: 0000 [#2] PREEMPT SMP",
    ):
        assert what in text
    assert bytes(machine.memory.read(device.quanta(0)[0], 4000)) == bytes(4000)
    machine.check()
    machine.close()


def test_hardened_usercopy_of_the_others() -> None:
    """They have nothing to fear: kmalloc's objects may be copied, and pages are no objects."""
    machine = Machine(16 * MIB, hardened_usercopy=True)
    for name in ("scull", "scullp", "scullv"):
        device = Module(machine, DRIVERS[name]).devices[0]
        for size in (*KMALLOC_SIZES, 20000):
            if name == "scull":
                device.parameters.store("scull_quantum", size)
                device.trim()
            assert device.write(0, b"a" * size) == min(size, device.quantum)
            assert len(device.read(0, size)) == min(size, device.quantum)
    assert "usercopy" not in log(machine)
    machine.check()
    machine.close()


def test_hardened_usercopy_with_the_quirk() -> None:
    """What leaves an area of vmalloc is found, or an object; what leaves a page is not."""
    machine = Machine(16 * MIB, shuffle=False, hardened_usercopy=True)
    vm = Module(machine, DRIVERS["scullv"], quirk_ldd3=True, scullv_qset=2).devices[0]
    vm.write(vm.itemsize, b"a")
    with fails(errno.EFAULT):
        vm.write(vm.itemsize, b"b" * 65536)
    assert "overwrite attempt detected to vmalloc (offset 0, size 65536)!\n" in log(machine)
    pages = Module(machine, DRIVERS["scullp"], quirk_ldd3=True, scullp_order=4, scullp_qset=2)
    device = pages.devices[0]
    assert device.write(device.itemsize, b"c" * 65536) == 65536
    scull = Module(machine, DRIVERS["scull"], quirk_ldd3=True).devices[0]
    scull.write(0, b"d")
    machine.memory.store(slot(scull, 0, 0), scull.quanta(0)[0] + 200)
    with fails(errno.EFAULT):
        scull.write(0, b"e" * 4000)
    assert "to SLUB object 'kmalloc-4k' (offset 200, size 4000)!" in log(machine)
    large = machine.slab.kmalloc(20000)
    assert large is not None
    machine.memory.store(slot(scull, 0, 0), large + 30000)
    with fails(errno.EFAULT):
        scull.write(0, b"f" * 4000)
    assert "overwrite attempt detected to page alloc (offset 30000, size 4000)!" in log(machine)
    machine.memory.store(slot(scull, 0, 0), 0x10 - 5)
    with fails(errno.EFAULT):
        scull.read(0, 1)
    assert "exposure attempt detected from null address (offset 11, size 1)!" in log(machine)
    machine.close()
