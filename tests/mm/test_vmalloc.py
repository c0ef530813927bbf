"""vmalloc and vfree: what they give, what they refuse, and what they leave behind."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from scullvfs.mm import KernelBug
from scullvfs.mm.gfp import GFP_HIGHUSER
from scullvfs.mm.machine import Machine
from scullvfs.mm.ratelimit import RatelimitState
from scullvfs.mm.vm_struct import VM_ALLOC

from .helpers import MIB, P, books, fragment, other_slabs, take_all, texts


def vmalloc(machine: Machine, size: int) -> int:
    """As `vmalloc()`, which must succeed."""
    address = machine.vm.vmalloc(size)
    assert address is not None
    return address


# addresses:  start                              |guard|
#             |<- page ->|<- page ->|<- page ->|  ---  |
@pytest.mark.parametrize(("size", "nr_pages"), [(1, 1), (P, 1), (P + 1, 2), (3 * P, 3), (MIB, 256)])
def test_vmalloc_maps_whole_pages_and_a_guard(any_arch: Machine, size: int, nr_pages: int) -> None:
    """Expect just these pages at the window's start, each on a frame of its own, then a guard."""
    machine = any_arch

    address = machine.vm.vmalloc(size, "scullv_write [scullv]")

    assert address == machine.layout.vmalloc_start
    pages = [address + i * P for i in range(nr_pages)]
    assert [at for at, _ in machine.pgtable.mappings()] == pages
    pfns = [machine.vm.vmalloc_to_pfn(at) for at in pages]
    assert None not in pfns
    assert len(set(pfns)) == nr_pages
    assert machine.vm.vmalloc_to_pfn(address + nr_pages * P) is None
    vm = machine.vm.find_vm_area(address)
    assert vm is not None
    assert (vm.addr, vm.size, vm.flags) == (address, (nr_pages + 1) * P, VM_ALLOC)
    assert (vm.caller, vm.nr_pages) == ("scullv_write [scullv]", nr_pages)
    assert machine.vm.nr_vmalloc_pages == nr_pages
    machine.vm.vfree(address)


def test_vmalloc_leaves_a_guard_page_between_areas(machine: Machine) -> None:
    """Areas that follow each other are a page apart."""
    first, second = vmalloc(machine, 3 * P), vmalloc(machine, P)

    assert second == first + 4 * P
    machine.vm.vfree(first)
    machine.vm.vfree(second)


def test_vfree_restores_everything(any_arch: Machine) -> None:
    """Areas freed in any order leave the books of a fresh machine."""
    before = books(any_arch)
    areas = [vmalloc(any_arch, size) for size in (1, 5 * P, MIB, 3 * MIB, P)]
    for address in (areas[2], areas[0], areas[4], areas[1], areas[3]):
        any_arch.vm.vfree(address)

    assert books(any_arch) == before


def test_vfree_unmaps_at_once(machine: Machine) -> None:
    """The pages are gone before any purge; the addresses are not used again yet."""
    address = vmalloc(machine, 2 * P)
    free = machine.page_alloc.nr_free

    machine.vm.vfree(address)

    assert machine.page_alloc.nr_free == free + 2
    assert list(machine.pgtable.mappings()) == []
    assert machine.vm.vmalloc_to_pfn(address) is None
    assert vmalloc(machine, 2 * P) != address
    machine.vm.vfree(machine.layout.vmalloc_start + 3 * P)


def test_vm_unmap_aliases_makes_addresses_usable_again(machine: Machine) -> None:
    """After a purge the lowest addresses come first again."""
    machine.vm.vfree(vmalloc(machine, 5 * P))

    machine.vm.vm_unmap_aliases()

    assert vmalloc(machine, 3 * P) == machine.layout.vmalloc_start
    machine.vm.vfree(machine.layout.vmalloc_start)


def test_vzalloc_is_filled_with_zeros(machine: Machine) -> None:
    """Frames that were just freed full of something come back cleared."""
    for _ in range(3):
        address = machine.vm.vzalloc(5 * P)
        assert address is not None
        assert bytes(machine.memory.read(address, 5 * P)) == bytes(5 * P)
        machine.memory.memset(address, 0xEE, 5 * P)
        machine.vm.vfree(address)


@pytest.mark.parametrize("init_on_alloc", [True, False])
def test_vmalloc_clears_if_its_kernel_does(
    make_machine: Callable[..., Machine], init_on_alloc: bool
) -> None:
    """If not, what the last owner wrote is still there."""
    machine = make_machine(init_on_alloc=init_on_alloc)
    address = vmalloc(machine, 2 * P)
    machine.memory.memset(address, 0xEE, 2 * P)
    machine.vm.vfree(address)

    address = vmalloc(machine, 2 * P)

    left = b"\0" if init_on_alloc else b"\xee"
    assert bytes(machine.memory.read(address, 2 * P)) == left * 2 * P
    machine.vm.vfree(address)


# area 0:  |<-- 1024 pages (order 10) -->|guard|
# area 1:                                      |<- 2 pages of pointers ->|guard|
def test_vmalloc_of_order_10_has_an_area_for_its_page_array(machine: Machine) -> None:
    """Expect an area of two pages for 1024 pointers of 8 bytes, freed with the first."""
    address = vmalloc(machine, P << 10)

    array_address = address + 1025 * P
    assert sorted(machine.vmap_space.busy) == [address, array_address]
    array_area = machine.vm.find_vm_area(array_address)
    assert array_area is not None
    assert (array_area.nr_pages, array_area.size) == (2, 3 * P)
    assert machine.vm.nr_vmalloc_pages == 1026
    machine.vm.vfree(address)
    assert not machine.vmap_space.busy
    assert machine.vm.nr_vmalloc_pages == 0


@pytest.mark.parametrize(("arch", "areas", "nbytes"), [("i386", 1, P), ("arm64", 2, 16)])
def test_vmalloc_page_array_depends_on_the_pointer(
    make_machine: Callable[..., Machine], arch: str, areas: int, nbytes: int
) -> None:
    """1024 pointers of 4 bytes fit into a page from kmalloc, those of 8 bytes do not."""
    machine = make_machine(arch=arch)

    address = vmalloc(machine, P << 10)

    assert len(machine.vmap_space.busy) == areas
    vm_structs = areas * (64 if arch == "i386" else 96)
    assert other_slabs(machine).nbytes == nbytes + vm_structs
    machine.vm.vfree(address)


@pytest.mark.parametrize(
    ("arch", "base", "size"),
    [
        ("x86_64", 0xFFFF_EA00_0000_0000, 64),
        ("i386", 0xF4FF_E000, 32),
        ("arm64", 0xFFFF_FC00_0000_0000, 64),
    ],
)
@pytest.mark.parametrize("nr_pages", [3, 1500])
def test_page_array_points_to_the_pages(
    make_machine: Callable[..., Machine], arch: str, base: int, size: int, nr_pages: int
) -> None:
    """It holds the addresses of the frames' struct pages, in the area's order."""
    machine = make_machine(arch=arch)
    address = vmalloc(machine, nr_pages * P)
    vm = machine.vm.find_vm_area(address)
    assert vm is not None
    assert vm.pages is not None
    assert vm.page_array is not None

    nbytes = machine.layout.pointer_size
    raw = bytes(machine.memory.read(vm.page_array, nr_pages * nbytes))

    pointers = [
        int.from_bytes(raw[at : at + nbytes], sys.byteorder) for at in range(0, len(raw), nbytes)
    ]
    assert pointers == [base + pfn * size for pfn in vm.pages]
    machine.vm.vfree(address)


def test_vmalloc_of_0_bytes_is_a_warning(make_machine: Callable[..., Machine]) -> None:
    """vmalloc(0) is None, with a warning the first time; under panic_on_warn it stops."""
    lenient, strict = make_machine(panic_on_warn=False), make_machine()

    assert lenient.vm.vmalloc(0) is None
    warned = texts(lenient)
    assert lenient.vm.vzalloc(0) is None

    assert texts(lenient) == warned
    assert "------------[ cut here ]------------" in warned
    assert any(line.startswith("WARNING: CPU: 0 PID: 0 at mm") for line in warned)
    with pytest.raises(KernelBug, match="__vmalloc_node_range_noprof"):
        strict.vm.vmalloc(0)


@pytest.mark.parametrize("size", [64 * MIB, 65 * MIB, 1 << 60])
def test_vmalloc_beyond_ram_is_none(any_arch: Machine, size: int) -> None:
    """More than all of RAM is refused before anything is taken, with a line in the log."""
    before = books(any_arch)

    assert any_arch.vm.vmalloc(size) is None

    assert books(any_arch) == before
    assert texts(any_arch)[0] == (
        f"swapper/0: vmalloc error: size {size}, exceeds total pages, "
        "mode:0xcc0(GFP_KERNEL), nodemask=(null),cpuset=/,mems_allowed=0"
    )


# frames left:  0 .. enough
@pytest.mark.long
def test_vmalloc_out_of_ram_changes_nothing(any_arch: Machine) -> None:
    """Expect None and unchanged books wherever it fails: page array, pages, or page tables."""
    machine = any_arch
    machine.log.nopage = RatelimitState(0, 1)
    reasons = set()
    for size in (3 * P, 1100 * P):
        for left in [*range(20), size // P - 1, size // P, size // P + 1, size // P + 2]:
            held = take_all(machine.page_alloc, leave=left)
            before = books(machine)
            logged = len(texts(machine))

            address = machine.vm.vmalloc(size)

            if address is None:
                assert books(machine) == before
                reasons |= set(texts(machine)[logged:])
            else:
                machine.vm.vfree(address)
                machine.vm.vm_unmap_aliases()
            machine.page_alloc.free_frames(held)
    log = "\n".join(reasons)
    assert "failed to allocate pages, mode" in log
    assert "failed to allocated page array size" in log, "Linux's own words"
    assert "failed to map pages, mode" in log


def test_vmalloc_uses_the_last_frame(machine: Machine) -> None:
    """With no two free frames side by side, an area can still take all but a few of them."""
    held = fragment(machine.page_alloc)
    free = machine.page_alloc.nr_available(GFP_HIGHUSER)

    address = vmalloc(machine, (free - 60) * P)

    machine.memory.write(address + (free - 61) * P, b"x" * P)
    machine.vm.vfree(address)
    machine.page_alloc.free_frames(held)


# window: |<------------ 128 MiB ------------>|     RAM: 512 MiB, most of it free
#         | 1 MiB |g| 1 MiB |g| ...  | 1 MiB |g|
def test_vmalloc_out_of_addresses_on_i386(make_machine: Callable[..., Machine]) -> None:
    """Expect None and the log line with RAM to spare, and success after one area is freed."""
    machine = make_machine(512 * MIB, arch="i386", panic_on_warn=False)
    areas = []
    while (address := machine.vm.vmalloc(MIB)) is not None:
        areas.append(address)

    assert len(areas) == 128 * MIB // (MIB + P)
    assert machine.page_alloc.nr_free > 384 * MIB // P - 200
    assert texts(machine)[:2] == [
        f"vmalloc_node_range for size {MIB + P} failed: "
        "Address range restricted to 0xf77fe000 - 0xff7fe000",
        f"swapper/0: vmalloc error: size {MIB}, vm_struct allocation failed, "
        "mode:0xcc0(GFP_KERNEL), nodemask=(null),cpuset=/,mems_allowed=0",
    ]
    machine.vm.vfree(areas.pop(50))
    again = machine.vm.vmalloc(MIB)
    assert again == machine.layout.vmalloc_start + 50 * (MIB + P)
    for address in [*areas, again]:
        machine.vm.vfree(address)


def test_vfree_of_none_is_fine(machine: Machine) -> None:
    """vfree(NULL) does nothing."""
    machine.vm.vfree(None)
    assert texts(machine) == []


@pytest.mark.parametrize("offset", [P, 2 * P, 3 * P])
def test_vfree_of_the_middle_frees_the_whole_area(machine: Machine, offset: int) -> None:
    """As in Linux, any page of an area stands for it, its guard page too."""
    before = books(machine)
    address = vmalloc(machine, 3 * P)

    machine.vm.vfree(address + offset)

    assert books(machine) == before


@pytest.mark.parametrize("kind", ["double", "unknown", "below", "linear", "behind"])
def test_vfree_of_no_area_is_a_warning(make_machine: Callable[..., Machine], kind: str) -> None:
    """An aligned address of no area is a warning and no harm; under panic_on_warn it stops."""
    lenient, strict = make_machine(panic_on_warn=False), make_machine()
    start = lenient.layout.vmalloc_start
    address = {
        "double": start,
        "unknown": start + 100 * P,
        "below": start - P,
        "linear": lenient.layout.page_offset + P,
        "behind": lenient.layout.vmalloc_end,
    }[kind]
    for machine in (lenient, strict):
        machine.vm.vfree(vmalloc(machine, P))
    before = books(lenient)

    lenient.vm.vfree(address)

    assert books(lenient) == before
    assert f"Trying to vfree() nonexistent vm area ({address:016x})" in texts(lenient)
    with pytest.raises(KernelBug, match="nonexistent vm area"):
        strict.vm.vfree(address)


@pytest.mark.parametrize("offset", [1, 8, P - 1, P + 1])
def test_vfree_of_an_unaligned_address_is_a_warning(
    make_machine: Callable[..., Machine], offset: int
) -> None:
    """An address inside of a page frees nothing."""
    lenient, strict = make_machine(panic_on_warn=False), make_machine()
    for machine in (lenient, strict):
        vmalloc(machine, 2 * P)
    address = lenient.layout.vmalloc_start
    before = books(lenient)

    lenient.vm.vfree(address + offset)

    assert books(lenient) == before
    assert f"Trying to vfree() bad address ({address + offset:016x})" in texts(lenient)
    with pytest.raises(KernelBug, match="bad address"):
        strict.vm.vfree(address + offset)
    for machine in (lenient, strict):
        machine.vm.vfree(address)


def test_warnings_have_the_kernel_log_form(lenient: Machine) -> None:
    """Each line of a warning is printed as /proc/kmsg does."""
    lenient.vm.vfree(lenient.layout.vmalloc_start)

    report = lenient.log.records()[1:]

    assert [record.text for record in report][:3] == [
        "------------[ cut here ]------------",
        "Trying to vfree() nonexistent vm area (ffffc90000000000)",
        "WARNING: CPU: 0 PID: 0 at mm/vmalloc.c vfree",
    ]
    for record in report:
        seconds, micros = divmod(record.nanoseconds // 1000, 1_000_000)
        assert str(record) == f"<4>[{seconds:>5}.{micros:06}] {record.text}"


@pytest.mark.parametrize("shuffle", [True, False])
def test_vmalloc_frames_are_scattered_or_in_order(
    make_machine: Callable[..., Machine], shuffle: bool
) -> None:
    """On a shuffled machine an area's frames are all over RAM, on a fresh one side by side."""
    machine = make_machine(shuffle=shuffle)
    address = vmalloc(machine, 16 * P)

    runs = machine.memory.translate(address, 16 * P, write=False)

    assert sum(n for _, n in runs) == 16 * P
    assert (len(runs) > 12) if shuffle else (len(runs) == 1)
    machine.vm.vfree(address)
