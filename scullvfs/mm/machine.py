"""The machine: one emulated computer, its parts wired together.

Everything that Linux keeps in globals is an attribute of a `Machine`, so that any number
of them can live in one process and a test starts from a fresh one.

Two machines with the same arguments that get the same calls give the same frames and addresses,
whatever the clock did between the calls.  What is asked of the world around, `outside` asks: the
time, for the log, and who calls, for reports and traces.  And what idle work
does moves nothing: it gives the host's memory behind free frames back (not where the next owner
would see that, which is without `init_on_alloc`), and it finishes what was left in the workqueue,
which the next call that allocates or frees would finish first.  (What somebody does in slices is
not held to that: others are let in on purpose, see `workqueue`.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypedDict

from .access import KernelMemory
from .call_trace import CallTrace
from .fault_inject import FaultInjection, FaultInjectionState, FaultStatistics
from .fault_points import add_machine_faults
from .fragment import UNBROKEN_ORDER
from .gfp import __GFP_NOWARN as NOWARN
from .iomem import IoMemory, IoMemoryState, IoMemoryStatistics
from .kvfree_rcu import KfreeRcuCpu, KfreeRcuState, KfreeRcuStatistics
from .layout import LAYOUTS, PAGE_SIZE, Layout
from .overrun import Overruns, OverrunsState
from .overwritten_tables import OverwrittenTables
from .page_alloc import MAX_PAGE_ORDER, PageAllocator, PageAllocState, PageStatistics
from .percpu import Percpu, PercpuState, PercpuStatistics
from .pgtable import PageTables, PgtableState, PgtableStatistics
from .printk import KERN_INFO, KernelLog, LogState, LogStatistics
from .ram import Ram, RamState, RamStatistics
from .restoring import Claims, StateError
from .sched import Running, Task
from .show_mem import show_mem
from .slab import AllSlabsState, Slab, SlabStatistics
from .trace import Trace, TraceState, TraceStatistics
from .tracepoints import machine_points
from .unwiped_slab import UnwipedSlab
from .vmalloc import Vmalloc, VmallocState, VmallocStatistics
from .vmap import VmapSpace, VmapState, VmapStatistics
from .workqueue import Workqueue, WorkqueueState, WorkqueueStatistics

if TYPE_CHECKING:
    from .page_owner import PageOwner

__all__ = ["MIN_MEM", "Machine", "MachineState", "MachineStatistics"]

MIN_MEM: Final = 1 << 20
"""The smallest RAM that makes a machine, 1 MiB."""
MOST_TIMES: Final = 1 << 16
"""Of the records of page_owner: a boot makes some hundreds."""


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
    trace: TraceStatistics
    faults: FaultStatistics
    krc: KfreeRcuStatistics
    percpu: PercpuStatistics


class MachineState(TypedDict):
    """All parts of a machine but what is in RAM, as plain data."""

    arch: str
    cpus: int
    workqueue: WorkqueueState
    ram: RamState
    page_alloc: PageAllocState
    slab: AllSlabsState
    pgtable: PgtableState
    iomem: IoMemoryState
    vmap_space: VmapState
    vm: VmallocState
    krc: KfreeRcuState
    percpu: PercpuState
    log: LogState
    trace: TraceState
    faults: FaultInjectionState
    overruns: OverrunsState
    page_owner: Any
    """None, or what `PageOwner.restore()` looks at itself."""


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
        fragment: percent, 0 to 100, of the free memory that is in blocks below order 4 from the
            start, by the seed; it takes a 16th of that.
        init_on_alloc: what is allocated is zeros, as with Debian's kernels; without, only what is
            asked for as zeros, and the rest is what its last owner has left there.
        page_owner: keep who holds which frames, as with the kernel's parameter of that name.
        hardened_usercopy: look at what is copied to and from processes (`usercopy`), as a kernel
            booted with hardened_usercopy=on.

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
        fragment: int = 0,
        init_on_alloc: bool = True,
        page_owner: bool = False,
        hardened_usercopy: bool = False,
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
        if not 0 <= fragment <= 100:
            raise ValueError(f"fragment of {fragment} %: it has to be 0 to 100")
        self.layout: Final[Layout] = layout
        self.cpus: Final = cpus
        self.init_on_alloc: Final = init_on_alloc
        self.hardened_usercopy: Final = hardened_usercopy
        self.running: Final = Running()
        """Holds `current`, for those who set it, or read it and have no machine."""
        self.log: Final = KernelLog(panic_on_warn, running=self.running, arch=arch)
        self.workqueue: Final = Workqueue()
        """What is left for later, for idle time or for who allocates or frees next."""
        self.ram: Final = Ram(mem, layout.pointer_size)
        self.call_trace: Final = CallTrace()
        """By which functions something came about, for reports and records."""
        self.page_owner: PageOwner | None = None
        """Who holds which frames, where that is kept."""
        self.page_alloc: Final = self._page_allocator(shuffle, seed, fragment, page_owner)
        self.slab: Final = (
            Slab(self.page_alloc, self.ram, layout, self.log, cpus)
            if init_on_alloc
            else UnwipedSlab(self.page_alloc, self.ram, layout, self.log, cpus, seed)
        )
        self.pgtable: Final = PageTables(self.page_alloc, self.ram, layout)
        self.iomem: Final = IoMemory(layout, mem)
        self.memory: Final = KernelMemory(
            self.page_alloc, self.pgtable, self.ram, layout, self.iomem
        )
        self.log.printk(
            KERN_INFO,
            f"Memory: {self.page_alloc.nr_free * 4}K/{mem >> 10}K available, {arch}, "
            f"{'shuffled' if shuffle else 'fresh'} page frames, seed {seed}",
        )
        if fragment:
            taken = sum(zone.buddy.nr_unevictable for zone in self.page_alloc.zones)
            self.log.printk(
                KERN_INFO,
                f"ramfs: {taken} unevictable pages hold free memory apart, "
                f"{fragment} % of it in blocks below order {UNBROKEN_ORDER}",
            )
        # As in Linux (mm/mm_init.c:mm_core_init()) what follows is no part of that.
        vmap_area = self.slab.kmem_cache_create("vmap_area", layout.vmap_area_size)
        assert vmap_area is not None
        self.vmap_space: Final = VmapSpace(
            layout,
            cpus,
            self.slab.numbers(vmap_area),
            self.log,
            self._free_empty_tables,
            self.workqueue.schedule_work,
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
        self.krc: Final = KfreeRcuCpu(self.page_alloc, self.vm, layout)
        """What `kvfree_rcu()` has left to be freed."""
        self.percpu: Final = Percpu(
            self.vm,
            self.vmap_space,
            self.page_alloc,
            self.slab,
            self.pgtable,
            self.memory,
            layout,
            self.log,
            cpus,
        )
        """Memory of which each CPU has a copy."""
        points = machine_points(self.page_alloc, self.slab, self.vmap_space, self.vm, layout)
        self.trace: Final = Trace(self.log, self.running, layout, points, seed, cpus)
        self.faults: Final = FaultInjection(self.log, self.running, self.call_trace, seed)
        """What is made to fail."""
        add_machine_faults(
            self.faults, self.page_alloc, self.slab, self.vmap_space, self.vm, page_owner
        )
        self.log.show_mem = partial(show_mem, self.page_alloc, self.slab, self.pgtable, layout)
        self.page_alloc.on_failure = self._page_allocation_failure
        self.overruns: Final = Overruns(
            self.page_alloc, self.slab, self.pgtable, self.memory, self.vmap_space, layout
        )
        """Who has written to whose memory, where a driver has that mistake."""
        self.holders: Final[list[Callable[[], set[int]]]] = []
        """Of those who get frames from `page_alloc` themselves: each says which are its own."""

    def _page_allocator(
        self, shuffle: bool, seed: int, fragment: int, page_owner: bool
    ) -> PageAllocator:
        common = (self.ram, self.layout, shuffle, seed, self.workqueue, self.cpus)
        if not page_owner:
            return PageAllocator(*common, fragment, self.init_on_alloc)
        from .page_owner import TrackedPageAllocator

        tracked = TrackedPageAllocator(
            *common,
            fragment,
            self.init_on_alloc,
            self.running,
            self.log.local_clock,
            self.call_trace,
        )
        self.page_owner = tracked.owner
        return tracked

    def _free_empty_tables(self) -> None:
        self.pgtable.free_empty_tables()

    def _page_allocation_failure(self, gfp: int, order: int) -> None:
        """Say that there is no such block, and of one that can never be had only the first time.

        Linux: mm/page_alloc.c:__alloc_pages_noprof(), __alloc_pages_slowpath()
        """
        if order > MAX_PAGE_ORDER:
            if not gfp & NOWARN:  # WARN_ON_ONCE_GFP()
                self.log.warn_once("", "__alloc_pages_noprof")
            return
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
            trace=self.trace.statistics(),
            faults=self.faults.statistics(),
            krc=self.krc.statistics(),
            percpu=self.percpu.statistics(),
        )

    def __repr__(self) -> str:
        free = self.page_alloc.nr_free * PAGE_SIZE
        return f"<Machine {self.layout.name} mem={self.ram.size >> 20}M free={free >> 20}M>"

    def state(self) -> MachineState:
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
            "krc": self.krc.state(),
            "percpu": self.percpu.state(),
            "log": self.log.state(),
            "trace": self.trace.state(),
            "faults": self.faults.state(),
            "overruns": self.overruns.state(),
            "page_owner": None if self.page_owner is None else self.page_owner.state(),
        }

    def restore(self, state: MachineState, clock: int) -> Claims:
        """Go on as a machine with the same arguments would after `state()`.

        What was in RAM is there already, in place of all else (`Ram.clear()`).  Returns whose each
        frame is, for those who get frames from `page_alloc` themselves (`holders`) to say theirs;
        then all of them have to have a holder.

        Args:
            clock: nanoseconds since that machine was switched on, from which this one goes on.

        Raises:
            ValueError, LookupError, ArithmeticError, AssertionError: the state, or what is in RAM,
                cannot be, and this machine is of no use any more.
        """
        if (state["arch"], state["cpus"], state["ram"]) != (
            self.layout.name,
            self.cpus,
            self.ram.state(),
        ):
            raise StateError("another machine")
        claims = Claims(self.ram.nr_pages)
        self.workqueue.restore(state["workqueue"])
        self.page_alloc.restore(state["page_alloc"], claims)
        self.slab.restore(state["slab"], claims)
        if state["pgtable"]["damage"]:
            OverwrittenTables.become(self.pgtable)
            self.memory.tables_changed()
        self.pgtable.restore(state["pgtable"], claims)
        self.iomem.restore(state["iomem"])
        self.vmap_space.restore(state["vmap_space"])
        self.vm.restore(state["vm"], claims)
        self.krc.restore(state["krc"], claims)
        self.percpu.restore(state["percpu"], claims)
        self.log.restore(state["log"], clock)
        self.trace.restore(state["trace"])
        caches = {cache.name: cache for cache in self.slab.caches()}
        self.faults.restore(state["faults"], caches)
        self.overruns.restore(state["overruns"])
        if (state["page_owner"] is None) != (self.page_owner is None):
            raise StateError("another page_owner")
        if self.page_owner is not None:
            self.page_owner.restore(state["page_owner"])
        return claims

    def times(self) -> list[int]:
        """When it was that it has noted something, as far as that is a matter of the clock.

        Of the lines of its log, then of the records of who holds page frames, MOST_TIMES of these.
        """
        times = [record.nanoseconds for record in self.log.records()]
        return times if self.page_owner is None else times + self.page_owner.times(MOST_TIMES)

    def set_times(self, times: Sequence[int]) -> None:
        """Have noted the same at other times: those of the machine that this was."""
        nr_lines = len(self.log.records())
        self.log.set_times(times[:nr_lines])
        if self.page_owner is not None:
            self.page_owner.set_times(times[nr_lines:])

    def close(self) -> None:
        """Switch it off and give its RAM back to the host; nothing of it may be used any more."""
        self.ram.close()

    def check(self) -> None:
        """Assert every part's invariants, and that the books add up.  Slow: for tests.

        - each frame but frame 0 is free, or held by exactly one of slab, page tables, vmalloc, what
          waits for a grace period, the per-cpu allocator, the file that holds free ones apart, and
          `holders` (so it does not hold where a caller that is none of these has got frames from
          `page_alloc` itself)
        """
        self.log.check()
        self.trace.check()
        self.faults.check()
        self.workqueue.check()
        self.iomem.check()
        holders = (
            self.page_alloc.check(),
            self.page_alloc.unevictable(),
            self.slab.check(),
            self.pgtable.check(),
            self.vm.check(),
            self.krc.check(),
            self.percpu.check(),
            *(held() for held in self.holders),
        )
        everything: set[int] = set()
        for frames in holders:
            assert not everything & frames, "a frame has two holders"
            everything |= frames
        assert everything == set(range(1, self.ram.nr_pages)), "a frame has no holder"
