"""The loaded module, with its parameters and its devices.

`scullv_order` and `scullv_qset` are module-wide, and each device takes them over when it
is trimmed.  The structures of the devices come from one kmalloc, as in the driver.
"""

from __future__ import annotations

import errno
from typing import Any, Final, NamedTuple

from scullvfs.mm import Machine

from .dev import SIZEOF_DEV, ScullvDev
from .parameters import SCULLV_DEVS, SCULLV_ORDER, SCULLV_QSET, Parameters

__all__ = ["Module", "ModuleStatistics"]


class ModuleStatistics(NamedTuple):
    """The module's parameters."""

    scullv_devs: int
    scullv_order: int
    scullv_qset: int


class Module:
    """The scullv module, loaded on a machine (scullv: main.c:scullv_init()).

    Args:
        scullv_devs: how many devices, 1..MAX_DEVS.
        scullv_order: a quantum is PAGE_SIZE << scullv_order bytes, 0..MAX_ORDER.
        scullv_qset: quanta in a list item, 1..MAX_QSET.
        quirk_ldd3: allocate quanta with LDD3's mistake: behind the first list item each is
            one page long, while reads and writes go on to the end of a whole quantum.

    Raises:
        ValueError: an argument out of its range, or order and qset too large together.
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
        self.parameters: Final = Parameters(scullv_devs, scullv_order, scullv_qset)
        self.machine: Final = machine
        sizeof_dev = SIZEOF_DEV[machine.layout.pointer_size]
        address = machine.slab.kzalloc(scullv_devs * sizeof_dev)
        if address is None:
            raise OSError(errno.ENOMEM, f"no memory for {scullv_devs} devices")
        self._address = address
        machine.log.add_module("scullv")
        self.devices: Final = [
            ScullvDev(machine, self.parameters, index, address + index * sizeof_dev, quirk_ldd3)
            for index in range(scullv_devs)
        ]

    @property
    def scullv_order(self) -> int:
        """The parameter of that name, to be read and set."""
        return self.parameters.scullv_order

    @scullv_order.setter
    def scullv_order(self, value: int) -> None:
        self.parameters.scullv_order = value

    @property
    def scullv_qset(self) -> int:
        """The parameter of that name, to be read and set."""
        return self.parameters.scullv_qset

    @scullv_qset.setter
    def scullv_qset(self, value: int) -> None:
        self.parameters.scullv_qset = value

    def set_parameter(self, name: str, value: int) -> None:
        """Set `scullv_order` or `scullv_qset`; devices take it over when they are trimmed.

        Raises:
            OSError: EINVAL, the value is one that the real driver would crash with; nothing
                is changed.
        """
        self.parameters.store(name, value)

    def unload(self) -> None:
        """Free everything (scullv: main.c:scullv_cleanup())."""
        for device in self.devices:
            device.trim()
        self.machine.slab.kfree(self._address)

    def statistics(self) -> ModuleStatistics:
        """The parameters as they are now."""
        values = self.parameters
        return ModuleStatistics(values.scullv_devs, values.scullv_order, values.scullv_qset)

    def __repr__(self) -> str:
        devs, order, qset = self.statistics()
        return f"<Module scullv devs={devs} order={order} qset={qset}>"

    def state(self) -> dict[str, Any]:
        """All of it but what is in RAM, as plain data."""
        return {
            "parameters": self.statistics()._asdict(),
            "address": self._address,
            "devices": [device.state() for device in self.devices],
        }

    def check(self) -> None:
        """Assert every device's invariants.  Slow: for tests."""
        for device in self.devices:
            device.check()
