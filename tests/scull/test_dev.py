"""Open, read and write, as the driver's file operations do them."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from scullvfs.scull import Module, ScullDev

from .helpers import ITEM, MIB, QUANTUM, content, fill

#   0        8K       16K      24K      32K      40K
#   | quantum| quantum| quantum| quantum| quantum| ...
#   |------------- item 0 -------------|- item 1 ---


def test_write_read_back(device: ScullDev) -> None:
    """What was written is read."""
    assert device.write(0, b"hello") == 5
    assert device.read(0, 100) == b"hello"
    assert (device.size, device.nr_quanta) == (5, 1)


@pytest.mark.parametrize("pos", [0, 1, QUANTUM - 1, QUANTUM, ITEM - 1, ITEM, 3 * ITEM + 17])
def test_write_ends_with_its_quantum(device: ScullDev, pos: int) -> None:
    """One call writes to the end of the quantum at most and says how far it came."""
    data = os.urandom(2 * QUANTUM)
    count = QUANTUM - pos % QUANTUM
    assert device.write(pos, data) == count
    assert device.size == pos + count
    assert device.read(pos, len(data)) == data[:count]
    assert device.nr_quanta == 1


@pytest.mark.parametrize("pos", [0, 1, QUANTUM - 1, QUANTUM, ITEM - 1, ITEM])
def test_read_ends_with_its_quantum(device: ScullDev, pos: int) -> None:
    """One call reads to the end of the quantum at most."""
    data = os.urandom(2 * ITEM)
    fill(device, data)
    count = QUANTUM - pos % QUANTUM
    assert device.read(pos, ITEM) == data[pos : pos + count]


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_write_any_buffer(device: ScullDev, kind: Callable[[bytes], bytes]) -> None:
    """A buffer of any kind can be written, cut or not."""
    data = os.urandom(QUANTUM + 1)
    assert device.write(0, kind(data)) == QUANTUM
    assert device.write(QUANTUM, kind(data[-1:])) == 1
    assert content(device) == data


def test_write_over_makes_nothing_new(device: ScullDev) -> None:
    """Writing where something is changes the bytes and nothing else."""
    fill(device, b"x" * 3 * QUANTUM)
    device.write(QUANTUM + 10, b"abc")
    assert (device.size, device.nr_quanta) == (3 * QUANTUM, 3)
    assert content(device) == b"x" * (QUANTUM + 10) + b"abc" + b"x" * (2 * QUANTUM - 13)


@pytest.mark.parametrize("pos", [0, 1, 5])
def test_read_stops_at_the_size(device: ScullDev, pos: int) -> None:
    """No byte behind the size is read."""
    device.write(0, b"hello")
    assert device.read(pos, QUANTUM) == b"hello"[pos:]


def test_read_past_the_size(device: ScullDev) -> None:
    """There is nothing at or behind the size, and looking costs at most one list item."""
    fill(device, bytes(ITEM))
    assert device.read(ITEM, 1) == b""
    assert device.items.count == 2  # the real one adds it, too
    assert device.read(ITEM + 1, 1) == b""
    assert device.read(1 << 62, 1) == b""
    assert device.items.count == 2


def test_read_empty_device(device: ScullDev) -> None:
    """An empty device has no bytes and takes no memory for saying so."""
    assert device.read(0, 100) == b""
    assert (device.nr_quanta, device.items.count) == (0, 1)


@pytest.mark.parametrize("pos", [QUANTUM, 2 * QUANTUM + 5, ITEM, 2 * ITEM - 1])
def test_read_in_a_hole(device: ScullDev, pos: int) -> None:
    """A hole of a whole quantum reads as 0 bytes, as the end of the file does."""
    device.write(0, b"first")
    device.write(2 * ITEM, b"last")
    assert device.read(pos, 100) == b""
    assert device.nr_quanta == 2


def test_read_unwritten_part_of_a_quantum(device: ScullDev) -> None:
    """Within a quantum what was never written is zeros."""
    device.write(QUANTUM + 100, b"x")
    assert device.read(QUANTUM, QUANTUM) == bytes(100) + b"x"
    device.write(2 * QUANTUM, b"y")
    assert device.read(QUANTUM, QUANTUM) == bytes(100) + b"x" + bytes(QUANTUM - 101)


def test_write_partly_into_used_memory(device: ScullDev) -> None:
    """No byte of what the frames held before comes to light."""
    fill(device, b"\xff" * 4 * ITEM)
    device.trim()
    for number in range(16):
        device.write(number * QUANTUM + 1, b"x")
    assert content(device) == 15 * (b"\0x" + bytes(QUANTUM - 2)) + b"\0x"


@pytest.mark.parametrize(
    ("flags", "empties"),
    [
        (os.O_RDONLY, False),
        (os.O_RDWR, False),
        (os.O_RDWR | os.O_APPEND, False),
        (os.O_WRONLY, True),
        (os.O_WRONLY | os.O_APPEND, True),
        (os.O_WRONLY | os.O_TRUNC, True),
        (os.O_RDWR | os.O_TRUNC, True),
        (os.O_RDONLY | os.O_TRUNC, True),
    ],
)
def test_open_flags(device: ScullDev, flags: int, empties: bool) -> None:
    """Opened only for writing, or with O_TRUNC, a device is emptied; else it is not."""
    fill(device, b"x" * ITEM)
    device.open(flags)
    assert (device.size, device.nr_quanta) == ((0, 0) if empties else (ITEM, 4))


def test_devices_are_apart(module: Module) -> None:
    """What happens to one device leaves the others alone."""
    for device in module.devices:
        fill(device, bytes([device.index]) * ITEM)
    module.devices[1].trim()
    module.devices[2].truncate(QUANTUM)
    assert [content(device) for device in module.devices] == [
        bytes(ITEM),
        b"",
        b"\2" * QUANTUM,
        b"\3" * ITEM,
    ]


@pytest.mark.parametrize("arch", ["x86_64", "i386", "arm64"])
def test_write_read_any_arch(load: Callable[..., Module], arch: str) -> None:
    """Pointers of four bytes are as good as those of eight."""
    device = load(arch=arch).devices[3]
    data = os.urandom(2 * MIB + 3)
    fill(device, data)
    assert content(device) == data


@pytest.mark.parametrize(("order", "qset"), [(0, 1), (0, 2), (4, 500), (8, 3)])
def test_write_read_any_geometry(load: Callable[..., Module], order: int, qset: int) -> None:
    """The bytes are the same however they are laid out; only the counts differ."""
    device = load(1, order, qset).devices[0]
    data = os.urandom(2 * MIB + 3)
    fill(device, data)
    assert content(device) == data
    assert device.nr_quanta == -(-len(data) // (4096 << order))
    assert device.allocated == device.nr_quanta * (4096 << order)


def test_write_of_nothing(device: ScullDev) -> None:
    """A write of no bytes makes the quantum and moves the size up, as on the real device."""
    assert device.write(70_000, b"") == 0
    assert device.size == 70_000
    assert device.nr_quanta == 1
    assert bytes(device.read(69_999, 10)) == b"\0"
