"""Page tables that a device has written over: who walks them, and who frees them."""

from __future__ import annotations

import errno
from random import Random

import pytest

from scullvfs.fs.page import KPF_PGTABLE, kpageflags
from scullvfs.fs.page_tables import PageTablesListing
from scullvfs.fs.seq_file import text_of
from scullvfs.mm import PAGE_SIZE, Machine
from scullvfs.mm.gfp import __GFP_ZERO as GFP_ZERO
from scullvfs.mm.gfp import GFP_KERNEL
from scullvfs.mm.overwritten_tables import OverwrittenTables

from ..helpers import fails
from .helpers import ARCHES, Load, log, overwrite_frame, scullp


@pytest.mark.parametrize("machine", ARCHES, indirect=True)
def test_page_table(machine: Machine, load: Load) -> None:
    """An overwritten table leads nowhere; what it mapped is freed all the same."""
    device, other = scullp(load), load("scullv", scullv_order=1)
    for at in range(3):
        other.write(at * 8192, b"%d" % at * 8192)
    places: list[int] = []
    machine.pgtable._walk(other.quanta(0)[1], path=places)
    table = places[-1] >> machine.pgtable._table_bits
    overwrite_frame(machine, device, table, b"x" * 40)
    assert isinstance(machine.pgtable, OverwrittenTables)
    for call in (lambda: other.read(8192, 10), lambda: other.write(8192, b"!")):
        with fails(errno.EFAULT):
            call()
    assert "7878787" in log(machine)
    assert "page table" in machine.overruns.report()[0]
    held = machine.statistics().pages.free
    other.trim()
    assert machine.statistics().pages.free > held
    other.write(0, b"as new")
    assert bytes(other.read(0, 6)) == b"as new"
    machine.vm.check()
    machine.page_alloc.check()


def tables_in(machine: Machine) -> set[int]:
    """The frames that are page tables, as kpageflags has it."""
    flags = kpageflags(machine, 0, machine.ram.nr_pages)
    return {pfn for pfn, bits in enumerate(flags) if bits >> KPF_PGTABLE & 1}


@pytest.mark.parametrize("machine", ARCHES, indirect=True)
@pytest.mark.parametrize("fill", [*b"\0\1\3\7\xffcdx", None])
def test_lists_of_tables(machine: Machine, load: Load, fill: int | None) -> None:
    """What lists the tables has them as they should be, whatever is in them."""
    device, other = scullp(load), load("scullv", scullv_order=1)
    other.write(0, b"v" * 8192)
    listing = PageTablesListing(machine)
    text, tables = text_of(listing), tables_in(machine)
    assert tables or len(machine.layout.levels) == 2
    path: list[int] = []
    machine.pgtable._walk(other.quanta(0)[0], path=path)
    rng = Random(len(text))
    for place in path:
        data = rng.randbytes(PAGE_SIZE) if fill is None else bytes([fill]) * PAGE_SIZE
        overwrite_frame(machine, device, place >> machine.pgtable._table_bits, data)
        assert text_of(listing) == text
        assert listing.size() == len(text)
        assert listing.seek(len(text) // 2)[1] <= len(text) // 2
        assert tables_in(machine) == tables


@pytest.mark.parametrize("machine", ARCHES, indirect=True)
def test_upper_page_table(machine: Machine, load: Load) -> None:
    """Walks that lead out of RAM are page faults, too; zeros are."""
    device, other = scullp(load), load("scullv", scullv_order=1)
    other.write(0, b"v" * 8192)
    for data in (b"\xff" * PAGE_SIZE, bytes(PAGE_SIZE), b"x" * PAGE_SIZE):
        overwrite_frame(machine, device, machine.pgtable.top // PAGE_SIZE, data)
        with fails(errno.EFAULT):
            other.read(0, 1)
        assert machine.vm.vmalloc_to_pfn(other.quanta(0)[0]) is None
        assert machine.vm.find_vm_area(other.quanta(0)[0]) is not None
    other.trim()
    device.trim()
    machine.workqueue.flush()
    machine.vm.check()
    with pytest.raises(AssertionError, match="a page table is overwritten"):
        machine.check()


def test_page_table_that_leads_into_ram(machine: Machine, load: Load) -> None:
    """What an overwritten entry points to is not taken for a table, or a page, whatever it is."""
    device, other = scullp(load), load("scullv", scullv_order=1)
    other.write(0, b"v" * 8192)
    path: list[int] = []
    machine.pgtable._walk(other.quanta(0)[0], path=path)
    bits = machine.pgtable._table_bits
    fake = machine.page_alloc.alloc_pages(GFP_KERNEL | GFP_ZERO, 0)
    assert fake is not None
    entry = (fake << 12 | machine.layout.table_flags).to_bytes(8, "little")
    machine.memory.write(machine.memory.page_to_virt(fake), entry * 512)
    before = bytes(machine.memory.read(machine.memory.page_to_virt(fake), PAGE_SIZE))
    for place in path:
        table = machine.memory.page_to_virt(place >> bits)
        whole = bytes(machine.memory.read(table, PAGE_SIZE))
        overwrite_frame(machine, device, place >> bits, entry * 512)
        for call in (lambda: other.read(0, 8192), lambda: other.write(0, b"!" * 8192)):
            with fails(errno.EFAULT):
                call()
        overwrite_frame(machine, device, place >> bits, whole)
        assert bytes(other.read(0, 8192)) == b"v" * 8192
    assert bytes(machine.memory.read(machine.memory.page_to_virt(fake), PAGE_SIZE)) == before
    machine.vm.check()


def test_page_table_freed(machine: Machine, load: Load) -> None:
    """A table that is freed is damaged no more, whatever its frame is used for."""
    device, other = scullp(load), load("scullv", scullv_order=0)
    other.write(0, b"v")
    path: list[int] = []
    machine.pgtable._walk(other.quanta(0)[0], path=path)
    lowest = path[-1] >> machine.pgtable._table_bits
    overwrite_frame(machine, device, lowest, b"x" * PAGE_SIZE)
    assert isinstance(machine.pgtable, OverwrittenTables)
    assert machine.pgtable.nr_damaged == 512
    other.trim()
    machine.workqueue.flush()
    machine.vm.vm_unmap_aliases()
    assert machine.pgtable.nr_damaged == 0
    other.write(0, b"new")
    assert bytes(other.read(0, 3)) == b"new"
    device.trim()
    machine.pgtable.check()


def test_page_table_put_right(machine: Machine, load: Load) -> None:
    """Who writes what was there has damaged nothing."""
    device, other = scullp(load), load("scullv", scullv_order=1)
    other.write(0, b"v" * 8192)
    top = machine.pgtable.top
    before = bytes(machine.ram.bytes[top : top + PAGE_SIZE])
    overwrite_frame(machine, device, top // PAGE_SIZE, b"x" * PAGE_SIZE)
    overwrite_frame(machine, device, top // PAGE_SIZE, before)
    assert bytes(other.read(0, 1)) == b"v"
    machine.pgtable.check()
