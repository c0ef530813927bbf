"""The report of what a driver has died of, as the kernel would print it.

What an emulator knows beyond that is a line of its own: which quantum was overrun, and how far.
"""

from __future__ import annotations

import errno
from typing import Final

from scullvfs.mm import PAGE_SIZE, Machine, PageFault
from scullvfs.mm.dump_stack import syscall_trace
from scullvfs.mm.errors import UsercopyAbort
from scullvfs.mm.fault import bug_oops, page_fault_oops

__all__ = ["driver_oops", "overrun_oops", "usercopy_oops"]

USERCOPY: Final = "mm/usercopy.c:102"
"""Where the kernel gives up (Linux: mm/usercopy.c:usercopy_abort())."""


def driver_oops(machine: Machine, driver: str, fault: PageFault, call: str) -> OSError:
    """Write the report of an access that leads nowhere into the kernel log.

    Args:
        driver: the module's name.
        call: the system call, read or write.

    Returns:
        EFAULT, for its caller.
    """
    page_fault_oops(machine, fault, _trace(machine, driver, fault.trace, call))
    return OSError(errno.EFAULT, "a pointer leads nowhere")


def usercopy_oops(machine: Machine, driver: str, abort: UsercopyAbort, write: bool) -> OSError:
    """Write the report of a copy that is forbidden into the kernel log.

    Returns:
        EFAULT, for its caller.
    """
    trace = [*abort.trace, *_trace(machine, driver, (), "write" if write else "read")[1:]]
    bug_oops(machine, USERCOPY, trace, before=str(abort))
    return OSError(errno.EFAULT, "a copy that leaves its object")


def _trace(machine: Machine, driver: str, inner: tuple[str, ...], call: str) -> list[str]:
    """The functions from `inner`, or the copy to or from the caller, out to the system call."""
    arch = machine.layout.name
    copy = "copy_from_user" if call == "write" else "copy_to_user"
    copy = f"__arch_{copy}" if arch == "arm64" else f"_{copy}"
    return [*(inner or (copy,)), f"{driver}_{call} [{driver}]", *syscall_trace(call, arch)]


def overrun_oops(
    machine: Machine, name: str, quantum: int, accessed: int, fault: PageFault
) -> None:
    """Write the report of an access that ran into a guard page into the kernel log.

    Args:
        name: the device's, such as scullv0.
        quantum: its kernel address.
        accessed: how many bytes the driver takes it for.
    """
    digits = machine.layout.pointer_digits
    vm = machine.vm.find_vm_area(quantum)
    length = vm.size - PAGE_SIZE if vm is not None else 0
    note = (
        f"{name}: quantum {quantum:0{digits}x} is {length} bytes long, "
        f"accessed as {accessed}; guard page at {fault.address:0{digits}x}"
    )
    trace = _trace(machine, "scullv", (), "write" if fault.write else "read")
    page_fault_oops(machine, fault, trace, [note])
