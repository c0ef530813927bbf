"""Memory in page frames that are scattered over RAM, as a device would be told of it.

What `vmalloc` gives is contiguous to the CPU alone.  Whoever has to do without the page tables
(a disk, a network card, and here the kernel of the host) needs to know the frames:

    address   |<--- page --->|<--- page --->|<--- page --->|
                    |<---------- count ---------->|
                 offset

    frames      0x2a1f7        0x00c44        0x31b02

Each is named by a word with the bits of its physical address in it, and nothing is copied before
somebody asks for it.
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
        words: one for each of its pages, of 4 or 8 bytes.
        address_bits: the bits of a word that are a physical address.
        offset: where it begins in the first page.
        count: how many bytes it has, 1 or more.
    """

    __slots__ = ("address_bits", "count", "offset", "ram", "words")

    def __init__(
        self,
        ram: memoryview,
        words: memoryview[int] | array[int],
        address_bits: int,
        offset: int,
        count: int,
    ) -> None:
        self.ram: Final = ram
        self.words: Final = words
        self.address_bits: Final = address_bits
        self.offset: Final = offset
        self.count: Final = count

    def __len__(self) -> int:
        """How many bytes it has."""
        return self.count

    def runs(self) -> list[tuple[int, int]]:
        """(physical address, bytes); pages that follow each other in RAM make one run."""
        address_bits, rest = self.address_bits, self.count
        words = self.words.tolist()
        start = (words[0] & address_bits) + self.offset
        length = PAGE_SIZE - self.offset
        runs: list[tuple[int, int]] = []
        for word in words[1:]:
            phys = word & address_bits
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
