"""How much memory the host can give."""

import re
import tracemalloc
from contextlib import suppress
from dataclasses import replace
from itertools import count
from pathlib import Path

import psutil
import pytest

from scullvfs.errors import HostMemoryError
from scullvfs.host import memory
from scullvfs.mm import Machine
from scullvfs.options.table import MountOptions, parse_options
from scullvfs.scull import Module

MIB = 1 << 20
GIB = 1 << 30


def asks(mem: int, order: int = 4) -> MountOptions:
    """The options of a mount."""
    return MountOptions(mem=mem, scullv_order=order)


def test_available_memory_of_this_host() -> None:
    """It is something, and not more than there is."""
    total = psutil.virtual_memory().total + psutil.swap_memory().total
    assert 0 < memory.available_memory() <= total


@pytest.mark.parametrize("order", [0, 1, 4, 18])
def test_check_memory_at_the_edge(monkeypatch: pytest.MonkeyPatch, order: int) -> None:
    """What it says that can be chosen can be, and a MiB more cannot."""
    monkeypatch.setattr(memory, "available_memory", lambda: 16 * GIB)
    with pytest.raises(HostMemoryError) as refused:
        memory.check_memory(asks(16 * GIB, order))
    text = re.fullmatch(
        r"mem=16G is more than this host can give now; choose mem=(\d+)M or less: "
        rf"with order={order} it takes (\d+)M in all, and 16384M can be had",
        str(refused.value),
    )
    assert text is not None
    most, needed = int(text[1]) * MIB, int(text[2]) * MIB
    assert needed - MIB < memory.needed_memory(asks(16 * GIB, order)) <= needed
    memory.check_memory(asks(most, order))
    with pytest.raises(HostMemoryError):
        memory.check_memory(asks(most + MIB, order))


def test_needed_memory_goes_by_the_order() -> None:
    """The smaller the quanta, the more areas there are: the numbers that the manual has."""
    beside = [memory.needed_memory(asks(GIB, order)) - GIB for order in (0, 1, 2, 4)]
    assert [nbytes // MIB for nbytes in beside] == [127, 89, 70, 56]


@pytest.mark.parametrize(
    ("text", "beside"),
    [
        ("scullp", 5),
        ("scullp,scullp_qset=1", 43),
        ("scullc", 105),
        ("scull", 105),
        ("scull,scull_quantum=8", 371),
        ("scull,scull_quantum=8,scull_qset=1", 5480),
        ("scullp,quirks=ldd3", 5 + 32),
    ],
)
def test_needed_memory_of_the_manual(text: str, beside: int) -> None:
    """Those of the other drivers, in MiB for each GiB."""
    options = parse_options([f"drivers={text},mem=1G"])
    needed = memory.needed_memory(options) - memory.DAEMON - GIB
    assert -(-needed // MIB) == beside


def test_needed_memory_with_owners() -> None:
    """Who holds a frame is kept for each of them, and more for each quantum."""
    for order, books in ((0, 8 + 320), (4, 8 + 20)):
        without, kept = (
            memory.needed_memory(replace(asks(GIB, order), page_owner=value))
            for value in (False, True)
        )
        assert kept - without == GIB // 4096 * books


@pytest.mark.parametrize(
    ("text", "beside"),
    [
        ("drivers=scullp,scullp_qset=1", 1_932),
        ("drivers=scullc", 1_464),
        ("drivers=scullc,scullc_quantum=16", 3_400),
        ("drivers=scullc,scullc_quantum=16,scullc_qset=1", 38_060),
        ("drivers=scull", 1_504),
        ("drivers=scull,scull_quantum=8", 3_384),
        ("drivers=scull,scull_quantum=8,scull_qset=1", 248_188),
        ("drivers=scull,scull_quantum=64,quirks=ldd3", 87_784),
    ],
)
def test_needed_memory_of_other_drivers(text: str, beside: int) -> None:
    """Not less than was measured beside the RAM, in KiB, and not many times that."""
    options = parse_options([f"{text},mem=64M"])
    needed = memory.needed_memory(options) - memory.DAEMON - options.mem
    assert beside << 10 <= needed <= max(2 * beside << 10, 24 * MIB)


@pytest.mark.long
@pytest.mark.parametrize(
    "text",
    [
        "drivers=scullv,order=0,qset=1",
        "drivers=scullp,scullp_qset=1",
        "drivers=scullc,scullc_quantum=256,scullc_qset=1",
        "drivers=scull,scull_quantum=512,scull_qset=1",
        "drivers=scull,scull_quantum=512,quirks=ldd3",
    ],
)
def test_needed_memory_is_enough(text: str) -> None:
    """Whatever a device consists of, its books are no larger than the mount counts with."""
    options = parse_options([f"{text},mem=4M"])
    (driver,) = options.loaded()
    machine = Machine(options.mem)
    quirk = options.quirks == "ldd3"
    (device, *_) = Module(machine, driver, quirk_ldd3=quirk, **options.parameters(driver)).devices
    data = bytes(options.quantum(driver))
    tracemalloc.start()
    try:
        with suppress(OSError):  # ENOMEM, in the end
            for pos in count(step=len(data)):
                device.write(pos, data)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert device.nr_quanta * len(data) > options.mem // 10
    assert held <= memory.needed_memory(options) - memory.DAEMON - options.mem


def test_check_memory_says_what_it_goes_by(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of those drivers whose list items have books of their own, the qset, too."""
    monkeypatch.setattr(memory, "available_memory", lambda: GIB)
    with pytest.raises(HostMemoryError, match=" with scull_quantum=8 and scull_qset=2 it takes "):
        memory.check_memory(parse_options(["drivers=scull,scull_quantum=8,scull_qset=2"]))


def test_check_memory_refuses_any_host() -> None:
    """A petabyte is more than any host can give."""
    with pytest.raises(HostMemoryError, match="mem=1024T is more than this host can give now"):
        memory.check_memory(asks(1 << 50))


def test_check_memory_without_any(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host with nothing left offers nothing."""
    monkeypatch.setattr(memory, "available_memory", lambda: MIB)
    with pytest.raises(HostMemoryError, match="choose mem=0M or less"):
        memory.check_memory(asks(MIB))


NO_LIMIT = (1 << 63) - 4096
"""What version 1 has for none (Linux: mm/page_counter.c, PAGE_COUNTER_MAX)."""


@pytest.mark.parametrize(
    ("version", "limit", "left"),
    [
        (memory.V2, "max", []),
        (memory.V2, str(8 * GIB), [6 * GIB]),
        (memory.V1, str(NO_LIMIT), [NO_LIMIT - 2 * GIB]),
        (memory.V1, str(8 * GIB), [6 * GIB]),
    ],
)
def test_left_in_cgroup(
    tmp_path: Path, version: memory.Version, limit: str, left: list[int]
) -> None:
    """What the group uses is gone, but for the page cache that nobody uses."""
    (tmp_path / version.limit).write_text(f"{limit}\n")
    (tmp_path / version.used).write_text(f"{3 * GIB}\n")
    (tmp_path / "memory.stat").write_text(f"anon 5\n{version.cache} {GIB}\nactive_file 7\n")
    assert list(memory._left_in_cgroup(tmp_path, version)) == left


def test_left_in_cgroup_without_controller(tmp_path: Path) -> None:
    """A group without the memory controller sets no limit."""
    assert list(memory._left_in_cgroup(tmp_path, memory.V2)) == []


def test_available_memory_within_a_cgroup(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tightest limit counts; one that is overdrawn leaves nothing."""
    monkeypatch.setattr(memory, "_left_in_cgroups", lambda: iter([GIB, 4096]))
    assert memory.available_memory() == 4096
    monkeypatch.setattr(memory, "_left_in_cgroups", lambda: iter([-1]))
    assert memory.available_memory() == 0
