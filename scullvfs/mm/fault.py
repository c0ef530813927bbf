"""What the kernel prints of a page fault in its own code: an oops, as each architecture has it.

    x86_64   BUG: unable to handle page fault for address: ffffc90000001000
    i386     the same; its two levels of tables are called pde and pte
    arm64    Unable to handle kernel paging request at virtual address ffff800080001000

Confessed: registers, code bytes and stack are left out, see `dump_stack`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from .dump_stack import info_lines, modules_line, trace_lines
from .errors import PageFault
from .layout import PAGE_SIZE
from .printk import KERN_ALERT, KERN_EMERG, KERN_INFO, KERN_WARNING

if TYPE_CHECKING:
    from .machine import Machine

__all__ = ["page_fault_oops"]

END: Final = "---[ end trace 0000000000000000 ]---"

DATA_ABORT: Final = 0x9600_0000
"""ESR: a data abort taken from the kernel itself (EC 0x25), 32-bit instruction (IL)."""
WRITE_NOT_READ: Final = 0x40
TRANSLATION_FAULT: Final = 0x04
"""At level 0; that of each level below is one more."""

Lines = list[tuple[int, str]]


def page_fault_oops(
    machine: Machine, fault: PageFault, trace: Sequence[str], notes: Sequence[str] = ()
) -> None:
    """Write the report of an access to an address that is not mapped into the kernel log.

    Args:
        trace: the functions that led to the access, the innermost first.
        notes: lines of one's own, which come before the end of the report.

    Linux: arch/x86/mm/fault.c:page_fault_oops(), arch/arm64/mm/fault.c:die_kernel_fault()
    """
    lines = _arm64 if machine.layout.name == "arm64" else _x86
    ends = [(KERN_WARNING, line) for line in (*notes, END)]
    machine.log.oops(lambda number: lines(machine, fault, trace, number) + ends)


def _x86(machine: Machine, fault: PageFault, trace: Sequence[str], number: int) -> Lines:
    """Linux: arch/x86/mm/fault.c:show_fault_oops(), arch/x86/kernel/dumpstack.c:__die()"""
    layout, log = machine.layout, machine.log
    access, error = ("write", 2) if fault.write else ("read", 0)
    what = (
        "BUG: kernel NULL pointer dereference, address"
        if fault.address < PAGE_SIZE
        else "BUG: unable to handle page fault for address"
    )
    isolation = " NOPTI" if layout.name == "x86_64" else ""  # without PAE there is no such thing
    die = [
        f"Oops: Oops: {error:04x} [#{number}] PREEMPT SMP{isolation}",
        *info_lines(machine.current, log.taints, layout.name),
        *trace_lines(trace, layout.name),
        modules_line(log.modules),
        f"CR2: {fault.address:016x}",
    ]
    return [
        (KERN_ALERT, f"{what}: {layout.pointer(fault.address)}"),
        (KERN_ALERT, f"#PF: supervisor {access} access in kernel mode"),
        (KERN_ALERT, f"#PF: error_code(0x{error:04x}) - not-present page"),
        (KERN_INFO, _tables_i386(fault) if layout.name == "i386" else _tables_x86_64(fault)),
        *((KERN_WARNING, line) for line in die),
    ]


def _tables_x86_64(fault: PageFault) -> str:
    """The entries on the way down; the p4d is folded away and repeats the pgd.

    Linux: arch/x86/mm/fault.c:dump_pagetable()
    """
    top, *lower = fault.entries or (0,)  # nothing is there for a process's address
    text = f"PGD {top:x} P4D {top:x} "
    for name, entry in zip(("PUD ", "PMD ", "PTE "), lower, strict=False):
        text += f"{name}{entry:x} "
    return text.removesuffix(" ") if len(lower) == 3 else text


def _tables_i386(fault: PageFault) -> str:
    return "".join(
        f"*{name} = {entry:08x} "
        for name, entry in zip(("pde", "pte"), fault.entries, strict=False)
    )


def _arm64(machine: Machine, fault: PageFault, trace: Sequence[str], number: int) -> Lines:
    """Linux: arch/arm64/mm/fault.c:die_kernel_fault(), arch/arm64/kernel/traps.c:die()"""
    layout, log = machine.layout, machine.log
    level = max(len(fault.entries) - 1, 0)
    status = TRANSLATION_FAULT + level
    syndrome = (WRITE_NOT_READ if fault.write else 0) | status
    what = "NULL pointer dereference" if fault.address < PAGE_SIZE else "paging request"
    top, *lower = fault.entries or (0,)  # nothing is there for a process's address
    # The p4d is folded away and repeats the pgd.
    entries = zip(("pgd", "p4d", "pud", "pmd", "pte"), (top, top, *lower), strict=False)
    tables = ", ".join(f"{name}={entry:016x}" for name, entry in entries)
    alert = (
        f"Unable to handle kernel {what} at virtual address {fault.address:016x}",
        "Mem abort info:",
        f"  ESR = 0x{DATA_ABORT | syndrome:016x}",
        "  EC = 0x25: DABT (current EL), IL = 32 bits",
        "  SET = 0, FnV = 0",
        "  EA = 0, S1PTW = 0",
        f"  FSC = 0x{status:02x}: level {level} translation fault",
        "Data abort info:",
        f"  ISV = 0, ISS = 0x{syndrome:08x}, ISS2 = 0x00000000",
        f"  CM = 0, WnR = {int(fault.write)}, TnD = 0, TagAccess = 0",
        "  GCS = 0, Overlay = 0, DirtyBit = 0, Xs = 0",
        f"swapper pgtable: {PAGE_SIZE >> 10}k pages, {layout.va_bits}-bit VAs, "
        f"pgdp={machine.pgtable.top:016x}",
        f"[{fault.address:016x}] {tables}",
    )
    die = [
        modules_line(log.modules),
        *info_lines(machine.current, log.taints, layout.name),
        *trace_lines(trace, layout.name),
    ]
    error = f"Internal error: Oops: {DATA_ABORT | syndrome:016x} [#{number}] PREEMPT SMP"
    return [
        *((KERN_ALERT, line) for line in alert),
        (KERN_EMERG, error),
        *((KERN_WARNING, line) for line in die),
    ]
