"""The scenarios: what is allocated, how often, and what has to come of it.

Each is a function that gives up its turn whenever it holds something, so that other workers find
the addresses and frames as they are then.  Its result says whether it passed.

The arrays that a scenario keeps its pointers in are allocated, as they take addresses and frames;
what would be in them is in lists.

Linux: lib/test_vmalloc.c
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final, NamedTuple

from scullvfs.mm import PAGE_SIZE, Machine
from scullvfs.mm.gfp import __GFP_ZERO as ZERO
from scullvfs.mm.gfp import GFP_KERNEL
from scullvfs.mm.workqueue import Steps

from .parameters import Parameters

__all__ = ["CASES", "Case", "Setting"]

NR_BUSY: Final = 15000
"""Areas that are there while long_busy_list_alloc_test runs."""
JUNK_BYTES: Final = 32 << 20
"""Of pages that full_fit_alloc_test leaves, and as many that it frees, for each bit of cpus."""
NR_PCPU: Final = 35000
"""Objects of pcpu_alloc_test."""
THREAD_ALIGN: Final = {"x86_64": 1 << 14, "i386": 1 << 13, "arm64": 1 << 15}
"""Architecture -> what kernel stacks are aligned to, where they are vmalloc()'s on arm64."""


class Setting(NamedTuple):
    """What a scenario has to do with."""

    machine: Machine
    parameters: Parameters
    random: Random

    @property
    def nr_pages(self) -> int:
        """The parameter, or else one."""
        return max(self.parameters.nr_pages, 1)

    @property
    def junk_length(self) -> int:
        """Areas that full_fit_alloc_test leaves."""
        return self.machine.cpus.bit_length() * JUNK_BYTES // PAGE_SIZE

    @property
    def pointer_bits(self) -> int:
        """BITS_PER_LONG."""
        return self.machine.layout.pointer_size * 8

    def vmalloc_node(self, size: int, align: int, caller: str) -> int | None:
        """Zeros at an aligned address (Linux: mm/vmalloc.c:__vmalloc_node_noprof())."""
        vm = self.machine.vm
        return vm.vmalloc_node_range(size, GFP_KERNEL | ZERO, _of_module(caller), align=align)

    def vmalloc(self, size: int, caller: str) -> int | None:
        """Addresses from `caller`, one of the functions below."""
        return self.machine.vm.vmalloc(size, _of_module(caller))


def _of_module(function: str) -> str:
    return f"{function} [test_vmalloc]"


def _one_after_the_other(
    at: Setting,
    alloc: Callable[[], int | None],
    free: Callable[[int], None],
    *,
    offset: int = 0,
    data: bytes = b"",
) -> Steps[bool]:
    """Allocate, write `data` at `offset`, give up the turn and free, test_loop_count times."""
    for _ in range(at.parameters.test_loop_count):
        address = alloc()
        if address is None:
            return False
        if data:
            at.machine.memory.write(address + offset, data)
        yield
        free(address)
    return True


def fix_size_alloc_test(at: Setting) -> Steps[bool]:
    """One area after the other, all of one size."""
    vm, caller = at.machine.vm, _of_module("fix_size_alloc_test")
    size = at.nr_pages * PAGE_SIZE

    def alloc() -> int | None:
        if at.parameters.use_huge:
            return vm.vmalloc_huge(size, caller=caller)
        return vm.vmalloc(size, caller)

    return _one_after_the_other(at, alloc, vm.vfree, data=b"\0")


def full_fit_alloc_test(at: Setting) -> Steps[bool]:
    """One page after the other, while there are holes of one page everywhere before."""
    vm, name = at.machine.vm, "full_fit_alloc_test"
    arrays: list[int] = []
    for _ in range(2):
        array = at.vmalloc(at.junk_length * at.machine.layout.pointer_size, name)
        if array is None:
            vm.vfree_bulk(arrays)
            return False
        arrays.append(array)
    kept, junk = [], []
    for _ in range(at.junk_length):
        kept.append(at.vmalloc(PAGE_SIZE, name))
        junk.append(at.vmalloc(PAGE_SIZE, name))
        yield
    for address in junk:
        vm.vfree(address)
    passed = yield from _one_after_the_other(
        at, lambda: at.vmalloc(PAGE_SIZE, name), vm.vfree, data=b"\1"
    )
    for address in [*kept, *arrays]:
        vm.vfree(address)
    return passed


def long_busy_list_alloc_test(at: Setting) -> Steps[bool]:
    """A large area and a small one, while very many are in use."""
    vm, memory, name = at.machine.vm, at.machine.memory, "long_busy_list_alloc_test"
    array = at.vmalloc(NR_BUSY * at.machine.layout.pointer_size, name)
    if array is None:
        return False
    busy = []
    for _ in range(NR_BUSY):
        busy.append(at.vmalloc(PAGE_SIZE, name))
        yield
    passed = True
    for _ in range(at.parameters.test_loop_count):
        large = at.vmalloc(100 * PAGE_SIZE, name)
        small = None if large is None else at.vmalloc(PAGE_SIZE, name)
        if large is None or small is None:
            vm.vfree(large)
            passed = False
            break
        memory.write(large, b"\0")
        memory.write(small, b"\1")
        yield
        vm.vfree(large)
        vm.vfree(small)
    for address in [*busy, array]:
        vm.vfree(address)
    return passed


def random_size_alloc_test(at: Setting) -> Steps[bool]:
    """One area after the other, of 1 to 100 pages."""

    def alloc() -> int | None:
        return at.vmalloc(at.random.randint(1, 100) * PAGE_SIZE, "random_size_alloc_test")

    return _one_after_the_other(at, alloc, at.machine.vm.vfree, data=b"\1")


def fix_align_alloc_test(at: Setting) -> Steps[bool]:
    """One area after the other, all of one size and alignment."""
    align = THREAD_ALIGN[at.machine.layout.name] << 1

    def alloc() -> int | None:
        return at.vmalloc_node(5 * PAGE_SIZE, align, "fix_align_alloc_test")

    return _one_after_the_other(at, alloc, at.machine.vm.vfree)


def random_size_align_alloc_test(at: Setting) -> Steps[bool]:
    """One area after the other, of 1 to 10 pages, aligned to a byte and up to 4 MiB."""

    def alloc() -> int | None:
        number = at.random.randrange(256)
        size, align = (number % 10 + 1) * PAGE_SIZE, 1 << number % 23
        return at.vmalloc_node(size, align, "random_size_align_alloc_test")

    return _one_after_the_other(at, alloc, at.machine.vm.vfree)


def align_shift_alloc_test(at: Setting) -> Steps[bool]:
    """A page, aligned to each power of two that there is; it has to fail.

    No window has an address that is a multiple of the highest ones.
    """
    for shift in range(at.pointer_bits):
        address = at.vmalloc_node(PAGE_SIZE, 1 << shift, "align_shift_alloc_test")
        if address is None:
            return False
        yield
        at.machine.vm.vfree(address)
    return True


def pcpu_alloc_test(at: Setting) -> Steps[bool]:
    """Very many objects of each CPU, of 1 to 1024 bytes, aligned to up to half a page."""
    percpu = at.machine.percpu
    array = at.vmalloc(NR_PCPU * at.machine.layout.pointer_size, "pcpu_alloc_test")
    if array is None:
        return False
    objects = []
    for _ in range(NR_PCPU):
        size = at.random.randint(1, PAGE_SIZE // 4)
        objects.append(percpu.alloc_percpu(size, 1 << at.random.randint(1, 11)))
        yield
    for address in objects:
        percpu.free_percpu(address)
    at.machine.vm.vfree(array)
    return None not in objects


def _freed_later(at: Setting, caller: str, free: Callable[[int], None]) -> Steps[bool]:
    behind = 2 * at.machine.layout.pointer_size  # of a rcu_head
    return _one_after_the_other(
        at, lambda: at.vmalloc(PAGE_SIZE, caller), free, offset=behind, data=b"a"
    )


def kvfree_rcu_1_arg_vmalloc_test(at: Setting) -> Steps[bool]:
    """One page after the other, freed a grace period later."""
    return _freed_later(at, "kvfree_rcu_1_arg_vmalloc_test", at.machine.krc.kvfree_rcu_mightsleep)


def kvfree_rcu_2_arg_vmalloc_test(at: Setting) -> Steps[bool]:
    """The same, where what is freed is linked by what is in it if need be."""
    return _freed_later(at, "kvfree_rcu_2_arg_vmalloc_test", at.machine.krc.kvfree_rcu)


def vm_map_ram_test(at: Setting) -> Steps[bool]:
    """The same frames mapped again and again.

    Without addresses Linux writes to NULL here, and so does this.

    Raises:
        PageFault: there are no addresses.
    """
    machine, vm, count = at.machine, at.machine.vm, at.nr_pages
    array = machine.slab.kmalloc(count * machine.layout.page_struct_size)
    if array is None:
        return False
    pages = machine.page_alloc.alloc_pages_bulk(GFP_KERNEL, count)
    if pages is None:
        machine.slab.kfree(array)
        return False
    for _ in range(at.parameters.test_loop_count):
        address = vm.vm_map_ram(pages)
        machine.memory.write(address or 0, b"a")
        yield
        if address is not None:
            vm.vm_unmap_ram(address, count)
    machine.page_alloc.free_frames(pages)
    machine.slab.kfree(array)
    return True


class Case(NamedTuple):
    """A scenario (Linux: lib/test_vmalloc.c:struct test_case_desc)."""

    run: Callable[[Setting], Steps[bool]]
    turns: Callable[[Setting], int]
    """How many it gives up, if nothing fails."""
    must_fail: bool = False
    """Whether it cannot pass."""

    @property
    def name(self) -> str:
        """As Linux calls it."""
        return self.run.__name__


def _loops(at: Setting) -> int:
    return at.parameters.test_loop_count


CASES: Final = (
    Case(fix_size_alloc_test, _loops),
    Case(full_fit_alloc_test, lambda at: at.junk_length + _loops(at)),
    Case(long_busy_list_alloc_test, lambda at: NR_BUSY + _loops(at)),
    Case(random_size_alloc_test, _loops),
    Case(fix_align_alloc_test, _loops),
    Case(random_size_align_alloc_test, _loops),
    Case(align_shift_alloc_test, lambda at: at.pointer_bits, must_fail=True),
    Case(pcpu_alloc_test, lambda at: NR_PCPU),
    Case(kvfree_rcu_1_arg_vmalloc_test, _loops),
    Case(kvfree_rcu_2_arg_vmalloc_test, _loops),
    Case(vm_map_ram_test, _loops),
)
"""All of them, in the order of their bits."""
