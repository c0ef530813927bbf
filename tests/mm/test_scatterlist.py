"""A scatterlist against an oracle that goes byte by byte."""

from __future__ import annotations

import random
from array import array

import pytest

from scullvfs.mm import PAGE_SIZE, Machine
from scullvfs.mm.scatterlist import Scatterlist, sg_copy_from_buffer

P = PAGE_SIZE
FLAGS = 0x8000_0000_0000_0163
MASK = 0x000F_FFFF_FFFF_F000


def ram(frames: int) -> memoryview:
    """RAM in which no two pages are the same."""
    return memoryview(bytearray(random.Random(1).randbytes(frames * P)))


def sg(memory: memoryview, frames: list[int], offset: int, count: int) -> Scatterlist:
    """Some bytes of these frames, as x86_64's page tables name them."""
    return Scatterlist(memory, array("Q", [f * P | FLAGS for f in frames]), MASK, offset, count)


def places(frames: list[int], offset: int, count: int) -> list[int]:
    """Oracle: the physical address of each byte."""
    return [frames[at // P] * P + at % P for at in range(offset, offset + count)]


CASES = [
    ([5], 0, P),
    ([5], 4095, 1),
    ([5, 2], 4000, 200),
    ([5, 6, 7], 10, 3 * P - 20),
    ([5, 6, 1, 2, 9], 1, 5 * P - 1),
    ([9, 8, 7], 0, 3 * P),
]
"""Frames, offset, count: one page, some in a row, and some not."""


@pytest.mark.parametrize(("frames", "offset", "count"), CASES)
def test_bytes(frames: list[int], offset: int, count: int) -> None:
    """What is in those frames, in the order of the pages."""
    memory = ram(10)
    expected = bytes(memory[place] for place in places(frames, offset, count))
    found = sg(memory, frames, offset, count)
    assert len(found) == count
    assert bytes(found) == expected


@pytest.mark.parametrize(("frames", "offset", "count"), CASES)
def test_sg_copy_from_buffer(frames: list[int], offset: int, count: int) -> None:
    """Those bytes change, and no other one of RAM."""
    memory = ram(10)
    expected = bytearray(memory)
    data = random.Random(2).randbytes(count)
    for place, byte in zip(places(frames, offset, count), data, strict=True):
        expected[place] = byte
    sg_copy_from_buffer(sg(memory, frames, offset, count), data)
    assert memory == expected


def test_runs_joins_frames_in_a_row() -> None:
    """Two of them, and one that comes before them in RAM."""
    assert sg(ram(10), [5, 6, 1], 10, 2 * P).runs() == [(5 * P + 10, 2 * P - 10), (P, 10)]


def test_runs_of_entries_of_32_bits() -> None:
    """i386's entries are as wide as its pointers."""
    entries = array("I", [f * P | 0x163 for f in (7, 3)])
    assert Scatterlist(ram(10), entries, 0xFFFF_F000, 100, P).runs() == [
        (7 * P + 100, P - 100),
        (3 * P, 100),
    ]


def test_equal_to_the_same_bytes() -> None:
    """Wherever they are; and a view, which changes, has no hash."""
    memory = ram(10)
    memory[9 * P :] = memory[5 * P : 6 * P]
    one = sg(memory, [5, 2], 0, P + 1)
    assert one == sg(memory, [9, 2], 0, P + 1)
    assert one == bytes(one)
    assert bytes(one) == one
    assert one == memoryview(bytes(one))
    assert one != sg(memory, [5, 2], 0, P)
    assert one != 5
    with pytest.raises(TypeError, match="unhashable"):
        hash(one)


def test_read_of_several_pages_copies_nothing(any_arch: Machine) -> None:
    """What is written afterwards is seen through it."""
    address = any_arch.vm.vmalloc(3 * P)
    assert address is not None
    any_arch.memory.write(address, bytes(3 * P))
    view = any_arch.memory.read(address + 1, 2 * P)
    assert isinstance(view, Scatterlist)
    any_arch.memory.write(address + P, b"new")
    assert bytes(view) == bytes(P - 1) + b"new" + bytes(P - 2)
