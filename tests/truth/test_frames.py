"""Page frames that a real kernel gave, 6.12, one after the other: a machine gives the same ones.

Which frames are free on a real machine nobody knows.  So a recording is played on a machine on
which the recorded ones were freed last, in the order in which they must have been.
What is held against the kernel is the order in which they come again.
"""

from __future__ import annotations

import json
from array import array
from pathlib import Path
from typing import Any

import pytest

from scullvfs.mm import PAGE_SIZE, Machine
from scullvfs.mm.gfp import __GFP_MEMALLOC, GFP_HIGHUSER, GFP_KERNEL

RAM = 768 << 20
"""Of the recorded machine, with one CPU."""


def recorded(name: str) -> list[dict[str, Any]]:
    """The steps of a recording."""
    path = Path(__file__).parent / "mm" / f"{name}.json"
    steps: list[dict[str, Any]] = json.loads(path.read_text())["steps"]
    return steps


def with_free(machine: Machine, blocks: list[tuple[int, int]]) -> Machine:
    """Have these blocks (first frame, order) freed, the last of them first, as the last of all.

    Before them so many frames are freed as have to remain free, and no other is.
    """
    page_alloc = machine.page_alloc
    frames = page_alloc.alloc_pages_bulk(GFP_HIGHUSER | __GFP_MEMALLOC, page_alloc.nr_free)
    assert frames is not None
    wanted = {pfn + i for pfn, order in blocks for i in range(1 << order)}
    assert wanted.issubset(frames), "a recorded frame is in use here"
    others = array("I", [pfn for pfn in frames if pfn not in wanted])
    page_alloc.free_frames(others[: page_alloc.zones[0].wmark.min])
    for pfn, order in reversed(blocks):
        page_alloc.free_unref_page(pfn, order)
    return machine


def blocks_of(steps: list[dict[str, Any]]) -> list[tuple[int, int]]:
    """What a recording's __get_free_pages() gave, each of them once."""
    given = [
        (step["result"]["pfn"], step["order"])
        for step in steps
        if step["op"] == "gfp" and "pfn" in step["result"]
    ]
    return list(dict.fromkeys(given))


@pytest.mark.parametrize("name", ["33-gfp-orders", "34-gfp-reuse"])
def test_get_free_pages_gives_the_recorded_block(name: str) -> None:
    """Of orders 0 to 10, none above; the last one freed of an order is the next one given."""
    steps = recorded(name)
    page_alloc = with_free(Machine(RAM, shuffle=False), blocks_of(steps)).page_alloc
    held: dict[int, tuple[int | None, int]] = {}
    for number, step in enumerate(steps):
        if step["op"] == "gfp":
            address = page_alloc.get_free_pages(GFP_KERNEL, step["order"])
            shown = "NULL" if address is None else f"{address:x}"
            result = step["result"]
            assert shown == result.get("kaddr", result.get("addr")), f"step {number}"
            held[step["h"]] = address, step["order"]
        elif step["op"] == "free":
            page_alloc.free_pages(*held.pop(step["h"]))
    page_alloc.check()


def test_vmalloc_gives_the_recorded_frames() -> None:
    """Each page of three areas, two of them after one of 40 pages was freed, and a single frame."""
    steps = recorded("29-pfns")[:9]
    given = [pfn for step in steps[:4] if step["op"] == "pfns" for pfn in step["result"]["pfns"]]
    given.append(steps[8]["result"]["pfn"])
    machine = Machine(RAM, shuffle=False)
    vm = machine.vm
    assert vm.vmalloc(PAGE_SIZE) is not None  # keeps the page tables
    for address in [vm.vmalloc(40 * PAGE_SIZE), vm.vzalloc(3 * PAGE_SIZE)]:  # makes the slabs
        vm.vfree(address)
    vm.vm_unmap_aliases()
    with_free(machine, [(pfn, 0) for pfn in given])
    areas: dict[int, int | None] = {}
    for number, step in enumerate(steps):
        result = step["result"]
        match step["op"]:
            case "vmalloc":
                areas[step["h"]] = vm.vmalloc(step["size"])
            case "vzalloc":
                areas[step["h"]] = vm.vzalloc(step["size"])
            case "pfns":
                start = areas[step["h"]]
                assert start is not None
                pfns = machine.pgtable.frames(start, step["n"])
                assert pfns.tolist() == result["pfns"], f"step {number}"
            case "free":
                vm.vfree(areas.pop(step["h"]))
            case "purge":
                vm.vm_unmap_aliases()
            case "gfp":
                address = machine.page_alloc.get_free_pages(GFP_KERNEL, step["order"])
                assert f"{address:x}" == result["kaddr"], f"step {number}"
    assert machine.page_alloc.nr_available(GFP_KERNEL) == 0


def test_frames_of_a_freed_area_come_back_in_reverse() -> None:
    """Whatever was before, as in each recording: the frame that was freed last comes first."""
    machine = Machine(RAM)
    start = machine.vm.vmalloc(40 * PAGE_SIZE)
    assert start is not None
    before = machine.pgtable.frames(start, 40)
    machine.vm.vfree(start)
    again = machine.vm.vmalloc(40 * PAGE_SIZE)
    assert again is not None
    assert machine.pgtable.frames(again, 40) == array("I", reversed(before))
