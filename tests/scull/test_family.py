"""What the members of the family do alike, and what each does in its own way."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from random import Random

import pytest

from scullvfs.mm import Machine
from scullvfs.mm.restoring import Claims
from scullvfs.scull import DRIVERS, Driver, Module, ScullDev, posix
from scullvfs.scull.family import SCULL, SCULLC, SCULLP, SCULLV
from scullvfs.scull.ioctl import commands, scull_ioctl

from .helpers import MIB, content, fails, fill

Load = Callable[..., Module]
each = pytest.mark.parametrize("driver", DRIVERS.values(), ids=DRIVERS)


@pytest.fixture
def load_any() -> Iterator[Load]:
    """Loads a driver on a fresh machine of 16 MiB, or on one that is there; all are checked."""
    modules: list[Module] = []

    def load(driver: Driver, machine: Machine | None = None, **values: int) -> Module:
        modules.append(Module(machine or Machine(mem=16 * MIB), driver, **values))
        return modules[-1]

    yield load
    for module in modules:
        module.check()
        module.machine.check()


def small(driver: Driver) -> dict[str, int]:
    """Parameters with quanta of 8 KiB, or a byte less, four to an item."""
    return {driver.measure.name: 1 if driver.by_order else 8191, driver.qset.name: 4}


@each
def test_defaults(load_any: Load, driver: Driver) -> None:
    """Those of the book: four devices, and what a quantum and an item have in bytes."""
    module = load_any(driver)
    quantum, qset = {
        "scullv": (65536, 500),
        "scullp": (4096, 500),
        "scullc": (4000, 500),
        "scull": (4000, 1000),
    }[driver.name]
    assert [device.name for device in module.devices] == [f"{driver.name}{n}" for n in range(4)]
    assert {(d.quantum, d.itemsize) for d in module.devices} == {(quantum, quantum * qset)}


@each
def test_write_and_read_end_with_a_quantum(load_any: Load, driver: Driver) -> None:
    """Whatever it is of; what was not written of it reads as zeros, and a hole as nothing."""
    device = load_any(driver, **small(driver)).devices[0]
    data = Random(1).randbytes(3 * device.quantum)
    assert device.write(5, data) == device.quantum - 5
    assert bytes(device.read(0, len(data))) == bytes(5) + data[: device.quantum - 5]
    assert device.write(7 * device.itemsize + 1, b"far") == 3
    assert bytes(device.read(2 * device.itemsize, 9)) == b""
    assert bytes(device.read(7 * device.itemsize, 9)) == b"\0far"
    assert device.items.count == 8


@each
def test_random_calls(load_any: Load, driver: Driver) -> None:
    """A long sequence of writes, reads, truncates and trims, with a file's rules as the oracle."""
    module, rng = load_any(driver, **small(driver)), Random(driver.name)
    device, oracle = module.devices[0], bytearray()
    for _ in range(400):
        pos, length = rng.randrange(6 * device.itemsize), rng.randrange(3 * device.quantum)
        match rng.randrange(10):
            case 0:
                device.truncate(pos)
                oracle[pos:] = bytes(max(pos - len(oracle), 0))
            case 1 if rng.random() < 0.3:
                device.trim(later=rng.random() < 0.5)
                oracle.clear()
            case 2:
                for _ in posix.punch_hole(device, pos, length):
                    pass
                end = min(pos + length, len(oracle))
                oracle[pos:end] = bytes(max(end - pos, 0))
            case _:
                data = rng.randbytes(length)
                posix.write_span(device, pos, data)
                oracle.extend(bytes(max(pos + length - len(oracle), 0)))
                oracle[pos : pos + length] = data
        if not length:  # a write of nothing makes no byte
            device.truncate(len(oracle))
        assert device.size == len(oracle)
    assert posix.read_span(device, 0, len(oracle) + 1) == oracle


@each
def test_everything_comes_back(load_any: Load, driver: Driver) -> None:
    """A trim, and then the end of the module, leave the machine as it was."""
    machine = Machine(mem=16 * MIB)
    before = machine.statistics()
    module = load_any(driver, machine)
    fill(module.devices[0], Random(2).randbytes(300_000))
    fill(module.devices[3], Random(3).randbytes(70_001))
    assert content(module.devices[3]) == Random(3).randbytes(70_001)
    module.unload()
    while machine.idle_work():
        pass
    machine.vm.vm_unmap_aliases()
    after = machine.statistics()
    for books in (before, after):  # those of free addresses are there from the start
        assert books.slab.objects == books.vmap.vmap_areas
    kept = after.slab.pages - before.slab.pages + after.pgtable.tables - before.pgtable.tables
    assert after.pages.free == before.pages.free - kept  # empty slabs, and page tables
    machine.check()


@pytest.mark.parametrize("driver", [SCULLC, SCULL], ids=lambda driver: driver.name)
def test_odd_quanta(load_any: Load, driver: Driver) -> None:
    """Any number of bytes, where it is not an order."""
    for quantum in (1, 7, 13, 3999):
        values = {driver.measure.name: quantum, driver.qset.name: 3}
        device = load_any(driver, **values).devices[0]
        data = Random(quantum).randbytes(20 * quantum + 1)
        fill(device, data)
        assert (device.items.count, device.nr_quanta) == (7, 21)
        assert content(device) == data


def test_scull_makes_its_first_item_when_it_is_needed(load_any: Load) -> None:
    """Its list is empty at first, and after a trim; a read at the size adds nothing to it."""
    device = load_any(SCULL, scull_quantum=4, scull_qset=2).devices[0]
    assert device.items.count == 0
    assert bytes(device.read(0, 4)) == b""
    assert device.items.count == 0
    assert device.write(0, b"") == 0
    assert device.items.count == 1
    fill(device, b"12345678")
    assert bytes(device.read(8, 4)) == b""
    assert device.items.count == 1
    device.trim()
    assert (device.items.count, device.size) == (0, 0)


@pytest.mark.parametrize("driver", [SCULLV, SCULLP, SCULLC], ids=lambda driver: driver.name)
def test_a_read_at_the_size_makes_an_item(load_any: Load, driver: Driver) -> None:
    """In all the others."""
    device = load_any(driver, **small(driver)).devices[0]
    fill(device, bytes(device.itemsize))
    assert device.items.count == 1
    assert bytes(device.read(device.size, 1)) == b""
    assert device.items.count == 2


@each
def test_the_number_of_an_item_is_an_int(load_any: Load, driver: Driver) -> None:
    """2**32 items further is the same place; where it is negative there is no memory."""
    device = load_any(driver, **small(driver)).devices[0]
    device.write(0, b"at zero")
    wrapped = device.itemsize << 32
    assert device.write(wrapped + 3, b"WRAP") == 4
    assert device.size == wrapped + 7
    assert bytes(device.read(0, 7)) == b"at WRAP"
    assert bytes(device.read(wrapped, 100)) == b"at WRAP"
    with fails(errno.ENOMEM):
        device.write(device.itemsize << 31, b"x")
    device.size = wrapped
    assert bytes(device.read(device.itemsize << 31, 1)) == b""
    assert posix.read_span(device, wrapped - 9, 9) == bytes(9)  # a file has no such places


def test_one_machine_under_all(load_any: Load) -> None:
    """What one has taken is missing to the others."""
    machine = Machine(mem=4 * MIB)
    devices = [load_any(driver, machine).devices[0] for driver in DRIVERS.values()]
    scullv, scullp, scullc, scull = devices
    with fails(errno.ENOMEM):
        fill(scullp, bytes(4 * MIB))
    free = machine.page_alloc.nr_free
    for other in (scullv, scullc, scull):
        with fails(errno.ENOMEM):
            fill(other, bytes(MIB))
    scullp.trim()
    assert machine.page_alloc.nr_free > free
    for other in (scullv, scullc, scull):
        fill(other, bytes(100_000))


@pytest.mark.parametrize("order", [11, 12, 18])
def test_scullp_beyond_the_largest_order(load_any: Load, order: int) -> None:
    """There is no such block, and the device goes on."""
    module = load_any(SCULLP, scullp_order=order, scullp_qset=1)
    with fails(errno.ENOMEM):
        module.devices[0].write(0, b"x")
    module.parameters.reset()
    module.devices[0].trim()
    assert module.devices[0].write(0, b"x") == 1


def test_scullc_has_a_cache(load_any: Load) -> None:
    """Eight objects of 4032 bytes to a slab, as the real one's; a larger quantum has no room."""
    module = load_any(SCULLC)
    (cache,) = [c for c in module.machine.slab.caches() if c.name == "scullc"]
    assert (cache.object_size, cache.size, cache.order) == (4000, 4032, 3)
    assert cache.size << 3 <= 4096 << cache.order
    module.parameters.store("scullc_quantum", 4032)
    with fails(errno.EINVAL):
        module.parameters.store("scullc_quantum", 4033)
    assert module.parameters["scullc_quantum"] == 4032
    module.unload()
    assert "scullc" not in [c.name for c in module.machine.slab.caches()]


def test_scullc_reset_has_to_fit(load_any: Load) -> None:
    """The default is more than objects of a smaller cache hold."""
    module = load_any(SCULLC, scullc_quantum=100)
    with fails(errno.EINVAL):
        module.parameters.reset()
    assert module.statistics() == {"scullc_devs": 4, "scullc_quantum": 100, "scullc_qset": 500}


@pytest.mark.parametrize("driver", [SCULLC, SCULL], ids=lambda driver: driver.name)
def test_a_slab_is_not_seen_by_the_next_user(load_any: Load, driver: Driver) -> None:
    """A new quantum reads as zeros, whoever had the memory before."""
    first, second, *_ = load_any(driver).devices
    fill(first, b"secret" * 5000)
    first.trim()
    second.write(3999, b"x")
    second.write(7999, b"x")
    assert bytes(second.read(0, 4000)) == bytes(3999) + b"x"
    assert bytes(second.read(4000, 4000)) == bytes(3999) + b"x"


# scull's ioctl


def ioctl(device: ScullDev, name: str, arg: int = 0, capable: bool = True) -> int:
    """A command by value."""
    return scull_ioctl(device, commands(SCULL)[name], arg, b"", lambda: capable)[0]


def test_scull_numbers() -> None:
    """As C programs are compiled with them (scull: scull.h)."""
    numbers = commands(SCULL)
    assert numbers["RESET"] == 0x6B00
    assert [numbers[n] for n in ("SQUANTUM", "SQSET")] == [0x40046B01, 0x40046B02]
    assert [numbers[n] for n in ("TQUANTUM", "TQSET", "GQUANTUM", "GQSET")] == [
        0x6B03,
        0x6B04,
        0x80046B05,
        0x80046B06,
    ]
    assert [numbers[n] for n in ("QQUANTUM", "QQSET", "XQUANTUM", "XQSET")] == [
        0x6B07,
        0x6B08,
        0xC0046B09,
        0xC0046B0A,
    ]
    assert [numbers[n] for n in ("HQUANTUM", "HQSET", "TP_SIZE", "QP_SIZE")] == [
        0x6B0B,
        0x6B0C,
        0x6B0D,
        0x6B0E,
    ]


def test_scull_asks_for_a_right(load_any: Load) -> None:
    """To set takes CAP_SYS_ADMIN, to read and to reset takes nothing."""
    module = load_any(SCULL)
    device = module.devices[0]
    for name in ("TQUANTUM", "HQSET"):
        with fails(errno.EPERM):
            ioctl(device, name, 7, capable=False)
    assert ioctl(device, "QQUANTUM", capable=False) == 4000
    assert ioctl(device, "HQSET", 7) == 1000
    assert ioctl(device, "TQUANTUM", 8) == 0
    assert (module.parameters.measure, module.parameters.qset) == (8, 7)
    assert ioctl(device, "RESET", capable=False) == 0
    assert (module.parameters.measure, module.parameters.qset) == (4000, 1000)


def test_scull_pipe_size(load_any: Load) -> None:
    """It is any int, nobody may not set it, and what looks like an errno is one."""
    device = load_any(SCULL).devices[0]
    assert ioctl(device, "QP_SIZE", capable=False) == 4000
    assert ioctl(device, "TP_SIZE", 100, capable=False) == 0
    ioctl(device, "RESET")
    assert ioctl(device, "QP_SIZE") == 100
    ioctl(device, "TP_SIZE", -5)
    with fails(errno.EIO):
        ioctl(device, "QP_SIZE")
    ioctl(device, "TP_SIZE", 1 << 31)
    assert ioctl(device, "QP_SIZE") == -(1 << 31)


@each
def test_no_state_has_a_device_that_a_module_has_not(driver: Driver) -> None:
    """What cannot be set cannot be restored, a quantum without the memory for it included."""
    device = Module(Machine(mem=16 * MIB), driver, **small(driver)).devices[0]
    largest = device.parameters.largest
    wrong = {
        "measure": [-1, driver.measure.high + 1, *([] if driver is not SCULLC else [largest + 1])],
        "qset": [0, driver.qset.high + 1, driver.qset.high],
        "size": [-1],
        "trims": [-1],
    }
    for name, values in wrong.items():
        for value in values:
            state = {**device.state(), name: value}
            with pytest.raises(ValueError, match=rf"{driver.name}.*( is not in | below 0|: the )"):
                device.restore(state, Claims(16 * MIB // 4096))  # type: ignore[arg-type]
