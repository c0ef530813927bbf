"""`sys/kernel/debug/extfrag/`: the kernel's format, of machines in a known state."""

from __future__ import annotations

import os
import re
from collections.abc import Callable

import pytest

from scullvfs.fs.debugfs import debugfs
from scullvfs.fs.extfrag import extfrag_index, unusable_index
from scullvfs.fs.file import File
from scullvfs.fs.node import Directory
from scullvfs.fs.proc import buddyinfo
from scullvfs.mm import Machine
from scullvfs.mm.gfp import GFP_KERNEL
from scullvfs.mm.vmstat import fragmentation_index, unusable_free_index
from scullvfs.scull import Module

from ..mm.helpers import fragment

Fresh = Callable[..., Machine]

MIB = 1 << 20


def test_extfrag_of_a_machine_in_halves(fresh: Fresh) -> None:
    """Every other page is taken: only single ones can be had."""
    machine = fresh(mem=16 * MIB)
    held = fragment(machine.page_alloc)
    assert unusable_index(machine) == "Node 0, zone   Normal 0.000 " + "1.000 " * 10 + "\n"
    line = extfrag_index(machine)
    assert re.fullmatch(r"Node 0, zone   Normal -1\.000 (?: 0\.\d{3} ){10}\n", line)
    machine.page_alloc.free_frames(held)


def test_extfrag_prints_negative_parts_as_c_does(fresh: Fresh) -> None:
    """Of one free page: the quotient is 0, and the remainder has the sign."""
    machine = fresh(mem=16 * MIB)
    machine.page_alloc.free_by_order = lambda: {"Normal": [1, *[0] * 10]}  # type: ignore[method-assign]
    assert extfrag_index(machine) == (
        "Node 0, zone   Normal -1.000  0.-500  0.-250  0.-125  0.-62  0.-31  0.-15  0.-07  0.-03 "
        " 0.-01  0.000 \n"
    )


@pytest.mark.parametrize("arch", ["x86_64", "i386"])
def test_extfrag_is_of_what_buddyinfo_shows(fresh: Fresh, arch: str) -> None:
    """A line for each zone, whose numbers follow from the counts there."""
    machine = fresh(arch, mem=1024 * MIB, shuffle=True)
    machine.vm.vmalloc(40 * MIB)
    for order in (0, 3, 5):
        machine.page_alloc.alloc_pages(GFP_KERNEL, order)
    lines = zip(
        buddyinfo(machine).splitlines(),
        unusable_index(machine).splitlines(),
        extfrag_index(machine).splitlines(),
        strict=True,
    )
    for blocks, unusable, index in lines:
        assert blocks[:21] == unusable[:21] == index[:21]
        counts = [int(word) for word in blocks[21:].split()]
        assert [round(float(word) * 1000) for word in unusable[21:].split()] == [
            unusable_free_index(counts, order) for order in range(11)
        ]
        assert [round(float(word) * 1000) for word in index[21:].split()] == [
            fragmentation_index(counts, order) for order in range(11)
        ]


def test_extfrag_files_are_read_by_all_and_written_by_none() -> None:
    """Their permissions are the kernel's, and what they show is of when they are opened."""
    module = Module(Machine(mem=16 * MIB))
    directory = debugfs(module.machine, [module], 0, 0).entries[b"extfrag"]
    assert isinstance(directory, Directory)
    assert list(directory.entries) == [b"unusable_index", b"extfrag_index"]
    shown = (unusable_index(module.machine), extfrag_index(module.machine))
    for file, text in zip(directory.entries.values(), shown, strict=True):
        assert isinstance(file, File)
        assert file.mode & 0o777 == 0o444
        assert bytes(file.open(os.O_RDONLY).read(0, 1000)).decode() == text
