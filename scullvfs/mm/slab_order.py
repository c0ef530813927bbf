"""How large the slabs of a cache are, and where its objects begin.

Linux: mm/slub.c:calculate_sizes()
"""

from __future__ import annotations

from typing import Final

from .layout import PAGE_SHIFT, PAGE_SIZE

__all__ = ["SLAB_HWCACHE_ALIGN", "calculate_alignment", "calculate_order", "get_order"]

SLAB_HWCACHE_ALIGN: Final = 1 << 4
"""`flags` of a cache whose objects begin at a cache line, or at a fraction of one."""

CACHE_LINE: Final = 64
SLUB_MAX_ORDER: Final = 3


def get_order(size: int) -> int:
    """The smallest order whose block holds `size` bytes (Linux: get_order())."""
    return max((size - 1) >> PAGE_SHIFT, 0).bit_length()


def calculate_order(size: int, cpus: int = 1) -> int:
    """The order of the slabs for objects of `size` bytes, on a machine with so many CPUs.

    At least eight objects (more with more CPUs) shall fit, and a sixteenth be wasted at the most,
    if that goes in eight frames; less is asked for if it does not.
    Linux: mm/slub.c:calculate_order()
    """
    max_objects = max((PAGE_SIZE << SLUB_MAX_ORDER) // size, 1)
    min_objects = min(4 * (cpus.bit_length() + 1), max_objects)
    min_order = get_order(min_objects * size)
    for fraction in (16, 8, 4, 2):
        for order in range(min_order, SLUB_MAX_ORDER + 1):
            nbytes = PAGE_SIZE << order
            if nbytes % size <= nbytes // fraction:
                return order
    return get_order(size)


def calculate_alignment(size: int, align: int, flags: int, pointer_size: int) -> int:
    """Where objects begin: at multiples of so many bytes, for an `align` that is asked for.

    Linux: mm/slab_common.c:calculate_alignment()
    """
    if flags & SLAB_HWCACHE_ALIGN:
        line = CACHE_LINE
        while size <= line // 2:
            line //= 2
        align = max(align, line)
    return -(-max(align, 8) // pointer_size) * pointer_size
