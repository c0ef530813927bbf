"""A pointer in a quantum set that is garbage: read, written, freed, cut off."""

from __future__ import annotations

import errno
import re

import pytest

from scullvfs.mm import PAGE_SIZE, Machine
from scullvfs.mm.gfp import GFP_KERNEL
from scullvfs.mm.workqueue import finish
from scullvfs.scull import posix

from ..helpers import fails
from .helpers import ARCHES, ONE_EACH, Load, log, slot


@pytest.mark.parametrize("machine", ARCHES, indirect=True)
@pytest.mark.parametrize("name", ONE_EACH)
def test_garbage_pointer(machine: Machine, load: Load, name: str) -> None:
    """What it leads to is nowhere: an oops in the log, EFAULT for who reads or writes."""
    device = load(name, **ONE_EACH[name])
    device.write(0, b"a" * 4096)
    wide = machine.layout.pointer_size
    machine.memory.store(slot(device, 0, 0), int.from_bytes(b"x" * wide, "little"))
    with fails(errno.EFAULT):
        device.write(100, b"b")
    with fails(errno.EFAULT):
        device.read(100, 1)
    text = log(machine)
    assert text.count("---[ end trace") == 2
    assert re.search(rf"{name}_write \[{name}\]\n.*{name}_read \[{name}\]\n", text, re.S)
    if machine.layout.name == "x86_64":
        what = (
            "Oops: general protection fault, probably for non-canonical address 0x78787878787878dc"
        )
    elif machine.layout.name == "i386":
        what = "BUG: unable to handle page fault for address: 787878dc"
    else:
        what = "Unable to handle kernel paging request at virtual address 78787878787878dc"
    assert what in text
    device.write(4096, b"goes on")
    assert bytes(device.read(4096, 7)) == b"goes on"


@pytest.mark.parametrize("name", ONE_EACH)
def test_garbage_pointer_into_ram(machine: Machine, load: Load, name: str) -> None:
    """What it leads to is somebody's: that is read and written without a word."""
    device = load(name, **ONE_EACH[name])
    device.write(0, b"a" * 4096)
    other = machine.slab.kmalloc(4096)
    assert other is not None
    machine.memory.write(other, b"secret")
    machine.memory.store(slot(device, 0, 0), other)
    assert bytes(device.read(0, 6)) == b"secret"
    device.write(0, b"public")
    assert bytes(machine.memory.read(other, 6)) == b"public"
    assert "BUG" not in log(machine)
    (line,) = machine.overruns.report()
    owner = f"kmalloc-4k object {machine.layout.pointer(other)}"
    pointer = machine.layout.pointer(other)
    assert line == (
        f"{name}0: quantum {pointer} is none of its memory, accessed as 4096: "
        f"overwrote 6 bytes: {owner}"
    )


WORDS = {
    # member -> (pointer to nothing, pointer to a frame that is free, pointer to a slab's object)
    "scullv": ["Trying to vfree() nonexistent vm area"] * 3,
    "scullp": ["BUG: unable to handle page fault", "BUG: Bad page state in process", "mapcount"],
    "scullc": [
        "BUG: unable to handle page fault",
        "Object is not a Slab page!",
        "Wrong slab cache",
    ],
    "scull": [
        "BUG: unable to handle page fault",
        "object pointer: 0x",
        "kernel BUG at mm/slub.c:550!",
    ],
}


@pytest.mark.parametrize("name", WORDS)
def test_free_garbage(machine: Machine, load: Load, name: str) -> None:
    """To free it is what Linux says, and the rest of a trim goes on."""
    device = load(name, **ONE_EACH[name])
    for at in range(4):
        device.write(at * 4096, b"a" * 4096)
    lost = device.quanta(0)[:3]
    other = machine.slab.kmalloc(64)
    assert other is not None
    nothing = machine.layout.vmalloc_end
    free = machine.page_alloc.high_memory - PAGE_SIZE
    objects = machine.statistics().slab.objects, machine.statistics().pages.free
    for at, pointer in enumerate((nothing, free, other)):
        machine.memory.store(slot(device, 0, at), pointer)
    left = device.trim(later=True)
    assert left is not None
    machine.slab.kfree(machine.slab.kmalloc(8))  # which does what waits, and does not hear of it
    text = log(machine)
    for words in WORDS[name]:
        assert words in text
    assert f"{name}_trim [{name}]" in text or name == "scullv" or "cut here" in text
    assert machine.slab.ksize(other) == 64, "it was somebody else's"
    assert (device.nr_quanta, device.allocated, device.size) == (0, 0, 0)
    assert machine.statistics().slab.objects <= objects[0]
    machine.check()  # what is lost has its holder
    with pytest.raises(AssertionError, match="was overwritten"):
        device.check()
    assert set(lost) <= {quantum for quantum, _ in device._given.all()}


def test_garbage_in_truncate(machine: Machine, load: Load) -> None:
    """To zero the rest of it is an oops; a hole is punched through it all the same."""
    device = load("scullp", scullp_order=0)
    for at in range(4):
        device.write(at * 4096, b"a" * 4096)
    machine.memory.store(slot(device, 0, 1), 0x1234)
    with fails(errno.EFAULT):
        device.truncate(4100)
    assert "BUG: unable to handle page fault for address: 0000000000001238" in log(machine)
    finish(posix.punch_hole(device, 0, 16384))
    assert device.nr_quanta == 1
    assert device.quanta(0)[:4] == [0] * 4
    machine.check()


def test_garbage_in_books(machine: Machine, load: Load) -> None:
    """What is cut off counts as far as it was the device's; of garbage no blank one is freed."""
    device = load("scullp", scullp_order=0, scullp_qset=2)
    for at in range(6):
        device.write(at * 4096, b"a")
    zeros = machine.page_alloc.get_zeroed_page(GFP_KERNEL)
    assert zeros is not None
    machine.memory.store(slot(device, 2, 1), zeros)
    device.free_quanta(2, 0, 2, blank=True)
    assert device.quanta(2)[1] == zeros
    device.truncate(8192)
    assert (device.nr_quanta, device.allocated) == (3, 3 * 4096)  # one is lost
    assert "BUG: Bad page state in process" in log(machine)
    machine.page_alloc.free_pages(zeros, 0)
    machine.check()


@pytest.mark.parametrize("name", ONE_EACH)
def test_cut_off_is_no_garbage(machine: Machine, load: Load, name: str) -> None:
    """What a truncate has left to free is freed, though the device is trimmed before that."""
    device = load(name, **ONE_EACH[name], **{f"{name}_qset": 2})
    for at in range(8):
        device.write(at * 4096, b"a")
    before = machine.log.nr_records
    finish(device.truncating(device.itemsize))
    device.trim(later=True)
    machine.workqueue.flush()
    assert machine.log.nr_records == before
    assert device._given.lost() == []
    device.check()
    machine.check()
