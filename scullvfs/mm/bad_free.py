"""What Linux says when it is told to free what was never allocated.

Nothing is freed.  That is where this is not Linux: what a garbage pointer happens to point into,
Linux may take from whoever has it.

    pointer to         free_pages()            kfree()                 kmem_cache_free()
    no frame           page fault, looking for its struct page: an oops, all three of them
    a frame            Bad page state          WARNING, object pointer WARNING, not a Slab page
    a slab             Bad page state          kernel BUG              WARNING, wrong slab cache
                                                                       or kernel BUG

Linux: mm/page_alloc.c:bad_page(), mm/slub.c:free_large_kmalloc(), cache_from_obj(),
set_freepointer()
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from .dump_stack import TAINT_BAD_PAGE, info_lines, modules_line, trace_lines
from .errors import PageFault
from .fault import bug_oops, page_fault_oops
from .layout import PAGE_SHIFT, PAGE_SIZE
from .printk import KERN_ALERT, KERN_WARNING
from .slab import ZERO_SIZE_PTR

if TYPE_CHECKING:
    from .machine import Machine
    from .slub import KmemCache

__all__ = ["bad_free_pages", "bad_kfree", "bad_kmem_cache_free", "bad_vfree"]

DOUBLE_FREE: Final = "mm/slub.c:550"
"""Where the kernel finds it (Linux: mm/slub.c:set_freepointer())."""


def bad_free_pages(machine: Machine, address: int, trace: Sequence[str]) -> None:
    """free_pages() of a pointer that get_free_pages() has not given.

    Args:
        trace: the functions that led to it, the innermost first.
    """
    pfn = _frame(machine, address, ["__free_pages", "free_pages", *trace])
    if pfn is not None:
        used = machine.slab.find_slab(pfn) or machine.pgtable.tables_in(range(pfn, pfn + 1))
        log, arch = machine.log, machine.layout.name
        lines = [
            f"page dumped because: nonzero {'mapcount' if used else '_refcount'}",
            modules_line(log.modules),
            *info_lines(machine.current, log.taints, arch),
            *trace_lines(["dump_stack_lvl", "bad_page", "free_unref_page", *trace], arch),
        ]
        what = f"BUG: Bad page state in process {machine.current.comm}  pfn:{pfn:05x}"
        log.printk(KERN_ALERT, what)
        log.printk(KERN_WARNING, "\n".join(lines))
        log.add_taint(TAINT_BAD_PAGE)


def bad_kfree(machine: Machine, address: int, trace: Sequence[str]) -> None:
    """kfree() of a pointer that kmalloc() has not given."""
    if address <= ZERO_SIZE_PTR:
        return
    pfn = _frame(machine, address, ["kfree", *trace])
    if pfn is None:
        return
    if machine.slab.find_slab(pfn) is not None:
        bug_oops(machine, DOUBLE_FREE, ["kfree", *trace])
    else:
        machine.log.warn_once("", "free_large_kmalloc")
        machine.log.printk(KERN_WARNING, f"object pointer: 0x{machine.layout.pointer(address)}")


def bad_vfree(machine: Machine, address: int) -> None:
    """vfree() of a pointer that vmalloc() has not given."""
    where = machine.layout.pointer(address)
    if address % PAGE_SIZE:
        machine.log.warn(f"Trying to vfree() bad address ({where})", "remove_vm_area")
    machine.log.warn(f"Trying to vfree() nonexistent vm area ({where})", "vfree")


def bad_kmem_cache_free(
    machine: Machine, cache: KmemCache, address: int, trace: Sequence[str]
) -> None:
    """kmem_cache_free() of a pointer that the cache has not given."""
    pfn = _frame(machine, address, ["kmem_cache_free", *trace])
    if pfn is None:
        return
    page = machine.slab.find_slab(pfn)
    if page is None:
        machine.log.warn_once("virt_to_cache: Object is not a Slab page!", "virt_to_cache")
    elif page.cache is not cache:
        text = f"Wrong slab cache. {cache.name} but object is from {page.cache.name}"
        machine.log.warn(f"cache_from_obj: {text}", "cache_from_obj")
    else:
        bug_oops(machine, DOUBLE_FREE, ["kmem_cache_free", *trace])


def _frame(machine: Machine, address: int, trace: Sequence[str]) -> int | None:
    """The frame that a pointer into the linear mapping points into.

    None, with an oops, for all others: Linux computes where the struct page would be, and looks.
    """
    layout = machine.layout
    phys = address - layout.page_offset
    if layout.page_offset <= address < machine.page_alloc.high_memory:
        return phys >> PAGE_SHIFT
    wide = (1 << 8 * layout.pointer_size) - 1
    page = layout.vmemmap + ((phys & wide) >> PAGE_SHIFT) * layout.page_struct_size & wide
    page_fault_oops(machine, PageFault(page + 8 & wide, False, "", ()), trace)
    return None
