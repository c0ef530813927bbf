"""The machine: its arguments, its books, and two of them side by side."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import scullvfs.mm
from scullvfs.mm import Machine, PageFault
from scullvfs.mm.gfp import GFP_HIGHUSER
from scullvfs.mm.machine import MIN_MEM

from .helpers import ARCHS, GIB, MIB, P


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"arch": "vax"}, "choose one of x86_64, i386, arm64"),
        ({"mem": 0}, "1 MiB or more"),
        ({"mem": MIN_MEM - P}, "1 MiB or more"),
        ({"mem": -MIB}, "1 MiB or more"),
        ({"mem": MIB + 1}, "whole pages"),
        ({"mem": 4 * GIB + P, "arch": "i386"}, "at the most"),
        ({"mem": 1 << 47}, "at the most"),
        ({"cpus": 0}, "there has to be one"),
    ],
)
def test_machine_refuses_what_cannot_be(options: dict[str, int | str], words: str) -> None:
    """An argument out of its range is a ValueError that says what would do."""
    with pytest.raises(ValueError, match=words):
        Machine(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("shuffle", [True, False])
def test_machine_of_the_smallest_size_works(
    make_machine: Callable[..., Machine], arch: str, shuffle: bool
) -> None:
    """1 MiB is enough for an area and an object."""
    machine = make_machine(MIN_MEM, arch=arch, shuffle=shuffle)

    address, thing = machine.vm.vmalloc(100 * P), machine.slab.kmalloc(100)

    assert address is not None
    machine.memory.write(address, b"x" * 100 * P)
    machine.vm.vfree(address)
    machine.slab.kfree(thing)


def test_machine_tells_its_memory(make_machine: Callable[..., Machine]) -> None:
    """The log begins with what there is: RAM less frame 0 and the linear mapping's page tables."""
    machine = make_machine(seed=7)

    (record,) = machine.log.records()

    assert record.level == 6
    assert record.text == (
        f"Memory: {65536 - 20}K/65536K available, x86_64, shuffled page frames, seed 7"
    )


def test_machines_do_not_share_anything(make_machine: Callable[..., Machine]) -> None:
    """The same address is another byte in another machine."""
    one, other = make_machine(), make_machine()
    address = one.vm.vmalloc(P)
    assert address is not None
    one.memory.write(address, b"mine")

    with pytest.raises(PageFault):
        other.memory.read(address, 1)
    assert other.vm.vzalloc(P) == address
    assert bytes(other.memory.read(address, 4)) == bytes(4)
    one.vm.vfree(address)
    other.vm.vfree(address)


def test_machines_of_the_same_seed_are_alike(make_machine: Callable[..., Machine]) -> None:
    """The same calls lead to the same addresses and frames, whatever the addresses hold."""

    def story(machine: Machine) -> list[tuple[int, int]]:
        areas = [machine.vm.vmalloc(size * P) for size in (3, 40, 1, 700)]
        machine.vm.vfree(areas[1])
        machine.slab.kmalloc(500)
        areas[1] = machine.vm.vmalloc(20 * P)
        return list(machine.pgtable.mappings())

    first, again, other = (story(Machine(64 * MIB, seed=seed)) for seed in (1, 1, 2))

    assert first == again
    assert first != other
    assert [at for at, _ in first] == [at for at, _ in other]


def test_check_finds_a_frame_without_holder() -> None:
    """A leaked frame, and one with two holders, is found by the books."""
    machine = Machine(16 * MIB)
    machine.check()
    frames = machine.page_alloc.alloc_pages_bulk(GFP_HIGHUSER, 1)
    assert frames is not None

    with pytest.raises(AssertionError, match="no holder"):
        machine.check()
    machine.page_alloc.free_frames(frames)
    machine.check()
    address = machine.vm.vmalloc(P)
    assert address is not None
    vm = machine.vm.find_vm_area(address)
    assert vm is not None
    assert vm.pages is not None
    machine.page_alloc.free_frames(vm.pages)
    with pytest.raises(AssertionError, match="two holders"):
        machine.check()


def test_close_gives_ram_back() -> None:
    """After close() the RAM is gone."""
    machine = Machine(16 * MIB)
    address = machine.vm.vzalloc(P)
    assert address is not None

    machine.close()

    with pytest.raises(ValueError, match="released"):
        machine.memory.read(address, 1)


def test_all_is_what_the_package_says() -> None:
    """Every name in `__all__` is there."""
    for name in scullvfs.mm.__all__:
        assert hasattr(scullvfs.mm, name)
