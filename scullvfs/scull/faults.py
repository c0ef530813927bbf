"""Where a driver's own functions may be made to fail.

    write(2) --> scullv_write --> allocations --> copy_from_user() --> the size grows
                                  failslab ...    fail_usercopy

A copy that fails is EFAULT.  As in Linux the place where it was to go is zeros then, whatever was
there before; a copy to the process leaves all as it is.  What the page cache does by the rules of a
regular file is no copy from or to a process.

Those that `fail_function` may choose fail before they have done anything.  What a driver's trim
returns nobody looks at: an open that was to empty the device has not, and is no failure.

Confessed: an errno that has no name is EIO, as FUSE passes not all of them on; so is ENOSYS, by
which Linux takes a whole mount to have no such operation (fs/fuse/file.c:fuse_send_open()).

Linux: lib/fault-inject-usercopy.c, include/linux/uaccess.h:_inline_copy_from_user()
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from scullvfs.mm import Machine
from scullvfs.mm.fail_function import ErrorType, Injectable, Injection
from scullvfs.mm.fault_attr import FaultAttr
from scullvfs.mm.replacing import Layer, Replaced, replacing

from .dev import ScullDev

if TYPE_CHECKING:
    from scullvfs.mm.access import Buffer, View

    from .module import Module

__all__ = ["add_faults"]


def _failing_read(device: ScullDev, method: Replaced, fault: FaultAttr) -> Replaced:
    def read(pos: int, count: int) -> View:
        data: View = method(pos, count)
        if len(data) and _should_fail_usercopy(fault, "_copy_to_user"):
            raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))
        return data

    return read


def _should_fail_usercopy(fault: FaultAttr, function: str) -> bool:
    return fault.should_fail(function=function, result="-EFAULT")


def _failing_copy(device: ScullDev, fault: FaultAttr) -> Callable[[int, Buffer], None]:
    memory = device.machine.memory

    def copy_from_user(address: int, data: Buffer) -> None:
        if _should_fail_usercopy(fault, "_copy_from_user"):
            memory.memset(address, 0, len(data))
            raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))
        memory.write(address, data)

    return copy_from_user


def add_faults(machine: Machine, modules: Sequence[Module]) -> None:
    """Let the functions of the drivers be made to fail."""
    devices = [device for module in modules for device in module.devices]
    reads = replacing(Layer.INSIDE, *((device, "read", _failing_read) for device in devices))
    fault = machine.faults.fail_usercopy

    def switch_copies(on: bool) -> None:
        reads(fault if on else None)
        for device in devices:
            if not device.is_cached:
                plain = machine.memory.write
                device.copy_from_user = _failing_copy(device, fault) if on else plain

    machine.faults.add(fault, switch_copies)
    for module in modules:
        machine.faults.fail_function.add(_functions(module))


def _entering(operation: str) -> Callable[[ScullDev, Replaced, Injection], Replaced]:
    def make(device: ScullDev, method: Replaced, injection: Injection) -> Replaced:
        def call(*args: Any, **keywords: Any) -> Any:
            if injection.fails():
                error = -injection.retval
                if error not in errno.errorcode or error == errno.ENOSYS:
                    error = errno.EIO
                raise OSError(error, f"{device.name}: {os.strerror(error)}")
            return method(*args, **keywords)

        call.__code__ = call.__code__.replace(co_name=operation)  # as call traces name it
        return call

    return make


def _functions(module: Module) -> Iterator[Injectable]:
    """A driver's functions, of all its devices."""
    name = module.driver.name
    for operation in ("open", "read", "write", "ioctl", "trim"):
        methods = [(device, operation, _entering(operation)) for device in module.devices]
        switch = replacing(Layer.ENTRY, *methods)
        yield Injectable(f"{name}_{operation}", name, ErrorType.ERRNO, switch)
