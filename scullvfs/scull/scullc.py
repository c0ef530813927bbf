"""scullc: quanta from a slab cache of its own, objects of one size."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from scullvfs.mm import Machine, PageFault
from scullvfs.mm.bad_free import bad_kmem_cache_free
from scullvfs.mm.gfp import GFP_KERNEL
from scullvfs.mm.slab_order import SLAB_HWCACHE_ALIGN

from .dev import ScullDev
from .family import SCULLC
from .oops import driver_oops

if TYPE_CHECKING:
    from scullvfs.mm.slub import KmemCache

    from .parameters import Parameters

__all__ = ["Device"]


class Device(ScullDev):
    """A device of scullc (scullc: main.c).

    All of them share the cache, whose objects have the bytes that `scullc_quantum` has when the
    module is loaded.  There is no room for a larger quantum in them, and without the quirk there is
    none.
    """

    driver = SCULLC

    @classmethod
    def load(cls, machine: Machine, parameters: Parameters, quirk_ldd3: bool) -> KmemCache:
        """Make the cache (scullc: main.c:scullc_init())."""
        cache = machine.slab.kmem_cache_create(
            "scullc", parameters.measure, flags=SLAB_HWCACHE_ALIGN
        )
        if cache is None:
            raise OSError(errno.ENOMEM, f"no cache of {parameters.measure} bytes")
        if not quirk_ldd3:
            parameters.largest = cache.size
        return cache

    @classmethod
    def unload(cls, machine: Machine, shared: KmemCache) -> None:
        """Take the cache away (scullc: main.c:scullc_cleanup())."""
        machine.slab.kmem_cache_destroy(shared)

    def _allocate(self, size: int, whole: bool) -> int | None:
        machine, cache = self.machine, self.shared
        whole = whole and size >= cache.object_size
        address: int | None = machine.slab.kmem_cache_alloc(cache, GFP_KERNEL, whole=whole)
        # By the module's setting, not the device's (scullc: main.c:scullc_write()).
        size = min(self.parameters.measure, cache.size)
        return address if whole else self._zeros(address, size)

    def _free_all(self, quanta: Iterable[int], size: int) -> None:
        for quantum in quanta:
            self.machine.slab.kmem_cache_free(self.shared, quantum)

    def _free_garbage(self, quantum: int, trace: Sequence[str]) -> None:
        bad_kmem_cache_free(self.machine, self.shared, quantum, trace)

    def _room(self, size: int) -> int:
        size_of_object: int = self.shared.size
        return size_of_object

    def _zero(self, quantum: int) -> None:
        """By the module's current setting, however long the object is (scullc: scullc_write())."""
        count = self.parameters.measure
        if count <= self._room(count):
            return  # it came as zeros, or is filled at once
        try:
            with self._overrunning(quantum, 0, count, count):
                self._memory.memset(quantum, 0, count)
        except PageFault as fault:
            raise driver_oops(self.machine, self.driver.name, fault, "write") from fault

    def _check_quantum(self, quantum: int, size: int) -> None:
        assert self.machine.slab.ksize(quantum) == self.shared.size
        assert self.shared.size >= size or self.quirk_ldd3
