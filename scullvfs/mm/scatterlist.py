"""Memory in page frames that are scattered over RAM, as a device would be told of it.

What `vmalloc` gives is contiguous to the CPU alone.  Whoever has to do without the page tables
(a disk, a network card, and here the kernel of the host) needs to know the frames:

    address   |<--- page --->|<--- page --->|<--- page --->|
                    |<---------- count ---------->|
                 offset

    frames      0x2a1f7        0x00c44        0x31b02

They are named by the page tables' own entries, and nothing is copied before somebody asks for it.
Linux: include/linux/scatterlist.h
"""

from __future__ import annotations

from array import array
from typing import Final

from .layout import PAGE_SIZE

__all__ = ["Buffer", "Scatterlist", "sg_copy_from_buffer"]

Buffer = bytes | bytearray | memoryview
"""Bytes that lie one behind the other."""


class Scatterlist:
    """A range of bytes in page frames of RAM.

    A view: use it before anything else happens on the machine.

    Args:
        ram: all of RAM, indexed by physical address.
        entries: the page-table entries of its pages, all of them mapped.
        phys_mask: the bits of an entry that are a physical address.
        offset: where it begins in the first page.
        count: how many bytes it has, 1 or more.
    """

    __slots__ = ("count", "entries", "offset", "phys_mask", "ram")

    def __init__(
        self,
        ram: memoryview,
        entries: memoryview[int] | array[int],
        phys_mask: int,
        offset: int,
        count: int,
    ) -> None:
        self.ram: Final = ram
        self.entries: Final = entries
        self.phys_mask: Final = phys_mask
        self.offset: Final = offset
        self.count: Final = count

    def __len__(self) -> int:
        """How many bytes it has."""
        return self.count

    def runs(self) -> list[tuple[int, int]]:
        """(physical address, bytes); pages that follow each other in RAM make one run."""
        phys_mask, rest = self.phys_mask, self.count
        entries = self.entries.tolist()
        start = (entries[0] & phys_mask) + self.offset
        length = PAGE_SIZE - self.offset
        runs: list[tuple[int, int]] = []
        for entry in entries[1:]:
            phys = entry & phys_mask
            if phys == start + length:
                length += PAGE_SIZE
            else:
                runs.append((start, length))
                rest -= length
                start, length = phys, PAGE_SIZE
        runs.append((start, rest))
        return runs

    def __bytes__(self) -> bytes:
        """A copy (Linux: lib/scatterlist.c:sg_copy_to_buffer())."""
        ram = self.ram
        return b"".join([ram[phys : phys + count] for phys, count in self.runs()])

    def __eq__(self, other: object) -> bool:
        """Whether it holds the same bytes, as two views do."""
        if not isinstance(other, Scatterlist | Buffer):
            return NotImplemented
        return bytes(self) == bytes(other)

    __hash__ = None  # type: ignore[assignment]


def sg_copy_from_buffer(sg: Scatterlist, data: Buffer) -> None:
    """Fill it with `data`, as many bytes as it has (Linux: lib/scatterlist.c)."""
    ram, view = sg.ram, memoryview(data)
    done = 0
    for phys, count in sg.runs():
        ram[phys : phys + count] = view[done : done + count]
        done += count
