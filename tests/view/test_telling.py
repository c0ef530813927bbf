"""What the page is told is bounded, and is what the models say."""

from __future__ import annotations

import json

import pytest

from scullvfs.mm.layout import LAYOUTS
from scullvfs.view.core import Step
from scullvfs.view.device import Device, Group, Quantum, Run
from scullvfs.view.memory import Memory
from scullvfs.view.ram import Owner, Ram
from scullvfs.view.state import as_json
from scullvfs.view.telling import (
    ALL_GROUPS,
    BAND_CELLS,
    MANY_EMPTY,
    MANY_PAGES,
    RAM_CELLS,
    SET_CELLS,
    told_chosen,
    told_maps,
    told_tree,
)
from scullvfs.view.window import Band, Total, Window

LAYOUT = LAYOUTS["x86_64"]
START = LAYOUT.vmalloc_start


def group(*runs: tuple[int, int], first: int = 0, items: int = 1, quanta: int = 0) -> Group:
    """Items with these places of their sets in use."""
    quanta = quanta or sum(length for _, length in runs)
    return Group(first, items, 1, 1 if quanta else 0, quanta, tuple(Run(*run) for run in runs))


def device(*groups: Group, name: str = "scullv0", qset: int = 500) -> Device:
    """One with these items."""
    seen = sum(each.items * each.quanta for each in groups)
    return Device(
        name=name,
        driver=name.rstrip("0123456789"),
        arch="x86_64",
        measure=4,
        qset=qset,
        quantum=1 << 16,
        size=seen << 16,
        nr_items=sum(each.items for each in groups),
        nr_quanta=seen,
        seen=seen,
        groups=groups,
        quanta=(),
        nr_frames=1 << 18,
        page_offset=LAYOUT.page_offset,
    )


@pytest.mark.parametrize(
    ("runs", "qset", "share", "cells"),
    [
        ([(0, 3)], 500, 1, "###"),
        ([(2, 1), (5, 2)], 500, 1, "..#..##"),
        ([(0, 256)], 256, 1, "#" * 256),
        ([(0, 300)], 500, 2, "#" * 150),
        ([(1, 299)], 500, 2, "+" + "#" * 149),
        ([(0, 1), (999, 1)], 1000, 4, "+" + "." * 248 + "+"),
        ([(0, 257)], 500, 2, "#" * 129),
        ([(0, 524_287)], 524_287, 2048, "#" * 256),
    ],
)
def test_cells_of_a_set(runs: list[tuple[int, int]], qset: int, share: int, cells: str) -> None:
    """Each stands for some places, up to the last one that is used."""
    (branch,) = told_tree([device(group(*runs), qset=qset)]).devices
    (items,) = branch.items
    assert (items.share, items.cells) == (share, cells)


def test_places_that_are_too_many_to_tell() -> None:
    """Of more runs than are kept, only that there are some."""
    (branch,) = told_tree([device(group(quanta=250))]).devices
    assert branch.items[0].cells == "+" * 250
    assert branch.items[0].share == 2


def test_numbers_and_letters() -> None:
    """The first place of an item has its number through the device; letters are as on the map."""
    tree = told_tree(
        [
            device(name="scullp0"),
            device(group((0, 2)), name="scullp1"),
            device(group(), group((4, 1), first=1), name="scullv0"),
        ]
    )
    assert [(each.name, each.letter, each.quanta) for each in tree.devices] == [
        ("scullp0", "", 0),
        ("scullp1", "a", 2),
        ("scullv0", "b", 1),
    ]
    assert [items.first for items in tree.devices[2].items] == [0, 500]
    assert tree.devices[2].places == 1000


def test_many_devices() -> None:
    """A thousand of them with many items each are a bounded number of cells and lines."""
    groups = [group((0, 100 + at), first=at) for at in range(50)]
    tree = told_tree([device(*groups, name=f"scullv{at}") for at in range(1000)])
    assert len(tree.devices) == 1000
    assert tree.devices[30].letter == "z"
    lines = sum(len(each.items) for each in tree.devices)
    cells = sum(len(items.cells) for each in tree.devices for items in each.items)
    assert lines <= max(ALL_GROUPS, 3 * 1000)
    assert cells <= max(SET_CELLS, 16 * lines)
    assert "47 items with " in tree.devices[0].left
    assert len(json.dumps(as_json(tree))) < 3 << 20


def test_many_empty_devices() -> None:
    """They are a line of their own; a few are told one by one."""
    empty = [device(name=f"scullv{at}") for at in range(1, MANY_EMPTY + 1)]
    assert len(told_tree([device(group((0, 1))), *empty]).devices) == 1 + MANY_EMPTY
    tree = told_tree([device(group((0, 1))), *empty, device(name="scullv99")])
    assert [each.name for each in tree.devices] == ["scullv0"]
    assert tree.left == "17 devices more, with nothing in them"


def memory(letters: str) -> Memory:
    """RAM with these letters, and a window with one quantum."""
    owners = tuple(Owner(each, each, letters.count(each)) for each in "Xa?R" if letters.count(each))
    window = Window(
        START,
        LAYOUT.vmalloc_end,
        (Total("a", "scullv0", 1, 16), Total("|", "guard", 1, 1)),
        Band(START, START + (17 << 12), 1, "a" * 16 + "|"),
    )
    return Memory(Ram(letters, owners, (), letters.count("X"), 0), window, 16)


def test_maps_add_up() -> None:
    """The rows of the legend are MemTotal, without what is reserved."""
    maps = told_maps(memory("R" + "X" * 90 + "a" * 7 + "?" * 2))
    assert [(row.letter, row.number) for row in maps.ram_rows] == [("X", 90), ("a", 7), ("?", 2)]
    assert sum(row.number for row in maps.ram_rows) == maps.total.number == 99
    assert maps.total.size == "396 kB"
    assert maps.ram.others == ""
    assert (maps.band.start, maps.band.letters) == ("ffffc90000000000", "a" * 16 + "|")


def test_few_frames_in_a_cell_show() -> None:
    """What is too little for a letter has the foot of its cell, where a device has it."""
    letters = ["X"] * (RAM_CELLS * 4)
    letters[9] = letters[4096] = "a"
    letters[4097:4100] = "aaa"
    letters[20] = "?"
    maps = told_maps(memory("".join(letters)))
    assert (maps.ram.share, len(maps.ram.letters)) == (4, RAM_CELLS)
    assert [at for at, letter in enumerate(maps.ram.letters) if letter == "a"] == [1024]
    assert [at for at, letter in enumerate(maps.ram.others) if letter != " "] == [2]
    assert len(maps.band.letters) <= BAND_CELLS


def quantum(frames: tuple[int, ...], guard: int = 0) -> Quantum:
    """An area with these frames."""
    path = (Step("pgd", 8, 402, 0x9067, 1 << 39, False), Step("pte", 9, 0, 0x800163, 4096, True))
    return Quantum(
        3, 0, 3, 3 << 16, 0, START, "area", len(frames) << 12, path, frames, (0x163,) * len(frames),
        guard, Run(0, 0), False,
    )  # fmt: skip


def test_chosen() -> None:
    """Its cells are those of its frames, its end is that of the guard page."""
    frames = (0x800, 0x8000, 0x8001, 0)
    chosen = told_chosen(device(group((0, 4)))._replace(quanta=(quantum(frames, START + 0x4000),)))
    share = (1 << 18) // RAM_CELLS
    assert chosen.cells == (0x800 // share, 0x8000 // share)
    assert (chosen.start, chosen.end) == ("ffffc90000000000", "ffffc90000005000")
    assert [page.cell for page in chosen.pages] == [16, 256, 256, -1, -1]
    assert [page.name for page in chosen.pages][-2:] == ["page 3", "guard"]
    assert [(step.level, step.cell) for step in chosen.path] == [("pgd", 0), ("pte", 0)]
    assert chosen.there


def test_chosen_with_many_pages() -> None:
    """The first of them are told, and how many there are beside."""
    frames = tuple(range(1, 1 << 14))
    chosen = told_chosen(device(group((0, 4)))._replace(quanta=(quantum(frames),)))
    assert len(chosen.pages) == MANY_PAGES
    assert chosen.left == f"{len(frames) - MANY_PAGES:,} pages more"
    assert len(chosen.cells) == (1 << 14) // ((1 << 18) // RAM_CELLS)


def test_chosen_that_is_none() -> None:
    """A hole says so, and lights nothing up."""
    hole = quantum(())._replace(why="hole", length=0, address=0)
    chosen = told_chosen(device(group((0, 4)))._replace(quanta=(hole,)))
    assert not chosen.there
    assert "a hole, to which nothing was written" in chosen.moral
    assert (chosen.cells, chosen.path) == ((), ())


def test_as_json() -> None:
    """Fields by name, tuples as lists, at any depth."""
    assert as_json(Owner("a", "b", 3)) == {"letter": "a", "name": "b", "frames": 3}
    assert as_json(((Run(1, 2),), "x")) == [[{"first": 1, "length": 2}], "x"]
