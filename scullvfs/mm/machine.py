"""The machine: one emulated computer, its parts wired together.

Everything that Linux keeps in globals is an attribute of a `Machine`, so that any number
of them can live in one process and a test starts from a fresh one.

Two machines with the same arguments that get the same calls give the same frames and addresses,
whatever the clock did between the calls.  No part asks for the time but the log, and what idle work
does moves nothing: it gives the host's memory behind free frames back, and it finishes what was
left in the workqueue, which the next call that allocates or frees would finish first.  (What
somebody does in slices is not held to that: others are let in on purpose, see `workqueue`.)
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final, NamedTuple

from .access import KernelMemory
from .iomem import IoMemory, IoMemoryStatistics
from .layout import LAYOUTS, PAGE_SIZE, Layout
from .page_alloc import PageAllocator, PageStatistics
from .pgtable import PageTables, PgtableStatistics
from .printk import KERN_INFO, KernelLog, LogStatistics
from .ram import Ram, RamStatistics
from .sched import Running, Task
from .show_mem import show_mem
from .slab import Slab, SlabStatistics
from .vmalloc import Vmalloc, VmallocStatistics
from .vmap import VmapSpace, VmapStatistics
from .workqueue import Workqueue, WorkqueueStatistics

__all__ = ["MIN_MEM", "Machine", "MachineStatistics"]

MIN_MEM: Final = 1 << 20
"""The smallest RAM that makes a machine, 1 MiB."""


class MachineStatistics(NamedTuple):
    """The books of all parts."""

    pages: PageStatistics
    slab: SlabStatistics
    pgtable: PgtableStatistics
    vmap: VmapStatistics
    vmalloc: VmallocStatistics
    log: LogStatistics
    ram: RamStatistics
    workqueue: WorkqueueStatistics
    iomem: IoMemoryStatistics


class Machine:
    """One emulated computer.

        >>> machine = Machine(mem=64 << 20)
        >>> address = machine.vm.vmalloc(3 * 4096)
        >>> hex(address)
        '0xffffc90000000000'
        >>> machine.memory.write(address, b"hello")
        >>> bytes(machine.memory.read(address, 5))
        b'hello'
        >>> machine.vm.vfree(address)

    Args:
        mem: bytes of RAM, a multiple of PAGE_SIZE, at least MIN_MEM; on i386 at most 4 GiB.
        arch: a name from `layout.LAYOUTS`: x86_64, i386 or arm64.
        shuffle: frames come from all over RAM, as on a machine that has been up for months.
        seed: of that random order; the same seed gives the same frames.
        cpus: how many the kernel believes it has: more of them let more freed addresses wait.
        panic_on_warn: raise KernelBug where the kernel would warn.

    Raises:
        ValueError: an argument out of its range.
        OSError: the host refuses so much memory.
    """

    def __init__(
        self,
        mem: int = 1 << 30,
        arch: str = "x86_64",
        shuffle: bool = True,
        seed: int = 0,
        cpus: int = 1,
        panic_on_warn: bool = False,
    ) -> None:
        layout = LAYOUTS.get(arch)
        if layout is None:
            raise ValueError(f"unknown architecture {arch!r}: choose one of {', '.join(LAYOUTS)}")
        if mem < MIN_MEM or mem % PAGE_SIZE:
            raise ValueError(f"RAM of {mem} bytes: it has to be whole pages of 4096, 1 MiB or more")
        if mem > layout.max_mem:
            raise ValueError(f"RAM of {mem} bytes: {arch} addresses {layout.max_mem} at the most")
        if cpus < 1:
            raise ValueError(f"{cpus} CPUs: there has to be one")
        self.layout: Final[Layout] = layout
        self.cpus: Final = cpus
        self.running: Final = Running()
        """Holds `current`, for those who set it, or read it and have no machine."""
        self.log: Final = KernelLog(panic_on_warn, running=self.running, arch=arch)
        self.workqueue: Final = Workqueue()
        """What is left for later, for idle time or for who allocates or frees next."""
        self.ram: Final = Ram(mem, layout.pointer_size)
        self.page_alloc: Final = PageAllocator(
            self.ram, layout, shuffle, seed, self.workqueue, cpus
        )
        self.slab: Final = Slab(self.page_alloc, self.ram, layout, self.log, cpus)
        self.pgtable: Final = PageTables(self.page_alloc, self.ram, layout)
        self.iomem: Final = IoMemory(layout, mem)
        self.memory: Final = KernelMemory(
            self.page_alloc, self.pgtable, self.ram, layout, self.iomem
        )
        self.vmap_space: Final = VmapSpace(
            layout, cpus, self.pgtable.free_empty_tables, self.workqueue.schedule_work
        )
        self.vm: Final = Vmalloc(
            self.vmap_space,
            self.page_alloc,
            self.slab,
            self.pgtable,
            self.memory,
            layout,
            self.log,
        )
        self.log.show_mem = partial(show_mem, self.page_alloc, self.slab, self.pgtable, layout)
        self.page_alloc.on_failure = self._page_allocation_failure
        self.holders: Final[list[Callable[[], set[int]]]] = []
        """Of those who get frames from `page_alloc` themselves: each says which are its own."""
        self.log.printk(
            KERN_INFO,
            f"Memory: {self.page_alloc.nr_free * 4}K/{mem >> 10}K available, {arch}, "
            f"{'shuffled' if shuffle else 'fresh'} page frames, seed {seed}",
        )

    def _page_allocation_failure(self, gfp: int, order: int) -> None:
        """Linux: mm/page_alloc.c:__alloc_pages_slowpath()"""
        trace = ("__alloc_pages_slowpath", "__alloc_pages_noprof")
        self.log.warn_alloc(f"page allocation failure: order:{order}", gfp, trace)

    @property
    def current(self) -> Task:
        """Who is running."""
        return self.running.current

    def idle_work(self) -> bool:
        """Do a step of what can wait, a millisecond at most.

        However many of them are done, and whenever, the calls that come after get the same frames
        and addresses.  Returns whether there was any, so there may be more to do.
        """
        return self.workqueue.step() or self.page_alloc.idle_work()

    def statistics(self) -> MachineStatistics:
        """Every part's books as they stand now; it takes some microseconds, whatever there is."""
        return MachineStatistics(
            pages=self.page_alloc.statistics(),
            slab=self.slab.statistics(),
            pgtable=self.pgtable.statistics(),
            vmap=self.vmap_space.statistics(),
            vmalloc=self.vm.statistics(),
            log=self.log.statistics(),
            ram=self.ram.statistics(),
            workqueue=self.workqueue.statistics(),
            iomem=self.iomem.statistics(),
        )

    def __repr__(self) -> str:
        free = self.page_alloc.nr_free * PAGE_SIZE
        return f"<Machine {self.layout.name} mem={self.ram.size >> 20}M free={free >> 20}M>"

    def state(self) -> dict[str, Any]:
        """All that the calls have made of it but what is in RAM, as plain data.

        What waits in the workqueue is done first.
        """
        return {
            "workqueue": self.workqueue.state(),
            "arch": self.layout.name,
            "cpus": self.cpus,
            "ram": self.ram.state(),
            "page_alloc": self.page_alloc.state(),
            "slab": self.slab.state(),
            "pgtable": self.pgtable.state(),
            "iomem": self.iomem.state(),
            "vmap_space": self.vmap_space.state(),
            "vm": self.vm.state(),
            "log": self.log.state(),
        }

    def close(self) -> None:
        """Switch it off and give its RAM back to the host; nothing of it may be used any more."""
        self.ram.close()

    def check(self) -> None:
        """Assert every part's invariants, and that the books add up.  Slow: for tests.

        - each frame but frame 0 is free, or held by exactly one of slab, page tables, vmalloc
          and `holders` (so it does not hold where a caller that is none of these has got frames
          from `page_alloc` itself)
        """
        self.log.check()
        self.workqueue.check()
        self.iomem.check()
        holders = (
            self.page_alloc.check(),
            self.slab.check(),
            self.pgtable.check(),
            self.vm.check(),
            *(held() for held in self.holders),
        )
        everything: set[int] = set()
        for frames in holders:
            assert not everything & frames, "a frame has two holders"
            everything |= frames
        assert everything == set(range(1, self.ram.nr_pages)), "a frame has no holder"
