"""The kin of vmalloc: for processes, of huge pages, or else kmalloc, made larger and smaller."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from scullvfs.mm import KernelBug, PageFault
from scullvfs.mm.gfp import __GFP_ZERO, GFP_ATOMIC, GFP_HIGHUSER, GFP_KERNEL, GFP_NOWAIT
from scullvfs.mm.machine import Machine
from scullvfs.mm.ratelimit import RatelimitState
from scullvfs.mm.vm_struct import (
    VM_ALLOC,
    VM_ALLOW_HUGE_VMAP,
    VM_MAP,
    VM_NO_GUARD,
    VM_USERMAP,
)

from .helpers import ARCHS, MIB, P, books, fragment, take_all, texts

HUGE = 2 * MIB


def size_and_flags(machine: Machine, address: int) -> tuple[int, int]:
    """Of the area there."""
    vm = machine.vm.find_vm_area(address)
    assert vm is not None
    return vm.size, vm.flags


def test_vmalloc_user_is_zeroed_and_says_so(machine: Machine) -> None:
    """What processes may map holds nothing of anybody."""
    spoiled = machine.vm.vmalloc(3 * P)
    assert spoiled is not None
    machine.memory.memset(spoiled, 0xEE, 3 * P)
    machine.vm.vfree(spoiled)

    address = machine.vm.vmalloc_user(3 * P)

    assert address is not None
    assert bytes(machine.memory.read(address, 3 * P)) == bytes(3 * P)
    assert size_and_flags(machine, address) == (4 * P, VM_ALLOC | VM_USERMAP)
    machine.vm.vfree(address)


@pytest.mark.parametrize(
    ("name", "at_once", "later"),
    [
        ("vmalloc", "0xcc0(GFP_KERNEL)", "0xcc2(GFP_KERNEL|__GFP_HIGHMEM)"),
        ("vzalloc", "0xdc0(GFP_KERNEL|__GFP_ZERO)", "0xdc2(GFP_KERNEL|__GFP_HIGHMEM|__GFP_ZERO)"),
        ("vmalloc_32", "0xcc4(GFP_KERNEL|GFP_DMA32)", "0xcc4(GFP_KERNEL|GFP_DMA32)"),
    ],
)
def test_what_fails_says_with_which_flags(
    lenient: Machine, name: str, at_once: str, later: str
) -> None:
    """Before frames are asked for, and when there are not enough, as Linux adds to them then."""
    allocate = getattr(lenient.vm, name)
    lenient.log.nopage = RatelimitState(0, 1)

    assert allocate(1 << 40) is None
    held = take_all(lenient.page_alloc, leave=40)
    assert allocate(60 * P) is None
    had = lenient.page_alloc.nr_available(GFP_KERNEL)
    lenient.page_alloc.free_frames(held)
    assert 30 < had < 50
    assert any(f"size {had * P}, failed to allocate pages" in line for line in texts(lenient))

    said = [line.partition("mode:")[2].partition(",")[0] for line in texts(lenient)]
    modes = [mode for mode in said if mode]
    assert modes == [at_once, later]


def test_nowarn_says_nothing(lenient: Machine) -> None:
    """With __GFP_NOWARN a failure is None and no more."""
    assert lenient.vm.vmalloc_node_range(1 << 40, GFP_NOWAIT) is None
    assert texts(lenient) == []


# window: |  spoiler |g|...| 2 MiB         | 2 MiB        |g|...
#         ^ VMALLOC_START  ^ VMALLOC_START + 2 MiB
@pytest.mark.parametrize("arch", ["x86_64", "arm64"])
@pytest.mark.parametrize("name", ["vmalloc_huge", "kvmalloc"])
def test_vmalloc_huge_is_whole_huge_pages(
    make_machine: Callable[..., Machine], arch: str, name: str
) -> None:
    """Size and address are multiples of 2 MiB, each of them side by side in RAM."""
    machine = make_machine(arch=arch)
    spoiler = machine.vm.vmalloc(P)
    held = machine.slab.kmalloc(1)
    before = books(machine)

    address = getattr(machine.vm, name)(4 * MIB + 1)

    assert address == machine.layout.vmalloc_start + HUGE
    assert size_and_flags(machine, address)[0] == 3 * HUGE + P
    vm = machine.vm.find_vm_area(address)
    assert vm is not None
    assert vm.pages is not None
    for at in range(0, 3 * 512, 512):
        assert vm.pages[at] % 512 == 0
        assert list(vm.pages[at : at + 512]) == [*range(vm.pages[at], vm.pages[at] + 512)]
    machine.vm.kvfree(address)
    assert books(machine) == before
    machine.slab.kfree(held)
    machine.vm.vfree(spoiler)


def test_vmalloc_huge_makes_do_with_pages(machine: Machine) -> None:
    """Without a block of 2 MiB it is as vmalloc(), and so it is below that size, and on i386."""
    held = fragment(machine.page_alloc)
    spoiler = machine.vm.vmalloc(P)

    address = machine.vm.vmalloc_huge(HUGE + P)

    assert address is not None
    assert address % HUGE
    assert size_and_flags(machine, address)[0] == HUGE + 2 * P
    assert texts(machine) == []
    machine.vm.vfree(address)
    machine.vm.vfree(spoiler)
    machine.page_alloc.free_frames(held)
    small = machine.vm.vmalloc_huge(HUGE - P)
    assert small is not None
    assert size_and_flags(machine, small)[0] == HUGE
    machine.vm.vfree(small)


def test_vmalloc_huge_on_i386_is_vmalloc(make_machine: Callable[..., Machine]) -> None:
    """It has no huge pages for that."""
    machine = make_machine(arch="i386")
    first = machine.vm.vmalloc(P)

    address = machine.vm.vmalloc_huge(HUGE + P)

    assert address == machine.layout.vmalloc_start + 2 * P
    machine.vm.vfree(address)
    machine.vm.vfree(first)


def test_kvmalloc_is_kmalloc_where_that_can_be(machine: Machine) -> None:
    """In the linear mapping as long as there is a block, else in the window; kvfree() knows."""
    low = machine.vm.kvmalloc(5 * P)
    assert low is not None
    assert not machine.vm.is_vmalloc_addr(low)
    machine.vm.kvfree(low)
    held = fragment(machine.page_alloc)
    before = books(machine)

    high = machine.vm.kvmalloc(5 * P)

    assert high is not None
    assert machine.vm.is_vmalloc_addr(high)
    assert machine.vm.kvmalloc(5 * P, GFP_ATOMIC) is None, "vmalloc might wait"
    machine.vm.kvfree(high)
    machine.vm.kvfree(None)
    assert books(machine) == before
    machine.page_alloc.free_frames(held)


def test_kvmalloc_of_2_gib_is_a_warning(lenient: Machine) -> None:
    """More than an int has is nobody's size."""
    assert lenient.vm.kvmalloc(1 << 31) is None
    assert lenient.vm.kvmalloc(1 << 31) is None
    assert texts(lenient).count("WARNING: CPU: 0 PID: 0 at mm/util.c __kvmalloc_node_noprof") == 1


def test_vrealloc_within_its_pages_stays(make_machine: Callable[..., Machine]) -> None:
    """Smaller and back again: the same address and frames; zeros where they are asked for."""
    machine = make_machine(init_on_alloc=False)
    address = machine.vm.vmalloc(3 * P)
    assert address is not None
    machine.memory.memset(address, 0xEE, 3 * P)

    assert machine.vm.vrealloc(address, 100) == address
    assert bytes(machine.memory.read(address + 100, 1)) == b"\xee"
    assert machine.vm.vrealloc(address, 100, GFP_KERNEL | __GFP_ZERO) == address
    assert bytes(machine.memory.read(address, 3 * P)) == b"\xee" * 100 + bytes(3 * P - 100)
    assert machine.vm.vrealloc(address, 3 * P) == address
    assert machine.vm.nr_vmalloc_pages == 3
    assert machine.vm.vrealloc(address, 0) is None
    assert machine.vm.nr_vmalloc_pages == 0


def test_vrealloc_clears_what_it_spares(machine: Machine) -> None:
    """Whoever asks, where the kernel clears all that it gives."""
    address = machine.vm.vmalloc(2 * P)
    assert address is not None
    machine.memory.memset(address, 0xEE, 2 * P)
    assert machine.vm.vrealloc(address, 100) == address
    assert bytes(machine.memory.read(address, 2 * P)) == b"\xee" * 100 + bytes(2 * P - 100)
    machine.vm.vfree(address)


def test_vrealloc_that_grows_is_a_copy(lenient: Machine) -> None:
    """What was there is at the new address, and the old one is free; or all is as it was."""
    address = lenient.vm.vrealloc(None, 20 * P)
    assert address is not None
    data = bytes(range(256)) * (20 * P // 256)
    lenient.memory.write(address, data)

    assert lenient.vm.vrealloc(address, 1 << 40) is None
    assert bytes(lenient.memory.read(address, 20 * P)) == data
    larger = lenient.vm.vrealloc(address, 21 * P)

    assert larger == address + 21 * P
    assert bytes(lenient.memory.read(larger, 20 * P)) == data
    assert lenient.vm.nr_vmalloc_pages == 21
    assert lenient.vm.vrealloc(address, P) is None
    assert f"Trying to vrealloc() nonexistent vm area ({address:016x})" in texts(lenient)
    lenient.vm.vfree(larger)


def test_no_guard_page(lenient: Machine) -> None:
    """With VM_NO_GUARD the next area begins where this one ends; vmap refuses that."""
    before = books(lenient)
    first = lenient.vm.vmalloc_node_range(2 * P, GFP_KERNEL, vm_flags=VM_NO_GUARD)
    second = lenient.vm.vmalloc(P)

    assert first is not None
    assert second == first + 2 * P
    lenient.memory.write(second - 2, b"over")
    assert bytes(lenient.memory.read(second, 2)) == b"er"
    with pytest.raises(PageFault):
        lenient.memory.write(second + P - 2, b"over")
    lenient.check()
    frames = lenient.page_alloc.alloc_pages_bulk(GFP_HIGHUSER, 1)
    assert frames is not None
    mapped = lenient.vm.vmap(frames, VM_MAP | VM_NO_GUARD)
    assert mapped is not None
    assert size_and_flags(lenient, mapped) == (2 * P, VM_MAP)
    assert "WARNING: CPU: 0 PID: 0 at mm/vmalloc.c vmap" in texts(lenient)
    lenient.vm.vunmap(mapped)
    lenient.page_alloc.free_frames(frames)
    lenient.vm.vfree_bulk([first, second])
    assert books(lenient) == before


def test_access_from_ram_into_a_device(machine: Machine) -> None:
    """Without a guard page between them: what is RAM's is, and behind that nobody answers."""
    first = machine.vm.vmalloc_node_range(2 * P, GFP_KERNEL, vm_flags=VM_NO_GUARD)
    registers = machine.vm.ioremap(1 << 30, 2 * P)
    assert first is not None
    assert registers == first + 2 * P
    machine.memory.write(registers - P - 3, b"abc" + b"d" * P + b"lost")

    assert bytes(machine.memory.read(registers - P - 3, 5)) == b"abcdd"
    assert bytes(machine.memory.read(registers - P - 1, P + 3)) == b"c" + b"d" * P + b"\xff\xff"
    machine.vm.iounmap(registers)
    machine.vm.vfree(first)


# -- vm_map_ram ----------------------------------------------------------------------------


@pytest.mark.parametrize(("arch", "pages"), [("x86_64", 256), ("i386", 64), ("arm64", 1024)])
def test_vm_map_ram_is_cut_out_of_a_block(
    make_machine: Callable[..., Machine], arch: str, pages: int
) -> None:
    """Powers of two, one behind the other, in a block aligned to its size; none is given twice."""
    machine = make_machine(arch=arch)
    spoiler = machine.vm.vmalloc(P)
    frames = machine.page_alloc.alloc_pages_bulk(GFP_HIGHUSER, 5)
    assert frames is not None
    block = pages * P

    given = [machine.vm.vm_map_ram(frames[:n]) for n in (1, 1, 3, 5, 2)]

    base = -(-machine.layout.vmalloc_start // block) * block
    base += block * (base == machine.layout.vmalloc_start)
    assert given == [base + at * P for at in (0, 1, 2, 6, 14)]
    assert [machine.vm.vmalloc_to_pfn(base + at * P) for at in range(6)] == [
        frames[0], frames[0], *frames[:3], None,
    ]  # fmt: skip
    assert machine.vm.find_vm_area(base) is None
    machine.vm.check()
    machine.vm.vm_unmap_ram(base + P, 1)
    assert machine.vm.vmalloc_to_pfn(base + P) is None
    assert machine.vm.vm_map_ram(frames[:1]) == base + 16 * P, "not where the other one was"
    for at, n in ((0, 1), (2, 3), (6, 5), (14, 2), (16, 1)):
        machine.vm.vm_unmap_ram(base + at * P, n)
    assert list(machine.vmap_space.busy) == [spoiler, base], "more is left than is used up"
    machine.vm.vfree(spoiler)
    machine.page_alloc.free_frames(frames)


def test_vm_map_ram_goes_to_the_next_block(machine: Machine) -> None:
    """A block that is used up and unmapped is freed; one that is not makes room in a purge."""
    frames = machine.page_alloc.alloc_pages_bulk(GFP_HIGHUSER, 64)
    assert frames is not None
    before = books(machine)
    start = machine.layout.vmalloc_start

    given = [machine.vm.vm_map_ram(frames) for _ in range(5)]
    assert given == [start + 64 * P * n for n in range(5)]
    assert len(machine.vmap_space.busy) == 2
    for address in given[:4]:
        machine.vm.vm_unmap_ram(address or 0, 64)
    assert list(machine.vmap_space.busy) == [start + 256 * P]
    assert machine.vmap_space.nr_lazy_pages == 256
    machine.vm.vm_unmap_ram(given[4] or 0, 64)
    machine.vm.vm_unmap_aliases()
    assert len(machine.vmap_space.busy) == 1, "there is much left of it"
    more = [machine.vm.vm_map_ram(frames) for _ in range(2)]
    small = machine.vm.vm_map_ram(frames[:1])
    for address in more:
        machine.vm.vm_unmap_ram(address or 0, 64)
    machine.vm.vm_unmap_ram(small or 0, 1)
    machine.vm.vm_unmap_aliases()
    assert not machine.vmap_space.busy
    assert books(machine) == before
    machine.page_alloc.free_frames(frames)


def test_vm_map_ram_of_many_pages_is_an_area(machine: Machine) -> None:
    """More than BITS_PER_LONG pages have addresses of their own, and no guard page."""
    frames = machine.page_alloc.alloc_pages_bulk(GFP_HIGHUSER, 65)
    assert frames is not None

    first, second = machine.vm.vm_map_ram(frames), machine.vm.vm_map_ram(frames)

    assert first == machine.layout.vmalloc_start
    assert second == first + 65 * P
    machine.vm.vm_unmap_ram(first, 65)
    assert list(machine.vmap_space.busy) == [second]
    machine.vm.vm_unmap_ram(second, 65)
    machine.page_alloc.free_frames(frames)


def test_a_block_is_freed_when_nothing_else_is(make_machine: Callable[..., Machine]) -> None:
    """Where addresses run out, a block that nobody uses goes, however much it has left."""
    machine = make_machine(arch="i386")
    frames = machine.page_alloc.alloc_pages_bulk(GFP_HIGHUSER, 1)
    assert frames is not None
    small = machine.vm.vm_map_ram(frames)
    assert small is not None
    machine.vm.vm_unmap_ram(small, 1)

    address = machine.vm.vmap(list(frames) * (machine.layout.vmalloc_pages - 1))

    assert address is None, "there are not so many frames"
    whole = machine.vmap_space.alloc_vmap_area(machine.layout.vmalloc_pages * P)
    assert whole is not None
    start, va = whole
    assert start == machine.layout.vmalloc_start
    machine.vmap_space.free_vmap_area_noflush(start, machine.layout.vmalloc_pages * P, va)
    machine.page_alloc.free_frames(frames)


@pytest.mark.parametrize("arch", ARCHS)
def test_vm_map_ram_without_frames_for_tables(
    make_machine: Callable[..., Machine], arch: str
) -> None:
    """None, and nothing is mapped; what was cut off is lost until the block is used up."""
    machine = make_machine(arch=arch)
    machine.slab.kfree(machine.slab.kmalloc(250))
    held = take_all(machine.page_alloc)

    assert machine.vm.vm_map_ram(held[:2]) is None

    machine.vm.check()
    machine.page_alloc.free_frames(held)


def test_vm_unmap_ram_of_something_else_is_a_bug(lenient: Machine) -> None:
    """Neither twice, nor of another size, nor what vmalloc() gave; and vfree() leaves it alone."""
    frames = lenient.page_alloc.alloc_pages_bulk(GFP_HIGHUSER, 2)
    assert frames is not None
    address = lenient.vm.vm_map_ram(frames)
    assert address is not None
    other = lenient.vm.vmalloc(P)
    assert other is not None
    for wrong, count in ((address, 4), (address + 1, 1), (other, 1), (other, 65), (0, 1)):
        with pytest.raises(KernelBug):
            lenient.vm.vm_unmap_ram(wrong, count)
    assert lenient.vm.vm_map_ram([]) is None
    assert lenient.vm.vm_map_ram([1 << 40]) is None
    lenient.vm.vfree(address)
    assert f"Trying to vfree() nonexistent vm area ({address:016x})" in texts(lenient)
    assert lenient.vm.vmalloc_to_pfn(address) == frames[0]
    lenient.vm.vm_unmap_ram(address, 2)
    with pytest.raises(KernelBug):
        lenient.vm.vm_unmap_ram(address, 2)
    lenient.vm.vfree(other)
    lenient.page_alloc.free_frames(frames)


# -- aligned -------------------------------------------------------------------------------


# window: |  spoiler |g|...|  5 pages       |g|
#         ^ VMALLOC_START  ^ VMALLOC_START + 32 KiB
@pytest.mark.parametrize("align", [1, 2048, P, 8 * P, HUGE])
def test_vmalloc_node_range_aligned(any_arch: Machine, align: int) -> None:
    """At the lowest multiple that is free, which up to a page is any page."""
    vm, start = any_arch.vm, any_arch.layout.vmalloc_start
    spoiler = vm.vmalloc(P)

    address = vm.vmalloc_node_range(5 * P, GFP_KERNEL, align=align)

    step = max(align, P)
    assert address == -(-(start + 2 * P) // step) * step
    vm.vfree(address)
    vm.vfree(spoiler)


def test_vmalloc_node_range_huge_and_aligned(machine: Machine) -> None:
    """The larger alignment counts, of huge pages and without them."""
    held = machine.vm.vmalloc(P)
    for align, want in ((P, HUGE), (2 * HUGE, 2 * HUGE)):
        address = machine.vm.vmalloc_node_range(
            HUGE, GFP_KERNEL, vm_flags=VM_ALLOW_HUGE_VMAP, align=align
        )
        assert address == machine.layout.vmalloc_start + want
        machine.vm.vfree(address)
        machine.vm.vm_unmap_aliases()
    machine.vm.vfree(held)


def test_vmalloc_node_range_aligned_beyond_the_window(any_arch: Machine) -> None:
    """No place that the window has: as when there are no addresses."""
    any_arch.log.panic_on_warn = False
    align = 1 << any_arch.layout.pointer_size * 8 - 1
    before = books(any_arch)
    assert any_arch.vm.vmalloc_node_range(P, GFP_KERNEL, "me", align=align) is None
    first, second = [line for line in texts(any_arch) if "vm" in line][:2]
    assert first.startswith("vmalloc_node_range for size 8192 failed: Address range restricted to ")
    assert "vmalloc error: size 4096, vm_struct allocation failed, " in second
    assert books(any_arch) == before
