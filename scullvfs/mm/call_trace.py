"""Which functions of the kernel have led somewhere, as records and reports list them.

Functions of Python's stand for those of Linux; the machine's own are named here, and who lets
somebody into the machine says what has led there: a driver's function, and a system call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import FrameType
from typing import Final

__all__ = ["CallTrace", "is_function"]

_ALLOC: Final = ("get_page_from_freelist", "__alloc_pages_noprof")
TRACE: Final = {
    "TrackedPageAllocator.alloc_pages": _ALLOC,
    "TrackedPageAllocator.alloc_pages_bulk": (*_ALLOC, "alloc_pages_bulk_noprof"),
    "PageAllocator.get_free_pages": ("get_free_pages_noprof",),
    "PageAllocator.get_zeroed_page": ("get_zeroed_page_noprof",),
    "SlabCommon._new_slab": ("allocate_slab", "___slab_alloc"),
    "Slab.kmem_cache_alloc": ("kmem_cache_alloc_noprof",),
    "ObjectNumbers.alloc": ("kmem_cache_alloc_node_noprof",),
    "Slab._kmalloc_large": ("___kmalloc_large_node", "__kmalloc_large_noprof"),
    "Slab.kmalloc": ("__kmalloc_noprof",),
    "Slab.krealloc": ("krealloc_noprof",),
    "ObjectRuns.alloc_runs": ("alloc_runs",),
    "PageTables.map_pages": ("vmap_small_pages_range_noflush",),
    "PageTables._map_linear": ("init_mem_mapping",),
    "VmapSpace.alloc_vmap_area": ("alloc_vmap_area",),
    "VmAreas._get_vm_area": ("__get_vm_area_node",),
    "Vmalloc.vmalloc_node_range": ("__vmalloc_node_range_noprof",),
    "Vmalloc.vmalloc": ("vmalloc_noprof",),
    "Vmalloc.vzalloc": ("vzalloc_noprof",),
    "Vmalloc.vmalloc_user": ("vmalloc_user_noprof",),
    "Vmalloc.vmalloc_32": ("vmalloc_32_noprof",),
    "Vmalloc.vmalloc_huge": ("vmalloc_huge_noprof",),
    "Vmalloc.kvmalloc": ("__kvmalloc_node_noprof",),
    "Vmalloc.vrealloc": ("vrealloc_noprof",),
    "VmapPages.vmap": ("vmap",),
    "VmMapRam.vm_map_ram": ("vm_map_ram",),
    "Ioremap.ioremap": ("ioremap",),
    "Percpu._populate": ("pcpu_populate_chunk",),
    "Percpu.alloc_percpu": ("pcpu_alloc_noprof",),
    "KfreeRcuCpu._add": ("kvfree_call_rcu",),
    "_failing_alloc.<locals>.kmem_cache_alloc": ("kmem_cache_alloc_noprof",),
    "_failing_runs.<locals>.alloc_runs": ("__kmalloc_noprof",),
    "_failing_number.<locals>.alloc": ("kmem_cache_alloc_node_noprof",),
    "_failing_pages.<locals>.alloc_pages": ("__alloc_pages_noprof",),
    "_bulk_maker.<locals>.make.<locals>.alloc_pages_bulk": ("alloc_pages_bulk_noprof",),
}
"""Function here -> those of Linux that it stands for, the innermost first."""
_NUMBERS: Final = {"ObjectNumbers.alloc": "self", "_failing_number.<locals>.alloc": "numbers"}
"""Function here that gives an object of a cache by its number -> the variable that has those."""

TABLES: Final = {39: "__pud_alloc", 30: "__pmd_alloc", 21: "__pte_alloc_kernel"}
"""Shift of an entry -> what makes the table that it points to; on i386 that is the last, too."""


def is_function(name: str) -> bool:
    """Whether the machine has a function of that name, of Linux's."""
    return any(name in names for names in TRACE.values()) or name in TABLES.values()


class CallTrace:
    """Tells of one machine."""

    def __init__(self) -> None:
        self.callers: Callable[[FrameType], Iterable[str]] = lambda frame: ()
        """Gives the functions on the way to the machine, those of its user: a driver's."""

    def functions(self, frame: FrameType | None) -> list[str]:
        """The functions on the way to a frame, the innermost first."""
        names: list[str] = []
        room = __name__.rpartition(".")[0]
        while frame is not None and frame.f_globals.get("__name__", "").startswith(room):
            code = frame.f_code
            if code.co_qualname == "PageTables._new_table":
                names.append(TABLES.get(frame.f_locals["shift"], "__pte_alloc_kernel"))
            for name in TRACE.get(code.co_qualname, ()):
                if name == "__kmalloc_noprof" and names[-1:] == ["kmem_cache_alloc_noprof"]:
                    names.pop()  # kmalloc() has that code in itself
                names.append(name)
            numbers = _NUMBERS.get(code.co_qualname)
            if numbers and frame.f_locals[numbers].cache.name.startswith("kmalloc-"):
                names[-1] = "__kmalloc_cache_node_noprof"
            frame = frame.f_back
        if frame is not None:
            names += self.callers(frame)
        return names

    def __repr__(self) -> str:
        return f"<CallTrace of {len(TRACE)} functions>"
