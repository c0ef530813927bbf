"""Who holds which frames: a record for each allocation, none for what is free, no cost without."""

from __future__ import annotations

import os
import re
from random import Random

import pytest

from scullvfs.mm import Machine
from scullvfs.mm.gfp import __GFP_COMP as COMP
from scullvfs.mm.gfp import GFP_HIGHUSER, GFP_KERNEL
from scullvfs.mm.page_alloc import PageAllocator
from scullvfs.mm.page_owner import PageOwner
from scullvfs.mm.sched import NOBODY, Task

from .helpers import ARCHS, MIB, P


def tracked(arch: str = "x86_64", mem: int = 64 * MIB, **options: int) -> tuple[Machine, PageOwner]:
    """A machine that keeps it."""
    machine = Machine(mem, arch, page_owner=True, panic_on_warn=True, **options)
    assert machine.page_owner is not None
    return machine, machine.page_owner


def paragraphs(owner: PageOwner) -> list[str]:
    """All texts."""
    return [owner.text(pfn).decode() for pfn in owner.owned_from(0)]


def test_off_by_default() -> None:
    """Nothing is kept, and the page allocator is the one that knows nothing of it."""
    machine = Machine(16 * MIB)
    assert machine.page_owner is None
    assert type(machine.page_alloc) is PageAllocator
    assert machine.state()["page_owner"] is None


def test_same_frames_with_it() -> None:
    """It changes nothing of what comes: state for state, but for the time and its own."""

    def work(machine: Machine) -> dict[str, object]:
        rng, live = Random(1), []
        for _ in range(200):
            live.append(machine.vm.vmalloc(rng.choice([1, 3, 16, 100]) * P))
            if rng.random() < 0.6:
                machine.vm.vfree(live.pop(rng.randrange(len(live))))
        state = machine.state()
        return {name: part for name, part in state.items() if name not in ("log", "page_owner")}

    assert work(Machine(64 * MIB)) == work(tracked()[0])
    assert work(tracked()[0]) == work(tracked()[0])


@pytest.mark.long
@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("shuffle", [0, 1])
def test_each_frame_has_an_owner(arch: str, shuffle: int) -> None:
    """Whatever was done, all that is not free is in one block with a record."""
    machine, owner = tracked(arch, 1024 * MIB if arch == "i386" else 64 * MIB, shuffle=shuffle)
    rng, areas, objects, blocks = Random(2), [], [], []
    for _ in range(150):
        areas.append(machine.vm.vmalloc(rng.choice([1, 2, 16, 600]) * P))
        objects.append(machine.slab.kmalloc(rng.choice([8, 5000, 100_000])))
        blocks.append((machine.page_alloc.alloc_pages(GFP_HIGHUSER, rng.randrange(4)), 0))
        if rng.random() < 0.6:
            machine.vm.vfree(areas.pop(rng.randrange(len(areas))))
            machine.slab.kfree(objects.pop(rng.randrange(len(objects))))
    machine.vm.vfree(machine.vm.vmalloc_huge(4 * MIB))
    free = {pfn for zone in machine.page_alloc.zones for pfn in zone.check()}
    owner.check(free)
    held = sum(1 << record.order for pfn in owner.owned_from(0) if (record := owner.owner(pfn)))
    assert held == machine.page_alloc.totalram_pages - machine.page_alloc.nr_free
    for area in areas:
        machine.vm.vfree(area)
    owner.check({pfn for zone in machine.page_alloc.zones for pfn in zone.check()})


def test_a_paragraph() -> None:
    """Order, flags, who, when; frame and pageblock; and the functions on the way."""
    machine, owner = tracked()
    machine.running.current = Task(os.getpid(), 1, 2)
    before = machine.log.local_clock()
    address = machine.vm.vmalloc(2 * P)
    assert address is not None
    pfn = machine.vm.vmalloc_to_pfn(address)
    assert pfn is not None
    record = owner.owner(pfn)
    assert record is not None
    assert before < record.ts_nsec < machine.log.local_clock()
    comm = machine.current.comm
    assert owner.text(pfn).decode() == (
        "Page allocated via order 0, mask 0x2cc2(GFP_KERNEL|__GFP_HIGHMEM|__GFP_NOWARN), "
        f"pid {os.getpid()}, tgid {os.getpid()} ({comm}), ts {record.ts_nsec} ns\n"
        f"PFN {pfn:#x} type Unmovable Block {pfn >> 9} type Unmovable Flags 0x0(zone=0)\n"
        " get_page_from_freelist\n __alloc_pages_noprof\n alloc_pages_bulk_noprof\n"
        " __vmalloc_node_range_noprof\n vmalloc_noprof\n\n"
    )
    machine.vm.vfree(address)
    assert owner.owner(pfn) is None


def test_flags_of_a_page() -> None:
    """A compound page has a head; the zone is in the highest bits."""
    machine, owner = tracked("i386", 1024 * MIB)
    compound = machine.page_alloc.alloc_pages(GFP_KERNEL | COMP, 2)
    high = machine.page_alloc.alloc_pages(GFP_HIGHUSER, 0)
    assert compound is not None
    assert high is not None
    assert " Flags 0x40(head|zone=0)\n" in owner.text(compound).decode()
    assert " Flags 0x40000000(zone=1)\n" in owner.text(high).decode()


def test_split_blocks() -> None:
    """Huge pages of an area are single frames to who frees them, as in Linux."""
    machine, owner = tracked()
    address = machine.vm.vmalloc_huge(2 * MIB)
    assert address is not None
    pfn = machine.vm.vmalloc_to_pfn(address)
    assert pfn is not None
    assert pfn % 512 == 0
    assert [owner.owner(pfn + n).order for n in range(512)] == 512 * [0]  # type: ignore[union-attr]
    machine.vm.vfree(address)
    assert not any(owner.owner(pfn + n) for n in range(512))


def test_traces() -> None:
    """What leads to a frame: slabs, large objects, page tables, blocks."""
    machine, owner = tracked()
    machine.slab.kmalloc(5000)
    machine.slab.kmem_cache_alloc(machine.slab.kmem_cache_create("c", 100))  # type: ignore[arg-type]
    machine.slab.kmalloc(100_000)
    machine.page_alloc.get_free_pages(GFP_KERNEL, 1)
    machine.vm.ioremap(0xFED0_0000, P)
    found = {re.sub(r"(?s).*?^ ", "", text, count=1, flags=re.M) for text in paragraphs(owner)}
    alloc = "get_page_from_freelist\n __alloc_pages_noprof\n "
    slab = "allocate_slab\n ___slab_alloc\n "
    for trace in (
        f"{slab}__kmalloc_noprof\n\n",
        f"{slab}kmem_cache_alloc_noprof\n\n",
        "___kmalloc_large_node\n __kmalloc_large_noprof\n __kmalloc_noprof\n\n",
        "get_free_pages_noprof\n\n",
        "__pud_alloc\n vmap_small_pages_range_noflush\n ioremap\n\n",
        "__pmd_alloc\n vmap_small_pages_range_noflush\n ioremap\n\n",
        "__pte_alloc_kernel\n vmap_small_pages_range_noflush\n ioremap\n\n",
        "__pte_alloc_kernel\n init_mem_mapping\n\n",
    ):
        assert alloc + trace in found


def test_owner_of_nobody() -> None:
    """A caller of whom nothing is known is one, too."""
    machine, owner = tracked()
    machine.running.current = NOBODY
    pfn = machine.page_alloc.alloc_pages(GFP_KERNEL, 0)
    assert pfn is not None
    assert ", pid 0, tgid 0 (" in owner.text(pfn).decode()


def test_records_are_used_again() -> None:
    """However often frames come and go, there are no more records than allocations at a time."""
    machine, owner = tracked()
    before = len(owner._records)
    for _ in range(300):
        machine.vm.vfree(machine.vm.vmalloc(16 * P))
    assert len(owner._records) < before + 30


def test_exact_pages() -> None:
    """Of a block that is not kept as a whole the rest has no owner."""
    machine, owner = tracked()
    address = machine.page_alloc.alloc_pages_exact(5 * P, GFP_KERNEL)
    machine.page_alloc.check()
    machine.page_alloc.free_pages_exact(address, 5 * P)
    machine.check()
    assert owner is machine.page_owner


def test_frames_that_hold_others_apart() -> None:
    """They were taken before anything was kept."""
    machine, owner = tracked(fragment=50)
    address = machine.vm.vmalloc(9 * P)
    machine.check()
    assert not {*owner.owned_from(0)} & machine.page_alloc.unevictable()
    machine.vm.vfree(address)
    machine.check()
