"""Where allocations of the machine may be made to fail: at Linux's places.

    kmalloc, kmem_cache_alloc ----> should_failslab ----------> an object
                                          |  new slab
    alloc_pages ------------------> should_fail_alloc_page ---> a block of frames
    alloc_pages_bulk -------------> should_fail_alloc_page ---> up to 100 frames
                                          |  refused
                                          +---------- one by one, each of them as above

Objects of more than two pages are no slab's, and frames alone can be refused to them.  What is done
by the page here (`object_runs`, `alloc_pages_bulk()`) counts as many requests as it is for Linux;
a run's frames are asked for in blocks, where Linux has a slab each.

Linux: mm/slub.c:slab_pre_alloc_hook(), mm/page_alloc.c:prepare_alloc_pages()
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from sys import _getframe
from typing import Any, Final, Protocol

from .fail_function import ErrorType, Injectable, Injection
from .fault_inject import FaultInjection
from .gfp import GFP_KERNEL
from .object_numbers import ObjectNumbers
from .page_alloc import MAX_PAGE_ORDER, PageAllocator
from .replacing import Layer, Replaced, replacing
from .slab import Slab
from .slub import KmemCache, ObjectRun
from .vmalloc import Vmalloc
from .vmap import VmapSpace

__all__ = ["add_machine_faults"]


class _RefusesObjects(Protocol):
    def should_failslab(self, cache: KmemCache, gfp: int, count: int = 1) -> bool:
        """As `FailSlab` has it."""


class _RefusesFrames(Protocol):
    def should_fail_alloc_page(self, gfp: int, order: int, count: int = 1) -> bool:
        """As `FailPageAlloc` has it."""


class _Entered:
    """In place of these where it is the function that asks which is made to fail."""

    def __init__(self, injection: Injection) -> None:
        self._injection: Final = injection

    def should_failslab(self, cache: KmemCache, gfp: int, count: int = 1) -> bool:
        """Whatever object it is of."""
        return self._injection.fails(count)

    def should_fail_alloc_page(self, gfp: int, order: int, count: int = 1) -> bool:
        """Whatever block it is of."""
        return self._injection.fails(count)


_Switch = Callable[[Any], None]
"""Puts a layer on with its argument, or with None takes it away."""

BULK: Final = 100
"""Frames that vmalloc() asks for in one bulk allocation (Linux: mm/vmalloc.c)."""


def _failing_alloc(slab: Slab, method: Replaced, fault: _RefusesObjects) -> Replaced:
    def kmem_cache_alloc(
        cache: KmemCache, gfp: int = GFP_KERNEL, whole: bool = False
    ) -> int | None:
        if fault.should_failslab(cache, gfp):
            return None
        address: int | None = method(cache, gfp, whole)
        return address

    return kmem_cache_alloc


def _failing_runs(slab: Slab, method: Replaced, fault: _RefusesObjects) -> Replaced:
    def alloc_runs(size: int, count: int) -> list[ObjectRun] | None:
        if fault.should_failslab(slab.kmalloc_slab(size), GFP_KERNEL, count):
            return None
        runs: list[ObjectRun] | None = method(size, count)
        return runs

    return alloc_runs


def _failing_number(numbers: ObjectNumbers, method: Replaced, fault: _RefusesObjects) -> Replaced:
    def alloc(gfp: int) -> int:
        if fault.should_failslab(numbers.cache, gfp):
            return 0
        number: int = method(gfp)
        return number

    return alloc


def _failing_pages(pages: PageAllocator, method: Replaced, fault: _RefusesFrames) -> Replaced:
    def alloc_pages(gfp: int, order: int, whole: bool = False) -> int | None:
        if order <= MAX_PAGE_ORDER and fault.should_fail_alloc_page(gfp, order):
            return None
        pfn: int | None = method(gfp, order, whole)
        return pfn

    return alloc_pages


def _bulk_maker(
    one_by_one: bool,
) -> Callable[[PageAllocator, Replaced, _RefusesFrames], Replaced]:
    """Of a page allocator that gives a frame at a time even in bulk, as under page_owner."""

    def make(pages: PageAllocator, method: Replaced, fault: _RefusesFrames) -> Replaced:
        def alloc_pages_bulk(gfp: int, nr_pages: int, whole: bool = False) -> array[int] | None:
            left = nr_pages
            while left and not fault.should_fail_alloc_page(gfp, 0):
                asked = min(BULK, left)
                given = 1 if one_by_one else asked
                left -= given
                if given < asked:
                    break
            while left and not fault.should_fail_alloc_page(gfp, 0):
                left -= 1
            if left:
                pages.nr_populated = nr_pages - left
                return None
            frames: array[int] | None = method(gfp, nr_pages, whole)
            return frames

        return alloc_pages_bulk

    return make


# -- functions that fail as they are entered ---------------------------------------------------


def _null(part: Any, method: Replaced, injection: Injection) -> Replaced:
    def call(*args: Any, **keywords: Any) -> Any:
        return None if injection.fails() else method(*args, **keywords)

    return call


def _null_runs(slab: Slab, method: Replaced, injection: Injection) -> Replaced:
    """Of objects by the page, as where they come one by one."""

    def alloc_runs(size: int, count: int) -> Any:
        return None if injection.fails(count) else method(size, count)

    return alloc_runs


def _null_of_cache(slab: Slab, method: Replaced, injection: Injection) -> Replaced:
    """kmalloc() has that code in itself, and does not come by that function."""
    kmalloc = Slab.kmalloc.__code__

    def kmem_cache_alloc(*args: Any, **keywords: Any) -> Any:
        frame = _getframe(1)
        outer = (frame, frame.f_back)  # it may be traced
        is_own = all(each is None or each.f_code is not kmalloc for each in outer)
        return None if is_own and injection.fails() else method(*args, **keywords)

    return kmem_cache_alloc


def _functions(
    pages: PageAllocator, slab: Slab, vm: Vmalloc, of_objects: _Switch, of_frames: _Switch
) -> Iterator[Injectable]:
    """Those of the machine, by their names in Linux."""

    def entered(switch: _Switch) -> Callable[[Injection | None], None]:
        return lambda injection: switch(None if injection is None else _Entered(injection))

    yield Injectable("should_failslab", "", ErrorType.ERRNO, entered(of_objects))
    yield Injectable("should_fail_alloc_page", "", ErrorType.TRUE, entered(of_frames))
    for name, methods in {
        "__kmalloc_noprof": ((slab, "kmalloc", _null), (slab, "alloc_runs", _null_runs)),
        "kmem_cache_alloc_noprof": ((slab, "kmem_cache_alloc", _null_of_cache),),
        "get_free_pages_noprof": ((pages, "get_free_pages", _null),),
        "vmalloc_noprof": ((vm, "vmalloc", _null),),
        "vzalloc_noprof": ((vm, "vzalloc", _null),),
    }.items():
        yield Injectable(name, "", ErrorType.NULL, replacing(Layer.ENTRY, *methods))


def add_machine_faults(
    faults: FaultInjection,
    pages: PageAllocator,
    slab: Slab,
    space: VmapSpace,
    vm: Vmalloc,
    page_owner: bool,
) -> None:
    """Let allocations of a machine be made to fail.

    Args:
        page_owner: whether there are records of who holds frames, which come one by one then.
    """

    def objects(layer: Layer) -> _Switch:
        return replacing(
            layer,
            (slab, "kmem_cache_alloc", _failing_alloc),
            (slab, "alloc_runs", _failing_runs),
            (vm.vm_structs, "alloc", _failing_number),
            (space.vmap_areas, "alloc", _failing_number),
        )

    def frames(layer: Layer) -> _Switch:
        return replacing(
            layer,
            (pages, "alloc_pages", _failing_pages),
            (pages, "alloc_pages_bulk", _bulk_maker(page_owner)),
        )

    refuses_objects, refuses_frames = objects(Layer.INSIDE), frames(Layer.INSIDE)
    failslab, fail_page_alloc, functions = (
        faults.failslab,
        faults.fail_page_alloc,
        faults.fail_function,
    )
    faults.add(failslab, lambda on: refuses_objects(failslab if on else None))
    faults.add(fail_page_alloc, lambda on: refuses_frames(fail_page_alloc if on else None))
    faults.add(functions, functions.put)
    functions.add(_functions(pages, slab, vm, objects(Layer.HOOK), frames(Layer.HOOK)))
