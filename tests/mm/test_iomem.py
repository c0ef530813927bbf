"""The physical address space, and the registers that ioremap() reaches."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from scullvfs.mm.iomem import IoMemory
from scullvfs.mm.layout import LAYOUTS
from scullvfs.mm.machine import Machine

from .helpers import GIB, MIB, P

DEVICE = 0xFE00_0000


def remap(machine: Machine, phys: int = DEVICE, size: int = P) -> int:
    """The registers, which have to be reached."""
    address = machine.vm.ioremap(phys, size)
    assert address is not None
    return address


def test_registers(any_arch: Machine) -> None:
    """An identity, a word to keep, a counter; the rest is 0 and stays so."""
    memory, at = any_arch.memory, remap(any_arch)
    assert bytes(memory.read(at, P)) == b"SCUL" + bytes(P - 4)

    memory.write(at + 4, b"abcd")
    assert bytes(memory.read(at, 12)) == b"SCULabcd\1\0\0\0"
    memory.write(at + 5, b"X")
    assert bytes(memory.read(at + 4, 8)) == b"aXcd\2\0\0\0"
    memory.write(at, b"none")
    memory.write(at + 12, b"none")
    assert bytes(memory.read(at, 16)) == b"SCULaXcd\2\0\0\0" + bytes(4)
    memory.write(at + 8, b"\x77\0\0\0")
    assert bytes(memory.read(at + 8, 4)) == bytes(4)
    memory.memset(at, 0x5A, P)
    assert bytes(memory.read(at, P)) == b"SCULZZZZ" + bytes(P - 8)
    any_arch.vm.iounmap(at)


def test_registers_are_the_same_through_every_mapping(machine: Machine) -> None:
    """Two mappings lead to one device, and it keeps what it has when both are gone."""
    one, other = remap(machine), remap(machine, DEVICE + 4, 8)
    machine.memory.write(other, b"kept")
    assert bytes(machine.memory.read(one + 4, 4)) == b"kept"
    machine.vm.iounmap(one)
    machine.vm.iounmap(other)
    again = remap(machine)
    assert bytes(machine.memory.read(again + 4, 4)) == b"kept"
    assert machine.iomem.state() == {"scratch": list(b"kept"), "count": 1}
    machine.vm.iounmap(again)


def test_around_the_registers_nobody_answers(machine: Machine) -> None:
    """A mapping that begins before and ends behind: all ones there, and writes vanish."""
    at = remap(machine, DEVICE - P, 3 * P)
    found = bytes(machine.memory.read(at + P - 8, P + 16))
    assert found == b"\xff" * 8 + b"SCUL" + bytes(P - 4) + b"\xff" * 8
    machine.memory.write(at + P - 2, b"......abcd")
    assert bytes(machine.memory.read(at + P - 2, 10)) == b"\xff\xffSCULabcd"
    machine.memory.write(at + P + 10, bytes(P))
    assert machine.iomem.statistics().writes == 0
    machine.vm.iounmap(at)


@pytest.mark.parametrize(
    ("arch", "mem", "start"),
    [
        ("x86_64", 64 * MIB, DEVICE),
        ("x86_64", DEVICE, DEVICE),
        ("x86_64", DEVICE + P, 0xFF00_0000),
        ("x86_64", 100 * GIB, 100 * GIB),
        ("i386", 3 * GIB, DEVICE),
        ("i386", 4 * GIB, None),
        ("arm64", 4 * GIB, 4 * GIB),
    ],
)
def test_where_the_device_is(arch: str, mem: int, start: int | None) -> None:
    """At its usual place, or behind RAM, or nowhere."""
    iomem = IoMemory(LAYOUTS[arch], mem)
    assert [(r.start, r.end, r.name) for r in iomem.resources] == [
        (0, P - 1, "Reserved"),
        (P, mem - 1, "System RAM"),
        *([] if start is None else [(start, start + P - 1, "scull-demo")]),
    ]
    iomem.check()


def test_two_machines_have_two_devices(make_machine: Callable[..., Machine]) -> None:
    """Nothing is global."""
    one, other = make_machine(), make_machine()
    at = remap(one)
    one.memory.write(at + 4, b"mine")
    assert bytes(other.memory.read(remap(other) + 4, 4)) == bytes(4)
    one.vm.iounmap(at)
