"""What is known of an area of addresses: its kind, its place, and what lives in it.

Data only, so that whoever keeps areas, gives them out or lists them imports nothing else for it.
"""

from __future__ import annotations

from array import array
from typing import Final, NamedTuple

from .layout import PAGE_SIZE

__all__ = [
    "VA_MASK",
    "VM_ALLOC",
    "VM_ALLOW_HUGE_VMAP",
    "VM_IOREMAP",
    "VM_MAP",
    "VM_MAP_PUT_PAGES",
    "VM_MAP_RAM",
    "VM_NO_GUARD",
    "VM_SHIFT",
    "VM_USERMAP",
    "VmKind",
    "VmStruct",
    "VmapArea",
    "objects_of",
]

# Linux: include/linux/vmalloc.h
VM_IOREMAP: Final = 0x1
VM_ALLOC: Final = 0x2
VM_MAP: Final = 0x4
VM_USERMAP: Final = 0x8
"""It may be mapped by processes: zeros at first."""
VM_NO_GUARD: Final = 0x40
"""There is no guard page behind it."""
VM_MAP_PUT_PAGES: Final = 0x200
"""vfree() frees the pages that vmap() was given."""
VM_ALLOW_HUGE_VMAP: Final = 0x400
"""It may be of huge pages."""

VM_MAP_RAM: Final = 1 << 32
"""vm_map_ram()'s: no vm_struct in Linux, which says so in the vmap_area (VMAP_RAM)."""


VM_SHIFT: Final = 32
VA_MASK: Final = (1 << VM_SHIFT) - 1


def objects_of(vm: int, va: int) -> int:
    """Two objects' numbers in one: of the struct vm_struct, 0 for none, and the struct vmap_area.

    They are `objects >> VM_SHIFT` and `objects & VA_MASK` again.
    """
    return vm << VM_SHIFT | va


class VmKind(NamedTuple):
    """What areas have in common (Linux: struct vm_struct)."""

    size: int
    """In bytes, the guard page included if there is one."""
    flags: int = 0
    caller: str = ""
    """Who asked for it, as the listing shows it."""
    nr_pages: int = 0
    """Frames that `vfree()` will free."""
    vpages: bool = False
    """Whether the array of page pointers is an area, too."""

    @property
    def mapped_size(self) -> int:
        """In bytes, without a guard page (Linux: include/linux/vmalloc.h:get_vm_area_size())."""
        return self.size if self.flags & (VM_NO_GUARD | VM_MAP_RAM) else self.size - PAGE_SIZE


class VmapArea(NamedTuple):
    """A range of addresses in use (Linux: struct vmap_area), as it is at this moment."""

    va_start: int
    kind: VmKind
    data: int
    """What is its own: the kernel address of the array of page pointers, or with VM_IOREMAP the
    physical address; 0 for nothing."""

    @property
    def va_end(self) -> int:
        """The first address behind it; the guard page is inside."""
        return self.va_start + self.kind.size


class VmStruct(NamedTuple):
    """What lives in an area (Linux: struct vm_struct), as it is at this moment."""

    addr: int
    size: int
    """In bytes, the guard page included."""
    flags: int
    caller: str
    """Who asked for it, as the listing shows it."""
    pages: array[int] | None
    """The frames that vfree() will free."""
    nr_pages: int
    """How many these are."""
    page_array: int | None
    """Kernel address of the array of page pointers."""
    phys_addr: int
