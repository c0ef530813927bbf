"""/proc/scullvmem: the driver's listing of its memory.

Pointers are shown as they are, as on a kernel booted with no_hash_pointers, so that they
can be found again in /proc/vmallocinfo.

The driver's own listing stops behind some 4,000 bytes; this one goes on, up to LISTED
items of a device.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from .dev import ScullvDev
from .module import Module

__all__ = ["scullv_read_procmem"]

LISTED: Final = 10_000
"""Of a device with more items only so many are listed, and the last one."""


def scullv_read_procmem(module: Module) -> str:
    """The listing: each device with its items, and the quanta of the last item.

    scullv: main.c:scullv_read_procmem()
    """
    digits = module.machine.layout.pointer_digits
    return "".join(line for device in module.devices for line in _lines(device, digits))


def _lines(device: ScullvDev, digits: int) -> Iterator[str]:
    yield f"\nDevice {device.index}: qset {device.qset}, order {device.order}, sz {device.size}\n"
    last = device.items.count - 1
    listed = min(last, LISTED)
    for item in range(listed):
        yield _item(device, item, digits)
    if listed < last:
        yield f"  ... {last - listed} more\n"
    yield _item(device, last, digits)
    for s_pos, quantum in enumerate(device.quanta(last)):
        if quantum:
            yield f"    {s_pos:4}:{quantum:8x}\n"


def _item(device: ScullvDev, item: int, digits: int) -> str:
    address, qset = device.items.address(item), device.qset_address(item)
    return f"  item at {address:0{digits}x}, qset at {qset:0{digits}x}\n"
