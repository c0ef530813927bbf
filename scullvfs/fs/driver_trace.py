"""What has led a driver into the machine, as call traces go on: its function, and a system call.

    mm.call_trace     __vmalloc_node_range_noprof  vmalloc_noprof
    this              scullv_write [scullv]  vfs_write  ksys_write ...

Reports of faults and the records of who holds page frames have it.
"""

from __future__ import annotations

from functools import partial
from types import FrameType
from typing import Final

from scullvfs.mm import Machine
from scullvfs.mm.commands import CALLER
from scullvfs.mm.dump_stack import syscall_trace

__all__ = ["track_drivers"]

DRIVERS: Final = "scullvfs.scull"
"""The room whose functions are a driver's."""

CALLS: Final = {"write_span": "write", "read_span": "read"}
"""Function there -> the system call that it is for, where that bears another name."""
FALLOCATE: Final = ("allocate", "zero_range")

LOADING: Final = ("do_one_initcall", "do_init_module", "load_module", "init_module_from_file")
"""What leads to a module's own function when it is loaded."""


def track_drivers(machine: Machine) -> None:
    """Have traces go on to the drivers and their system calls."""
    machine.call_trace.callers = partial(_driver_trace, machine)


def _driver_trace(machine: Machine, frame: FrameType) -> list[str]:
    """The functions between a system call and the machine, the innermost first.

    Args:
        frame: that which has called the machine.
    """
    arch = machine.layout.name
    found: FrameType | None = None
    module = "scull"
    at: FrameType | None = frame
    while at is not None and at.f_globals.get("__name__", "").startswith(DRIVERS):
        found = at
        for owner in (at.f_locals.get("self"), at.f_locals.get("device")):
            module = getattr(getattr(owner, "driver", None), "name", module)
        at = at.f_back
    if found is None:
        by_hand = frame.f_globals.get("__name__", "").startswith("scullvfs.fs")
        return [CALLER, *syscall_trace("write", arch)] if by_hand else []
    function = found.f_code.co_name
    if function == "__init__":
        return [f"{module}_init [{module}]", *LOADING]
    call = "fallocate" if function in FALLOCATE else CALLS.get(function, function)
    return [f"{module}_{call} [{module}]", *syscall_trace(call, arch)]
