"""Freeing many areas at once."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from scullvfs.mm import PAGE_SIZE, Machine, PageFault

from .helpers import books


def areas(machine: Machine, count: int) -> list[int]:
    """Addresses of areas of one to four pages."""
    addresses = [machine.vm.vmalloc((1 + n % 4) * PAGE_SIZE) for n in range(count)]
    return [address for address in addresses if address is not None]


@pytest.mark.parametrize("order", ["rising", "falling", "random", "every other"])
def test_vfree_bulk_frees_each(any_arch: Machine, order: str) -> None:
    """Neighbours or not, in whatever order: nothing is left of them, the others stay."""
    any_arch.vm.vm_unmap_aliases()
    before = books(any_arch)
    addresses = areas(any_arch, 100)
    kept = addresses[1::2] if order == "every other" else []
    freed = [address for address in addresses if address not in kept]
    if order == "falling":
        freed.reverse()
    elif order == "random":
        Random(1).shuffle(freed)

    any_arch.vm.vfree_bulk(freed)

    any_arch.check()
    assert sorted(any_arch.vmap_space.busy) == kept
    for address in freed:
        with pytest.raises(PageFault):
            any_arch.memory.read(address, 1)
    any_arch.vm.vfree_bulk(kept)
    assert books(any_arch) == before


def test_vfree_bulk_of_no_area_is_a_warning(make_machine: Callable[..., Machine]) -> None:
    """Twice the same address, and one that is none: a warning each; the others are freed."""
    machine = make_machine(panic_on_warn=False)
    first, second = areas(machine, 2)
    machine.vm.vfree_bulk([first, first, second + 64 * PAGE_SIZE, second])
    machine.check()
    assert not machine.vmap_space.busy
    warnings = [record.text for record in machine.log.records() if "vfree()" in record.text]
    assert len(warnings) == 2
