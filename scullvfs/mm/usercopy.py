"""What the kernel checks before it copies to or from a process (CONFIG_HARDENED_USERCOPY).

    scullc's object    |<------------ 4000 bytes ------------>|
    may be copied       nothing: kmem_cache_create() whitelists no part of it
    kmalloc's object   |<-------------- 4096 bytes -------------->|
    may be copied      |<-------------- all of it --------------->|

Linux: mm/usercopy.c:__check_object_size()
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from .errors import UsercopyAbort
from .layout import PAGE_SHIFT, PAGE_SIZE
from .slab import ZERO_SIZE_PTR

if TYPE_CHECKING:
    from .machine import Machine

__all__ = ["check_object_size"]


def check_object_size(machine: Machine, address: int, count: int, to_user: bool) -> None:
    """Look whether `count` bytes (1 or more) of kernel memory may be copied.

    Confessed: neither the kernel's stack nor its code is anywhere here.

    Raises:
        UsercopyAbort: they leave their object, or it is none that may be copied.

    Linux: mm/usercopy.c:check_heap_object()
    """
    if address <= ZERO_SIZE_PTR:
        _abort("null address", None, to_user, address, count)
    if machine.vm.is_vmalloc_addr(address):
        area = machine.vmap_space.busy.find(address)
        if area is None:
            _abort("vmalloc", "no area", to_user, 0, count)
        if count > area.va_start + area.kind.size - address:
            _abort("vmalloc", None, to_user, address - area.va_start, count)
        return
    pfn = (address - machine.layout.page_offset) >> PAGE_SHIFT
    page = machine.slab.find_slab(pfn)
    if page is not None:
        offset = (address - page.address) % page.cache.size
        if offset + count > page.cache.usersize:
            trace = ("__check_heap_object", "__check_object_size")
            _abort("SLUB object", page.cache.name, to_user, offset, count, trace)
        return
    large = machine.slab.find_large(pfn)
    if large is not None:
        first, order = large
        offset = address - machine.layout.page_offset - (first << PAGE_SHIFT)
        if count > (PAGE_SIZE << order) - offset:
            _abort("page alloc", None, to_user, offset, count)


def _abort(
    name: str,
    detail: str | None,
    to_user: bool,
    offset: int,
    count: int,
    trace: tuple[str, ...] = ("__check_object_size",),
) -> NoReturn:
    """Linux: mm/usercopy.c:usercopy_abort()"""
    what = "exposure attempt detected from" if to_user else "overwrite attempt detected to"
    of = f"{name} '{detail}'" if detail else name
    text = f"usercopy: Kernel memory {what} {of} (offset {offset}, size {count})!"
    raise UsercopyAbort(text, ("usercopy_abort", *trace))
