"""Idle work: the host gets its memory back."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

from scullvfs.mm.machine import Machine
from scullvfs.mm.ram import ZERO_PAGE
from scullvfs.mm.zone import KEPT

from .frames import fill, idle, new, page
from .helpers import GIB, MIB, P, take_the_last


@pytest.mark.parametrize("shuffle", [True, False])
def test_idle_work_gives_freed_ram_back_to_the_host(shuffle: bool) -> None:
    """After it finds nothing to do, few free frames are dirty; the others read as zeros."""
    page_alloc, ram = new(shuffle=shuffle)
    frames = take_the_last(page_alloc)
    fill(ram, frames)
    page_alloc.free_frames(frames)
    assert page_alloc.statistics().dirty == len(frames)

    assert idle(page_alloc) > 1

    assert page_alloc.statistics().dirty <= KEPT
    assert page_alloc.nr_free == page_alloc.totalram_pages
    leftover = sum(page(ram, pfn) != ZERO_PAGE for pfn in frames)
    assert leftover == page_alloc.statistics().dirty
    page_alloc.check()


def test_idle_work_has_nothing_to_do_on_a_fresh_machine() -> None:
    """Nothing was freed, so nothing waits."""
    assert new()[0].idle_work() is False


def test_idle_work_is_done_in_slices() -> None:
    """One call goes over about as many frames as it was told, not over all that wait."""
    page_alloc, ram = new()
    frames = take_the_last(page_alloc)
    fill(ram, frames)
    page_alloc.free_frames(frames)
    dirty = page_alloc.statistics().dirty

    assert page_alloc.idle_work(100) is True

    assert page_alloc.statistics().dirty == dirty - 100


RESIDENT = """
import psutil
from scullvfs.mm import Machine
machine = Machine(mem=16 << 30, shuffle={shuffle}, fragment={fragment})
address = machine.vm.vmalloc(64 << 10)
machine.memory.write(address, bytes(64 << 10))
print(psutil.Process().memory_info().rss, machine.page_alloc.totalram_pages)
"""


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("fragment", [0, 100])
def test_machine_of_16_gib_is_small_on_the_host(shuffle: bool, fragment: int) -> None:
    """A machine of 16 GiB that has begun to work keeps less than 100 MB of the host's memory."""
    command = [sys.executable, "-c", RESIDENT.format(shuffle=shuffle, fragment=fragment)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout

    resident, total = map(int, output.split())
    assert total == 16 * GIB // P - 1
    assert resident < 100_000_000


def test_idle_work_of_a_machine_reaches_the_end(make_machine: Callable[..., Machine]) -> None:
    """After a trim of most of its RAM a machine comes to rest, with little dirty memory."""
    machine = make_machine()
    areas = [machine.vm.vmalloc(MIB) for _ in range(50)]
    for address in areas:
        assert address is not None
        machine.memory.memset(address, 0xAA, MIB)
        machine.vm.vfree(address)

    for _ in range(100_000):
        if not machine.idle_work():
            break
    assert machine.idle_work() is False
    zone = machine.page_alloc.zones[0]
    assert machine.page_alloc.statistics().dirty <= KEPT + zone.pcp_high
