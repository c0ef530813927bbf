"""Caches: their sizes, which object comes next, which slabs are kept, and the end of a cache."""

from __future__ import annotations

from itertools import pairwise

import pytest

from scullvfs.mm import KernelBug
from scullvfs.mm.gfp import __GFP_ZERO, GFP_KERNEL
from scullvfs.mm.machine import Machine
from scullvfs.mm.slab_order import SLAB_HWCACHE_ALIGN, calculate_order
from scullvfs.mm.slub import KmemCache, SlabPage

from .helpers import MIB, P, fragment, other_slabs, take_all, texts


def create(
    machine: Machine, size: int, name: str = "things", align: int = 0, flags: int = 0
) -> KmemCache:
    """A cache, which there has to be."""
    cache = machine.slab.kmem_cache_create(name, size, align, flags)
    assert cache is not None
    return cache


def alloc(machine: Machine, cache: KmemCache, count: int) -> list[int]:
    """So many objects, which there have to be."""
    objects = [machine.slab.kmem_cache_alloc(cache) for _ in range(count)]
    return [address for address in objects if address is not None]


def free(machine: Machine, cache: KmemCache, objects: list[int]) -> None:
    """Free them all, the first one first."""
    for address in objects:
        machine.slab.kmem_cache_free(cache, address)


def slabs(cache: KmemCache) -> tuple[int, int, int]:
    """How many slabs it has, how many on the cpu's partial list, how many on the node's."""
    return cache.nr_slabs, len(cache.partial), len(cache.node)


@pytest.mark.parametrize("size", [8, 192, 4096])
def test_the_last_one_freed_comes_first(machine: Machine, size: int) -> None:
    """One, and several of the cpu's slab, come back in the reverse order of their freeing."""
    cache = create(machine, size)
    objects = alloc(machine, cache, 5)
    free(machine, cache, objects)
    assert alloc(machine, cache, 5) == objects[::-1]
    free(machine, cache, objects)


def test_kmalloc_gives_what_was_freed_last(machine: Machine) -> None:
    """Of any size that takes the same cache."""
    first, second = machine.slab.kmalloc(100), machine.slab.kmalloc(100)
    machine.slab.kfree(first)
    assert machine.slab.kmalloc(128) == first
    machine.slab.kfree(second)
    assert machine.slab.kzalloc(97) == second


def test_a_new_slab_is_used_in_rising_order(machine: Machine) -> None:
    """Object by object, each behind the other."""
    objects = alloc(machine, create(machine, 192), 21)
    assert [b - a for a, b in pairwise(objects)] == [192] * 20


def test_a_full_slab_that_gets_an_object_back_waits_for_its_turn(machine: Machine) -> None:
    """The cpu's slab is used up first, then the one that was freed into last."""
    cache = create(machine, 1024)  # eight in two frames
    objects = alloc(machine, cache, 17)
    free(machine, cache, [objects[0], objects[9], objects[8]])
    assert slabs(cache) == (3, 2, 0)

    again = alloc(machine, cache, 11)

    assert again[:7] == [objects[16] + 1024 * n for n in range(1, 8)]
    assert again[7:10] == [objects[8], objects[9], objects[0]]
    assert again[10] not in objects


def test_a_long_list_of_the_cpu_goes_to_the_node(machine: Machine) -> None:
    """With one more than `cpu_partial_slabs` all but the last one go."""
    cache = create(machine, 1024)
    assert cache.cpu_partial_slabs == 6
    objects = alloc(machine, cache, 8 * 8 + 1)
    free(machine, cache, objects[0 : 6 * 8 : 8])
    assert slabs(cache) == (9, 6, 0)
    free(machine, cache, objects[6 * 8 : 6 * 8 + 1])
    assert slabs(cache) == (9, 1, 6)
    assert cache.statistics().active_objs == 9 * 8 - 6, "free objects are seen on the node's list"

    alloc(machine, cache, 7)  # what is left of the cpu's slab
    assert alloc(machine, cache, 1) == [objects[6 * 8]]
    assert alloc(machine, cache, 1) == [objects[5 * 8]], "the first one of the node's list"
    assert slabs(cache) == (9, 4, 1), "and four more are fetched with it"


def test_empty_slabs_are_kept_up_to_min_partial(machine: Machine) -> None:
    """What is free again goes back but for those of the cpu and `min_partial` more."""
    cache = create(machine, 4096)
    objects = alloc(machine, cache, 8 * 40)
    frames = machine.page_alloc.nr_free
    free(machine, cache, objects)

    kept = 1 + cache.cpu_partial_slabs + cache.min_partial
    assert (cache.cpu_partial_slabs, cache.min_partial) == (2, 6)
    assert cache.nr_slabs <= kept
    assert machine.page_alloc.nr_free == frames + (40 - cache.nr_slabs) * 8
    machine.slab.check()


@pytest.mark.parametrize(
    ("size", "min_partial", "cpu_partial", "slabs_of_cpu"),
    [(8, 5, 120, 1), (192, 5, 120, 12), (256, 5, 52, 7), (4032, 5, 24, 6), (8192, 6, 6, 3)],
)
def test_how_many_slabs_are_kept(
    machine: Machine, size: int, min_partial: int, cpu_partial: int, slabs_of_cpu: int
) -> None:
    """It follows from the size of an object (that of 4032 bytes was seen on a real kernel)."""
    cache = create(machine, size)
    assert (cache.min_partial, cache.cpu_partial) == (min_partial, cpu_partial)
    assert cache.cpu_partial_slabs == slabs_of_cpu


@pytest.mark.parametrize(
    ("size", "align", "flags", "expected"),
    [
        (1, 0, 0, 8),
        (4001, 0, 0, 4008),
        (4000, 0, SLAB_HWCACHE_ALIGN, 4032),
        (33, 0, SLAB_HWCACHE_ALIGN, 64),
        (32, 0, SLAB_HWCACHE_ALIGN, 32),
        (17, 0, SLAB_HWCACHE_ALIGN, 32),
        (257, 256, 0, 512),
    ],
)
def test_objects_are_aligned(
    machine: Machine, size: int, align: int, flags: int, expected: int
) -> None:
    """To a pointer, a cache line or a fraction of one, or what is asked for."""
    cache = create(machine, size, align=align, flags=flags)
    assert cache.size == expected
    assert cache.object_size == size
    assert {address % cache.align for address in alloc(machine, cache, 5)} == {0}


def test_slabs_are_larger_with_more_cpus() -> None:
    """At least 8 objects with one CPU, 12 with two, 16 with four."""
    assert [calculate_order(400, cpus) for cpus in (1, 2, 4)] == [0, 1, 1]
    assert [calculate_order(256, cpus) for cpus in (1, 4, 64)] == [0, 0, 1]


def test_a_cache_in_the_books(machine: Machine) -> None:
    """Its line tells of it, the newest is the first, and its frames are slabs'."""
    cache = create(machine, 4000, "scullc", flags=SLAB_HWCACHE_ALIGN)
    before = other_slabs(machine)
    objects = alloc(machine, cache, 24)

    assert machine.slab.caches()[0] is cache
    assert cache.statistics() == ("scullc", 24, 24, 4032, 8, 8, 3, 3)
    pages, number, nbytes = other_slabs(machine)
    assert (pages, number, nbytes) == (before.pages + 24, 24, 24 * 4032)
    free(machine, cache, objects)
    assert "scullc" in repr(cache)


def test_an_object_filled_with_zeros(machine: Machine) -> None:
    """A used one comes back cleared, by the name or by the flag."""
    cache = create(machine, 100)
    address = alloc(machine, cache, 1)[0]
    for by_flag in (False, True):
        machine.memory.memset(address, 0xFF, 100)
        machine.slab.kmem_cache_free(cache, address)
        if by_flag:
            assert machine.slab.kmem_cache_alloc(cache, GFP_KERNEL | __GFP_ZERO) == address
        else:
            assert machine.slab.kmem_cache_zalloc(cache) == address
        assert bytes(machine.memory.read(address, 100)) == bytes(100)


def test_no_such_cache(machine: Machine) -> None:
    """Without a name, of no size, of more than kmalloc gives."""
    slab = machine.slab
    before = slab.caches()
    for name, size in (("", 8), ("none", 0), ("large", 4 * MIB + 1)):
        assert slab.kmem_cache_create(name, size) is None
    assert slab.caches() == before


def test_without_memory_an_object_is_none(machine: Machine) -> None:
    """With single frames left, slabs are as small as they can be; then there is none."""
    cache, large = create(machine, 1024), create(machine, 5000)
    held = fragment(machine.page_alloc)
    assert machine.slab.kmem_cache_alloc(large) is None
    objects = alloc(machine, cache, 5)
    assert slabs(cache) == (2, 0, 0)
    rest = take_all(machine.page_alloc)
    assert alloc(machine, cache, 4) != []
    assert machine.slab.kmem_cache_alloc(cache) is None
    machine.slab.check()
    machine.page_alloc.free_frames(held)
    machine.page_alloc.free_frames(rest)
    free(machine, cache, objects)


def test_shrink(machine: Machine) -> None:
    """No empty slab is left, and the books have as many objects as are in use."""
    cache = create(machine, 512)
    objects = alloc(machine, cache, 20 * cache.objects + 1)
    kept = objects[:: 3 * cache.objects]
    free(machine, cache, [address for address in objects if address not in kept])
    machine.slab.kmem_cache_shrink(cache)
    assert (cache.nr_slabs, cache.cpu.objects, cache.partial) == (len(kept), 0, [])
    assert cache.statistics().active_objs == cache.nr_used == len(kept)
    machine.check()
    more = alloc(machine, cache, 3 * cache.objects)
    assert not {*more} & {*kept}
    free(machine, cache, more + kept)
    machine.slab.kmem_cache_shrink(cache)
    assert (cache.nr_slabs, cache.statistics().active_objs) == (0, 0)


def test_destroy(machine: Machine) -> None:
    """Every frame goes back, and the cache is of no use any more."""
    frames = machine.page_alloc.nr_free
    cache = create(machine, 512)
    free(machine, cache, alloc(machine, cache, 200))
    machine.slab.kmem_cache_destroy(cache)

    assert machine.page_alloc.nr_free == frames
    assert cache not in machine.slab.caches()
    with pytest.raises(KernelBug, match="destroyed"):
        machine.slab.kmem_cache_alloc(cache)
    with pytest.raises(KernelBug, match="no cache"):
        machine.slab.kmem_cache_destroy(cache)
    machine.slab.kmem_cache_destroy(None)
    with pytest.raises(KernelBug, match="no cache"):
        machine.slab.kmem_cache_destroy(machine.slab.caches()[-1])


def test_destroy_with_objects_left(lenient: Machine) -> None:
    """The log tells which, and their memory is lost; they can still be freed."""
    cache = create(lenient, 512, "leaky")
    objects = alloc(lenient, cache, 20)
    free(lenient, cache, objects[:15])
    lenient.slab.kmem_cache_destroy(cache)

    said = "\n".join(texts(lenient))
    assert "BUG leaky (Not tainted): Objects remaining in leaky on __kmem_cache_shutdown()" in said
    assert f"Object 0x{objects[17]:x} @offset={17 % 8 * 512}" in said
    assert "kmem_cache_destroy leaky: Slab cache still has objects" in said
    assert cache not in lenient.slab.caches()
    assert other_slabs(lenient).objects == 5
    lenient.slab.check()
    free(lenient, cache, objects[15:])
    assert other_slabs(lenient).objects == 0


def test_empty_slabs_are_freed_from_the_last_one_on(machine: Machine) -> None:
    """Of many that go at once, the one that was found last goes first, as from a stack."""
    cache = create(machine, 4096, "large")
    objects = alloc(machine, cache, 200)
    free(machine, cache, objects)
    freed: list[int] = []
    empty = [page.address for page in cache.node if not page.inuse]
    assert len(empty) > 1

    def discard(page: SlabPage) -> None:
        freed.append(page.address)
        machine.slab._discard_slab(page)

    cache.free_partial(discard)
    assert freed == empty[::-1]


def test_an_object_of_another_cache(lenient: Machine) -> None:
    """It goes back where it belongs, and the log says so."""
    one, other = create(lenient, 64, "one"), create(lenient, 64, "other")
    address = alloc(lenient, one, 1)[0]
    lenient.slab.kmem_cache_free(other, address)
    assert "cache_from_obj: Wrong slab cache. other but object is from one" in texts(lenient)
    assert alloc(lenient, one, 1) == [address]


def test_runs_count_for_their_cache(machine: Machine) -> None:
    """Objects that are taken by the page are in the line of their cache."""
    cache = next(c for c in machine.slab.caches() if c.name == "kmalloc-192")
    runs = machine.slab.alloc_runs(192, 1000)
    assert runs is not None
    found = cache.statistics()
    assert (found.num_objs, found.num_slabs) == (48 * 21, 48)
    assert found.active_objs == found.num_objs
    machine.slab.free_runs(runs)
    assert cache.statistics().num_objs == 0


def test_a_page_of_one_object_each(machine: Machine) -> None:
    """The largest objects fill a slab alone; freed, it is full no more and empty at once."""
    cache = create(machine, 9 * P)
    assert cache.objects == 1
    objects = alloc(machine, cache, 20)
    free(machine, cache, objects)
    machine.slab.check()
    assert cache.nr_used == 0
