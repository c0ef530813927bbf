"""Scripts that were played inside a real kernel, 6.12, played on a machine: the same addresses.

Each recording has the areas that were in use before, and what the kernel gave for each request.
A machine gets the same areas and the same requests.  Those that ask for an alignment are
counted, not judged one by one: where the kernel finds one depends on the shape of its tree of free
ranges.  Where the machine finds another one, the play has it at the recorded address and goes on.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from scullvfs.mm import PAGE_SIZE, Machine
from scullvfs.mm.gfp import GFP_HIGHUSER
from scullvfs.mm.vm_struct import VA_MASK, VM_SHIFT, objects_of

ROOT = Path(__file__).parents[2]
RECORDINGS = sorted(Path(__file__).parent.glob("mm/*.json"))
RAM = 768 << 20
"""Of the recorded machine, with one CPU."""
PAGE_ALIGNED = ("vmalloc", "vzalloc", "vmalloc_user", "vmalloc_32", "vmap")


ALIGNED = ("ioremap", "vmalloc_huge", "kvmalloc")


@dataclass
class Play:
    """A machine on which a recording is played, and how it went."""

    machine: Machine = field(default_factory=lambda: Machine(RAM, shuffle=False))
    areas: dict[int, tuple[str, int]] = field(default_factory=dict)
    """Handle -> what it is and its address, which is of no use where the kernel's was NULL."""
    pages: dict[int, array[int]] = field(default_factory=dict)
    """Handle -> the frames of a `vm_map_ram()`."""
    requests: int = 0
    """Those whose place is known: page-aligned ones, and those out of a block."""
    differences: list[str] = field(default_factory=list)
    aligned: int = 0
    aligned_alike: int = 0

    def script(self, recording: dict[str, Any]) -> None:
        """Play all of it."""
        layout = self.machine.layout
        for start, end, _ in recording["preload"]:
            if layout.vmalloc_start <= int(start, 16) < layout.vmalloc_end:
                self.machine.vmap_space.reserve(int(start, 16), int(end, 16))
        for number, step in enumerate(recording["steps"]):
            self.step(number, **step)

    def step(self, number: int, op: str, result: dict[str, Any], h: int = -1, **args: int) -> None:
        """Play a step."""
        if op in (*PAGE_ALIGNED, *ALIGNED, "vm_map_ram"):
            given = self.ask(op, h, **args)
            shown = "NULL" if given is None else f"{given:x}"
            self.areas[h] = (op, given or 0)
            if op in ALIGNED and self.machine.layout.vmalloc_start <= (given or 0):
                self.aligned += 1
                self.aligned_alike += shown == result["addr"]
                if shown != result["addr"]:
                    self.areas[h] = (op, self.follow(given or 0, int(result["addr"], 16)))
            elif op != "kvmalloc":
                self.requests += 1
                if shown != result["addr"]:
                    self.differences.append(f"{number}: {op} {args}: {shown}, not {result['addr']}")
        elif op == "free":
            self.free(h)
        elif op == "purge":
            self.machine.vm.vm_unmap_aliases()

    def ask(self, op: str, h: int, size: int = 0, **args: int) -> int | None:
        """Ask for an area."""
        vm = self.machine.vm
        if op in ("vmap", "vm_map_ram"):
            wanted = args["pages"]
            allocate_pages = self.machine.page_alloc.alloc_pages_bulk
            pages = (wanted and allocate_pages(GFP_HIGHUSER, wanted)) or array("I")
            self.pages[h] = pages
            return vm.vmap(pages) if op == "vmap" else vm.vm_map_ram(pages)
        if op == "ioremap":
            phys = args["phys"]  # below RAM's end it is the kernel's own code, which passes there
            return vm.ioremap(phys if phys >= RAM else phys + RAM, size)
        allocate: dict[str, Callable[[int], int | None]] = {
            "vmalloc": vm.vmalloc,
            "vzalloc": vm.vzalloc,
            "vmalloc_user": vm.vmalloc_user,
            "vmalloc_32": vm.vmalloc_32,
            "vmalloc_huge": vm.vmalloc_huge,
            "kvmalloc": vm.kvmalloc,
        }
        return allocate[op](size)

    def follow(self, given: int, recorded: int) -> int:
        """Have an area at the recorded address in place of the one that the machine has chosen."""
        space = self.machine.vmap_space
        area = space.busy.pop(given)
        assert area is not None
        start = recorded & -PAGE_SIZE
        chosen, kind, data, objects = area
        entries = self.machine.pgtable.lookup_pages(chosen, kind.mapped_size // PAGE_SIZE)
        self.machine.pgtable.unmap_pages(chosen, len(entries))
        space._give_back([(chosen, chosen + kind.size, objects & VA_MASK)])
        va = space._take_at(start, kind.size)
        assert self.machine.pgtable.map_pages(start, entries)
        space.busy.add(start, kind, data, objects_of(objects >> VM_SHIFT, va))
        return recorded

    def free(self, h: int) -> None:
        """Free what a handle stands for, if that has addresses."""
        op, address = self.areas.pop(h, ("", 0))
        if not address:
            return
        vm = self.machine.vm
        if op == "vmap":
            vm.vunmap(address)
        elif op == "ioremap":
            vm.iounmap(address)
        elif op == "kvmalloc":
            vm.kvfree(address)
        elif op == "vm_map_ram":
            vm.vm_unmap_ram(address, len(self.pages[h]))
        else:
            vm.vfree(address)


@cache
def played(path: Path) -> Play:
    """A recording that was played on a machine, which is gone."""
    play = Play()
    play.script(json.loads(path.read_text()))
    play.machine.close()
    return play


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
def test_addresses(path: Path) -> None:
    """Each request that may begin at any page is given the recorded address, or NULL as there."""
    assert played(path).differences == []


def test_the_page_has_the_figures() -> None:
    """How many there are, and how many aligned ones differ."""
    plays = [played(path) for path in RECORDINGS]
    requests, aligned = sum(play.requests for play in plays), sum(play.aligned for play in plays)
    differ = aligned - sum(play.aligned_alike for play in plays)
    page = (ROOT / "docs/machine.md").read_text()
    assert f"has {len(plays)} of them" in page
    assert f"NULL included | {requests} | 0 |" in page
    assert f"huge pages | {aligned} | {differ} |" in page
