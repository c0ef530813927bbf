"""Allocations that are made to fail: which ask, which do not, and what comes of it."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from scullvfs.mm import Machine
from scullvfs.mm.fault_attr import FaultAttr
from scullvfs.mm.gfp import __GFP_NOFAIL as NOFAIL
from scullvfs.mm.gfp import __GFP_NOWARN as NOWARN
from scullvfs.mm.gfp import GFP_ATOMIC, GFP_HIGHUSER, GFP_KERNEL
from scullvfs.mm.ratelimit import RatelimitState
from scullvfs.mm.replacing import LAYERS
from scullvfs.mm.sched import Task
from scullvfs.mm.slab_common import KMALLOC_MAX_CACHE_SIZE

from .helpers import P, books

HIT = {"ignore_gfp_wait": False, "ignore_gfp_highmem": False, "min_order": 0}
"""With these the faults of page frames hit all."""


def arm(attr: FaultAttr, **knobs: int | bool) -> None:
    """Have each request fail, without a report, with some knobs set."""
    attr.arm(times=-1)
    attr.verbose = 0
    for name, value in knobs.items():
        assert hasattr(attr, name)
        setattr(attr, name, value)


@pytest.fixture
def quiet(lenient: Machine) -> Machine:
    """A machine that this process uses, whose failed allocations are all reported."""
    lenient.running.current = Task(os.getpid(), 0, 0)
    lenient.log.nopage = RatelimitState(0, 1)
    lenient.vm.vfree(lenient.vm.vmalloc(16 * P))  # so that slabs and page tables are there
    return lenient


def said(machine: Machine) -> list[str]:
    """The log, but for the first line."""
    return [record.text for record in machine.log.records()][1:]


# -- objects ---------------------------------------------------------------------------------


def test_objects_of_slabs(quiet: Machine) -> None:
    """Those of all caches are refused, however they are asked for, and no large ones."""
    slab, fault = quiet.slab, quiet.faults.failslab
    cache = slab.kmem_cache_create("own", 100)
    assert cache is not None
    arm(fault, ignore_gfp_wait=False)
    assert slab.kmalloc(8) is None
    assert slab.kzalloc(KMALLOC_MAX_CACHE_SIZE) is None
    assert slab.kmem_cache_alloc(cache) is None
    assert slab.alloc_runs(32, 1000) is None
    assert quiet.vm.vm_structs.alloc(GFP_KERNEL) == 0
    assert quiet.vmap_space.vmap_areas.alloc(GFP_KERNEL) == 0
    assert fault.injected == 6
    large = slab.kmalloc(KMALLOC_MAX_CACHE_SIZE + 1)
    assert large is not None
    slab.kfree(large)
    assert fault.injected == 6
    fault.reset()
    slab.kfree(slab.kmalloc(8))


def test_who_may_wait_is_spared(quiet: Machine) -> None:
    """By default GFP_KERNEL never fails; GFP_ATOMIC does; with __GFP_NOFAIL nothing ever."""
    slab, fault = quiet.slab, quiet.faults.failslab
    arm(fault)
    assert fault.ignore_gfp_wait
    slab.kfree(slab.kmalloc(8))
    assert slab.kmalloc(8, GFP_ATOMIC) is None
    fault.ignore_gfp_wait = False
    slab.kfree(slab.kmalloc(8, GFP_KERNEL | NOFAIL))
    assert fault.injected == 1


def test_cache_filter(quiet: Machine) -> None:
    """Only the objects of caches that are marked."""
    slab, fault = quiet.slab, quiet.faults.failslab
    arm(fault, ignore_gfp_wait=False, cache_filter=True)
    slab.kfree(slab.kmalloc(64))
    fault.caches.add(slab.kmalloc_slab(64))
    assert slab.kmalloc(64) is None
    slab.kfree(slab.kmalloc(128))


def test_space_is_in_bytes_of_objects(quiet: Machine) -> None:
    """Of a cache's objects, not of what was asked for."""
    slab, fault = quiet.slab, quiet.faults.failslab
    arm(fault, ignore_gfp_wait=False, space=3 * 64)
    addresses = [slab.kmalloc(40) for _ in range(4)]
    assert [address is None for address in addresses] == [False, False, True, True]
    fault.reset()
    for address in addresses:
        slab.kfree(address)


@pytest.mark.parametrize("nth", [1, 2, 99, 100, 101])
def test_runs_are_as_many_requests(quiet: Machine, nth: int) -> None:
    """Objects by the page count one by one."""
    fault = quiet.faults.failslab
    arm(fault, ignore_gfp_wait=False, interval=nth, times=1)
    runs = quiet.slab.alloc_runs(32, 100)
    assert (runs is None) == (nth <= 100)
    fault.reset()
    quiet.slab.free_runs(runs or [])


# -- page frames -----------------------------------------------------------------------------


def test_blocks(quiet: Machine) -> None:
    """By default those of order 1 and more that may not wait; nothing is reported of them."""
    pages, fault = quiet.page_alloc, quiet.faults.fail_page_alloc
    arm(fault)
    atomic = GFP_ATOMIC
    given = [pages.alloc_pages(gfp, order) for gfp in (GFP_KERNEL, atomic) for order in (0, 1, 2)]
    assert [pfn is None for pfn in given] == [False, False, False, False, True, True]
    assert pages.alloc_pages(atomic, 11) is None  # which there never is: it does not ask
    assert fault.injected == 2
    for name, value in HIT.items():
        setattr(fault, name, value)
    assert pages.alloc_pages(GFP_HIGHUSER, 0) is None
    assert pages.get_free_pages(GFP_KERNEL, 0) is None
    assert pages.get_zeroed_page(GFP_KERNEL) is None
    assert pages.alloc_pages_exact(5 * P, GFP_KERNEL) is None
    assert not any("page allocation failure" in line for line in said(quiet))
    fault.reset()
    for pfn, order in zip(given[:4], (0, 1, 2, 0), strict=True):
        assert pfn is not None
        pages.free_unref_page(pfn, order)


@pytest.mark.parametrize("spared", ["ignore_gfp_wait", "ignore_gfp_highmem", "min_order"])
def test_each_knob_spares_vmalloc(quiet: Machine, spared: str) -> None:
    """As recorded: it takes all three to hit its pages."""
    fault = quiet.faults.fail_page_alloc
    arm(fault, **(HIT | {spared: 1}))
    address = quiet.vm.vmalloc(16 * P)
    assert address is not None
    assert fault.injected == 0
    setattr(fault, spared, 0)
    assert quiet.vm.vmalloc(16 * P) is None
    fault.reset()
    quiet.vm.vfree(address)


def test_space_is_in_frames(quiet: Machine) -> None:
    """A block of order 2 is 4."""
    pages, fault = quiet.page_alloc, quiet.faults.fail_page_alloc
    arm(fault, **HIT, space=9)
    given = [pages.alloc_pages(GFP_KERNEL, 2) for _ in range(4)]
    assert [pfn is None for pfn in given] == [False, False, True, True]
    fault.reset()
    for pfn in given[:2]:
        assert pfn is not None
        pages.free_unref_page(pfn, 2)


@pytest.mark.parametrize(
    ("nr_pages", "page_owner", "failing"),
    [
        (16, True, [False] + 15 * [True] + [False]),
        (16, False, [False, False]),
        (1, True, [False, False]),
        (1, False, [False, False]),
        (250, False, [False, False, False, False]),
    ],
)
def test_bulk_falls_back(
    make_machine: Callable[..., Machine], nr_pages: int, page_owner: bool, failing: list[bool]
) -> None:
    """The first frame, or hundred, that is refused is asked for anew, one by one.

    Under page_owner a bulk allocation gives one frame, and the rest come one by one anyhow.
    """
    machine = make_machine(page_owner=page_owner, panic_on_warn=False)
    fault, pages = machine.faults.fail_page_alloc, machine.page_alloc
    for nth, fails in enumerate(failing, start=1):
        arm(fault, **HIT, interval=nth, times=1)
        frames = pages.alloc_pages_bulk(GFP_HIGHUSER | NOWARN, nr_pages)
        assert (frames is None) == fails, nth
        if frames is None:
            assert pages.nr_populated == nth - 1
        else:
            assert len(frames) == nr_pages
            pages.free_frames(frames)
    assert fault.times == 1  # the last one was not reached


def test_pages_of_vmalloc(quiet: Machine) -> None:
    """All are refused: in the log stands vmalloc's word alone, as Linux asks with __GFP_NOWARN."""
    before = books(quiet)
    fault = quiet.faults.fail_page_alloc
    fault.arm(times=-1)
    for name, value in HIT.items():
        setattr(fault, name, value)
    assert quiet.vm.vmalloc(16 * P, "scullv_write [scullv]") is None
    assert fault.injected == 2  # in bulk, and then one
    (line,) = [line for line in said(quiet) if "vmalloc error" in line]
    assert "vmalloc error: size 0, failed to allocate pages, mode:0xcc2(GFP_KERNEL|" in line
    assert not any("forcing" in line for line in said(quiet))
    fault.reset()
    assert books(quiet) == before


# -- both ------------------------------------------------------------------------------------


def test_off_replaces_nothing(machine: Machine) -> None:
    """As long as nothing is armed, and again when all is off, each method is that of its class."""
    parts = (
        machine.slab,
        machine.page_alloc,
        machine.vm.vm_structs,
        machine.vmap_space.vmap_areas,
    )
    before = [set(vars(part)) for part in parts]
    for attr in machine.faults.attrs.values():
        attr.arm(times=1)
    assert [
        set(vars(part)) - {LAYERS} - then for part, then in zip(parts, before, strict=True)
    ] == [
        {"kmem_cache_alloc", "alloc_runs"},
        {"alloc_pages", "alloc_pages_bulk"},
        {"alloc"},
        {"alloc"},
    ]
    machine.faults.reset()
    assert [set(vars(part)) for part in parts] == before


@pytest.mark.long
@pytest.mark.parametrize(
    ("page_owner", "allocate"),
    [
        (False, lambda machine: machine.vm.vmalloc(110 * P)),
        (True, lambda machine: machine.vm.vmalloc(110 * P)),
        (False, lambda machine: machine.vm.vmalloc_huge(2 << 20)),
        (False, lambda machine: machine.vm.ioremap(0xFED0_0000, P)),
        (False, lambda machine: machine.vm.kvmalloc(5 * P)),
        (False, lambda machine: machine.slab.kmalloc(5000)),
    ],
    ids=["vmalloc", "vmalloc, page_owner", "vmalloc_huge", "ioremap", "kvmalloc", "kmalloc"],
)
def test_every_request_in_turn(
    make_machine: Callable[..., Machine],
    page_owner: bool,
    allocate: Callable[[Machine], int | None],
) -> None:
    """Whichever one of one call fails: NULL and nothing is left of it, or it has gone round it."""
    for nth in range(1, 1000):
        machine = make_machine(mem=8 << 20, panic_on_warn=False, page_owner=page_owner)
        machine.running.current = Task(os.getpid(), 0, 0)
        before = books(machine)
        for attr in (machine.faults.failslab, machine.faults.fail_page_alloc):
            attr.verbose = 0
            for name in HIT:
                if hasattr(attr, name):
                    setattr(attr, name, HIT[name])
        machine.faults.tasks.set_fail_nth(os.getpid(), nth)
        address = allocate(machine)
        left = bool(machine.faults.tasks.fail_nth)
        machine.faults.tasks.clear()
        if address is None:
            assert books(machine) == before, nth
        machine.check()
        if left:
            return
        again = allocate(machine)
        assert again is not None
        assert again != address
    raise AssertionError("there is no end of it")


def test_a_spare_vmap_area_is_asked_for_again(quiet: Machine) -> None:
    """The one in reserve that a split needs is asked for once more, without waiting.

    Linux: mm/vmalloc.c:va_clip()
    """
    space, fault = quiet.vmap_space, quiet.faults.failslab
    first = space.alloc_vmap_area(P)
    assert first is not None
    if space.free_areas.spare is not None:
        space.vmap_areas.free(space.free_areas.spare)
        space.free_areas.spare = None
    arm(fault, ignore_gfp_wait=False, interval=2, times=1)
    second = space.alloc_vmap_area(P)
    assert fault.injected == 1
    assert second is not None
    fault.reset()
    for start, va in (first, second):
        space.free_vmap_area_noflush(start, P, va)


def test_report_of_an_object(quiet: Machine) -> None:
    """Who has forced it, and by which way it was asked for; then the caller's own words.

    The structure is the recorded one of text-debug/inject_scullv0_2_nothing_there.txt.
    """
    quiet.faults.failslab.arm(times=1)
    quiet.faults.failslab.ignore_gfp_wait = False
    assert quiet.vm.vmalloc(16 * P, "scullv_write [scullv]") is None
    lines = said(quiet)
    assert lines[:2] == [
        "FAULT_INJECTION: forcing a failure.",
        "name failslab, interval 1, probability 100, space 0, times 1",
    ]
    begin = lines.index("Call Trace:")
    assert lines[begin + 1 : lines.index(" </TASK>") + 1] == [
        " <TASK>",
        " dump_stack_lvl",
        " should_fail_ex",
        " should_failslab",
        " __kmalloc_cache_node_noprof",
        " __get_vm_area_node",
        " __vmalloc_node_range_noprof",
        " vmalloc_noprof",
        " </TASK>",
    ]
    comm = quiet.current.comm
    assert lines[lines.index(" </TASK>") + 1].startswith(
        f"{comm}: vmalloc error: size 65536, vm_struct allocation failed, mode:0xcc0(GFP_KERNEL), "
        "nodemask=(null)"
    )


def test_gfp_of_a_slab(quiet: Machine) -> None:
    """The first try for a large slab may not wait, so the knobs hit it as they are at first.

    Linux: mm/slub.c:allocate_slab()
    """
    cache = quiet.slab.kmem_cache_create("own", 1000)
    assert cache is not None
    assert cache.order > cache.min_order
    arm(quiet.faults.fail_page_alloc)
    address = quiet.slab.kmem_cache_alloc(cache)
    assert address is not None
    assert quiet.faults.fail_page_alloc.injected == 1
    assert cache.cpu.order == cache.min_order
