"""The loaded module, with its parameters and its devices.

`scullv_order` and `scullv_qset` are module-wide, and each device takes them over when it
is trimmed.  The structures of the devices come from one kmalloc, as in the driver.
"""

from __future__ import annotations

import errno
from typing import Final

from scullvfs.mm import Machine

from .dev import ScullvDev
from .parameters import PARAMETERS, SCULLV_DEVS, SCULLV_ORDER, SCULLV_QSET

__all__ = ["Module"]

SIZEOF_DEV: Final = {4: 104, 8: 176}
"""sizeof(struct scullv_dev) by the size of a pointer."""


class Module:
    """The scullv module, loaded on a machine (scullv: main.c:scullv_init()).

    Args:
        scullv_devs: how many devices, 1..MAX_DEVS.
        scullv_order: a quantum is PAGE_SIZE << scullv_order bytes, 0..MAX_ORDER.
        scullv_qset: quanta in a list item, 1..MAX_QSET.
        quirk_ldd3: allocate quanta with LDD3's mistake: behind the first list item each is
            one page long, while reads and writes go on to the end of a whole quantum.

    Raises:
        ValueError: an argument out of its range.
        OSError: ENOMEM, no memory for the devices' structures.
    """

    def __init__(
        self,
        machine: Machine,
        scullv_devs: int = SCULLV_DEVS,
        scullv_order: int = SCULLV_ORDER,
        scullv_qset: int = SCULLV_QSET,
        quirk_ldd3: bool = False,
    ) -> None:
        values = {
            "scullv_devs": scullv_devs,
            "scullv_order": scullv_order,
            "scullv_qset": scullv_qset,
        }
        for name, value in values.items():
            low, high = PARAMETERS[name]
            if not low <= value <= high:
                raise ValueError(f"{name}={value} is not in {low}..{high}")
        self.machine: Final = machine
        self.scullv_order = scullv_order
        self.scullv_qset = scullv_qset
        self.quirk_ldd3: Final = quirk_ldd3
        self.sizeof_dev: Final = SIZEOF_DEV[machine.layout.pointer_size]
        address = machine.slab.kzalloc(scullv_devs * self.sizeof_dev)
        if address is None:
            raise OSError(errno.ENOMEM, f"no memory for {scullv_devs} devices")
        self._address = address
        self.devices: Final = [
            ScullvDev(self, index, address + index * self.sizeof_dev)
            for index in range(scullv_devs)
        ]

    def set_parameter(self, name: str, value: int) -> None:
        """Set `scullv_order` or `scullv_qset`; devices take it over when they are trimmed.

        Raises:
            OSError: EINVAL, the value is one that the real driver would crash with; nothing
                is changed.
        """
        low, high = PARAMETERS[name]
        if not low <= value <= high:
            raise OSError(errno.EINVAL, f"{name}={value} is not in {low}..{high}")
        setattr(self, name, value)

    def unload(self) -> None:
        """Free everything (scullv: main.c:scullv_cleanup())."""
        for device in self.devices:
            device.trim()
        self.machine.slab.kfree(self._address)

    def check(self) -> None:
        """Assert every device's invariants.  Slow: for tests."""
        for device in self.devices:
            device.check()
