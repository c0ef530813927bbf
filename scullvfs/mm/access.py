"""Reading and writing kernel addresses, as the CPU does: through the page tables.

An address in the linear mapping is translated by subtracting PAGE_OFFSET; any other is
looked up in the page tables, page by page, at every call.  Nothing is cached.  What the
tables do not map is a `PageFault`, a guard page included, and then nothing was written.

Confessed: the linear mapping has no page tables here (Linux maps it with large pages at
boot and never touches it again).  Device memory has no device behind it: it reads as
all ones, and writes to it vanish, as on a bus that nobody answers on.
"""

from __future__ import annotations

from typing import Final

from .errors import PageFault
from .layout import PAGE_SHIFT, PAGE_SIZE, Layout, offset_in_page
from .page_alloc import PageAllocator
from .pgtable import PageTables
from .ram import Ram

__all__ = ["KernelMemory"]

Buffer = bytes | bytearray | memoryview
"""What can be written, and what a read gives: bytes, or a view of RAM."""


class KernelMemory:
    """The kernel's view of memory: RAM behind the linear mapping and the page tables."""

    def __init__(
        self, page_alloc: PageAllocator, pgtable: PageTables, ram: Ram, layout: Layout
    ) -> None:
        self._pgtable = pgtable
        self._bytes = ram.bytes
        self._words = ram.words
        self._ram_size: Final = ram.size
        self._phys_mask: Final = layout.phys_mask
        self._page_offset: Final = layout.page_offset
        self._high_memory: Final = page_alloc.high_memory
        self._word_shift: Final = layout.pointer_size.bit_length() - 1
        self._va_bits: Final = layout.va_bits
        self._kernel_half: Final = layout.page_offset >> layout.va_bits

    def translate(self, address: int, count: int, write: bool) -> list[tuple[int, int]]:
        """The runs of (physical address, bytes) behind `count` bytes at `address`.

        Pages that follow each other in RAM make one run.

        Raises:
            PageFault: a page of it is not mapped.
        """
        if self._page_offset <= address and address + count <= self._high_memory:
            return [(address - self._page_offset, count)]
        if address >> self._va_bits != self._kernel_half:
            raise PageFault(address, write, "", ())  # no walk tells such addresses apart
        phys_mask = self._phys_mask
        offset = offset_in_page(address)
        first = address - offset
        if offset + count <= PAGE_SIZE:
            entry = self._pgtable.lookup(address)
            if not entry:
                self._fault(address, first, write)
            return [((entry & phys_mask) + offset, count)]
        nr_pages = (offset + count + PAGE_SIZE - 1) >> PAGE_SHIFT
        entries = self._pgtable.lookup_pages(first, nr_pages)
        if 0 in entries:
            self._fault(address, first + (entries.index(0) << PAGE_SHIFT), write)
        start = (entries[0] & phys_mask) + offset
        length = PAGE_SIZE - offset
        runs: list[tuple[int, int]] = []
        for entry in entries[1:]:
            phys = entry & phys_mask
            if phys == start + length:
                length += PAGE_SIZE
            else:
                runs.append((start, length))
                count -= length
                start, length = phys, PAGE_SIZE
        runs.append((start, count))
        return runs

    def _fault(self, address: int, page: int, write: bool) -> None:
        if self._page_offset <= address < self._high_memory:  # it starts in the linear mapping
            page = self._high_memory
        path = self._pgtable.walk(page)
        raise PageFault(max(address, page), write, path[-1][0], tuple(entry for _, entry in path))

    def read(self, address: int, count: int) -> Buffer:
        """Read `count` bytes (1 or more).

        The result may be a view of RAM: use it, or copy it, before anything is written.

        Raises:
            PageFault: a page of it is not mapped.
        """
        runs = self.translate(address, count, write=False)
        ram = self._bytes
        if len(runs) == 1 and runs[0][0] < self._ram_size:
            return ram[runs[0][0] : runs[0][0] + count]
        if runs[-1][0] >= self._ram_size:
            return b"\xff" * count
        return b"".join([ram[phys : phys + n] for phys, n in runs])

    def write(self, address: int, data: Buffer) -> None:
        """Write `data` (1 byte or more).

        Raises:
            PageFault: a page of it is not mapped; nothing was written.
        """
        runs = self.translate(address, len(data), write=True)
        ram = self._bytes
        if runs[-1][0] >= self._ram_size:
            return
        if len(runs) == 1:
            phys, count = runs[0]
            ram[phys : phys + count] = data
            return
        view = memoryview(data)
        done = 0
        for phys, count in runs:
            ram[phys : phys + count] = view[done : done + count]
            done += count

    def memset(self, address: int, value: int, count: int) -> None:
        """Fill `count` bytes (1 or more) with one value, 0..255.

        Raises:
            PageFault: a page of it is not mapped; nothing was written.
        """
        for phys, n in self.translate(address, count, write=True):
            if phys < self._ram_size:
                self._bytes[phys : phys + n] = bytes([value]) * n

    def load(self, address: int) -> int:
        """Read one pointer, aligned to its size, from the linear mapping.

        Raises:
            PageFault: the address is elsewhere.
        """
        return self._words[self._word(address, write=False)]

    def store(self, address: int, value: int) -> None:
        """Write one pointer, aligned to its size, to the linear mapping.

        Raises:
            PageFault: the address is elsewhere.
        """
        self._words[self._word(address, write=True)] = value

    def load_array(self, address: int, count: int) -> list[int]:
        """Read `count` pointers that follow each other in the linear mapping.

        Raises:
            PageFault: the address is elsewhere.
        """
        first = self._word(address, write=False)
        self._word(address + (count - 1 << self._word_shift), write=False)
        return self._words[first : first + count].tolist()

    def _word(self, address: int, write: bool) -> int:
        if not self._page_offset <= address < self._high_memory:
            self._fault(address, address - offset_in_page(address), write)
        return (address - self._page_offset) >> self._word_shift
