"""What a device shows of another's bytes, with a kernel that does not fill what it allocates."""

from __future__ import annotations

import pytest

from scullvfs.fs.devices import PosixFile
from scullvfs.mm import Machine
from scullvfs.scull import Module
from scullvfs.scull.driver import Driver
from scullvfs.scull.family import SCULL, SCULLC, SCULLP, SCULLV
from scullvfs.scull.posix import allocate, read_span, write_span

from .helpers import MIB

EACH = 40
"""Quanta."""


def shown(driver: Driver, init_on_alloc: bool) -> int:
    """Of other devices' bytes, how many are seen behind a byte at the end of each fresh quantum."""
    machine = Machine(32 * MIB, init_on_alloc=init_on_alloc)
    first, second, *_ = Module(machine, driver).devices
    quantum = first.quantum
    for at in range(200):
        first.write(at * quantum, b"\x5a" * quantum)
    first.trim()
    seen = 0
    for at in range(EACH):
        second.write(at * quantum + quantum - 1, b"x")
        seen += bytes(second.read(at * quantum, quantum - 1)).count(b"\x5a")
    machine.check()
    return seen


def test_scull_shows_what_another_device_has_left() -> None:
    """As recorded: all but the 8 bytes of the pointer in each quantum; a pointer may have some."""
    assert 159_640 <= shown(SCULL, init_on_alloc=False) <= 159_640 + 20


@pytest.mark.parametrize("driver", [SCULLC, SCULLP, SCULLV], ids=lambda driver: driver.name)
def test_the_others_zero_their_quanta(driver: Driver) -> None:
    """Whatever the kernel does."""
    assert shown(driver, init_on_alloc=False) == 0


@pytest.mark.parametrize("driver", [SCULL, SCULLC, SCULLP, SCULLV], ids=lambda driver: driver.name)
def test_none_shows_anything_by_default(driver: Driver) -> None:
    """A quantum that is written as a whole needs no zeros, and others have them."""
    assert shown(driver, init_on_alloc=True) == 0


@pytest.mark.parametrize("driver", [SCULLC, SCULL], ids=lambda driver: driver.name)
def test_a_file_shows_nothing(driver: Driver) -> None:
    """By a file's rules what was not written is zeros, whatever the driver leaves there."""
    machine = Machine(32 * MIB, init_on_alloc=False)
    first, second, *_ = (
        PosixFile(device, 0o664, 0, 0).device for device in Module(machine, driver).devices
    )
    first.write(0, b"\x5a" * first.quantum)
    first.trim()
    write_span(second, 100, b"x")
    assert read_span(second, 0, 101) == bytes(100) + b"x"
    for _ in allocate(second, second.quantum, 10, keep_size=False):
        pass
    assert read_span(second, second.quantum, 10) == bytes(10)


def test_scullc_zeroes_by_the_setting_of_the_module() -> None:
    """Told 10 it clears 10 bytes of a quantum of 4000; the rest is the kernel's to clear."""
    for init_on_alloc, stale in ((True, 0), (False, 3000)):
        module = Module(Machine(32 * MIB, init_on_alloc=init_on_alloc), SCULLC)
        first, second, *_ = module.devices
        for at in range(20):
            first.write(at * 4000, b"\x5a" * 4000)
        first.trim()
        module.parameters.store("scullc_quantum", 10)
        second.write(3999, b"x")
        content = bytes(second.read(0, 4000))
        assert content[:10] == bytes(10)
        assert content.count(b"\x5a") >= stale
        assert init_on_alloc == (content[:3999] == bytes(3999))
