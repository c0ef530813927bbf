"""What a device does to memory that is not its own, with LDD3's mistakes, and what comes of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from scullvfs.mm import Machine
from scullvfs.scull import DRIVERS, Module, ScullDev

from ..helpers import MIB
from .helpers import Load


@pytest.fixture
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    """One whose frames follow one another, of the architecture that a test is told."""
    machine = Machine(16 * MIB, getattr(request, "param", "x86_64"), shuffle=False)
    yield machine
    machine.close()


@pytest.fixture
def load(machine: Machine) -> Load:
    """Loads a module with the mistakes; gives its first device."""

    def load(driver: str, **options: int) -> ScullDev:
        return Module(machine, DRIVERS[driver], quirk_ldd3=True, **options).devices[0]

    return load
