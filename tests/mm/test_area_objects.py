"""What areas take of slab memory: a vm_struct, and a vmap_area that goes with their addresses."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator

import pytest

from scullvfs.mm import KernelBug, PageFault
from scullvfs.mm.gfp import GFP_HIGHUSER, GFP_KERNEL
from scullvfs.mm.machine import Machine
from scullvfs.mm.ratelimit import RatelimitState
from scullvfs.mm.slub import KmemCache
from scullvfs.mm.vm_struct import VA_MASK, VM_SHIFT

from .helpers import ARCHS, MIB, P, books, take_all, texts

REGISTERS = 0xFEB0_0000


def caches(machine: Machine) -> tuple[KmemCache, KmemCache]:
    """That of the vm_structs, and that of the vmap_areas."""
    by_name = {cache.name: cache for cache in machine.slab.caches()}
    vm_struct = "kmalloc-64" if machine.layout.name == "i386" else "kmalloc-96"
    return by_name[vm_struct], by_name["vmap_area"]


def used(machine: Machine) -> tuple[int, int]:
    """How many objects of each there are."""
    vm_structs, vmap_areas = caches(machine)
    return vm_structs.nr_used, vmap_areas.nr_used


@pytest.fixture
def frames(machine: Machine) -> Iterator[array[int]]:
    """Some frames to map, of `machine`."""
    frames = machine.page_alloc.alloc_pages_bulk(GFP_HIGHUSER, 100)
    assert frames is not None
    machine.holders.append(lambda: set(frames))
    yield frames
    machine.holders.clear()
    machine.page_alloc.free_frames(frames)


@pytest.mark.parametrize("arch", ARCHS)
def test_a_fresh_machine_has_one_vmap_area(make_machine: Callable[..., Machine], arch: str) -> None:
    """For all addresses, which are free; the first vmalloc() splits that range.

    Expect a vm_struct, a vmap_area and one more for the range below, in this order, as recorded
    (text/trace_all_write.txt), and for the next one just one of each and one in reserve.
    """
    machine = make_machine(arch=arch)
    vm_structs, _ = used(machine)
    assert used(machine) == (vm_structs, 1)

    assert machine.vm.vmalloc(P) is not None
    assert used(machine) == (vm_structs + 1, 3)
    assert machine.vm.vmalloc(P) is not None
    assert used(machine) == (vm_structs + 2, 5)
    assert machine.vm.vmalloc(P) is not None
    assert used(machine) == (vm_structs + 3, 6)


@pytest.mark.parametrize(
    ("arch", "vm_struct", "vmap_area", "objects"),
    [("x86_64", 96, 72, 56), ("i386", 64, 40, 102), ("arm64", 96, 72, 56)],
)
def test_their_caches(
    make_machine: Callable[..., Machine], arch: str, vm_struct: int, vmap_area: int, objects: int
) -> None:
    """The vmap_areas have their own cache, of pages; x86_64's sizes are recorded."""
    vm_structs, vmap_areas = caches(make_machine(arch=arch))
    assert vm_structs.size == vm_struct
    assert (vmap_areas.size, vmap_areas.objects, vmap_areas.order) == (vmap_area, objects, 0)


@pytest.mark.parametrize(
    ("kind", "vm_structs"),
    [("vmalloc", 1), ("vmap", 1), ("ioremap", 1), ("vm_map_ram", 0), ("reserve", 0)],
)
def test_what_an_area_takes_and_gives_back(
    machine: Machine, frames: array[int], kind: str, vm_structs: int
) -> None:
    """The vm_struct goes with the area, the vmap_area when its addresses are purged."""
    vm, space = machine.vm, machine.vmap_space
    hold = [vm.vmalloc(P) for _ in range(3)]  # one is in reserve, and nothing free lies before
    where = machine.layout.vmalloc_start + (1 << 20)

    def reserve() -> int:
        space.reserve(where, where + 2 * P)
        return where

    make: dict[str, tuple[Callable[[], int | None], Callable[[int], None]]] = {
        "vmalloc": (lambda: vm.vmalloc(100 * P), vm.vfree),
        "vmap": (lambda: vm.vmap(frames), vm.vunmap),
        "ioremap": (lambda: vm.ioremap(REGISTERS, P), vm.iounmap),
        "vm_map_ram": (lambda: vm.vm_map_ram(frames), lambda at: vm.vm_unmap_ram(at, 100)),
        "reserve": (reserve, vm.vunmap),
    }
    allocate, free = make[kind]
    before = used(machine)
    splits = kind == "reserve"  # what was in reserve is a range's now, which is no more at the end

    address = allocate()
    assert address is not None
    assert used(machine) == (before[0] + vm_structs, before[1] + 1)
    machine.check()
    free(address)
    assert used(machine) == (before[0], before[1] + 1)
    vm.vm_unmap_aliases()

    assert used(machine) == (before[0], before[1] - splits)
    for each in hold:
        vm.vfree(each)


# free:  | low |                                        | high ...
# areas:       |  a  |  b  |  c  |  d  |
def test_ranges_that_are_joined_have_one(machine: Machine) -> None:
    """Expect one more for each hole, none more for what touches a hole, one less when two join."""
    vm = machine.vm
    areas = [vm.vmalloc(P) for _ in range(4)]
    busy = used(machine)[1]

    def free(number: int) -> int:
        vm.vfree(areas[number])
        vm.vm_unmap_aliases()
        machine.check()
        return used(machine)[1] - busy

    assert free(1) == 0, "it is the hole's now"
    assert free(2) == -1, "joined with that hole"
    assert free(0) == -3, "with the hole, and that with the range below"
    assert free(3) == -5, "and all is one"


def test_a_hole_that_is_filled_has_none(machine: Machine) -> None:
    """The area takes one, and that of the hole is freed."""
    areas = [machine.vm.vmalloc(P) for _ in range(4)]
    machine.vm.vfree(areas[1])
    machine.vm.vm_unmap_aliases()
    before = used(machine)
    assert machine.vm.vmalloc(P) == areas[1]
    assert used(machine) == (before[0] + 1, before[1])
    machine.check()


def test_a_block_has_no_vm_struct(machine: Machine, frames: array[int]) -> None:
    """vm_map_ram()'s blocks are a vmap_area and a vmap_block each, however many are mapped."""
    hold = machine.vm.ioremap(REGISTERS, P), machine.vm.ioremap(REGISTERS, P)
    before, objects = used(machine), machine.slab.statistics().objects
    first = machine.vm.vm_map_ram(frames[:2])
    after = used(machine)
    assert after[0] == before[0]
    assert machine.slab.statistics().objects == objects + (after[1] - before[1]) + 1
    second = machine.vm.vm_map_ram(frames[2:4])
    assert used(machine) == after
    for address in (first, second):
        assert address is not None
        machine.vm.vm_unmap_ram(address, 2)
    for register in hold:
        assert register is not None
        machine.vm.iounmap(register)


@pytest.mark.parametrize("cpus", [1, 2])
def test_a_pool_keeps_them(make_machine: Callable[..., Machine], cpus: int) -> None:
    """What is in a pool of a node comes with the vmap_area that it had."""
    machine = make_machine(cpus=cpus)
    areas = [machine.vm.vmalloc(P) for _ in range(8)]
    before = used(machine)[1]
    for address in areas[:4]:
        machine.vm.vfree(address)
    machine.vm.vm_unmap_aliases()
    assert used(machine)[1] == (before if cpus == 2 else before - 4)
    again = machine.vm.vmalloc(P)
    assert again == (areas[3] if cpus == 2 else areas[0])
    machine.check()


# -- no memory -----------------------------------------------------------------------------


def exhaust(machine: Machine, cache: KmemCache) -> list[int]:
    """Take all objects of a cache that there are without a frame more."""
    objects = []
    while (address := machine.slab.kmem_cache_alloc(cache)) is not None:
        objects.append(address)
    return objects


@pytest.fixture
def starved(lenient: Machine) -> Iterator[tuple[Machine, list[int], list[int]]]:
    """A machine that has no frame for a slab, and no object of either cache: these are returned."""
    machine = lenient
    machine.log.nopage = RatelimitState(0, 1)
    hold = [machine.vm.ioremap(REGISTERS, P) for _ in range(2)]
    held = take_all(machine.page_alloc)
    vm_structs, vmap_areas = (exhaust(machine, cache) for cache in caches(machine))
    yield machine, vm_structs, vmap_areas
    machine.page_alloc.free_frames(held)
    for address in (*vm_structs, *vmap_areas):
        machine.slab.kfree(address)
    for register in hold:
        assert register is not None
        machine.vm.iounmap(register)


def test_vmalloc_without_a_vm_struct(starved: tuple[Machine, list[int], list[int]]) -> None:
    """NULL, and the log says why; nothing is taken."""
    machine, _, vmap_areas = starved
    machine.slab.kfree(vmap_areas.pop())
    before = books(machine)

    assert machine.vm.vmalloc(P) is None

    assert books(machine) == before
    failed = next(text for text in texts(machine) if "vmalloc error" in text)
    assert failed.startswith(
        "swapper/0: vmalloc error: size 4096, vm_struct allocation failed, "
        "mode:0xcc0(GFP_KERNEL), nodemask=(null)"
    )
    assert not any("restricted" in text for text in texts(machine))
    assert machine.vm.vmap([5]) is None
    assert machine.vm.ioremap(REGISTERS, P) is None
    assert books(machine) == before


def test_vmalloc_without_a_vmap_area(starved: tuple[Machine, list[int], list[int]]) -> None:
    """As without a vm_struct, which is freed again: the same object is the next one given."""
    machine, vm_structs, _ = starved
    address = vm_structs.pop()
    machine.slab.kfree(address)
    before = books(machine)

    assert machine.vm.vmalloc(P) is None
    assert any("vm_struct allocation failed" in text for text in texts(machine))
    assert machine.vm.vmap([5]) is None
    assert machine.vm.ioremap(REGISTERS, P) is None
    assert machine.vm.vm_map_ram([5] * 100) is None
    assert machine.vm.vm_map_ram([5]) is None
    assert books(machine) == before

    vm_structs.append(machine.slab.kmalloc(machine.layout.vm_struct_size) or 0)
    assert vm_structs[-1] == address


def test_ioremap_takes_the_last_objects(starved: tuple[Machine, list[int], list[int]]) -> None:
    """With one of each there is one area, which is mapped without a frame."""
    machine, vm_structs, vmap_areas = starved
    for objects in (vm_structs, vmap_areas):
        machine.slab.kfree(objects.pop())
    address = machine.vm.ioremap(REGISTERS, P)
    assert address is not None
    assert machine.vm.ioremap(REGISTERS, P) is None
    machine.vm.iounmap(address)


# pages:   0      4          64            129             512             an aligned area leaves
#          | taken |  free    |  first      | free          | second       something on both sides
def test_a_range_that_cannot_be_split(starved: tuple[Machine, list[int], list[int]]) -> None:
    """Without a vmap_area for the other part it is a warning, once, and there are no addresses."""
    machine, vm_structs, vmap_areas = starved
    for objects in (vm_structs, vmap_areas):
        machine.slab.kfree(objects.pop())
    first = machine.vm.ioremap(REGISTERS, 64 * P)  # what is in reserve goes to the lower part
    assert first is not None
    for objects in (vm_structs, vmap_areas):
        machine.slab.kfree(objects.pop())
    before = books(machine)

    assert machine.vm.ioremap(REGISTERS, 512 * P) is None

    assert any("va_alloc" in text for text in texts(machine))
    assert any("vmalloc_node_range for size" in text for text in texts(machine))
    assert books(machine) == before
    machine.vm.iounmap(first)


def test_reserve_without_memory(starved: tuple[Machine, list[int], list[int]]) -> None:
    """It is a bug, and nothing is reserved."""
    machine, _, _ = starved
    start = machine.layout.vmalloc_start + MIB
    with pytest.raises(KernelBug, match="vmap_area"):
        machine.vmap_space.reserve(start, start + P)
    assert len(machine.vmap_space.busy) == 2


# -- when ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["vfree", "vfree_bulk", "vunmap", "iounmap", "vm_unmap_ram"])
def test_a_purge_waits_for_the_next_one(make_machine: Callable[..., Machine], kind: str) -> None:
    """Freeing what an area took does not do the purge that has been scheduled before."""
    machine = make_machine(mem=128 * MIB)
    vm, space = machine.vm, machine.vmap_space
    size = (space.lazy_max_pages + 1) * P
    frames = [5] * (size // P)
    if kind in ("vfree", "vfree_bulk"):
        areas = [vm.vmalloc(16 * P) for _ in range(482)]
        frees = {"vfree": vm.vfree, "vfree_bulk": lambda at: vm.vfree_bulk([at])}
        free: Callable[[int], None] = frees[kind]
    elif kind == "vunmap":
        areas, free = [vm.vmap(frames)], vm.vunmap
    elif kind == "iounmap":
        areas, free = [vm.ioremap(REGISTERS, size)], vm.iounmap
    else:
        areas, free = [vm.vm_map_ram(frames)], lambda at: vm.vm_unmap_ram(at, len(frames))

    for address in areas:
        assert (space.purges, len(machine.workqueue)) == (0, 0)
        assert address is not None
        free(address)

    assert (space.purges, len(machine.workqueue)) == (0, 1)
    machine.slab.kfree(machine.slab.kmalloc(8))
    assert (space.purges, len(machine.workqueue)) == (1, 0)


def test_a_vm_struct_that_somebody_else_has_freed(machine: Machine) -> None:
    """A kfree() of it is as bad as any other: the area's own comes second."""
    address = machine.vm.ioremap(REGISTERS, P)
    assert address is not None
    number = next(machine.vmap_space.busy.objects()) >> VM_SHIFT
    vm_struct = machine.vm.vm_structs.address(number)
    machine.slab.kfree(vm_struct)
    with pytest.raises(KernelBug, match=f"kmalloc-96: Object {vm_struct:#x} already free"):
        machine.vm.iounmap(address)


@pytest.mark.parametrize(
    ("take", "of"),
    [
        *(("vmalloc", "vm_struct"), ("vmalloc", "vmap_area")),
        *(("ioremap", "vm_struct"), ("ioremap", "vmap_area"), ("vm_map_ram", "vmap_area")),
    ],
)
@pytest.mark.parametrize("good", [1, 2, 3])
def test_a_broken_list_leaves_nothing_behind(take: str, of: str, good: int) -> None:
    """Whichever object of an area is the one behind what was overwritten.

    Expect one fault, the books in order after each call, and everything back.
    """
    machine = Machine(64 * MIB)
    frames = machine.page_alloc.alloc_pages_bulk(GFP_HIGHUSER, 64)
    assert frames is not None
    cache = caches(machine)[of == "vmap_area"]
    if of == "vm_struct":  # so that there is a slab
        machine.slab.kmalloc(72)
    page = cache.cpu
    phys = page.address - machine.layout.page_offset + (page.head + good - 1) * cache.size
    machine.slab.overwritten(phys, phys + cache.size)
    calls: dict[str, Callable[[], int | None]] = {
        "vmalloc": lambda: machine.vm.vmalloc(P),
        "ioremap": lambda: machine.vm.ioremap(REGISTERS, P),
        "vm_map_ram": lambda: machine.vm.vm_map_ram(frames),  # a quarter of a block
    }
    before = machine.slab.statistics().objects
    given = []
    for _ in range(13):
        try:
            given.append(calls[take]())
        except PageFault:
            given.append(None)
        machine.vm.check()
    assert given.count(None) == 1
    for address in filter(None, given):
        if take == "vmalloc":
            machine.vm.vfree(address)
        elif take == "ioremap":
            machine.vm.iounmap(address)
        else:
            machine.vm.vm_unmap_ram(address, len(frames))
    machine.vm.vm_unmap_aliases()
    machine.vm.check()
    left = machine.slab.statistics().objects - before - cache.nr_lost
    assert left == (1 if machine.vmap_space.free_areas.spare is not None else 0)
    machine.close()


def test_check_finds_what_is_lost() -> None:
    """An object more than the areas have, or one less: the books do not add up."""
    for lose in (True, False):
        machine = Machine(16 * MIB)
        address = machine.vm.ioremap(REGISTERS, P)
        assert address is not None
        machine.check()
        _, vmap_areas = caches(machine)
        if lose:
            machine.slab.kmem_cache_alloc(vmap_areas, GFP_KERNEL)
        else:
            number = next(machine.vmap_space.busy.objects()) & VA_MASK
            machine.vmap_space.vmap_areas.free(number)
        with pytest.raises(AssertionError):
            machine.check()
