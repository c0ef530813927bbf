"""The report of a page fault on each architecture, word for word.

x86_64's is that of a real module's crash, see tests/truth; the others are as in Linux's source.
"""

from __future__ import annotations

import pytest

from scullvfs.mm import PageFault
from scullvfs.mm.fault import page_fault_oops
from scullvfs.mm.machine import Machine
from scullvfs.mm.sched import Task

from .helpers import MIB

TRACE = ["_copy_from_user", "scullv_write [scullv]"]


class Named(Task):
    """A task of a known name."""

    comm = "dd"


def report(machine: Machine, address: int, write: bool) -> list[str]:
    """What the log says of an access, with the levels."""
    machine.running.current = Named(42, 1000, 1000)
    with pytest.raises(PageFault) as raised:
        machine.memory.translate(address, 1, write)
    before = machine.log.nr_records
    page_fault_oops(machine, raised.value, TRACE, ["a note"])
    return [f"<{record.level}>{record.text}" for _, record in machine.log.records_from(before)]


def guard(machine: Machine) -> int:
    """The guard page of a new area, whose neighbours in the tables are there."""
    address = machine.vm.vmalloc(1)
    assert address is not None
    return address + 4096


def test_x86_64() -> None:
    """The address, the error code's bits, the tables on the way down, who it was."""
    machine = Machine(16 * MIB)
    machine.log.add_module("scullv")
    address = guard(machine)
    (_, pgd), (_, pud), (_, pmd), _ = machine.pgtable.walk(address)
    assert report(machine, address, write=True) == [
        f"<1>BUG: unable to handle page fault for address: {address:016x}",
        "<1>#PF: supervisor write access in kernel mode",
        "<1>#PF: error_code(0x0002) - not-present page",
        f"<6>PGD {pgd:x} P4D {pgd:x} PUD {pud:x} PMD {pmd:x} PTE 0",
        "<4>Oops: Oops: 0002 [#1] PREEMPT SMP NOPTI",
        "<4>CPU: 0 UID: 1000 PID: 42 Comm: dd Tainted: G           O       6.12.0-scullvfs #1",
        "<4>Tainted: [O]=OOT_MODULE",
        "<4>Hardware name: scullvfs emulated x86_64",
        "<4>Call Trace:",
        "<4> <TASK>",
        "<4> _copy_from_user",
        "<4> scullv_write [scullv]",
        "<4> </TASK>",
        "<4>Modules linked in: scullv(O)",
        f"<4>CR2: {address:016x}",
        "<4>a note",
        "<4>---[ end trace 0000000000000000 ]---",
    ]
    again = report(machine, address, write=False)
    assert "<1>#PF: supervisor read access in kernel mode" in again
    assert "<4>Oops: Oops: 0000 [#2] PREEMPT SMP NOPTI" in again
    assert "<4>Tainted: [D]=DIE, [O]=OOT_MODULE" in again


def test_x86_64_stops_at_an_empty_table() -> None:
    """What is not there is not followed; a blank is left where the next level would come."""
    machine = Machine(16 * MIB)
    lines = report(machine, machine.layout.vmalloc_start, write=False)
    assert lines[3] == "<6>PGD 0 P4D 0 "
    guard(machine)
    (_, pgd), (_, pud), _ = machine.pgtable.walk(machine.layout.vmalloc_start + (1 << 21))
    lines = report(machine, machine.layout.vmalloc_start + (1 << 21), write=False)
    assert lines[3] == f"<6>PGD {pgd:x} P4D {pgd:x} PUD {pud:x} PMD 0 "


def test_null_pointer() -> None:
    """An address in the first page is one that was NULL."""
    lines = report(Machine(16 * MIB), 0x10, write=True)
    assert lines[0] == "<1>BUG: kernel NULL pointer dereference, address: 0000000000000010"
    lines = report(Machine(16 * MIB, "arm64"), 0x10, write=True)
    assert lines[0] == (
        "<1>Unable to handle kernel NULL pointer dereference at virtual address 0000000000000010"
    )


def test_i386() -> None:
    """Two levels, eight digits, no name for the stack, no isolation of page tables."""
    machine = Machine(16 * MIB, "i386")
    address = guard(machine)
    (_, pde), _ = machine.pgtable.walk(address)
    assert report(machine, address, write=True) == [
        f"<1>BUG: unable to handle page fault for address: {address:08x}",
        "<1>#PF: supervisor write access in kernel mode",
        "<1>#PF: error_code(0x0002) - not-present page",
        f"<6>*pde = {pde:08x} *pte = 00000000 ",
        "<4>Oops: Oops: 0002 [#1] PREEMPT SMP",
        "<4>CPU: 0 UID: 1000 PID: 42 Comm: dd Not tainted 6.12.0-scullvfs #1",
        "<4>Hardware name: scullvfs emulated i386",
        "<4>Call Trace:",
        "<4> _copy_from_user",
        "<4> scullv_write [scullv]",
        "<4>Modules linked in:",
        f"<4>CR2: {address:016x}",
        "<4>a note",
        "<4>---[ end trace 0000000000000000 ]---",
    ]
    far = machine.layout.vmalloc_end - (8 << 20)
    assert report(machine, far, write=True)[3] == "<6>*pde = 00000000 "


def test_arm64() -> None:
    """The syndrome register decoded, the table's address, 16 digits for each entry."""
    machine = Machine(16 * MIB, "arm64")
    machine.log.add_module("scullv")
    address = guard(machine)
    (_, pgd), (_, pud), (_, pmd), _ = machine.pgtable.walk(address)
    assert report(machine, address, write=True) == [
        f"<1>Unable to handle kernel paging request at virtual address {address:016x}",
        "<1>Mem abort info:",
        "<1>  ESR = 0x0000000096000047",
        "<1>  EC = 0x25: DABT (current EL), IL = 32 bits",
        "<1>  SET = 0, FnV = 0",
        "<1>  EA = 0, S1PTW = 0",
        "<1>  FSC = 0x07: level 3 translation fault",
        "<1>Data abort info:",
        "<1>  ISV = 0, ISS = 0x00000047, ISS2 = 0x00000000",
        "<1>  CM = 0, WnR = 1, TnD = 0, TagAccess = 0",
        "<1>  GCS = 0, Overlay = 0, DirtyBit = 0, Xs = 0",
        f"<1>swapper pgtable: 4k pages, 48-bit VAs, pgdp={machine.pgtable.top:016x}",
        f"<1>[{address:016x}] pgd={pgd:016x}, p4d={pgd:016x}, pud={pud:016x}, pmd={pmd:016x}, "
        f"pte={0:016x}",
        "<0>Internal error: Oops: 0000000096000047 [#1] PREEMPT SMP",
        "<4>Modules linked in: scullv(O)",
        "<4>CPU: 0 UID: 1000 PID: 42 Comm: dd Tainted: G           O       6.12.0-scullvfs #1",
        "<4>Tainted: [O]=OOT_MODULE",
        "<4>Hardware name: scullvfs emulated arm64",
        "<4>Call trace:",
        "<4> _copy_from_user",
        "<4> scullv_write [scullv]",
        "<4>a note",
        "<4>---[ end trace 0000000000000000 ]---",
    ]
    far = machine.layout.vmalloc_start + (1 << 39)
    lines = report(machine, far, write=False)
    assert "<1>  ESR = 0x0000000096000004" in lines
    assert "<1>  FSC = 0x04: level 0 translation fault" in lines
    assert f"<1>[{far:016x}] pgd={0:016x}, p4d={0:016x}" in lines


def test_arm64_of_other_addresses() -> None:
    """A process has tables of its own; between its addresses and the kernel's there are none."""
    machine = Machine(16 * MIB, "arm64")
    lines = report(machine, 0x10, write=False)
    at = lines.index(f"<1>user pgtable: 4k pages, 48-bit VAs, pgdp={0:016x}")
    assert lines[at + 1] == f"<1>[{0x10:016x}] pgd={0:016x}, p4d={0:016x}"
    for address in (1 << 48, 1 << 52, machine.layout.page_offset - 1):
        lines = report(machine, address, write=False)
        assert f"<1>[{address:016x}] address between user and kernel address ranges" in lines
        assert not any("pgtable:" in line or "pgd=" in line for line in lines)
