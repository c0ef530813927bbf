"""The report of a page fault in the driver, as the kernel would print it.

The shape is that of a real one (Linux: arch/x86/mm/fault.c:page_fault_oops()), with what an
emulator knows in place of registers and code: which quantum was overrun, and by whom.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scullvfs.mm import PAGE_SIZE, PageFault
from scullvfs.mm.printk import KERN_ERR

if TYPE_CHECKING:
    from .dev import ScullvDev

__all__ = ["report_overrun"]


def report_overrun(device: ScullvDev, quantum: int, fault: PageFault) -> None:
    """Write the report of an access that ran over the end of a quantum into the kernel log."""
    machine = device.module.machine
    task = machine.current
    levels = zip(
        (level.name.upper() for level in machine.layout.levels), fault.entries, strict=False
    )
    access, error = ("write", 2) if fault.write else ("read", 0)
    copy, function, call = (
        ("_copy_from_user", "scullv_write", "write")
        if fault.write
        else ("_copy_to_user", "scullv_read", "read")
    )
    digits = machine.layout.pointer_digits
    vm = machine.vm.find_vm_area(quantum)
    length = vm.size - PAGE_SIZE if vm is not None else 0
    lines = (
        f"BUG: unable to handle page fault for address: {fault.address:0{digits}x}",
        f"#PF: supervisor {access} access in kernel mode",
        f"#PF: error_code(0x{error:04x}) - not-present page",
        " ".join(f"{name} {entry:x}" for name, entry in levels),
        f"Oops: {error:04x} [#1]",
        f"CPU: 0 PID: {task.pid} Comm: {task.comm}",
        f"CR2: {fault.address:0{digits}x}",
        "Call Trace:",
        " <TASK>",
        f" {copy}",
        f" {function} [scullv]",
        f" vfs_{call}",
        f" ksys_{call}",
        " do_syscall_64",
        " </TASK>",
        f"scullv{device.index}: quantum {quantum:0{digits}x} is {length} bytes long, "
        f"accessed as {device.quantum}; guard page at {fault.address:0{digits}x}",
        "---[ end trace 0000000000000000 ]---",
    )
    machine.log.printk(KERN_ERR, "\n".join(lines))
