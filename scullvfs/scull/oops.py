"""The report of a page fault in the driver, as the kernel would print it.

The shape is that of a real one (Linux: arch/x86/mm/fault.c:page_fault_oops()), with what an
emulator knows in place of registers and code: which quantum was overrun, and by whom.
"""

from __future__ import annotations

from scullvfs.mm import PAGE_SIZE, Machine, PageFault
from scullvfs.mm.printk import KERN_ERR

__all__ = ["report_overrun"]


def report_overrun(
    machine: Machine, name: str, quantum: int, accessed: int, fault: PageFault
) -> None:
    """Write the report of an access that ran over the end of a quantum into the kernel log.

    Args:
        name: the device's, such as scullv0.
        quantum: its kernel address.
        accessed: how many bytes the driver takes it for.
    """
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
        f"{name}: quantum {quantum:0{digits}x} is {length} bytes long, "
        f"accessed as {accessed}; guard page at {fault.address:0{digits}x}",
        "---[ end trace 0000000000000000 ]---",
    )
    machine.log.printk(KERN_ERR, "\n".join(lines))
