"""kmalloc: caches, large objects, bulk allocation, and that none of it touches a page table."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from random import Random

import pytest

from scullvfs.mm import KernelBug, PageFault
from scullvfs.mm.gfp import __GFP_NOWARN, __GFP_ZERO, GFP_KERNEL
from scullvfs.mm.machine import Machine
from scullvfs.mm.slab import ZERO_SIZE_PTR
from scullvfs.mm.slab_common import KMALLOC_MAX_SIZE, KMALLOC_SIZES
from scullvfs.mm.slab_order import get_order
from scullvfs.mm.slub import KmemCache, ObjectRun

from .helpers import MIB, P, books, difference, fragment, other_slabs, take_all, texts


def cache_of(machine: Machine, name: str) -> KmemCache:
    """The cache of that name."""
    return next(cache for cache in machine.slab.caches() if cache.name == name)


@pytest.mark.parametrize(
    ("size", "order"),
    [(0, 0), (1, 0), (P, 0), (P + 1, 1), (2 * P, 1), (2 * P + 1, 2), (4 * MIB, 10)],
)
def test_get_order_rounds_up(size: int, order: int) -> None:
    """The smallest order whose block holds the size."""
    assert get_order(size) == order


@pytest.mark.parametrize("size", [1, *(s + d for s in KMALLOC_SIZES for d in (-1, 0, 1))])
def test_kmalloc_gives_the_smallest_object_that_fits(machine: Machine, size: int) -> None:
    """Each cache's edges: the object's bytes are the next cache size, or whole blocks above."""
    address = machine.slab.kmalloc(size)

    assert address is not None
    nbytes = other_slabs(machine).nbytes
    assert nbytes == next((s for s in KMALLOC_SIZES if s >= size), 4 * P)
    phys = address - machine.layout.page_offset
    assert phys % (nbytes & -nbytes) == 0, "an object of a power of two is aligned to its size"
    assert 0 < phys < machine.ram.size
    machine.memory.write(address, b"\x5a" * size)
    machine.slab.kfree(address)
    assert other_slabs(machine).objects == 0


@pytest.mark.parametrize(
    ("size", "pages"),
    [(8193, 4), (16384, 4), (16385, 8), (MIB, 256), (4 * MIB - 1, 1024), (4 * MIB, 1024)],
)
def test_kmalloc_above_the_caches_takes_a_block(machine: Machine, size: int, pages: int) -> None:
    """A large object has a block of its own, which goes back at once."""
    free = machine.page_alloc.nr_free

    address = machine.slab.kmalloc(size)

    assert address is not None
    assert (address - machine.layout.page_offset) % (pages * P) == 0
    assert other_slabs(machine) == (pages, 1, pages * P)
    assert machine.page_alloc.nr_free == free - pages
    machine.slab.kfree(address)
    assert other_slabs(machine) == (0, 0, 0)
    assert machine.page_alloc.nr_free == free


def test_kmalloc_above_4_mib_is_none(lenient: Machine) -> None:
    """KMALLOC_MAX_SIZE is the most; more changes nothing, and is warned of once, or not at all."""
    before = books(lenient)

    assert lenient.slab.kmalloc(KMALLOC_MAX_SIZE + 1, GFP_KERNEL | __GFP_NOWARN) is None
    assert texts(lenient) == []
    assert lenient.slab.kmalloc(KMALLOC_MAX_SIZE + 1) is None
    assert "WARNING: CPU: 0 PID: 0 at mm/page_alloc.c __alloc_pages_noprof" in texts(lenient)
    said = len(texts(lenient))
    assert lenient.slab.kzalloc(1 << 40) is None
    assert len(texts(lenient)) == said
    assert books(lenient) == before


def test_kmalloc_of_nothing(machine: Machine) -> None:
    """It is an address with nothing there, which may be freed, any number of times."""
    before = books(machine)
    for address in (machine.slab.kmalloc(0), machine.slab.kzalloc(0)):
        assert address == ZERO_SIZE_PTR == 16
        machine.slab.kfree(address)
        machine.slab.kfree(address)
        assert machine.slab.ksize(address) == 0
    assert books(machine) == before
    with pytest.raises(PageFault):
        machine.memory.read(ZERO_SIZE_PTR, 1)


@pytest.mark.parametrize("size", [1, 100, 8192, 8193, MIB])
def test_ksize_and_kmalloc_size_roundup(machine: Machine, size: int) -> None:
    """One tells beforehand what the other tells of an object."""
    slab, address = machine.slab, machine.slab.kmalloc(size)
    assert address is not None
    assert slab.ksize(address) == slab.kmalloc_size_roundup(size) >= size
    for strange in (address + 1, address + 9000 * MIB):
        with pytest.raises(KernelBug, match="not an allocated object"):
            slab.ksize(strange)
    slab.kfree(address)
    with pytest.raises(KernelBug, match="not an allocated object"):
        slab.ksize(address)
    assert slab.ksize(None) == 0
    assert [slab.kmalloc_size_roundup(n) for n in (0, 4 * MIB + 1)] == [0, 4 * MIB + 1]


@pytest.mark.parametrize("init_on_alloc", [True, False])
def test_krealloc(make_machine: Callable[..., Machine], init_on_alloc: bool) -> None:
    """An object grows in its place as far as it goes, then moves with what is in it.

    What is spare in it is zeros if they are asked for, or the kernel clears all that it gives.
    """
    machine = make_machine(init_on_alloc=init_on_alloc)
    slab, memory = machine.slab, machine.memory
    address = slab.krealloc(None, 100)
    assert address is not None
    memory.write(address, b"k" * 100)

    assert slab.krealloc(address, 128) == address
    assert slab.krealloc(address, 95) == address
    assert bytes(memory.read(address, 100)) == b"k" * 95 + (b"\0" if init_on_alloc else b"k") * 5
    assert slab.krealloc(address, 90, GFP_KERNEL | __GFP_ZERO) == address
    assert bytes(memory.read(address, 128)) == b"k" * 90 + bytes(38)
    memory.write(address, b"k" * 100)
    moved = slab.krealloc(address, 9000)

    assert moved is not None
    assert moved != address
    assert bytes(memory.read(moved, 100)) == b"k" * 100
    assert other_slabs(machine).objects == 1
    assert slab.krealloc(moved, KMALLOC_MAX_SIZE + 1, GFP_KERNEL | __GFP_NOWARN) is None
    assert slab.ksize(moved) == 16384
    assert slab.krealloc(moved, 0) == ZERO_SIZE_PTR
    assert other_slabs(machine).objects == 0
    assert slab.krealloc(ZERO_SIZE_PTR, 8) is not None


def test_kmalloc_writes_no_page_table_entry(any_arch: Machine) -> None:
    """The point of the chapter: kmalloc writes no entry, vmalloc does, ioremap does and takes
    no frame."""
    machine = any_arch
    written, tables = machine.pgtable.entries_written, machine.pgtable.statistics().tables

    objects = [machine.slab.kmalloc(size) for size in (1, 100, 5000, 20000, MIB)]
    block = machine.page_alloc.get_free_pages(GFP_KERNEL, 4)
    assert machine.pgtable.entries_written == written

    address = machine.vm.vmalloc(10 * P)
    tables = machine.pgtable.statistics().tables - tables
    assert tables >= len(machine.layout.levels) - 1
    assert machine.pgtable.entries_written == written + 10 + tables

    written, free = machine.pgtable.entries_written, machine.page_alloc.nr_free
    registers = machine.vm.ioremap(machine.ram.size, 3 * P)
    assert machine.pgtable.entries_written == written + 3
    assert machine.page_alloc.nr_free == free

    machine.vm.vfree(address)
    assert registers is not None
    assert block is not None
    machine.vm.iounmap(registers)
    machine.page_alloc.free_pages(block, 4)
    for address in objects:
        machine.slab.kfree(address)


def test_kmalloc_objects_do_not_overlap(machine: Machine) -> None:
    """Objects of all sizes that live together share no byte."""
    rng = Random(6)
    taken: dict[int, int] = {}
    for _ in range(2000):
        size = rng.choice([8, 33, 96, 150, 192, 700, 4096, 8192, 9000])
        address = machine.slab.kmalloc(size)
        assert address is not None
        taken[address] = address + size

    ends = sorted(taken.items())
    assert all(end <= start for (_, end), (start, _) in pairwise(ends))
    for address in taken:
        machine.slab.kfree(address)


def test_kzalloc_is_filled_with_zeros(machine: Machine) -> None:
    """Used memory comes back cleared, of every size."""
    for size in (1, 8, 96, 4096, 8192, 20000, MIB):
        address = machine.slab.kmalloc(size)
        assert address is not None
        machine.memory.memset(address, 0xFF, size)
        machine.slab.kfree(address)

        address = machine.slab.kzalloc(size)
        assert address is not None
        assert difference(machine.memory.read(address, size), bytes(size)) is None
        machine.slab.kfree(address)


def test_kfree_of_none_is_fine(machine: Machine) -> None:
    """kfree(NULL) does nothing."""
    machine.slab.kfree(None)


@pytest.mark.parametrize("size", [8, 192, 8192, 8193, MIB])
def test_kfree_twice_is_a_bug(machine: Machine, size: int) -> None:
    """The second kfree() of an object is found, and harms nothing."""
    neighbour = machine.slab.kmalloc(size)
    address = machine.slab.kmalloc(size)
    assert address is not None
    machine.slab.kfree(address)

    with pytest.raises(KernelBug, match=r"already free|not an allocated object"):
        machine.slab.kfree(address)
    machine.slab.kfree(neighbour)


@pytest.mark.parametrize("size", [96, 8192, 20000])
@pytest.mark.parametrize("offset", [1, 8, P])
def test_kfree_of_the_middle_is_a_bug(machine: Machine, size: int, offset: int) -> None:
    """An address that kmalloc() did not give is not taken, inside of an object or beside it."""
    address = machine.slab.kmalloc(size)
    assert address is not None

    with pytest.raises(KernelBug):
        machine.slab.kfree(address + offset)
    machine.slab.kfree(address)


@pytest.mark.parametrize("where", ["null", "page_offset", "vmalloc", "behind"])
def test_kfree_of_a_strange_address_is_a_bug(any_arch: Machine, where: str) -> None:
    """Addresses of no slab at all: NULL as a number, frame 0, vmalloc's, behind RAM."""
    address = any_arch.vm.vmalloc(P)
    assert address is not None
    strange = {
        "null": 0,
        "page_offset": any_arch.layout.page_offset,
        "vmalloc": address,
        "behind": any_arch.page_alloc.high_memory,
    }[where]

    with pytest.raises(KernelBug, match="not an allocated object"):
        any_arch.slab.kfree(strange)
    any_arch.vm.vfree(address)


def test_kfree_gives_single_frame_slabs_back(machine: Machine) -> None:
    """Expect slabs made with less than usual, on fragmented RAM, to be given back as others."""
    held = fragment(machine.page_alloc)
    free = machine.page_alloc.nr_free
    objects = [machine.slab.kmalloc(4096) for _ in range(50)]
    assert None not in objects
    assert machine.page_alloc.nr_free == free - 50

    for address in objects:
        machine.slab.kfree(address)

    cache = cache_of(machine, "kmalloc-4k")
    assert cache.statistics().num_slabs <= 1 + cache.cpu_partial_slabs + cache.min_partial
    machine.page_alloc.free_frames(held)


def test_kmalloc_without_memory_is_none(machine: Machine) -> None:
    """Out of frames, kmalloc() still gives what fits into a slab that exists, then None."""
    first = machine.slab.kmalloc(1024)
    held = take_all(machine.page_alloc)
    objects = [machine.slab.kmalloc(1024) for _ in range(8)]

    assert None not in objects[:7]
    assert objects[7] is None
    assert machine.slab.kmalloc(64) is None
    assert machine.slab.kzalloc(20000) is None
    machine.page_alloc.free_frames(held)
    for address in [first, *objects]:
        machine.slab.kfree(address)


@pytest.mark.parametrize(("size", "order"), [(8, 0), (8192, 1), (20_000, 3), (4 * MIB, 10)])
def test_kmalloc_without_memory_is_reported(machine: Machine, size: int, order: int) -> None:
    """The log has the block that its slab could not have, the smallest one, unless told not to."""
    held = take_all(machine.page_alloc)

    assert machine.slab.kmalloc(size, GFP_KERNEL | __GFP_NOWARN) is None
    assert texts(machine) == []
    assert machine.slab.kmalloc(size) is None
    assert texts(machine)[0] == (
        f"swapper/0: page allocation failure: order:{order}, "
        "mode:0x40cc0(GFP_KERNEL|__GFP_COMP), nodemask=(null),cpuset=/,mems_allowed=0"
    )
    machine.page_alloc.free_frames(held)


def test_get_free_pages_fails_where_vmalloc_succeeds(machine: Machine) -> None:
    """The story: on fragmented RAM contiguous frames cannot be had, contiguous addresses can."""
    held = fragment(machine.page_alloc)

    for order in (1, 4, 10):
        assert machine.page_alloc.get_free_pages(GFP_KERNEL, order) is None
        address = machine.vm.vmalloc(P << order)
        assert address is not None
        machine.memory.write(address, bytes(P << order))
        machine.vm.vfree(address)
    machine.page_alloc.free_frames(held)


@pytest.mark.parametrize(("size", "count"), [(8, 1), (16, 256), (16, 257), (192, 1000), (P, 5)])
def test_alloc_runs_gives_enough_objects(machine: Machine, size: int, count: int) -> None:
    """There are as many objects as asked for, or the rest of a page more, each at its place."""
    runs = machine.slab.alloc_runs(size, count)

    assert runs is not None
    total = sum(run.nr_objects for run in runs)
    assert count <= total < count + P // size
    places = [run.object(i) for run in runs for i in range(run.nr_objects)]
    assert len(set(places)) == total
    assert all(place // P == (place + size - 1) // P for place in places)
    assert other_slabs(machine).objects == total
    machine.slab.free_runs(runs)
    assert other_slabs(machine) == (0, 0, 0)


def test_alloc_runs_of_a_million_is_a_few_blocks(
    make_machine: Callable[..., Machine],
) -> None:
    """A million objects are a handful of runs of the largest blocks, and no frame is touched."""
    machine = make_machine(256 * MIB)
    free = machine.page_alloc.nr_free

    runs = machine.slab.alloc_runs(32, 1_000_000)

    assert runs is not None
    assert len(runs) < 16
    assert free - machine.page_alloc.nr_free == -(-1_000_000 // 128)
    assert machine.page_alloc.statistics().dirty == 0
    machine.slab.free_runs(runs)
    assert machine.page_alloc.nr_free == free


def test_alloc_runs_without_memory_changes_nothing(machine: Machine) -> None:
    """More objects than RAM holds: None, at once, with the books as they were."""
    before = machine.page_alloc.statistics()

    assert machine.slab.alloc_runs(P, before.free + 1) is None

    assert machine.page_alloc.statistics() == before
    assert other_slabs(machine) == (0, 0, 0)


def test_alloc_runs_uses_fragmented_ram(machine: Machine) -> None:
    """Single frames serve where no block is left, down to the last one."""
    held = fragment(machine.page_alloc)
    free = machine.page_alloc.nr_available(GFP_KERNEL)

    assert machine.slab.alloc_runs(P, free + 1) is None
    runs = machine.slab.alloc_runs(P, free)

    assert runs is not None
    assert {run.order for run in runs} == {0}
    assert machine.page_alloc.nr_available(GFP_KERNEL) == 0
    machine.slab.free_runs(runs)
    machine.page_alloc.free_frames(held)


def test_alloc_runs_short_of_lowmem_changes_nothing(highmem: Machine) -> None:
    """Free high memory is no help: None, and what was taken on the way is given back."""
    free = highmem.page_alloc.nr_free

    assert highmem.slab.alloc_runs(P, 12 * MIB // P) is None

    assert highmem.page_alloc.nr_free == free
    assert other_slabs(highmem) == (0, 0, 0)


def test_free_runs_of_a_strange_run_is_a_bug(machine: Machine) -> None:
    """A run freed twice, or made up, is found."""
    runs = machine.slab.alloc_runs(64, 64)
    assert runs is not None
    machine.slab.free_runs(runs)

    with pytest.raises(KernelBug, match="not an allocated run"):
        machine.slab.free_runs(runs)
    with pytest.raises(KernelBug, match="not an allocated run"):
        machine.slab.free_runs([ObjectRun(machine.layout.page_offset, 0, 64)])


def test_free_runs_with_a_strange_run_among_them(machine: Machine) -> None:
    """Nothing is freed, so that the good runs can be given back afterwards."""
    runs = machine.slab.alloc_runs(192, 100_000)
    assert runs is not None
    before = books(machine)
    strange = ObjectRun(machine.layout.page_offset, 0, 64)

    with pytest.raises(KernelBug, match="not an allocated run"):
        machine.slab.free_runs([runs[0], strange])

    assert books(machine) == before
    machine.slab.free_runs(runs)


def test_kfree_of_a_bulk_object_is_a_bug(machine: Machine) -> None:
    """Objects of a run are freed with the run, not singly."""
    runs = machine.slab.alloc_runs(64, 64)
    assert runs is not None

    with pytest.raises(KernelBug, match="not an allocated object"):
        machine.slab.kfree(runs[0].object(3))
    machine.slab.free_runs(runs)


def test_kmalloc_reuses_what_was_freed(machine: Machine) -> None:
    """Random kmalloc and kfree keep the books, and end with some empty slabs a cache at most."""
    rng, live = Random(7), {}
    for step in range(4000):
        if rng.random() < 0.5 or not live:
            size = rng.choice([*KMALLOC_SIZES, 12000, 70000])
            address = machine.slab.kmalloc(size)
            assert address is not None
            assert address not in live
            live[address] = size if size <= 8192 else P << get_order(size)
        else:
            address = rng.choice(list(live))
            del live[address]
            machine.slab.kfree(address)
        if step % 200 == 0:
            machine.slab.check()
            found = other_slabs(machine)
            assert (found.objects, found.nbytes) == (len(live), sum(live.values()))
    for address in live:
        machine.slab.kfree(address)
    for cache in machine.slab.caches():
        kept = 1 + cache.cpu_partial_slabs + cache.min_partial
        assert cache.statistics().num_slabs <= kept
