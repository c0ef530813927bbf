"""Tracing: what is recorded and what is not, the ring, and that nothing else changes by it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from scullvfs.mm import Machine
from scullvfs.mm.gfp import __GFP_MOVABLE as MOVABLE
from scullvfs.mm.gfp import __GFP_NOWARN as NOWARN
from scullvfs.mm.gfp import __GFP_ZERO as ZERO
from scullvfs.mm.gfp import GFP_KERNEL
from scullvfs.mm.replacing import LAYERS
from scullvfs.mm.ring_buffer import MAX_BUFFER_KB, RECORD_BYTES
from scullvfs.mm.sched import Task
from scullvfs.mm.trace import CLOCKS, CMDLINES, SAME_PROGRAM, UNKNOWN, Trace
from scullvfs.mm.trace_events import EVENTS, NO_PFN
from scullvfs.mm.trace_filter import FilterError

from .helpers import ARCHS, MIB, P

ME = Task(os.getpid(), 0, 0)


def lines(machine: Machine) -> list[str]:
    """What has been recorded since the last time, without who and when."""
    text = machine.trace.take(1 << 30)
    return [line.partition(": ")[2] for line in text.splitlines()]


def names(machine: Machine) -> list[str]:
    """The same, the events' names alone."""
    return [line.partition(":")[0] for line in lines(machine)]


@pytest.fixture
def traced(machine: Machine) -> Machine:
    """A machine on which every event is on, and which this process uses."""
    machine.running.current = ME
    assert machine.trace.set_event(":", on=True)
    return machine


def test_off_replaces_nothing(machine: Machine) -> None:
    """As long as nothing is on, and again once all is off, each method is that of its class."""
    parts = (
        machine.slab,
        machine.page_alloc,
        machine.vmap_space,
        machine.vm.vm_structs,
        machine.vmap_space.vmap_areas,
    )
    before = [set(vars(part)) for part in parts]
    machine.trace.set_event("kmem", on=True)
    machine.trace.set_event("vmalloc", on=True)
    after = [set(vars(part)) - {LAYERS} for part in parts]
    assert [now - then for now, then in zip(after, before, strict=True)] == [
        {
            "kmalloc",
            "alloc_runs",
            "kmem_cache_alloc",
            "kfree",
            "put",
            "free_runs",
            "kmem_cache_free",
        },
        {"alloc_pages", "put_block", "put_frames"},
        {"alloc_vmap_area", "free_vmap_area_noflush", "purge_vmap_area_lazy"},
        {"alloc", "free"},
        {"alloc", "free", "free_bulk"},
    ]
    machine.trace.set_event(":", on=False)
    assert [set(vars(part)) for part in parts] == before


def test_vmalloc_events(traced: Machine) -> None:
    """What an area takes, and all of it back; frames in bulk are no event."""
    for event in ("mm_page_alloc", "mm_page_free"):
        traced.trace.set_event(event, on=False)
    space = traced.vmap_space
    address = traced.vm.vmalloc(16 * P)
    traced.vm.vfree(address)
    start = traced.layout.vmalloc_start
    got = lines(traced)
    struct, area, spare, alloc, array, free_area, free_array, free_struct = got
    assert struct.startswith("kmalloc: call_site=__get_vm_area_node ptr=0")
    for line in (area, spare):
        assert line.startswith("kmem_cache_alloc: call_site=alloc_vmap_area ptr=0")
    assert area != spare
    assert alloc == (
        f"alloc_vmap_area: va_start: {address} size={17 * P} align=1 vstart={start:#x} "
        f"vend={traced.layout.vmalloc_limit:#x} failed=0"
    )
    assert array.startswith("kmalloc: call_site=__vmalloc_node_range_noprof ptr=0")
    assert array.endswith(
        "bytes_req=128 bytes_alloc=128 gfp_flags=GFP_KERNEL|__GFP_ZERO node=-1 accounted=false"
    )
    assert free_area == (
        f"free_vmap_area_noflush: va_start={address:#x} nr_lazy=17 "
        f"nr_lazy_max={space.lazy_max_pages}"
    )
    assert free_array.startswith("kfree: call_site=vfree ptr=0")
    for taken, freed in ((array, free_array), (struct, free_struct)):
        assert freed == f"kfree: call_site=vfree {taken.split()[2]}"


def test_a_vmap_area_is_freed_with_its_range(traced: Machine) -> None:
    """At the purge, by its own address; what vunmap() and iounmap() free is told of as theirs."""
    trace = traced.trace
    for event in ("mm_page_alloc", "mm_page_free"):
        trace.set_event(event, on=False)
    traced.vm.vmalloc(P)
    lines(traced)
    mapped = traced.vm.vmap([1, 2])
    struct, area = lines(traced)[:2]
    traced.vm.vunmap(mapped)
    assert lines(traced)[1:] == [f"kfree: call_site=vunmap {struct.split()[2]}"]
    traced.vm.vm_unmap_aliases()
    freed = lines(traced)[0]
    assert (
        freed == f"kmem_cache_free: call_site=reclaim_list_global {area.split()[2]} name=vmap_area"
    )
    traced.vm.iounmap(traced.vm.ioremap(0xFE00_0000, P))
    assert lines(traced)[-1].startswith("kfree: call_site=iounmap ptr=0")
    traced.check()


def test_frames_are_freed_one_by_one(machine: Machine) -> None:
    """Each frame of an area is an event, and they are those that it had."""
    address = machine.vm.vmalloc(5 * P)
    assert address is not None
    frames = [machine.vm.vmalloc_to_pfn(address + at * P) for at in range(5)]
    machine.trace.set_event("mm_page_free", on=True)
    machine.vm.vfree(address)
    freed = [record.values for _, record in machine.trace.records_from(0)]
    assert freed[:5] == [(pfn, 0) for pfn in frames]


def test_purge_event(traced: Machine) -> None:
    """From the lowest to the highest of what was freed, and how many areas that were."""
    addresses = [traced.vm.vmalloc(P) for _ in range(3)]
    traced.vm.vfree(addresses[2])
    traced.vm.vfree(addresses[0])
    lines(traced)
    traced.vm.vm_unmap_aliases()
    assert [line for line in lines(traced) if not line.startswith("kmem_cache_free")] == [
        f"purge_vmap_area_lazy: start={addresses[0]:#x} end={addresses[2] + 2 * P:#x} num_purged=2"
    ]
    traced.vm.vm_unmap_aliases()
    assert lines(traced) == []


def test_slab_events(traced: Machine) -> None:
    """An object of kmalloc's is a kmalloc alone, one of a cache's own that of the cache."""
    slab = traced.slab
    cache = slab.kmem_cache_create("scullc", 4000)
    assert cache is not None
    traced.trace.set_event("mm_page_alloc", on=False)
    small, large = slab.kmalloc(100), slab.kmalloc(100_000, GFP_KERNEL | ZERO)
    mine = slab.kmem_cache_zalloc(cache)
    assert mine is not None
    assert slab.kmalloc(0) == 16
    assert slab.kmalloc(1 << 40, NOWARN) is None
    slab.kmem_cache_free(cache, mine)
    slab.kfree(large)
    slab.kfree(small)
    slab.kfree(None)
    pointer, got = traced.trace.printer.pointer, lines(traced)
    none = "0" * 16
    here = "call_site=test_slab_events"
    assert got == [
        f"kmalloc: {here} ptr={pointer(small or 0)} bytes_req=100 bytes_alloc=128 "
        "gfp_flags=GFP_KERNEL node=-1 accounted=false",
        f"kmalloc: {here} ptr={pointer(large or 0)} bytes_req=100000 bytes_alloc=131072 "
        "gfp_flags=GFP_KERNEL|__GFP_ZERO node=-1 accounted=false",
        f"kmem_cache_alloc: {here} ptr={pointer(mine)} bytes_req=4000 bytes_alloc=4000 "
        "gfp_flags=GFP_KERNEL|__GFP_ZERO node=-1 accounted=false",
        f"kmalloc: {here} ptr={none} bytes_req={1 << 40} bytes_alloc={1 << 40} "
        "gfp_flags=__GFP_NOWARN node=-1 accounted=false",
        f"kmem_cache_free: {here} ptr={pointer(mine)} name=scullc",
        f"kfree: {here} ptr={pointer(large or 0)}",
        *(line for line in got if line.startswith("mm_page_free")),
        f"kfree: {here} ptr={pointer(small or 0)}",
        f"kfree: {here} ptr={none}",
    ]


def test_page_events(traced: Machine) -> None:
    """A block's first frame, its order and the kind of its flags; without one there is none."""
    page_alloc = traced.page_alloc
    pfn = page_alloc.alloc_pages(GFP_KERNEL | MOVABLE, 3)
    assert pfn is not None
    assert page_alloc.alloc_pages(GFP_KERNEL | NOWARN, 11) is None
    page_alloc.free_unref_page(pfn, 3)
    values = [record.values for _, record in traced.trace.records_from(0)]
    assert values == [
        (pfn, 3, GFP_KERNEL | MOVABLE, 1),
        (NO_PFN, 11, GFP_KERNEL | NOWARN, 0),
        (pfn, 3),
    ]
    page = traced.trace.printer.page(pfn)
    assert [line.partition(" migratetype")[0] for line in lines(traced)] == [
        f"mm_page_alloc: page={page} pfn={pfn:#x} order=3",
        f"mm_page_alloc: page={'0' * 16} pfn=0x0 order=11",
        f"mm_page_free: page={page} pfn={pfn:#x} order=3",
    ]


def test_objects_by_the_page_are_events_each(traced: Machine) -> None:
    """As if they had come one by one; of more than the ring holds the first are only counted."""
    trace, slab = traced.trace, traced.slab
    trace.set_event("kmem:*", on=False)
    trace.set_event("kmalloc", on=True)
    trace.set_event("kfree", on=True)
    runs = slab.alloc_runs(176, 40)
    assert runs is not None
    objects = [run.object(number) for run in runs for number in range(run.nr_objects)]
    values = [record.values for _, record in trace.records_from(0)]
    assert [value[1] for value in values] == objects
    assert {value[2:] for value in values} == {(176, 192, GFP_KERNEL, -1)}
    slab.free_runs(runs)
    assert trace.written == 2 * len(objects)
    trace.clear()
    runs = slab.alloc_runs(176, trace.capacity + 1000)
    assert runs is not None
    nr_objects = sum(run.nr_objects for run in runs)
    assert (trace.entries, trace.written) == (trace.capacity, nr_objects)
    last = [record.values[1] for _, record in trace.records_from(0)][-1]
    assert last == runs[-1].object(runs[-1].nr_objects - 1)
    slab.free_runs(runs)


@pytest.mark.parametrize("init_on_alloc", [True, False])
@pytest.mark.parametrize("arch", ARCHS)
def test_tracing_changes_nothing_else(arch: str, init_on_alloc: bool) -> None:
    """With every event on, the same calls give the same addresses and the same state."""
    states = []
    for on in (False, True):
        machine = Machine(32 * MIB, arch, seed=3, init_on_alloc=init_on_alloc)
        if on:
            machine.trace.set_event(":", on=True)
        areas = [machine.vm.vmalloc(size * P) for size in (1, 16, 700, 3)]
        objects = [machine.slab.kmalloc(size) for size in (8, 100, 5000, 20_000)]
        machine.vm.vfree(areas[1])
        machine.slab.kfree(objects[2])
        machine.vm.vunmap(machine.vm.vmap([1]))
        machine.vm.vm_unmap_aliases()
        state = machine.state()
        del state["trace"], state["log"]
        states.append((areas, objects, state))
        machine.check()
        machine.close()
    assert states[0] == states[1]


def test_same_calls_give_the_same_text() -> None:
    """By the clock that counts, with the same seed; with another one pointers are others."""

    def text(seed: int) -> str:
        machine = Machine(16 * MIB, seed=seed, shuffle=False)
        machine.trace.set_clock("counter")
        machine.trace.set_event(":", on=True)
        machine.vm.vfree(machine.vm.vmalloc(3 * P))
        return machine.trace.take(1 << 20)

    assert text(1) == text(1)
    assert text(1) != text(2)
    assert text(1).splitlines()[0].startswith("          <idle>-0       [000] .....            1: ")


# the ring


def test_ring_pushes_the_oldest_out(traced: Machine) -> None:
    """It holds what its size says, counts what it lost, and tells of that once."""
    trace = traced.trace
    trace.set_event(":", on=False)
    trace.set_event("kfree", on=True)
    trace.resize(1)
    assert trace.capacity == 2 * 4080 // RECORD_BYTES
    for _ in range(trace.capacity + 5):
        traced.slab.kfree(None)
    assert (trace.entries, trace.written, trace.overrun) == (trace.capacity, trace.capacity + 5, 5)
    assert next(number for number, _ in trace.records_from(0)) == 5
    assert f": {trace.capacity}/{trace.capacity + 5}   #P:1\n" in trace.heading()
    first, second = trace.take(1), trace.take(1)
    assert first.startswith("CPU:0 [LOST 5 EVENTS]\n")
    assert second.count("\n") == 1
    assert (trace.entries, trace.overrun, trace.statistics().read) == (trace.capacity - 2, 5, 2)
    trace.check()


@pytest.mark.parametrize(
    ("asked", "shown"), [(1, 7), (7, 7), (8, 11), (100, 103), (1408, 1410), (4096, 4099)]
)
def test_resize_rounds_up(machine: Machine, asked: int, shown: int) -> None:
    """To whole sub-buffers, two at the least, as recorded."""
    machine.trace.resize(asked)
    assert machine.trace.buffer_size_kb == shown


def test_resize_keeps_the_newest(traced: Machine) -> None:
    """What does not go into a smaller ring is lost, the oldest first."""
    trace = traced.trace
    for _ in range(100):
        traced.slab.kfree(None)
    trace.resize(1)
    assert (trace.entries, trace.overrun) == (trace.capacity, 100 - trace.capacity)
    trace.resize(MAX_BUFFER_KB)
    assert trace.entries < trace.capacity


def test_ring_gets_its_size_when_it_is_needed(machine: Machine) -> None:
    """Before the first event is switched on it is the smallest."""
    assert (machine.trace.buffer_size_kb, machine.trace.expanded) == (7, False)
    machine.trace.set_event("kfree", on=True)
    assert (machine.trace.buffer_size_kb, machine.trace.expanded) == (1410, True)


def test_a_record_takes_no_more_than_it_counts_for(traced: Machine) -> None:
    """A full ring has no more memory than its size."""
    import tracemalloc

    trace = traced.trace
    trace.set_event(":", on=False)
    trace.set_event("kmem_cache_alloc", on=True)
    cache = traced.slab.kmem_cache_create("mine", 64)
    assert cache is not None
    objects = [traced.slab.kmem_cache_alloc(cache) for _ in range(trace.capacity)]
    trace.clear()
    for address in objects:
        assert address is not None
        traced.slab.kmem_cache_free(cache, address)
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for _ in range(trace.capacity):
        traced.slab.kmem_cache_alloc(cache)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert trace.entries == trace.capacity
    assert 0 < after - before <= trace.capacity * RECORD_BYTES


def test_tracing_on_stops_and_goes_on(traced: Machine) -> None:
    """What happens meanwhile is lost, and the events stay on."""
    traced.trace.on = False
    traced.slab.kfree(None)
    assert lines(traced) == []
    traced.trace.on = True
    traced.slab.kfree(None)
    assert names(traced) == ["kfree"]


def test_clock_clears(traced: Machine) -> None:
    """Times of two clocks do not go together."""
    for clock in CLOCKS:
        traced.slab.kfree(None)
        traced.trace.set_clock(clock)
        assert traced.trace.written == 0
        traced.slab.kfree(None)
        assert ": kfree: " in traced.trace.take(1)


def test_waiters_are_woken_once(traced: Machine) -> None:
    """By the first record."""
    woken: list[int] = []
    traced.trace.waiting[lambda: woken.append(1)] = None
    traced.trace.waiting[lambda: woken.append(2)] = None
    traced.slab.kfree(None)
    traced.slab.kfree(None)
    assert woken == [1, 2]


# whose events


def test_pids(traced: Machine) -> None:
    """Only theirs are recorded."""
    traced.trace.pids = {ME.pid + 1}
    traced.slab.kfree(None)
    assert lines(traced) == []
    traced.trace.pids = {ME.pid}
    traced.slab.kfree(None)
    assert names(traced) == ["kfree"]


def test_pids_of_many_objects_at_once(traced: Machine) -> None:
    """Another's are not counted as lost, however many there are."""
    trace = traced.trace
    trace.set_event("kmalloc", on=True)
    trace.pids = {ME.pid + 1}
    runs = traced.slab.alloc_runs(176, trace.capacity + 1000)
    assert runs is not None
    traced.slab.free_runs(runs)
    assert (trace.entries, trace.written, trace.overrun) == (0, 0, 0)


class Named(Task):
    """A process with a name that a test chooses."""

    names: Iterator[str]

    @property
    def comm(self) -> str:
        """The next name."""
        return next(self.names)


def test_name_is_looked_up_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that does one call after the other has one name; it may become another program."""
    machine = Machine(4 * MIB)
    times = iter((1000, 2000, 3000 + SAME_PROGRAM, 4000 + 2 * SAME_PROGRAM))
    monkeypatch.setattr(machine.log, "_clock", lambda: machine.log.start + next(times))
    task = machine.running.current = Named(77, 0, 0)
    task.names = iter(["bash", "dd", "(gone)"])
    machine.trace.set_event("kfree", on=True)
    for _ in range(4):
        machine.slab.kfree(None)
    assert [record.comm for _, record in machine.trace.records_from(0)] == [
        *("bash", "bash", "dd", "dd")
    ]
    assert machine.trace.cmdlines == {77: "dd"}


def test_names_that_nobody_knows(traced: Machine) -> None:
    """A process that is gone, and none at all; so many names are kept and no more."""
    traced.running.current = Task(1 << 22, 0, 0)
    traced.slab.kfree(None)
    traced.running.current = Task(0, 0, 0)
    traced.slab.kfree(None)
    assert [record.comm for _, record in traced.trace.records_from(0)] == [UNKNOWN, "<idle>"]
    for pid in range(CMDLINES + 10):
        traced.running.current = Task((1 << 22) + pid, 0, 0)
        traced.slab.kfree(None)
    assert len(traced.trace.cmdlines) == CMDLINES


# by hand


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        (b"hello\n", "hello\n"),
        (b"no newline", "no newline\n"),
        (b"two\nlines\n", "two\nlines\n"),
        (b"nul\0inside\n", "nul"),
        (b"\xff\xfe", "\udcff\udcfe\n"),
        (b"\n", "\n"),
    ],
)
def test_mark(machine: Machine, written: bytes, shown: str) -> None:
    """As recorded: a newline is added where there is none, and a NUL is the end, without one."""
    assert machine.trace.mark(written)
    text = machine.trace.take(1)
    assert text.partition("tracing_mark_write: ")[2] == shown
    machine.trace.on = False
    assert not machine.trace.mark(written)


# which events


def on(trace: Trace) -> set[str]:
    """The names of those that are on."""
    return {file.event.name for file in trace.files.values() if file.enabled}


ALL = {event.name for event in EVENTS}
VMALLOC = {event.name for event in EVENTS if event.system == "vmalloc"}


@pytest.mark.parametrize(
    ("pattern", "wanted"),
    [
        ("vmalloc", VMALLOC),
        ("vmalloc:", VMALLOC),
        ("vmalloc:*", VMALLOC),
        (":", ALL),
        ("*:*", ALL),
        ("kmalloc", {"kmalloc"}),
        ("*:kmalloc", {"kmalloc"}),
        (":kmalloc", {"kmalloc"}),
        ("kmem:kmalloc", {"kmalloc"}),
        ("vmalloc:kmalloc", set()),
        ("kmem:mm_page_*", set()),
        ("kmem:kmalloc:extra", set()),
        ("", set()),
        ("*", set()),
    ],
)
def test_set_event(machine: Machine, pattern: str, wanted: set[str]) -> None:
    """As recorded; what means none switches none."""
    assert machine.trace.set_event(pattern, on=True) == bool(wanted)
    assert on(machine.trace) == wanted
    assert machine.trace.set_event(pattern, on=False) == bool(wanted)
    assert on(machine.trace) == set()


def test_filter(traced: Machine) -> None:
    """What it does not match is not recorded; one that is none takes the former one away."""
    trace = traced.trace
    kmalloc = trace.files["kmem", "kmalloc"]
    trace.set_filter(kmalloc, "bytes_req > 4096 && ptr != 0")
    for size in (100, 5000):
        traced.slab.kfree(traced.slab.kmalloc(size))
    sizes = [line.split()[3] for line in lines(traced) if line.startswith("kmalloc: ")]
    assert sizes == ["bytes_req=5000"]
    with pytest.raises(FilterError):
        trace.set_filter(kmalloc, "size > 1")
    assert (kmalloc.filter, kmalloc.filter_text.splitlines()[-1]) == (
        None,
        "parse_error: Field not found",
    )
    trace.set_filter(kmalloc, "0")
    assert (kmalloc.filter, kmalloc.filter_text) == (None, "")


def test_hash_ptr(machine: Machine) -> None:
    """A pointer is shown hashed, always to the same, and NULL as it is; or all as they are."""
    trace, address = machine.trace, 0xFFFF_8880_0123_4000
    assert trace.printer.pointer(address) == trace.printer.pointer(address)
    assert trace.printer.pointer(address)[:8] == "00000000"
    assert trace.printer.pointer(address + 8) != trace.printer.pointer(address)
    assert trace.printer.pointer(0) == "0" * 16
    trace.options["hash-ptr"] = False
    assert trace.printer.pointer(address) == "ffff888001234000"


def test_highmem_frames(highmem: Machine) -> None:
    """Of both zones, and pointers of 32 bits."""
    highmem.trace.set_event("mm_page_free", on=True)
    address = highmem.vm.vmalloc(10 * P)
    highmem.vm.vfree(address)
    assert {len(line.split()[1]) for line in lines(highmem)} == {len("page=") + 8}


def test_statistics_and_repr(make_machine: Callable[..., Machine]) -> None:
    """They tell how much there is."""
    machine = make_machine()
    machine.trace.set_event("kfree", on=True)
    machine.slab.kfree(None)
    assert machine.statistics().trace == (1, 1, 0, 0, 1)
    assert repr(machine.trace) == "<Trace enabled=1 entries=1 overrun=0>"
    file = machine.trace.files["kmem", "kfree"]
    assert repr(file) == "<TraceEventFile kmem:kfree on>"
