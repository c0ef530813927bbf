"""A loaded module of the family, with its parameters and its devices.

What says how large quanta are is module-wide, and each device takes it over when it is trimmed.
The structures of the devices come from one kmalloc, as in the drivers.
"""

from __future__ import annotations

import errno
from importlib import import_module
from typing import Final, TypedDict

from scullvfs.mm import Machine
from scullvfs.mm.restoring import Claims, StateError

from .dev import DeviceState, ScullDev
from .driver import Driver
from .family import SCULLV
from .parameters import Parameters

__all__ = ["Module", "ModuleState"]


class ModuleState(TypedDict):
    """A module but for what is in RAM."""

    driver: str
    parameters: dict[str, int]
    address: int
    devices: list[DeviceState]


class Module:
    """A module, loaded on a machine (scullv: main.c:scullv_init()).

    Args:
        driver: which one.
        quirk_ldd3: allocate quanta with LDD3's mistakes.
        values: the parameters, by their names, such as `scullv_order=0`; of those that are not
            given the defaults.

    Raises:
        ValueError: a parameter that there is not or that is out of its range, or two too large
            together.
        OSError: ENOMEM, no memory for the devices' structures, or what else it starts with.
    """

    def __init__(
        self,
        machine: Machine,
        driver: Driver = SCULLV,
        *,
        quirk_ldd3: bool = False,
        **values: int,
    ) -> None:
        self.driver: Final = driver
        self.parameters: Final = Parameters(driver, values)
        self.machine: Final = machine
        self._device = _class_of(driver)
        sizeof_dev, devs = driver.sizeof_dev[machine.layout.pointer_size], self.parameters.devs
        address = machine.slab.kmalloc(devs * sizeof_dev)
        if address is None:
            raise OSError(errno.ENOMEM, f"no memory for {devs} devices")
        if not machine.init_on_alloc:
            machine.memory.memset(address, 0, devs * sizeof_dev)
        self._address = address
        self._shared = self._device.load(machine, self.parameters, quirk_ldd3)
        machine.log.add_module(driver.name)
        self.devices: Final = [
            self._device(
                machine,
                self.parameters,
                index,
                address + index * sizeof_dev,
                quirk_ldd3,
                self._shared,
            )
            for index in range(devs)
        ]
        machine.holders.append(self._frames)
        if quirk_ldd3:
            machine.overruns.owners.append(self._whose)

    def unload(self) -> None:
        """Free everything (scullv: main.c:scullv_cleanup())."""
        for device in self.devices:
            device.trim()
        self._device.unload(self.machine, self._shared)
        self.machine.slab.kfree(self._address)
        self.machine.holders.remove(self._frames)
        if self._whose in self.machine.overruns.owners:
            self.machine.overruns.owners.remove(self._whose)

    def _whose(self, address: int) -> str | None:
        """What of its devices lies at an address."""
        if address == self._address:
            return f"{self.driver.name}'s devices"
        return next(filter(None, (device.whose(address) for device in self.devices)), None)

    def _frames(self) -> set[int]:
        return {pfn for device in self.devices for pfn in device.frames()}

    def statistics(self) -> dict[str, int]:
        """The parameters as they are now, by their names."""
        return self.parameters.as_dict()

    def __repr__(self) -> str:
        values = " ".join(f"{name}={value}" for name, value in self.statistics().items())
        return f"<Module {self.driver.name} {values}>"

    def state(self) -> ModuleState:
        """All of it but what is in RAM, as plain data."""
        return {
            "driver": self.driver.name,
            "parameters": self.parameters.state(),
            "address": self._address,
            "devices": [device.state() for device in self.devices],
        }

    def restore(self, state: ModuleState, claims: Claims) -> None:
        """Go on as the module would that was loaded so; what its devices have is there already.

        Raises:
            ValueError, AssertionError, KernelBug: there is no such.
        """
        if (state["driver"], state["address"]) != (self.driver.name, self._address):
            raise StateError(f"another module than {self.driver.name}")
        self.parameters.restore(state["parameters"])
        for device, of_device in zip(self.devices, state["devices"], strict=True):
            device.restore(of_device, claims)

    def check(self) -> None:
        """Assert every device's invariants.  Slow: for tests."""
        for device in self.devices:
            device.check()


def _class_of(driver: Driver) -> type[ScullDev]:
    """The class of a member's devices, from the module of its name."""
    found: type[ScullDev] = import_module(f".{driver.name}", __package__).Device
    return found
