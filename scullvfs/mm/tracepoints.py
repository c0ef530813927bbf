"""Where the events happen: while one is on, a traced method stands in the place of the plain one.

How it comes there and goes again is the matter of `replacing`; an event that is off costs nothing
at all.

Confessed: of Linux's kmem events some never happen here, as there is nothing of the kind
(`rss_stat`, `mm_page_free_batched`, `mm_alloc_contig_migrate_range_info`), or as it is done for
many frames at once (`mm_page_pcpu_drain`, `mm_page_alloc_zone_locked`, `mm_page_alloc_extfrag`).
As in Linux, frames that vmalloc() gets in bulk are no `mm_page_alloc`.  A purge is told of whoever
runs then, and not of a worker.  Functions have no offset in a call site: there is no code.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from sys import _getframe
from types import FrameType
from typing import Any, Final, Protocol

from .gfp import __GFP_ACCOUNT, __GFP_MOVABLE, __GFP_RECLAIMABLE, GFP_KERNEL
from .layout import PAGE_SIZE, Layout
from .object_numbers import ObjectNumbers
from .page_alloc import PageAllocator
from .replacing import Layer, Replaced, replacing
from .slab import Slab
from .slub import KmemCache, ObjectRun
from .trace_events import NO_PFN, Values
from .vm_area import VmAreas
from .vmap import VmapSpace

__all__ = ["CALL_SITES", "Maker", "Recorder", "Switch", "machine_points", "tracing"]


class Recorder(Protocol):
    """Takes what happens (`trace`)."""

    def one(self, values: Values) -> None:
        """Record an event."""

    def many(self, count: int, values: Callable[[int], Iterator[Values]]) -> None:
        """Record as many, of which `values` gives all but so many of the first."""


Switch = Callable[[Recorder | None], None]
"""Has an event recorded from now on, or with None no more."""

Maker = Callable[[Any, Replaced, Recorder], Replaced]
"""Of a part, the method, and what records: the traced method."""

_ACCOUNT: Final = __GFP_ACCOUNT
_MOBILITY: Final = __GFP_MOVABLE | __GFP_RECLAIMABLE


def tracing(*methods: tuple[object, str, Maker]) -> Switch:
    """What puts traced methods in the place of plain ones: of a part each, a name, the maker."""
    return replacing(Layer.TRACE, *methods)


# -- who has called ------------------------------------------------------------------------

CALL_SITES: Final[dict[str, str | Callable[[FrameType], str]]] = {
    "Vmalloc._vmalloc_area": "__vmalloc_node_range_noprof",
    "Vmalloc.kvmalloc": "__kvmalloc_node_noprof",
    "Vmalloc.kvfree": "kvfree",
    "Vmalloc._free_pages": "vfree",
    "VmapBlocks._new_block": "new_vmap_block",
    "VmapBlocks._free_block": "free_vmap_block",
    "VmAreas._get_vm_area": "__get_vm_area_node",
    "VmAreas._free_vm_area": "free_vm_area",
    "VmapSpace.alloc_vmap_area": "alloc_vmap_area",
    "VmapSpace._take": "alloc_vmap_area",
    "VmapSpace._give_back": "reclaim_list_global",
    "VmapPages.vunmap": "vunmap",
    "Ioremap.iounmap": "iounmap",
    "Slab.krealloc": "krealloc_noprof",
}
"""Function of Python's -> what Linux calls the one that it is, or what tells that of a frame.  The
innermost that is known is taken, and where none is, the one that has called, by its own name.
Drivers add theirs."""

_INLINE: Final = frozenset(("Slab.kzalloc", "Slab.kmem_cache_zalloc"))
"""Those that are a part of whoever calls them."""

FARTHEST: Final = 8
"""So many functions out a known one is looked for."""

_kmalloc: Final = Slab.kmalloc.__code__
_kfree: Final = Slab.kfree.__code__
_kmem_cache_free: Final = Slab.kmem_cache_free.__code__


def call_site(frame: FrameType | None) -> str:
    """The function that has called, seen from a frame outwards."""
    first = ""
    for _ in range(FARTHEST):
        if frame is None:
            break
        name = frame.f_code.co_qualname
        site = CALL_SITES.get(name)
        if site is not None:
            return site if isinstance(site, str) else site(frame)
        if not first and name not in _INLINE:
            first = frame.f_code.co_name.lstrip("_")
        frame = frame.f_back
    return first


# -- kmem ----------------------------------------------------------------------------------


def _traced_kmalloc(slab: Slab, plain: Replaced, recorder: Recorder) -> Replaced:
    def kmalloc(size: int, gfp: int = GFP_KERNEL, whole: bool = False) -> int | None:
        address: int | None = plain(size, gfp, whole)
        if size > 0:
            nbytes = slab.kmalloc_size_roundup(size)
            site = call_site(_getframe(1))
            recorder.one((site, address or 0, size, nbytes, gfp, -1))
        return address

    return kmalloc


def _traced_alloc_runs(slab: Slab, plain: Replaced, recorder: Recorder) -> Replaced:
    """Of objects by the page each is an event, as it is where they come one by one."""

    def alloc_runs(size: int, count: int) -> list[ObjectRun] | None:
        runs: list[ObjectRun] | None = plain(size, count)
        site = call_site(_getframe(1))

        def values(first: int) -> Iterator[Values]:
            for address in _objects(runs or [], first):
                yield site, address, size, slab.kmalloc_size_roundup(size), GFP_KERNEL, -1

        recorder.many(sum(run.nr_objects for run in runs or ()), values)
        return runs

    return alloc_runs


def _objects(runs: list[ObjectRun], first: int) -> Iterator[int]:
    """The addresses of all objects but some of the first."""
    for run in runs:
        for number in range(min(first, run.nr_objects), run.nr_objects):
            yield run.object(number)
        first = max(first - run.nr_objects, 0)


def _traced_kmem_cache_alloc(slab: Slab, plain: Replaced, recorder: Recorder) -> Replaced:
    def kmem_cache_alloc(
        cache: KmemCache, gfp: int = GFP_KERNEL, whole: bool = False
    ) -> int | None:
        address: int | None = plain(cache, gfp, whole)
        frame = _getframe(1)
        if frame.f_code is not _kmalloc:  # which is an event of its own
            site, accounted = call_site(frame), int(gfp & _ACCOUNT > 0)
            recorder.one((site, address or 0, cache.object_size, cache.size, gfp, -1, accounted))
        return address

    return kmem_cache_alloc


def _traced_kfree(slab: Slab, plain: Replaced, recorder: Recorder) -> Replaced:
    def kfree(address: int | None) -> None:
        frame = _getframe(1)
        if frame.f_code is not _kmem_cache_free:
            recorder.one((call_site(frame), address or 0))
        plain(address)

    return kfree


def _traced_put(slab: Slab, plain: Replaced, recorder: Recorder) -> Replaced:
    def put(address: int) -> None:
        frame = _getframe(1)
        if frame.f_code is not _kfree:  # which has recorded it
            recorder.one((call_site(frame), address))
        plain(address)

    return put


def _traced_free_runs(slab: Slab, plain: Replaced, recorder: Recorder) -> Replaced:
    def free_runs(runs: list[ObjectRun]) -> None:
        site = call_site(_getframe(1))
        recorder.many(
            sum(run.nr_objects for run in runs),
            lambda first: ((site, address) for address in _objects(runs, first)),
        )
        plain(runs)

    return free_runs


def _traced_kmem_cache_free(slab: Slab, plain: Replaced, recorder: Recorder) -> Replaced:
    def kmem_cache_free(cache: KmemCache, address: int) -> None:
        recorder.one((call_site(_getframe(1)), address, cache.name))
        plain(cache, address)

    return kmem_cache_free


def _traced_alloc_pages(page_alloc: PageAllocator, plain: Replaced, recorder: Recorder) -> Replaced:
    def alloc_pages(gfp: int, order: int, whole: bool = False) -> int | None:
        pfn: int | None = plain(gfp, order, whole)
        migratetype = (gfp & _MOBILITY) >> 3  # Linux: include/linux/gfp.h:gfp_migratetype()
        recorder.one((NO_PFN if pfn is None else pfn, order, gfp, migratetype))
        return pfn

    return alloc_pages


def _traced_put_block(page_alloc: PageAllocator, plain: Replaced, recorder: Recorder) -> Replaced:
    def put_block(page: int, order: int) -> None:
        plain(page, order)
        recorder.one((page, order))

    return put_block


def _traced_put_frames(page_alloc: PageAllocator, plain: Replaced, recorder: Recorder) -> Replaced:
    def put_frames(frames: array[int]) -> None:
        recorder.many(len(frames), lambda first: ((pfn, 0) for pfn in frames[first:]))
        plain(frames)

    return put_frames


# -- vmalloc -------------------------------------------------------------------------------


def _struct_maker(size: int) -> Maker:
    """Of objects by number that are kmalloc's, of so many bytes."""

    def make(numbers: ObjectNumbers, plain: Replaced, recorder: Recorder) -> Replaced:
        def alloc(gfp: int) -> int:
            number: int = plain(gfp)
            address = numbers.address(number) if number else 0
            recorder.one((call_site(_getframe(1)), address, size, numbers.cache.size, gfp, -1))
            return number

        return alloc

    return make


def _traced_free_struct(numbers: ObjectNumbers, plain: Replaced, recorder: Recorder) -> Replaced:
    def free(number: int) -> None:
        recorder.one((call_site(_getframe(1)), numbers.address(number)))
        plain(number)

    return free


def _traced_alloc_number(numbers: ObjectNumbers, plain: Replaced, recorder: Recorder) -> Replaced:
    cache = numbers.cache

    def alloc(gfp: int) -> int:
        number: int = plain(gfp)
        address = numbers.address(number) if number else 0
        site, accounted = call_site(_getframe(1)), int(gfp & _ACCOUNT > 0)
        recorder.one((site, address, cache.object_size, cache.size, gfp, -1, accounted))
        return number

    return alloc


def _traced_free_number(numbers: ObjectNumbers, plain: Replaced, recorder: Recorder) -> Replaced:
    def free(number: int) -> None:
        recorder.one((call_site(_getframe(1)), numbers.address(number), numbers.cache.name))
        plain(number)

    return free


def _traced_free_bulk(numbers: ObjectNumbers, plain: Replaced, recorder: Recorder) -> Replaced:
    def free_bulk(freed: Sequence[int]) -> None:
        site, name = call_site(_getframe(1)), numbers.cache.name
        for number in freed:
            recorder.one((site, numbers.address(number), name))
        plain(freed)

    return free_bulk


def _alloc_maker(layout: Layout) -> Maker:
    vstart, vend = layout.vmalloc_start, layout.vmalloc_limit

    def make(space: VmapSpace, plain: Replaced, recorder: Recorder) -> Replaced:
        def alloc_vmap_area(
            size: int, align: int = PAGE_SIZE, gfp: int = GFP_KERNEL
        ) -> tuple[int, int] | None:
            area: tuple[int, int] | None = plain(size, align, gfp)
            start, failed = (vend, 1) if area is None else (area[0], 0)
            recorder.one((start, size, align, vstart, vend, failed))
            return area

        return alloc_vmap_area

    return make


def _traced_free_area(space: VmapSpace, plain: Replaced, recorder: Recorder) -> Replaced:
    def free_vmap_area_noflush(start: int, size: int, va: int) -> None:
        plain(start, size, va)
        recorder.one((start, space.nr_lazy_pages, space.lazy_max_pages))

    return free_vmap_area_noflush


def _traced_purge(space: VmapSpace, plain: Replaced, recorder: Recorder) -> Replaced:
    def purge_vmap_area_lazy(full_pool_decay: bool = False) -> None:
        areas = space.lazy
        plain(full_pool_decay)
        if areas:
            ends = min(start for start, _, _ in areas), max(end for _, end, _ in areas)
            recorder.one((*ends, len(areas)))

    return purge_vmap_area_lazy


def machine_points(
    page_alloc: PageAllocator, slab: Slab, space: VmapSpace, vm: VmAreas, layout: Layout
) -> dict[str, Switch]:
    """Event -> what switches it on and off; those that never happen are not in it."""
    structs, areas = vm.vm_structs, space.vmap_areas
    return {
        "kmalloc": tracing(
            (slab, "kmalloc", _traced_kmalloc),
            (slab, "alloc_runs", _traced_alloc_runs),
            (structs, "alloc", _struct_maker(layout.vm_struct_size)),
        ),
        "kmem_cache_alloc": tracing(
            (slab, "kmem_cache_alloc", _traced_kmem_cache_alloc),
            (areas, "alloc", _traced_alloc_number),
        ),
        "kfree": tracing(
            (slab, "kfree", _traced_kfree),
            (slab, "put", _traced_put),
            (slab, "free_runs", _traced_free_runs),
            (structs, "free", _traced_free_struct),
        ),
        "kmem_cache_free": tracing(
            (slab, "kmem_cache_free", _traced_kmem_cache_free),
            (areas, "free", _traced_free_number),
            (areas, "free_bulk", _traced_free_bulk),
        ),
        "mm_page_alloc": tracing((page_alloc, "alloc_pages", _traced_alloc_pages)),
        "mm_page_free": tracing(
            (page_alloc, "put_block", _traced_put_block),
            (page_alloc, "put_frames", _traced_put_frames),
        ),
        "alloc_vmap_area": tracing((space, "alloc_vmap_area", _alloc_maker(layout))),
        "free_vmap_area_noflush": tracing((space, "free_vmap_area_noflush", _traced_free_area)),
        "purge_vmap_area_lazy": tracing((space, "purge_vmap_area_lazy", _traced_purge)),
    }
