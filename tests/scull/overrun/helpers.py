"""What the tests of overruns share: how a device is led to memory that is not its own."""

from __future__ import annotations

from collections.abc import Callable

from scullvfs.mm import PAGE_SIZE, Machine
from scullvfs.scull import ScullDev

ARCHES = ("x86_64", "i386", "arm64")
Load = Callable[..., ScullDev]

ONE_EACH = {
    "scullv": {"scullv_order": 0},
    "scullp": {"scullp_order": 0},
    "scullc": {"scullc_quantum": 4096},
    "scull": {"scull_quantum": 4096},
}
"""Member -> parameters with which it has quanta of a page."""


def log(machine: Machine) -> str:
    """The kernel log."""
    return "\n".join(record.text for record in machine.log.records())


def slot(device: ScullDev, item: int, s_pos: int) -> int:
    """The kernel address of a place in a quantum set."""
    return device.qset_address(item) + s_pos * device.machine.layout.pointer_size


def scullp(load: Load) -> ScullDev:
    """One with quanta of 64 KiB, two to an item."""
    return load("scullp", scullp_order=4, scullp_qset=2)


def overwrite_frame(machine: Machine, device: ScullDev, pfn: int, data: bytes) -> None:
    """Have a device write to a frame, as if it came behind its quantum."""
    device.fill(device.itemsize)
    machine.memory.store(slot(device, 1, 0), machine.memory.page_to_virt(pfn) - PAGE_SIZE)
    assert device.write(device.itemsize + PAGE_SIZE, data) == len(data)
