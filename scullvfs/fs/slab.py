"""`sys/kernel/slab/CACHE/`: of all that Linux has there, what faults need.

failslab    whether objects of the cache fail where `cache-filter` is on
shrink      writing 1 frees its empty slabs, so that slabinfo knows how many objects are in use
"""

from __future__ import annotations

import errno

from scullvfs.mm import PAGE_SIZE, Machine
from scullvfs.mm.failslab import FailSlab
from scullvfs.mm.slub import KmemCache

from .node import Directory, refused
from .show_store import ShowStoreFile

__all__ = ["slab"]


def _failslab(fault: FailSlab, cache: KmemCache, uid: int, gid: int) -> ShowStoreFile:
    """Whether the objects of a cache may fail: a text that begins with 1 says so, any other not.

    Linux: mm/slub.c:failslab_store()
    """

    def store(data: bytes) -> int:
        (fault.caches.add if data.startswith(b"1") else fault.caches.discard)(cache)
        return len(data)

    def show() -> str:
        return f"{cache in fault.caches:d}\n"

    return ShowStoreFile(0o600, uid, gid, show, store, longest=PAGE_SIZE)


def _shrink(machine: Machine, cache: KmemCache, uid: int, gid: int) -> ShowStoreFile:
    """Says nothing, and frees the empty slabs of a cache at a text that begins with 1.

    Any other is EINVAL.

    Linux: mm/slub.c:shrink_store()
    """

    def store(data: bytes) -> None:
        if not data.startswith(b"1"):
            raise refused(errno.EINVAL)
        machine.slab.kmem_cache_shrink(cache)

    return ShowStoreFile(0o600, uid, gid, lambda: "", store)


def slab(machine: Machine, uid: int, gid: int) -> Directory:
    """The directory, of the caches that there are."""
    fault = machine.faults.failslab
    return Directory.of(
        {
            cache.name: Directory.of(
                {
                    "failslab": _failslab(fault, cache, uid, gid),
                    "shrink": _shrink(machine, cache, uid, gid),
                },
                uid,
                gid,
            )
            for cache in machine.slab.caches()
        },
        uid,
        gid,
    )
