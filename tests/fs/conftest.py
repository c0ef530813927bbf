"""Fixtures for what a user sees: fresh machines, so that every address in a text is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from scullvfs.mm import Machine

MIB = 1 << 20


@pytest.fixture
def fresh() -> Callable[..., Machine]:
    """Makes machines of 64 MiB as just booted: frames in order, addresses from the lowest on."""

    def fresh(arch: str = "x86_64", mem: int = 64 * MIB, **options: Any) -> Machine:
        return Machine(mem, arch, **{"shuffle": False, "panic_on_warn": True, **options})

    return fresh
