"""Page frames that are not there though some are free: faults of the page allocator.

Linux: mm/fail_page_alloc.c
"""

from __future__ import annotations

from .fault_attr import KNOBS, FaultAttr, Knob, KnobKind
from .gfp import __GFP_DIRECT_RECLAIM as DIRECT_RECLAIM
from .gfp import __GFP_HIGHMEM as HIGHMEM
from .gfp import __GFP_NOFAIL as NOFAIL
from .gfp import __GFP_NOWARN as NOWARN

__all__ = ["FailPageAlloc"]


class FailPageAlloc(FaultAttr):
    """When a block of page frames is refused."""

    knobs = (
        Knob("ignore-gfp-highmem", KnobKind.BOOL),
        Knob("ignore-gfp-wait", KnobKind.BOOL),
        *KNOBS,
        Knob("min-order", KnobKind.U32),
    )

    def reset(self) -> None:
        """Have all knobs as they are at first."""
        self.ignore_gfp_highmem = True
        """Whether those never fail that may be of high memory, as vmalloc's pages may."""
        self.ignore_gfp_wait = True
        """Whether those never fail that may wait for memory, as GFP_KERNEL may."""
        self.min_order = 1
        """Smaller blocks never fail."""
        super().reset()

    def should_fail_alloc_page(self, gfp: int, order: int, count: int = 1) -> bool:
        """Whether a block is to be refused, or one of so many.

        Linux: mm/fail_page_alloc.c:__should_fail_alloc_page()
        """
        if (
            order < self.min_order
            or gfp & NOFAIL
            or (self.ignore_gfp_highmem and gfp & HIGHMEM)
            or (self.ignore_gfp_wait and gfp & DIRECT_RECLAIM)
        ):
            return False
        return self.should_fail(
            1 << order, bool(gfp & NOWARN), "should_fail_alloc_page", "NULL", count
        )
