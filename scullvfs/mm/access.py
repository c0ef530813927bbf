"""Reading and writing kernel addresses, as the CPU does: through the page tables.

An address in the linear mapping is translated by subtracting PAGE_OFFSET, which is what its page
tables say, too; any other is looked up in the page tables, page by page, at every call.  No entry
is cached.  What the tables do not map is a `PageFault`, a guard page included, and then nothing was
written.

What is not RAM is a device's, or nobody's (`iomem`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from sys import byteorder
from typing import Final

from .errors import KernelBug, PageFault
from .iomem import IoMemory
from .layout import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE, Layout, offset_in_page
from .page_alloc import PageAllocator
from .pgtable import PageTables
from .ram import Ram
from .scatterlist import Buffer, Scatterlist, sg_copy_from_buffer

__all__ = ["Buffer", "KernelMemory", "View"]

View = bytes | memoryview | Scatterlist
"""What a read gives: bytes, or where in RAM they are."""


class KernelMemory:
    """The kernel's view of memory: RAM behind the linear mapping and the page tables."""

    def __init__(
        self,
        page_alloc: PageAllocator,
        pgtable: PageTables,
        ram: Ram,
        layout: Layout,
        iomem: IoMemory,
    ) -> None:
        self._pgtable = pgtable
        self._iomem = iomem
        self._lookup = pgtable.lookup
        self._bytes = ram.bytes
        self._words = ram.words
        self._ram_size: Final = ram.size
        self._phys_mask: Final = layout.phys_mask
        self._page_offset: Final = layout.page_offset
        self._high_memory: Final = page_alloc.high_memory
        self._pointer_size: Final = layout.pointer_size
        self._last_pointer: Final = (
            page_alloc.high_memory - layout.page_offset - layout.pointer_size
        )
        """Where the last pointer that the linear mapping reaches is in RAM."""
        self._word_shift: Final = layout.pointer_size.bit_length() - 1
        self._va_bits: Final = layout.va_bits
        self._kernel_half: Final = layout.page_offset >> layout.va_bits
        self.sg_copy_from_buffer: Callable[[Scatterlist, Buffer], None] = sg_copy_from_buffer
        """What copies into several pages.  A quicker one may take its place."""

    def translate(self, address: int, count: int, write: bool) -> list[tuple[int, int]]:
        """The runs of (physical address, bytes) behind `count` bytes at `address`.

        Pages that follow each other in RAM make one run.

        Raises:
            PageFault: a page of it is not mapped.
        """
        phys = self._contiguous(address, count)
        if phys >= 0:
            return [(phys, count)]
        return self._scatterlist(address, count, write).runs()

    def tables_changed(self) -> None:
        """Somebody has made something else of the page tables' object (`overwritten_tables`)."""
        self._lookup = self._pgtable.lookup

    def _contiguous(self, address: int, count: int, tables: bool = True) -> int:
        """The physical address of bytes in RAM that lie in the linear mapping, or in one page.

        -1 for all others, and `_scatterlist()` finds out what there is.  The linear mapping is
        told from the rest here and nowhere else; without `tables` nothing else is looked at.
        """
        if address + count <= self._high_memory and self._page_offset <= address:
            return address - self._page_offset  # most are above, so one look tells
        offset = address % PAGE_SIZE
        if tables and offset + count <= PAGE_SIZE and address >> self._va_bits == self._kernel_half:
            phys = self._lookup(address) & self._phys_mask
            if 0 < phys < self._ram_size:
                return phys + offset
        return -1

    def virt_to_phys(self, address: int) -> int:
        """The physical address behind an address of the linear mapping.

        Raises:
            KernelBug: it is an address of vmalloc, or of nothing, as with CONFIG_DEBUG_VIRTUAL;
                without that Linux computes nonsense.

        Linux: arch/x86/mm/physaddr.c:__phys_addr()
        """
        if not self._page_offset <= address < self._high_memory:
            raise KernelBug(f"virt_to_phys used for non-linear address: {address:#x}")
        return address - self._page_offset

    def phys_to_virt(self, phys: int) -> int:
        """Where the byte at a physical address is in the linear mapping.

        Raises:
            KernelBug: that does not reach it: it is a device's, or high memory, or nothing.  Linux
                gives an address at which nothing is mapped.

        Linux: arch/x86/include/asm/io.h:phys_to_virt()
        """
        if not 0 <= phys < self._high_memory - self._page_offset:
            raise KernelBug(f"phys_to_virt used for memory that is not mapped: {phys:#x}")
        return phys + self._page_offset

    def virt_to_page(self, address: int) -> int:
        """The page frame behind an address of the linear mapping; a frame is its number here.

        Raises:
            KernelBug: as `virt_to_phys()`.

        Linux: virt_to_page(), virt_to_pfn()
        """
        return self.virt_to_phys(address) >> PAGE_SHIFT

    virt_to_pfn = virt_to_page

    def page_to_virt(self, page: int) -> int:
        """Where a page frame begins in the linear mapping (Linux: page_to_virt()).

        Raises:
            KernelBug: as `phys_to_virt()`.
        """
        return self.phys_to_virt(page << PAGE_SHIFT)

    def _scatterlist(self, address: int, count: int, write: bool) -> Scatterlist:
        if address >> self._va_bits != self._kernel_half:
            raise PageFault(address, write, "", ())  # no walk tells such addresses apart
        offset = offset_in_page(address)
        first = address - offset
        nr_pages = (offset + count + PAGE_SIZE - 1) >> PAGE_SHIFT
        entries = self._pgtable.lookup_pages(first, nr_pages)
        values = entries.tolist()
        if 0 in values:
            self._fault(address, first + (values.index(0) << PAGE_SHIFT), write)
        return Scatterlist(self._bytes, entries, self._phys_mask, offset, count)

    def _fault(self, address: int, page: int, write: bool) -> None:
        if self._contiguous(address, 1, tables=False) >= 0:  # from there it runs over the end
            page = self._high_memory
        path = self._pgtable.walk(page)
        raise PageFault(max(address, page), write, path[-1][0], tuple(entry for _, entry in path))

    def read(self, address: int, count: int) -> View:
        """Read `count` bytes (1 or more).

        The result may be a view of RAM: use it, or copy it, before anything is written.

        Raises:
            PageFault: a page of it is not mapped.
        """
        phys = self._contiguous(address, count)
        if phys >= 0:
            return self._bytes[phys : phys + count]
        sg = self._scatterlist(address, count, write=False)
        if self._is_ram(sg):
            return sg
        if self._begins_in_ram(sg):
            return b"".join(bytes(self.read(at, n)) for at, n in _pages(address, count))
        return b"".join([self._iomem.read(phys, n) for phys, n in sg.runs()])

    def write(self, address: int, data: Buffer) -> None:
        """Write `data` (1 byte or more).

        Raises:
            PageFault: a page of it is not mapped; nothing was written.
        """
        count = len(data)
        phys = self._contiguous(address, count)
        if phys >= 0:
            self._bytes[phys : phys + count] = data
            return
        sg = self._scatterlist(address, count, write=True)
        if self._is_ram(sg):
            self.sg_copy_from_buffer(sg, data)
            return
        if self._begins_in_ram(sg):
            for at, n in _pages(address, count):
                self.write(at, data[at - address : at - address + n])
            return
        at, view = 0, memoryview(data)
        for phys, n in sg.runs():
            self._iomem.write(phys, view[at : at + n])
            at += n

    def _is_ram(self, sg: Scatterlist) -> bool:
        """Whether all of it is in RAM.

        An area is all RAM (vmalloc, vmap) or all a device's (ioremap); behind a device's there is
        a guard page, so it is enough to look at both ends.
        """
        words, phys_mask = sg.words, self._phys_mask
        ram_size = self._ram_size
        return words[0] & phys_mask < ram_size and words[-1] & phys_mask < ram_size

    def _begins_in_ram(self, sg: Scatterlist) -> bool:
        """Where not all is in RAM: whether it runs from there into a device's."""
        return sg.words[0] & self._phys_mask < self._ram_size

    def memset(self, address: int, value: int, count: int) -> None:
        """Fill `count` bytes (1 or more) with one value, 0..255.

        Raises:
            PageFault: a page of it is not mapped; nothing was written.
        """
        for phys, n in self.translate(address, count, write=True):
            if phys < self._ram_size:
                self._bytes[phys : phys + n] = bytes([value]) * n
            else:
                self._iomem.write(phys, bytes([value]) * n)

    def load(self, address: int) -> int:
        """Read one pointer, aligned to its size, from the linear mapping.

        Raises:
            PageFault: the address is elsewhere.
        """
        phys = address - self._page_offset  # as _word() has it, without the calls
        if not 0 <= phys <= self._last_pointer:
            self._fault(address, address & PAGE_MASK, write=False)
        return self._words[phys >> self._word_shift]

    def store(self, address: int, value: int) -> None:
        """Write one pointer, aligned to its size, to the linear mapping.

        Raises:
            PageFault: the address is elsewhere.
        """
        phys = address - self._page_offset
        if not 0 <= phys <= self._last_pointer:
            self._fault(address, address & PAGE_MASK, write=True)
        self._words[phys >> self._word_shift] = value

    def load_array(self, address: int, count: int) -> list[int]:
        """Read `count` pointers that follow each other in the linear mapping.

        Raises:
            PageFault: the address is elsewhere.
        """
        first = self._word(address, count << self._word_shift, write=False)
        return self._words[first : first + count].tolist()

    def count_array(self, address: int, count: int) -> int:
        """How many of `count` pointers that follow each other are not NULL; makes no list of them.

        A kernel address is known by its highest byte, which is never 0.

        Raises:
            PageFault: the address is elsewhere.
        """
        size = self._pointer_size
        first = self._word(address, count * size, write=False) * size
        highest = size - 1 if byteorder == "little" else 0
        return count - bytes(self._bytes[first + highest : first + count * size : size]).count(0)

    def _word(self, address: int, count: int, write: bool) -> int:
        """The place in `words` of `count` bytes at an address in the linear mapping."""
        phys = self._contiguous(address, count, tables=False)
        if phys < 0:
            self._fault(address, address & PAGE_MASK, write)
        return phys >> self._word_shift

    def __repr__(self) -> str:
        return f"<KernelMemory linear {self._page_offset:#x}-{self._high_memory - 1:#x}>"


def _pages(address: int, count: int) -> Iterator[tuple[int, int]]:
    """An access of `count` bytes page by page: (address, bytes)."""
    end = address + count
    while address < end:
        n = min(PAGE_SIZE - offset_in_page(address), end - address)
        yield address, n
        address += n
