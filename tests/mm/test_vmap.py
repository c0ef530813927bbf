"""The vmalloc address space: busy, lazily freed, pooled and free again."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from random import Random

import pytest

from scullvfs.mm import Machine
from scullvfs.mm.layout import LAYOUTS
from scullvfs.mm.ram import WORD_FORMAT
from scullvfs.mm.vm_struct import VmapArea, VmKind
from scullvfs.mm.vmap import MAX_VA_SIZE_PAGES, VmapSpace

from .helpers import ARCHS, MIB, P, linear_scan, lowest_match


class Space(VmapSpace):
    """An address space that counts its flushes; tests speak of pages from the window's start."""

    def __init__(self, arch: str = "x86_64", cpus: int = 1) -> None:
        machine = Machine(8 * MIB, arch)
        cache = machine.slab.kmem_cache_create("another vmap_area", 72)
        assert cache is not None
        vmap_areas = machine.slab.numbers(cache)
        super().__init__(LAYOUTS[arch], cpus, vmap_areas, machine.log, self.count_flush)
        self.start = LAYOUTS[arch].vmalloc_start
        self.flushes = 0

    def count_flush(self) -> None:
        self.flushes += 1

    def alloc(self, nr_pages: int, align: int = P) -> VmapArea:
        """An area at the address that `alloc_vmap_area()` gives, which must succeed."""
        given = self.alloc_vmap_area(nr_pages * P, align)
        assert given is not None
        start, va = given
        self.busy.add(start, VmKind(nr_pages * P), 0, va)
        return VmapArea(start, VmKind(nr_pages * P), 0)

    def free(self, area: VmapArea) -> None:
        """Free an area lazily."""
        popped = self.busy.pop(area.va_start)
        assert popped is not None
        assert popped[:3] == area
        self.free_vmap_area_noflush(area.va_start, area.kind.size, popped[3])

    def page(self, area: VmapArea) -> int:
        """Where an area starts."""
        return (area.va_start - self.start) // P


@pytest.mark.parametrize("arch", ARCHS)
def test_alloc_vmap_area_starts_at_the_window(arch: str) -> None:
    """The first area is at the window's start, the next one right behind it."""
    space = Space(arch)

    first, second = space.alloc(3), space.alloc(1)

    assert (first.va_start, first.va_end) == (space.start, space.start + 3 * P)
    assert space.page(second) == 3
    assert space.nr_busy_pages == 4
    space.check()


# pages:  0     2     4           8         ...
#         | A 2 |free | B    4    | free ...
# take 1: | A 2 |*|   | B    4    |
# take 3: | A 2 |*|   | B    4    |***|
def test_alloc_vmap_area_takes_the_lowest_that_fits() -> None:
    """Expect a small request in the gap, and one that does not fit there behind everything."""
    space = Space()
    space.alloc(2)
    gap = space.alloc(2)
    space.alloc(4)
    space.free(gap)
    space.purge_vmap_area_lazy()

    assert space.page(space.alloc(1)) == 2
    assert space.page(space.alloc(3)) == 8
    assert space.page(space.alloc(1)) == 3
    space.check()


# pages:  0     3         16              32
#         | A 3 |  free   | B  16 pages    |
# take 1: | A 3 |*|       | B              |
def test_alloc_vmap_area_aligns_and_keeps_what_it_skips() -> None:
    """Expect an aligned area at the next multiple, and the addresses before it still usable."""
    space = Space()
    space.alloc(3)

    aligned = space.alloc(16, align=16 * P)

    assert aligned.va_start % (16 * P) == 0
    assert space.page(aligned) == 16
    assert space.page(space.alloc(1)) == 3
    space.check()


def test_reserve() -> None:
    """Reserved addresses are passed over until they are freed, and nothing is mapped there."""
    machine = Machine(16 * MIB, panic_on_warn=True)
    space, start = machine.vmap_space, machine.layout.vmalloc_start
    space.reserve(start + P, start + 4 * P)
    assert machine.vm.vmalloc(P) == start + 4 * P
    machine.check()
    machine.vm.vunmap(start + P)
    machine.vm.vm_unmap_aliases()
    assert machine.vm.vmalloc(P) == start
    machine.check()


@pytest.mark.parametrize("arch", ARCHS)
def test_check_of_a_reserved_window(arch: str) -> None:
    """However large it is, a check ends, and it finds a page that is mapped there."""
    machine = Machine(16 * MIB, arch, panic_on_warn=True)
    layout = machine.layout
    machine.vmap_space.reserve(layout.vmalloc_start, layout.vmalloc_end)
    machine.check()
    entry = array(WORD_FORMAT[layout.pointer_size], [layout.page_kernel | 3 * P])
    assert machine.pgtable.map_pages(layout.vmalloc_end - 2 * P, entry)
    with pytest.raises(AssertionError, match="a page is mapped that nobody uses"):
        machine.check()


@pytest.mark.parametrize(
    ("start", "end"), [(0, 0), (0, -1), (1, 2), (-1, 1), (2, 4), (3, 5), (1 << 60, (1 << 60) + 1)]
)
def test_reserve_refuses(start: int, end: int) -> None:
    """What is no range, outside of the window or in use; nothing is taken."""
    space = Space()
    space.reserve(space.start + 3 * P, space.start + 4 * P)
    offset = P // 2 if (start, end) == (1, 2) else 0
    with pytest.raises(ValueError, match=r"pages|free"):
        space.reserve(space.start + start * P + offset, space.start + end * P)
    assert len(space.busy) == 1
    space.check()


# pages:  0     2
#         |lazy | free ...
# take 2: |lazy |***|
def test_free_vmap_area_noflush_does_not_reuse_addresses() -> None:
    """Expect freed addresses to stay out of use until a purge, and to be first then."""
    space = Space()
    space.free(space.alloc(2))

    assert space.page(space.alloc(2)) == 2
    assert space.nr_lazy_pages == 2
    assert space.flushes == 0

    space.purge_vmap_area_lazy()

    assert space.page(space.alloc(2)) == 0
    assert (space.nr_lazy_pages, space.lazy, space.flushes, space.purges) == (0, [], 1, 1)


@pytest.mark.parametrize(("cpus", "fls"), [(1, 1), (2, 2), (3, 2), (4, 3), (8, 4), (255, 8)])
def test_lazy_max_pages_is_fls_of_the_cpus(cpus: int, fls: int) -> None:
    """fls(cpus) * 32 MiB may wait."""
    assert Space(cpus=cpus).lazy_max_pages * P == fls * 32 * MIB


@pytest.mark.parametrize("cpus", [1, 2, 4])
def test_free_vmap_area_noflush_purges_above_the_limit(cpus: int) -> None:
    """Exactly the limit waits; one page more, and everything is purged by who comes next."""
    space = Space(cpus=cpus)
    areas = [space.alloc(space.lazy_max_pages // 4) for _ in range(4)]
    last = space.alloc(1)
    for area in areas:
        space.free(area)
    assert space.nr_lazy_pages == space.lazy_max_pages
    assert space.purges == 0

    space.free(last)

    assert (space.purges, space.nr_lazy_pages) == (0, space.lazy_max_pages + 1)
    space.check()
    space.free(space.alloc(1))
    assert space.purges == space.flushes == 1
    assert space.nr_lazy_pages == 1
    space.check()


def test_a_free_does_not_join_the_purge_that_waits() -> None:
    """What is freed behind the limit waits for the next purge: this one comes before it."""
    space = Space()
    areas = [space.alloc(space.lazy_max_pages), space.alloc(1), space.alloc(2)]

    for area in areas:
        space.free(area)

    assert space.purges == 1
    assert [(start, end) for start, end, _ in space.lazy] == [(areas[2].va_start, areas[2].va_end)]
    space.check()


def test_scheduled_purge_is_done_once() -> None:
    """Whoever does it, the workqueue or the next call, there is nothing left for the other."""
    scheduled: list[Callable[[], None]] = []
    space = Space()
    space._schedule_work = scheduled.append
    areas = [space.alloc(space.lazy_max_pages + 1) for _ in range(2)]
    space.free(areas[0])
    assert (len(scheduled), space.purges) == (1, 0)
    space.alloc(1)
    scheduled.pop()()
    assert space.purges == 1
    space.free(areas[1])
    scheduled.pop()()
    space.alloc(1)
    assert space.purges == 2


# window: |<--------------------------- 128 MiB --------------------------->|
#         | 32 MiB lazy | 64 MiB busy            | 32 MiB free             |
def test_alloc_vmap_area_purges_when_nothing_else_fits() -> None:
    """Expect lazily freed addresses to be purged and used as soon as no others are left."""
    space = Space("i386")
    quarter = space.lazy_max_pages
    low = space.alloc(quarter)
    space.alloc(2 * quarter)
    space.free(low)
    assert space.page(space.alloc(quarter)) == 3 * quarter

    again = space.alloc(quarter)

    assert space.page(again) == 0
    assert space.purges == 1


def test_alloc_vmap_area_without_addresses_is_none() -> None:
    """When even a purge leaves nothing that fits there is no area; the books stay."""
    space = Space("i386")
    half = LAYOUTS["i386"].vmalloc_pages // 2
    first = space.alloc(half)
    space.alloc(half - 1)

    assert space.alloc_vmap_area(2 * P) is None
    assert space.largest_free == P
    assert space.page(space.alloc(1)) == 2 * half - 1
    assert space.alloc_vmap_area(P) is None
    assert len(space.busy) == 3
    space.check()
    space.free(first)
    assert space.page(space.alloc(half)) == 0


# pages, cpus=2:  0     3     6     9
#                 |poolA|poolB|  C  | free ...
# take 2:         |poolA|poolB|  C  |**|       not from the pool of 3
# take 3:         |poolA|*****|  C  |**|       the area freed last
def test_pool_serves_its_size_only() -> None:
    """Expect purged small areas to serve requests of just their size, the last one first."""
    space = Space(cpus=2)
    first, second, _ = space.alloc(3), space.alloc(3), space.alloc(3)
    space.free(first)
    space.free(second)
    space.purge_vmap_area_lazy()
    space.check()

    assert space.page(space.alloc(2)) == 9
    assert space.alloc(3) == second
    assert space.page(space.alloc(3)) == 0
    assert space.page(space.alloc(3)) == 11
    space.check()


def test_pool_does_not_exist_with_one_cpu() -> None:
    """With cpus=1 purged addresses are free for any size at once."""
    space = Space(cpus=1)
    area = space.alloc(3)
    space.alloc(3)
    space.free(area)
    space.purge_vmap_area_lazy()

    assert space.page(space.alloc(2)) == 0


def test_pool_area_of_the_wrong_alignment_is_not_used() -> None:
    """A pool's area that is not aligned as wanted is left there."""
    space = Space(cpus=2)
    space.alloc(1)
    area = space.alloc(2)
    space.free(area)
    space.purge_vmap_area_lazy()

    assert space.page(space.alloc(2, align=4 * P)) == 4
    assert space.alloc(2) == area


def test_pool_takes_no_large_area() -> None:
    """Above 256 pages addresses go back to the free ones, with several CPUs too."""
    assert MAX_VA_SIZE_PAGES == 256
    space = Space(cpus=2)
    small, large = space.alloc(MAX_VA_SIZE_PAGES), space.alloc(MAX_VA_SIZE_PAGES + 1)
    space.alloc(1)
    for area in (small, large):
        space.free(area)
    space.purge_vmap_area_lazy()

    assert space.page(space.alloc(1)) == MAX_VA_SIZE_PAGES
    assert space.alloc(MAX_VA_SIZE_PAGES) == small


def test_pool_decays_by_a_quarter_at_each_purge() -> None:
    """Each purge gives a quarter of a pool back, a full one everything."""
    space = Space(cpus=2)
    areas = [space.alloc(1) for _ in range(64)]
    space.alloc(1)
    for area in areas:
        space.free(area)
    top = space.largest_free
    space.purge_vmap_area_lazy()
    space.purge_vmap_area_lazy()
    # The last 16 that were freed are free, the other 48 in the pool.
    assert space.page(space.alloc(16)) == 48
    assert space.page(space.alloc(2)) == 65

    space.purge_vmap_area_lazy(full_pool_decay=True)

    assert space.page(space.alloc(48)) == 0
    assert space.largest_free == top - 2 * P
    space.check()


def test_pool_serves_the_highest_first() -> None:
    """In whatever order they were freed: a purge goes by address, and the last one is the next."""
    space = Space(cpus=2)
    areas = [space.alloc(2) for _ in range(5)]
    for area in (areas[1], areas[3], areas[0]):
        space.free(area)
    space.purge_vmap_area_lazy()

    assert [space.alloc(2) for _ in range(3)] == [areas[3], areas[1], areas[0]]


# pages, cpus=2:  0 . 1     3     5        pool of 2: 3, 1
# take 2, align 4:                         3 does not do, and goes behind the other; free ones do
# take 2:                                  1
def test_pool_passes_a_misaligned_one_over() -> None:
    """Only the first one of a pool is looked at; if it does not do, the next one comes first."""
    space = Space(cpus=2)
    space.alloc(1)
    areas = [space.alloc(2) for _ in range(2)]
    for area in areas:
        space.free(area)
    space.purge_vmap_area_lazy()

    assert space.page(space.alloc(2, align=4 * P)) == 8
    assert [space.page(space.alloc(2)) for _ in range(2)] == [1, 3]


def test_pool_of_less_than_four_is_emptied() -> None:
    """A quarter of three is none; it takes all then, as the kernel's count goes below zero."""
    space = Space(cpus=2)
    areas = [space.alloc(2) for _ in range(3)]
    space.alloc(1)
    for area in areas:
        space.free(area)
    space.purge_vmap_area_lazy()
    assert space.page(space.alloc(1)) == 7
    space.purge_vmap_area_lazy()

    assert space.page(space.alloc(6)) == 0


def test_i386_has_no_pools() -> None:
    """With however many CPUs, 32 bits have one node, which uses none."""
    space = Space("i386", cpus=4)
    area = space.alloc(3)
    space.free(area)
    space.purge_vmap_area_lazy()

    assert space.page(space.alloc(2)) == 0


def test_pool_is_emptied_when_addresses_run_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pooled addresses are used for another size when nothing else is left."""
    small = LAYOUTS["x86_64"]._replace(vmalloc_end=LAYOUTS["x86_64"].vmalloc_start + (128 << 20))
    monkeypatch.setitem(LAYOUTS, "x86_64", small)
    space = Space(cpus=2)
    pages = small.vmalloc_pages
    areas = [space.alloc(256) for _ in range(16)]
    space.alloc(pages - 16 * 256)
    for area in areas:
        space.free(area)
    space.purge_vmap_area_lazy()
    assert space.largest_free == 0

    assert space.page(space.alloc(300)) == 0
    space.check()


def test_find_knows_every_address_of_an_area() -> None:
    """The first byte, one in the middle and the last one find it; lazily freed ones nothing."""
    space = Space()
    first, second = space.alloc(3), space.alloc(2)

    assert space.busy.find(first.va_start) == first
    assert space.busy.find(first.va_start + P + 5) == first
    assert space.busy.find(first.va_end - 1) == first
    assert space.busy.find(first.va_end) == second
    assert space.busy.find(second.va_end) is None
    assert space.busy.find(space.start - 1) is None
    space.free(first)
    assert space.busy.find(first.va_start) is None


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("seed", range(3))
def test_alloc_vmap_area_equals_the_oracle(arch: str, seed: int) -> None:
    """Random work with lazy frees and purges: each address is the oracle's, each purge too."""
    rng, space = Random(seed), Space(arch)
    layout = LAYOUTS[arch]
    window = layout.vmalloc_start, layout.vmalloc_end
    busy: dict[int, VmapArea] = {}
    lazy: dict[int, int] = {}
    purges = 0
    for step in range(1200):
        if sum(end - start for start, end in lazy.items()) > space.lazy_max_pages * P:
            lazy.clear()  # passed by the last free, purged by who comes next
            purges += 1
        if rng.random() < 0.55 or not busy:
            nr_pages = rng.choice([1, 2, 3, 17, 17, 65, 257, 1025, 2000])
            align = P << rng.choice([0, 0, 0, 0, 3, 8, 10])
            size = nr_pages * P
            taken = [(area.va_start, area.va_end) for area in busy.values()]
            expected = lowest_match([*taken, *lazy.items()], window, size, align)
            if linear_scan([*taken, *lazy.items()], window, size, align) is None:
                lazy.clear()
                purges += 1
                expected = lowest_match(taken, window, size, align)
            given = space.alloc_vmap_area(size, align)
            start, va = given or (None, 0)
            if space.purges > purges:  # of those that lie well it has come by none
                assert align > P
                lazy.clear()
                purges += 1
            if align == P:
                assert start == expected
            elif expected is not None:  # or lower, where it lies well
                assert start is not None
                assert start <= expected
            if start is not None:
                assert start % align == 0
                assert linear_scan([*taken, *lazy.items()], (start, start + size), size, P) == start
            if start is not None:
                space.busy.add(start, VmKind(size), 0, va)
                busy[start] = VmapArea(start, VmKind(size), 0)
        else:
            area = busy.pop(rng.choice(list(busy)))
            space.free(area)
            lazy[area.va_start] = area.va_end
        assert space.purges == purges
        assert space.nr_lazy_pages * P == sum(end - start for start, end in lazy.items())
        if step % 60 == 0:
            space.check()
            assert space.nr_busy_pages == sum(area.kind.size for area in busy.values()) // P
    assert purges
