"""What is known of an area of addresses: its kind, its place, and what lives in it.

Data only, so that whoever keeps areas, gives them out or lists them imports nothing else for it.
"""

from __future__ import annotations

from array import array
from typing import Final, NamedTuple

__all__ = [
    "VM_ALLOC",
    "VM_IOREMAP",
    "VM_MAP",
    "VM_MAP_PUT_PAGES",
    "VmKind",
    "VmStruct",
    "VmapArea",
]

# Linux: include/linux/vmalloc.h
VM_IOREMAP: Final = 0x1
VM_ALLOC: Final = 0x2
VM_MAP: Final = 0x4
VM_MAP_PUT_PAGES: Final = 0x200
"""vfree() frees the pages that vmap() was given."""


class VmKind(NamedTuple):
    """What areas have in common (Linux: struct vm_struct)."""

    size: int
    """In bytes, the guard page included."""
    flags: int = 0
    caller: str = ""
    """Who asked for it, as the listing shows it."""
    nr_pages: int = 0
    """Frames that `vfree()` will free."""
    vpages: bool = False
    """Whether the array of page pointers is an area, too."""


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
