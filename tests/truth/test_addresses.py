"""Scripts that were played inside a real kernel, 6.12, played on a machine: the same addresses.

Each recording has the areas that were in use before, and what the kernel gave for each request.
A machine gets the same areas and the same requests.  Those that ask for an alignment are
counted, not judged one by one: where the kernel finds one depends on the shape of its tree of free
ranges.  The play follows the recorded address there, as it does for what the machine has no
function for.
"""

from __future__ import annotations

import json
from array import array
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from scullvfs.mm import PAGE_SIZE, Machine
from scullvfs.mm.layout import page_align

ROOT = Path(__file__).parents[2]
RECORDINGS = sorted(Path(__file__).parent.glob("mm/*.json"))
RAM = 768 << 20
"""Of the recorded machine, with one CPU."""
HUGE = 2 << 20
MOST_IN_A_PAGE = PAGE_SIZE // 8
"""Pointers to the pages of an area; where there are more, these lie in an area, too."""
PAGE_ALIGNED = ("vmalloc", "vzalloc", "vmalloc_user", "vmalloc_32", "vmap")


@dataclass
class Play:
    """A machine on which a recording is played, and how it went."""

    machine: Machine = field(default_factory=lambda: Machine(RAM, shuffle=False))
    areas: dict[int, tuple[str, int]] = field(default_factory=dict)
    """Handle -> what it is and its address, which is of no use where the kernel's was NULL."""
    arrays: dict[int, int | None] = field(default_factory=dict)
    """Handle -> where the pointers to its pages are, of an area that the machine has not made."""
    requests: int = 0
    """Page-aligned ones."""
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
        if op in PAGE_ALIGNED:
            self.requests += 1
            given = self.page_aligned(op, **args)
            shown = "NULL" if given is None else f"{given:x}"
            if shown != result["addr"]:
                self.differences.append(f"{number}: {op} {args}: {shown}, not {result['addr']}")
            self.areas[h] = (op, given or 0)
        elif op in ("ioremap", "vmalloc_huge", "kvmalloc", "vm_map_ram"):
            self.follow(op, h, result, **args)
        elif op == "free":
            self.free(h)
        elif op == "purge":
            self.machine.vm.vm_unmap_aliases()

    def page_aligned(self, op: str, size: int = 0, pages: int = 0, src: int = 0) -> int | None:
        """Ask for an area that may begin at any page."""
        vm = self.machine.vm
        if op == "vmap":
            return vm.vmap(self.machine.page_alloc.alloc_pages_bulk(pages) if pages else array("I"))
        return vm.vmalloc(size) if op == "vmalloc" else vm.vzalloc(size)

    def follow(self, op: str, h: int, result: dict[str, Any], **args: int) -> None:
        """Have the recorded area in use, and see whether the machine would have chosen it."""
        address = int(result["addr"], 16) if result.get("addr", "N")[0] == "f" else 0
        if not address & 0x4000_0000_0000:  # NULL, or of kmalloc
            return
        if op == "vm_map_ram":  # a part of a block that other requests share
            return
        size = page_align(args["size"] + args.get("phys", 0) % PAGE_SIZE)
        align = min(1 << (size - 1).bit_length(), 1 << 30) if op == "ioremap" else PAGE_SIZE
        if op != "ioremap" and size >= HUGE:
            size, align = -(-size // HUGE) * HUGE, HUGE
        start = address & -PAGE_SIZE
        space = self.machine.vmap_space
        chosen = space.alloc_vmap_area(size + PAGE_SIZE, align)
        assert chosen is not None
        space._free.add(chosen, size + PAGE_SIZE)
        self.aligned += 1
        self.aligned_alike += chosen == start
        space.reserve(start, start + size + PAGE_SIZE)
        self.areas[h] = (op, start)
        nr_pages = size // PAGE_SIZE
        if op != "ioremap" and nr_pages > MOST_IN_A_PAGE:
            self.arrays[h] = self.machine.vm.vmalloc(8 * nr_pages)

    def free(self, h: int) -> None:
        """Free what a handle stands for, if that has addresses."""
        op, address = self.areas.pop(h, ("", 0))
        if not address:
            return
        if op in PAGE_ALIGNED and op != "vmap":
            self.machine.vm.vfree(address)
        else:
            self.machine.vm.vunmap(address)
            self.machine.vm.vfree(self.arrays.pop(h, None))


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
