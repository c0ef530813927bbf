"""What the kernel prints of a fault in its own code: an oops, as each architecture has it.

    x86_64   BUG: unable to handle page fault for address: ffffc90000001000
             Oops: general protection fault, probably for non-canonical address 0x7878787878787878
    i386     the former; its two levels of tables are called pde and pte
    arm64    Unable to handle kernel paging request at virtual address ffff800080001000
    all      kernel BUG at mm/usercopy.c:102!

Confessed: registers, code bytes and stack are left out, see `dump_stack`.  No process has page
tables here, so on arm64 theirs are at 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from .dump_stack import info_lines, modules_line, trace_lines
from .errors import PageFault
from .layout import PAGE_SIZE
from .printk import KERN_ALERT, KERN_CRIT, KERN_EMERG, KERN_INFO, KERN_WARNING

if TYPE_CHECKING:
    from .machine import Machine

__all__ = ["bug_oops", "page_fault_oops"]

END: Final = "---[ end trace 0000000000000000 ]---"

DATA_ABORT: Final = 0x9600_0000
"""ESR: a data abort taken from the kernel itself (EC 0x25), 32-bit instruction (IL)."""
WRITE_NOT_READ: Final = 0x40
BRK_BUG: Final = 0xF200_0800
"""ESR: a breakpoint instruction, with the number that says BUG()."""
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
    if machine.layout.name == "x86_64" and not _is_canonical(fault.address):
        lines = _general_protection
    ends = [(KERN_WARNING, line) for line in (*notes, END)]
    machine.log.oops(lambda number: lines(machine, fault, trace, number) + ends)


def bug_oops(machine: Machine, where: str, trace: Sequence[str], before: str = "") -> None:
    """Write the report of a BUG() into the kernel log.

    Args:
        where: file and line, such as mm/usercopy.c:102.
        trace: the functions that led to it, the innermost first.
        before: what is said first, if anything.

    Linux: lib/bug.c:__report_bug(), arch/x86/kernel/traps.c:handle_invalid_op(),
    arch/arm64/kernel/traps.c:bug_brk_handler()
    """

    def lines(number: int) -> Lines:
        error = f"Internal error: Oops - BUG: {BRK_BUG:016x} [#{number}] PREEMPT SMP"
        return [
            *([(KERN_EMERG, before)] if before else []),
            (KERN_WARNING, "------------[ cut here ]------------"),
            (KERN_CRIT, f"kernel BUG at {where}!"),
            *([(KERN_EMERG, error)] if machine.layout.name == "arm64" else []),
            *_die(machine, "invalid opcode: 0000", trace, number),
            (KERN_WARNING, END),
        ]

    machine.log.oops(lines)


def _is_canonical(address: int) -> bool:
    """Whether the bits of an address that no table looks at are as the highest that one does.

    Linux: arch/x86/include/asm/page.h:__is_canonical_address()
    """
    return address >> 47 in (0, (1 << 17) - 1)


def _general_protection(
    machine: Machine, fault: PageFault, trace: Sequence[str], number: int
) -> Lines:
    """Linux: arch/x86/kernel/traps.c:exc_general_protection()"""
    what = f"general protection fault, probably for non-canonical address {fault.address:#x}"
    return _die(machine, f"{what}: 0000", trace, number)


def _die(machine: Machine, error: str, trace: Sequence[str], number: int) -> Lines:
    """What an oops says of who died, and how.

    Linux: arch/x86/kernel/dumpstack.c:__die(), arch/arm64/kernel/traps.c:__die()
    """
    arch, log = machine.layout.name, machine.log
    info = [*info_lines(machine.current, log.taints, arch), *trace_lines(trace, arch)]
    modules = modules_line(log.modules)
    if arch == "arm64":
        die = [modules, *info]
    else:
        isolation = " NOPTI" if arch == "x86_64" else ""  # without PAE there is no such thing
        die = [f"Oops: {error} [#{number}] PREEMPT SMP{isolation}", *info, modules]
    return [(KERN_WARNING, line) for line in die]


def _x86(machine: Machine, fault: PageFault, trace: Sequence[str], number: int) -> Lines:
    """Linux: arch/x86/mm/fault.c:show_fault_oops(), arch/x86/kernel/dumpstack.c:__die()"""
    layout = machine.layout
    access, error = ("write", 2) if fault.write else ("read", 0)
    what = (
        "BUG: kernel NULL pointer dereference, address"
        if fault.address < PAGE_SIZE
        else "BUG: unable to handle page fault for address"
    )
    return [
        (KERN_ALERT, f"{what}: {layout.pointer(fault.address)}"),
        (KERN_ALERT, f"#PF: supervisor {access} access in kernel mode"),
        (KERN_ALERT, f"#PF: error_code(0x{error:04x}) - not-present page"),
        (KERN_INFO, _tables_i386(fault) if layout.name == "i386" else _tables_x86_64(fault)),
        *_die(machine, f"Oops: {error:04x}", trace, number),
        (KERN_WARNING, f"CR2: {fault.address:016x}"),
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
    level = max(len(fault.entries) - 1, 0)
    status = TRANSLATION_FAULT + level
    syndrome = (WRITE_NOT_READ if fault.write else 0) | status
    what = "NULL pointer dereference" if fault.address < PAGE_SIZE else "paging request"
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
        *_tables_arm64(machine, fault),
    )
    error = f"Internal error: Oops: {DATA_ABORT | syndrome:016x} [#{number}] PREEMPT SMP"
    return [
        *((KERN_ALERT, line) for line in alert),
        (KERN_EMERG, error),
        *_die(machine, "", trace, number),
    ]


def _tables_arm64(machine: Machine, fault: PageFault) -> list[str]:
    """Whose tables these are, and their entries.

    Linux: arch/arm64/mm/fault.c:show_pte()
    """
    layout, address = machine.layout, fault.address
    if layout.task_size <= address < layout.page_offset:
        return [f"[{address:016x}] address between user and kernel address ranges"]
    whose, pgd = ("user", 0) if address < layout.task_size else ("swapper", machine.pgtable.top)
    top, *lower = fault.entries or (0,)  # nothing is there for a process's address
    # The p4d is folded away and repeats the pgd.
    entries = zip(("pgd", "p4d", "pud", "pmd", "pte"), (top, top, *lower), strict=False)
    tables = ", ".join(f"{name}={entry:016x}" for name, entry in entries)
    size = f"{PAGE_SIZE >> 10}k pages, {layout.va_bits}-bit VAs"
    return [f"{whose} pgtable: {size}, pgdp={pgd:016x}", f"[{address:016x}] {tables}"]
