"""Slabs whose list of free objects is overwritten: who asks them for memory dies of it."""

from __future__ import annotations

import errno

import pytest

from scullvfs.mm import PAGE_SIZE, Machine

from ..helpers import fails
from .helpers import ARCHES, Load, log, overwrite_frame, scullp


@pytest.mark.parametrize("machine", ARCHES, indirect=True)
def test_broken_slab(machine: Machine, load: Load) -> None:
    """The list of a slab's free objects is overwritten: its second next allocation dies."""
    device = load("scullc", scullc_quantum=4000)
    device.parameters.store("scullc_quantum", 8000)
    device.trim()
    assert device.write(0, b"a" * 8000) == 8000
    assert device.write(8000, b"b" * 8000) == 8000
    with fails(errno.EFAULT):
        device.write(16000, b"c")
    assert " kmem_cache_alloc_noprof\n scullc_write [scullc]\n" in log(machine)
    assert device.write(16000, b"c") == 1, "that slab is given up, and another one taken"
    with pytest.raises(AssertionError, match="overwritten"):
        machine.check()  # the new slab's list is, too


def test_broken_kmalloc(machine: Machine, load: Load) -> None:
    """Whoever asks kmalloc() for such an object dies: a device, a command of a user's."""
    device, other = scullp(load), load("scull", scull_quantum=2048)
    other.write(0, b"a")
    page = machine.slab.find_slab(machine.memory.virt_to_pfn(other.quanta(0)[0]))
    assert page is not None
    for pfn in range(page.pfn, page.pfn + (1 << page.order)):
        overwrite_frame(machine, device, pfn, b"x" * PAGE_SIZE)
    other.write(2048, b"b")
    with fails(errno.EFAULT):
        other.write(4096, b"c")
    assert " __kmalloc_noprof\n scull_write [scull]\n" in log(machine)
    other.write(4096, b"c")


def test_broken_kmalloc_in_vmalloc(machine: Machine, load: Load) -> None:
    """Who dies in the middle of vmalloc() leaves no addresses that nobody has."""
    device, other = scullp(load), load("scullv", scullv_order=1)
    other.write(0, b"a")
    objects = [machine.slab.kmalloc(16) for _ in range(3)]
    page = machine.slab.find_slab(machine.memory.virt_to_pfn(objects[0] or 0))
    assert page is not None
    overwrite_frame(machine, device, page.pfn, b"x" * PAGE_SIZE)
    other.write(8192, b"b")
    with fails(errno.EFAULT):
        other.write(16384, b"c")
    assert " __kmalloc_noprof\n scullv_write [scullv]\n" in log(machine)
    machine.vm.check()
    other.write(16384, b"c")


@pytest.mark.parametrize(
    ("of", "function"),
    [("vm_struct", "__kmalloc_noprof"), ("vmap_area", "kmem_cache_alloc_noprof")],
)
def test_broken_slab_of_areas(machine: Machine, load: Load, of: str, function: str) -> None:
    """As well when the objects are those of the area itself: nothing of it is left behind."""
    device, other = scullp(load), load("scullv", scullv_order=1)
    other.write(0, b"a")
    structs, areas = machine.vm.vm_structs, machine.vmap_space.vmap_areas
    page = (structs if of == "vm_struct" else areas).cache.cpu
    overwrite_frame(machine, device, page.pfn, b"x" * PAGE_SIZE)
    died = 0
    before = structs.cache.nr_used - structs.cache.nr_lost
    for number in range(1, 4):
        try:
            other.write(8192 * number, b"b")
        except OSError as error:
            died += error.errno == errno.EFAULT
        machine.vm.check()
    assert died == 1
    assert structs.cache.nr_used - structs.cache.nr_lost == before + 2
    assert f" {function}\n scullv_write [scullv]\n" in log(machine)
    other.write(8192, b"c")


def test_broken_kmalloc_in_read(machine: Machine, load: Load) -> None:
    """A read that adds list items asks for memory, too."""
    device, other = scullp(load), load("scullv", scullv_order=0, scullv_qset=1)
    other.write(4096, b"a")
    page = machine.slab.find_slab(machine.memory.virt_to_pfn(other.items.address(1)))
    assert page is not None
    overwrite_frame(machine, device, page.pfn, b"x" * PAGE_SIZE)
    other.size = 1 << 20
    with fails(errno.EFAULT):
        other.read(16 * 4096, 1)
    assert " __kmalloc_noprof\n scullv_read [scullv]\n" in log(machine)
    assert bytes(other.read(4096, 1)) == b"a"
