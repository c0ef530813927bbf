"""The blocks that `vm_map_ram()` cuts up: many small mappings in one area.

    block     |used|used |dirty|used        | free                              |
              0    1     2     4            8                                 255
                                             ^ here the next one begins

What is cut off is rounded up to a power of two pages.  It is never given twice: when it is
unmapped, it is dirty, and once all of the block is, its addresses are freed as any area's.

There is a list of blocks for each CPU in Linux; as one CPU runs all that is called here, there is
one list.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from .errors import KernelBug, PageFault
from .layout import PAGE_SHIFT, Layout
from .restoring import StateError
from .slab import Slab
from .vm_struct import VM_MAP_RAM, VmKind, objects_of
from .vmap import VmapSpace

__all__ = ["VmapBlock", "VmapBlocks"]

_BLOCK_WORDS: Final = 13
"""Of a struct vmap_block, without its bits."""


class VmapBlock:
    """A block (Linux: struct vmap_block)."""

    __slots__ = ("dirty", "free", "record", "start", "used_map")

    def __init__(self, start: int, free: int, record: int) -> None:
        self.start = start
        self.free = free
        """Pages at its end that were never given."""
        self.dirty = 0
        """Pages that were given and are free again."""
        self.used_map = 0
        """Bit n is set when page n is in use."""
        self.record = record
        """Kernel address of what Linux keeps of it."""


class VmapBlocks:
    """The blocks of one machine."""

    def __init__(self, vmap_space: VmapSpace, slab: Slab, layout: Layout) -> None:
        self.pages: Final = layout.vmap_block_pages
        """Pages of a block (Linux: mm/vmalloc.c:VMAP_BBMAP_BITS)."""
        self.max_alloc: Final = layout.pointer_size * 8
        """The most pages that are cut out of one (Linux: mm/vmalloc.c:VMAP_MAX_ALLOC)."""
        self._vmap_space = vmap_space
        self._slab = slab
        self._record_size: Final = _BLOCK_WORDS * layout.pointer_size + self.pages // 8
        self._kind: Final = VmKind(self.pages << PAGE_SHIFT, VM_MAP_RAM)
        self._blocks: Final[dict[int, VmapBlock]] = {}
        """First address -> block, oldest first."""
        vmap_space.purge_fragmented_blocks = lambda: self.purge_fragmented(force=True)

    def alloc(self, nr_pages: int) -> int | None:
        """Addresses for 1 to `max_alloc` pages, or None (Linux: mm/vmalloc.c:vb_alloc())."""
        rounded = 1 << (nr_pages - 1).bit_length()
        block = next((each for each in self._blocks.values() if each.free >= rounded), None)
        if block is None:
            block = self._new_block()
            if block is None:
                return None
        offset = self.pages - block.free
        block.free -= rounded
        block.used_map |= (1 << rounded) - 1 << offset
        return block.start + (offset << PAGE_SHIFT)

    def _new_block(self) -> VmapBlock | None:
        """Linux: mm/vmalloc.c:new_vmap_block()"""
        record = self._slab.kmalloc(self._record_size)
        if record is None:
            return None
        size = self._kind.size
        try:
            area = self._vmap_space.alloc_vmap_area(size, size)
        except PageFault:  # somebody has overwritten what they go by
            self._slab.put(record)
            raise
        if area is None:
            self._slab.put(record)
            return None
        start, va = area
        self._vmap_space.busy.add(start, self._kind, 0, objects_of(0, va))
        block = self._blocks[start] = VmapBlock(start, self.pages, record)
        return block

    def free(self, address: int, nr_pages: int, unmap: Callable[[int, int], object]) -> None:
        """Give back what `alloc()` gave, when `unmap` has unmapped it.

        Raises:
            KernelBug: it is not in use (Linux's numbers would go wrong, or a pointer be NULL).

        Linux: mm/vmalloc.c:vb_free()
        """
        size = self._kind.size
        block = self._blocks.get(address & -size)
        rounded = 1 << (nr_pages - 1).bit_length()
        used = (1 << rounded) - 1 << ((address & (size - 1)) >> PAGE_SHIFT)
        if block is None or block.used_map & used != used:
            raise KernelBug(f"vm_unmap_ram: {nr_pages} pages at {address:#x} are not mapped")
        unmap(address, nr_pages)
        block.used_map ^= used
        block.dirty += rounded
        if block.dirty == self.pages:
            self._free_block(block)

    def _free_block(self, block: VmapBlock) -> None:
        """Linux: mm/vmalloc.c:free_vmap_block()"""
        del self._blocks[block.start]
        area = self._vmap_space.busy.pop(block.start)
        assert area is not None
        self._vmap_space.free_vmap_area_noflush(block.start, self._kind.size, area[3])
        self._slab.put(block.record)

    def purge_fragmented(self, force: bool) -> None:
        """Free the blocks of which nothing is in use.

        Without `force` those that have a quarter or more left to give stay.
        Linux: mm/vmalloc.c:purge_fragmented_block()
        """
        if not self._blocks:
            return
        for block in sorted(self._blocks.values(), key=lambda block: block.start):
            if block.used_map == 0 and (force or block.free < self.pages // 4):
                self._free_block(block)

    def used(self, start: int) -> int:
        """Which pages of the block that starts there are in use, as bits; -1 without a block."""
        block = self._blocks.get(start)
        return -1 if block is None else block.used_map

    def __repr__(self) -> str:
        return f"<VmapBlocks blocks={len(self._blocks)}>"

    def state(self) -> list[list[int]]:
        """All blocks, oldest first: start, pages left, pages dirty, pages in use as bits."""
        return [
            [each.start, each.free, each.dirty, each.used_map, each.record]
            for each in self._blocks.values()
        ]

    def restore(self, state: list[list[int]]) -> None:
        """Have these blocks, whose areas are there already."""
        self._blocks.clear()
        for row in state:
            if len(row) != 5 or min(row) < 0:
                raise StateError("no block of vm_map_ram()")
            start, free, dirty, used_map, record = row
            block = self._blocks[start] = VmapBlock(start, free, record)
            block.dirty, block.used_map = dirty, used_map
        self.check()

    def check(self) -> None:
        """Assert the invariants.  Slow: for tests.

        - a block is an area in use; each page of it is in use, or dirty, or left
        """
        for start, block in self._blocks.items():
            area = self._vmap_space.busy.find(start)
            assert area is not None
            assert (area.va_start, area.kind) == (start, self._kind)
            assert block.used_map.bit_count() + block.dirty + block.free == self.pages
            assert block.dirty < self.pages
            assert block.used_map < 1 << (self.pages - block.free)
