"""Fixtures for the driver: modules on machines that stop at a warning, checked at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from scullvfs.mm import Machine
from scullvfs.scull import Module, ScullDev

from .helpers import MIB, ORDER, QSET


@pytest.fixture
def load() -> Iterator[Callable[..., Module]]:
    """Loads the module on a fresh machine of 16 MiB; at the end of the test both are checked."""
    modules: list[Module] = []

    def load(
        scullv_devs: int = 4,
        scullv_order: int = ORDER,
        scullv_qset: int = QSET,
        *,
        mem: int = 16 * MIB,
        **options: Any,
    ) -> Module:
        machine = Machine(mem=mem, **{"panic_on_warn": True, **options})
        modules.append(
            Module(
                machine,
                scullv_devs=scullv_devs,
                scullv_order=scullv_order,
                scullv_qset=scullv_qset,
            )
        )
        return modules[-1]

    yield load
    for module in modules:
        module.check()
        module.machine.check()


@pytest.fixture
def module(load: Callable[..., Module]) -> Module:
    """Four devices with quanta of 8 KiB, four to an item."""
    return load()


@pytest.fixture
def device(module: Module) -> ScullDev:
    """The first of the module's devices."""
    return module.devices[0]
