"""/proc/scullvmem: the listing in the driver's format."""

from __future__ import annotations

import re
from collections.abc import Callable
from random import Random

import pytest

from scullvfs.scull import Module, ScullProcmem, procmem
from scullvfs.scull.quanta import Quanta

from ..mm.helpers import ARCHS, MIB
from .helpers import ITEM, QUANTUM, fill


def scullv_read_procmem(module: Module) -> str:
    """The whole listing."""
    listing = ScullProcmem(module)
    text = b"".join(line for line, _ in listing.lines((0, 0)))
    assert listing.size() == len(text)
    return text.decode()


def anonymous(listing: str) -> str:
    """The listing with PTR and NULL in place of the pointers, and QUANTUM of the quanta."""
    listing = re.sub(r"(?<= at )0+\b", "NULL", listing)
    listing = re.sub(r"(?<= at )[0-9a-f]{8,16}", "PTR", listing)
    return re.sub(r"(?m)^( {4}[ 0-9]{4}:)[0-9a-f]{8,16}$", r"\1QUANTUM", listing)


def test_listing_empty(module: Module) -> None:
    """Each device has an empty line, its numbers, and its first item."""
    assert anonymous(scullv_read_procmem(module)) == "".join(
        f"\nDevice {n}: qset 4, order 1, sz 0\n  item at PTR, qset at NULL\n" for n in range(4)
    )


def test_listing_three_quanta(load: Callable[..., Module]) -> None:
    """The quanta of an item stand below it, each behind its place."""
    module = load(2, 4, 500)
    fill(module.devices[0], bytes(196608))
    assert anonymous(scullv_read_procmem(module)) == (
        "\n"
        "Device 0: qset 500, order 4, sz 196608\n"
        "  item at PTR, qset at PTR\n"
        "       0:QUANTUM\n"
        "       1:QUANTUM\n"
        "       2:QUANTUM\n"
        "\n"
        "Device 1: qset 500, order 4, sz 0\n"
        "  item at PTR, qset at NULL\n"
    )


def test_listing_only_the_last_items_quanta(load: Callable[..., Module]) -> None:
    """Every item is listed, holes included, but only the last one with its quanta."""
    module = load(1)
    module.devices[0].write(0, b"x")
    module.devices[0].write(2 * ITEM + QUANTUM, b"x")
    module.devices[0].write(2 * ITEM + 3 * QUANTUM, b"x")
    assert anonymous(scullv_read_procmem(module)) == (
        "\n"
        f"Device 0: qset 4, order 1, sz {2 * ITEM + 3 * QUANTUM + 1}\n"
        "  item at PTR, qset at PTR\n"
        "  item at PTR, qset at NULL\n"
        "  item at PTR, qset at PTR\n"
        "       1:QUANTUM\n"
        "       3:QUANTUM\n"
    )


@pytest.mark.parametrize(("arch", "digits"), [("x86_64", 16), ("arm64", 16), ("i386", 8)])
def test_listing_pointers(load: Callable[..., Module], arch: str, digits: int) -> None:
    """The pointers are the machine's own, in full width, a missing one all zeros."""
    module = load(2, arch=arch)
    device, empty = module.devices
    fill(device, bytes(QUANTUM))
    lines = scullv_read_procmem(module).splitlines()
    item, qset, (quantum, *_) = device.items.address(0), device.qset_address(0), device.quanta(0)
    assert lines[2] == f"  item at {item:0{digits}x}, qset at {qset:0{digits}x}"
    assert lines[3] == f"       0:{quantum:8x}"
    assert lines[6] == f"  item at {empty.items.address(0):0{digits}x}, qset at {'0' * digits}"
    assert f"{item:x}".startswith({"x86_64": "ffff888", "arm64": "ffff000", "i386": "c"}[arch])
    assert module.machine.vm.is_vmalloc_addr(quantum)


def test_listing_shows_each_devices_own_geometry(module: Module) -> None:
    """Order and qset are those of the device, not those that the module has by now."""
    module.parameters["scullv_order"], module.parameters["scullv_qset"] = 3, 7
    module.devices[2].trim()
    assert re.findall(r"qset \d+, order \d+", scullv_read_procmem(module)) == [
        "qset 4, order 1",
        "qset 4, order 1",
        "qset 7, order 3",
        "qset 4, order 1",
    ]


def test_listing_places_of_four_digits(load: Callable[..., Module]) -> None:
    """The column of places is four wide, the blank for a sign included."""
    module = load(1, 0, 2000)
    for place in (9, 10, 999, 1000):
        module.devices[0].write(place * 4096, b"x")
    places = re.findall(r"(?m)^ {4}( *\d+):", scullv_read_procmem(module))
    assert places == ["   9", "  10", " 999", " 1000"]


@pytest.mark.parametrize("arch", ARCHS)
def test_size_of_a_large_set(load: Callable[..., Module], arch: str) -> None:
    """It is that of the text, without a look at each quantum, wherever some are missing."""
    module = load(1, 0, 30_000, arch=arch, mem=64 * MIB)
    device, rng = module.devices[0], Random(arch)
    for place in [0, 511, 512, 9_999, 10_000, 29_999, *rng.sample(range(30_000), 500)]:
        device.write(place * 4096, b"x")
    text = scullv_read_procmem(module)
    listing = ScullProcmem(module)
    with pytest.MonkeyPatch.context() as patch:
        patch.delattr(Quanta, "quanta")
        assert listing.size() == len(text)
        places = [listing.seek(pos) for pos in range(0, len(text), 97)]
    for place, at in places:
        assert text.encode()[at:].startswith(next(listing.lines(place))[0])


def test_listing_of_very_many_items(
    load: Callable[..., Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a device with more items than anybody reads, the first ones and the last are listed."""
    monkeypatch.setattr(procmem, "LISTED", 3)
    module = load(1)
    module.devices[0].write(9 * ITEM, b"x")
    lines = anonymous(scullv_read_procmem(module)).splitlines()
    assert lines[2:] == [
        "  item at PTR, qset at NULL",
        "  item at PTR, qset at NULL",
        "  item at PTR, qset at NULL",
        "  ... 6 more",
        "  item at PTR, qset at PTR",
        "       0:QUANTUM",
    ]
