"""The report of a page fault in the driver, as the kernel would print it.

What an emulator knows beyond that is a line of its own: which quantum was overrun, and how far.
"""

from __future__ import annotations

from scullvfs.mm import PAGE_SIZE, Machine, PageFault
from scullvfs.mm.dump_stack import syscall_trace
from scullvfs.mm.fault import page_fault_oops

__all__ = ["overrun_oops"]


def overrun_oops(
    machine: Machine, name: str, quantum: int, accessed: int, fault: PageFault
) -> None:
    """Write the report of an access that ran over the end of a quantum into the kernel log.

    Args:
        name: the device's, such as scullv0.
        quantum: its kernel address.
        accessed: how many bytes the driver takes it for.
    """
    arch = machine.layout.name
    copy, call = ("copy_from_user", "write") if fault.write else ("copy_to_user", "read")
    copy = f"__arch_{copy}" if arch == "arm64" else f"_{copy}"
    digits = machine.layout.pointer_digits
    vm = machine.vm.find_vm_area(quantum)
    length = vm.size - PAGE_SIZE if vm is not None else 0
    note = (
        f"{name}: quantum {quantum:0{digits}x} is {length} bytes long, "
        f"accessed as {accessed}; guard page at {fault.address:0{digits}x}"
    )
    trace = [copy, f"scullv_{call} [scullv]", *syscall_trace(call, arch)]
    page_fault_oops(machine, fault, trace, [note])
