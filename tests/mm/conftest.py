"""Fixtures for `mm`: machines that stop at the first warning and are checked at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import settings

from scullvfs.mm.layout import LAYOUTS, PAGE_SIZE
from scullvfs.mm.machine import Machine

from ..thorough import CI, rounds
from .helpers import ARCHS, MIB, small_i386

# Examples are worth more than a stop-watch, and in CI the same ones every time.
settings.register_profile("mm", deadline=None, derandomize=CI, max_examples=rounds(100, 20))
settings.load_profile("mm")


@pytest.fixture
def make_machine() -> Iterator[Callable[..., Machine]]:
    """Makes machines, of 64 MiB if not told; at the end of the test each one is checked.

    A test gives back the frames that it took from the page allocator itself.
    """
    machines: list[Machine] = []

    def make(mem: int = 64 * MIB, **options: Any) -> Machine:
        machine = Machine(mem=mem, **{"panic_on_warn": True, **options})
        machines.append(machine)
        return machine

    yield make
    for machine in machines:
        machine.check()


@pytest.fixture
def machine(make_machine: Callable[..., Machine]) -> Machine:
    """A machine of 64 MiB that stops at a warning."""
    return make_machine()


@pytest.fixture
def lenient(make_machine: Callable[..., Machine]) -> Machine:
    """A machine of 64 MiB that goes on after a warning."""
    return make_machine(panic_on_warn=False)


@pytest.fixture(params=ARCHS)
def any_arch(request: pytest.FixtureRequest, make_machine: Callable[..., Machine]) -> Machine:
    """A machine of 64 MiB of each architecture in turn."""
    return make_machine(arch=request.param)


@pytest.fixture
def highmem(make_machine: Callable[..., Machine], monkeypatch: pytest.MonkeyPatch) -> Machine:
    """i386 with 12 MiB of lowmem (but two pages, as on the real one) and 20 MiB above it."""
    monkeypatch.setitem(LAYOUTS, "i386", small_i386(12 * MIB - 2 * PAGE_SIZE))
    return make_machine(mem=32 * MIB, arch="i386")
