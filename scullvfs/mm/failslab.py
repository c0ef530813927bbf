"""Objects that are not there though there is memory: faults of kmalloc and of caches.

Linux: mm/failslab.c
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from scullvfs.plain import checked

from .fault_attr import KNOBS, FaultAttr, FaultAttrState, Knob, KnobKind
from .gfp import __GFP_DIRECT_RECLAIM as DIRECT_RECLAIM
from .gfp import __GFP_NOFAIL as NOFAIL
from .gfp import __GFP_NOWARN as NOWARN

if TYPE_CHECKING:
    from .slub import KmemCache

__all__ = ["FailSlab"]


class FailSlabState(FaultAttrState):
    """As a `FaultAttr`'s, with the caches that are marked."""

    caches: list[str]


class FailSlab(FaultAttr):
    """When an object is refused."""

    knobs = (
        Knob("cache-filter", KnobKind.BOOL),
        Knob("ignore-gfp-wait", KnobKind.BOOL),
        *KNOBS,
    )
    caches: set[KmemCache]
    """Those that fail where `cache_filter` is on (Linux: SLAB_FAILSLAB)."""

    def reset(self) -> None:
        """Have all knobs as they are at first."""
        self.caches = set()
        self.cache_filter = False
        """Whether only objects of `caches` fail."""
        self.ignore_gfp_wait = True
        """Whether those never fail that may wait for memory, as GFP_KERNEL may."""
        super().reset()

    def should_failslab(self, cache: KmemCache, gfp: int, count: int = 1) -> bool:
        """Whether an object is to be refused, or one of so many.

        Linux: mm/failslab.c:__should_failslab()
        """
        if (
            gfp & NOFAIL
            or (self.ignore_gfp_wait and gfp & DIRECT_RECLAIM)
            or (self.cache_filter and cache not in self.caches)
        ):
            return False
        return self.should_fail(
            cache.object_size, bool(gfp & NOWARN), "should_failslab", "-ENOMEM", count
        )

    def state(self) -> Any:
        """A `FailSlabState`."""
        state: FailSlabState = {
            **self._books(),
            "caches": sorted(cache.name for cache in self.caches),
        }
        return state

    def restore(self, state: Any) -> None:
        """As a `FaultAttr`'s, with no cache marked: `restore_caches()` does that."""
        books = checked(FailSlabState, state)
        self._marked = books["caches"]
        self._restore_books(books)

    def restore_caches(self, caches: Mapping[str, KmemCache]) -> None:
        """Mark those of the machine's caches that are to be.

        Raises:
            KeyError: there is one of them not.
        """
        self.caches = {caches[name] for name in self._marked}
