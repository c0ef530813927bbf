"""Loading the module: its parameters and its devices."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from scullvfs.mm import Machine
from scullvfs.scull import MAX_DEVS, MAX_ORDER, MAX_QSET, Module
from scullvfs.scull.family import SCULLV
from scullvfs.scull.parameters import Parameters

from ..mm.helpers import other_slabs
from .helpers import MIB, fails, shortage


def test_module_defaults() -> None:
    """Without parameters the module is LDD3's: four devices, order 4, qset 500."""
    module = Module(Machine(mem=MIB))
    assert (module.parameters["scullv_order"], module.parameters["scullv_qset"]) == (4, 500)
    assert [device.index for device in module.devices] == [0, 1, 2, 3]
    assert {(device.quantum, device.itemsize) for device in module.devices} == {(65536, 32768000)}


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("scullv_devs", 1, MAX_DEVS), ("scullv_order", 0, MAX_ORDER), ("scullv_qset", 1, MAX_QSET)],
)
def test_module_parameter_range(name: str, low: int, high: int) -> None:
    """Each parameter has a range, both ends included; outside of it nothing is loaded."""
    machine = Machine(mem=16 * MIB)
    least = {"scullv_devs": 1, "scullv_order": 0, "scullv_qset": 1}
    for value in (low, high):
        Module(machine, **least | {name: value}).unload()
    for value in (low - 1, high + 1):
        with pytest.raises(ValueError, match=f"{name}={value} is not in {low}..{high}"):
            Module(machine, **{name: value})
    assert other_slabs(machine).objects == 0


def test_parameters_are_checked_when_they_are_set(load: Callable[..., Module]) -> None:
    """Whoever sets one, it stays in its range; a system call gets EINVAL for it."""
    module = load()
    for name, bad in (("scullv_order", MAX_ORDER + 1), ("scullv_qset", 0)):
        before = module.parameters[name]
        with pytest.raises(ValueError, match=f"{name}={bad} is not in"):
            module.parameters[name] = bad
        with fails(errno.EINVAL):
            module.parameters.store(name, bad)
        assert module.parameters[name] == module.statistics()[name] == before
    module.parameters.store("scullv_qset", 7)
    assert (module.parameters["scullv_qset"], module.parameters.qset) == (7, 7)
    for constant in ("scullv_devs", "scullp_order"):
        with pytest.raises((ValueError, KeyError)):
            module.parameters[constant] = 1


@pytest.mark.parametrize(
    ("order", "qset"), [(4, 65536), (11, 500), (18, 2), (4, 65537), (0, 524288), (18, 524287)]
)
def test_an_item_is_an_int(load: Callable[..., Module], order: int, qset: int) -> None:
    """One whose bytes C cannot count in an int is refused, whichever of the two comes last."""
    with pytest.raises(ValueError, match=r"no int|is not in"):
        Parameters(SCULLV, {"scullv_order": order, "scullv_qset": qset})
    for first, second in (("order", "qset"), ("qset", "order")):
        module = load(1, 0, 1)
        values = {"order": order, "qset": min(qset, MAX_QSET)}
        module.parameters.store(f"scullv_{first}", values[first])
        before = module.statistics()
        if qset <= MAX_QSET:
            with fails(errno.EINVAL):
                module.parameters.store(f"scullv_{second}", values[second])
            assert module.statistics() == before
        assert module.devices[0].write(0, b"x") == 1


@pytest.mark.parametrize(("order", "qset"), [(4, 32767), (10, 511), (18, 1), (0, 524287)])
def test_the_largest_items(load: Callable[..., Module], order: int, qset: int) -> None:
    """Just below 2 GiB: with one quantum more they are too large."""
    module = load(1, order, qset)
    assert (1 << 30) <= module.devices[0].itemsize < 1 << 31
    with pytest.raises(ValueError, match=r"no int|is not in"):
        module.parameters["scullv_qset"] = qset + 1
    assert module.parameters["scullv_qset"] == qset


def test_module_devices_in_one_piece(load: Callable[..., Module]) -> None:
    """The devices' structures follow each other, from one kmalloc."""
    module = load(10)
    addresses = [device.items.address(0) for device in module.devices]
    assert addresses == [addresses[0] + n * 176 for n in range(10)]
    assert other_slabs(module.machine).objects == 1


@pytest.mark.parametrize(("arch", "size"), [("x86_64", 176), ("i386", 104), ("arm64", 176)])
def test_module_size_of_a_device(load: Callable[..., Module], arch: str, size: int) -> None:
    """A device's structure is as large as pointers make it."""
    first, second = load(2, arch=arch).devices
    assert second.items.address(0) - first.items.address(0) == size


def test_module_without_memory() -> None:
    """Where its devices do not fit the module is not loaded, with ENOMEM, and nothing is lost."""
    machine = Machine(mem=MIB, panic_on_warn=True)
    with shortage(machine, leave=1), fails(errno.ENOMEM):
        Module(machine, scullv_devs=1000)
    assert other_slabs(machine).objects == 0
    machine.check()


def test_module_twice_on_one_machine(load: Callable[..., Module]) -> None:
    """Nothing is global: two modules on one machine do not see each other."""
    first = load()
    second = Module(first.machine, scullv_devs=1, scullv_order=0, scullv_qset=1)
    first.devices[0].write(0, b"first")
    second.devices[0].write(0, b"second")
    assert first.devices[0].read(0, 9) == b"first"
    second.unload()
    assert first.devices[0].read(0, 9) == b"first"
