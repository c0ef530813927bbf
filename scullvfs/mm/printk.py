"""The kernel log: what printk() and WARN() write, and `proc/kmsg` shows.

A ring buffer of lines, as in Linux: the oldest fall out.  `mm` writes here what Linux
would say to the administrator; errors that a caller has to handle are return values.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Final, NamedTuple, TypedDict

from . import outside
from .dump_stack import (
    TAINT_DIE,
    TAINT_OOT_MODULE,
    TAINT_WARN,
    TAINTS,
    info_lines,
    modules_line,
    trace_lines,
)
from .errors import KernelBug
from .gfp import __GFP_NOWARN as NOWARN
from .gfp import GFP_KERNEL, gfp_flags_string
from .ratelimit import RatelimitBooks, RatelimitState
from .restoring import StateError
from .sched import Running

__all__ = [
    "KERN_ALERT",
    "KERN_CRIT",
    "KERN_EMERG",
    "KERN_ERR",
    "KERN_INFO",
    "KERN_NOTICE",
    "KERN_WARNING",
    "KernelLog",
    "LogState",
    "LogStatistics",
    "Record",
]

KERN_EMERG: Final = 0
KERN_ALERT: Final = 1
KERN_CRIT: Final = 2
KERN_ERR: Final = 3
KERN_WARNING: Final = 4
KERN_NOTICE: Final = 5
KERN_INFO: Final = 6

LOG_LINES: Final = 4096
"""How many lines the ring holds."""

NOPAGE_INTERVAL: Final = 10_000_000_000
"""Nanoseconds in which allocations that fail are reported so many times (Linux: nopage_rs)."""
NOPAGE_BURST: Final = 1

FILES: Final = {
    **dict.fromkeys(
        (
            "__vmalloc_node_range_noprof",
            "remove_vm_area",
            "vb_alloc",
            "vfree",
            "vmap",
            "vmap_pages_pte_range",
            "vrealloc_noprof",
            "vunmap",
        ),
        "mm/vmalloc.c",
    ),
    **dict.fromkeys(("__ioremap_caller", "__ioremap_check", "iounmap"), "arch/x86/mm/ioremap.c"),
    "phys_addr_valid": "arch/x86/mm/physaddr.h",
    "__kvmalloc_node_noprof": "mm/util.c",
    "__alloc_pages_noprof": "mm/page_alloc.c",
    "pcpu_alloc_noprof": "mm/percpu.c",
    "kmem_cache_destroy": "mm/slab_common.c",
    **dict.fromkeys(
        ("cache_from_obj", "free_large_kmalloc", "kfree", "virt_to_cache"), "mm/slub.c"
    ),
}
"""Function that warns -> where it is."""


class Record(NamedTuple):
    """One line of the log."""

    level: int
    nanoseconds: int
    """Since the machine was switched on."""
    text: str

    def __str__(self) -> str:
        """The line as /proc/kmsg has it (Linux: kernel/printk/printk.c:record_print_text())."""
        seconds, rest = divmod(self.nanoseconds, 1_000_000_000)
        return f"<{self.level}>[{seconds:5d}.{rest // 1000:06d}] {self.text}"


class LogStatistics(NamedTuple):
    """The log's books."""

    records: int
    """Lines that there have been, with those that have fallen out."""
    lost: int
    """Lines that have fallen out."""


def _now() -> int:
    return outside.monotonic_ns()


class LogState(TypedDict):
    """All that it holds."""

    records: list[Record]
    lost: int
    warned: list[str]
    modules: list[str]
    taints: list[str]
    deaths: int
    nopage: RatelimitBooks


class KernelLog:
    """The log of one machine.

    Args:
        panic_on_warn: raise KernelBug from `warn()`, as the kernel's parameter of that
            name stops a machine at its first warning.  Tests run with it.
        clock: nanoseconds, monotonic.
        running: asked for the task when a report names it.
        arch: name of the architecture, which reports name and go by.
    """

    def __init__(
        self,
        panic_on_warn: bool = False,
        clock: Callable[[], int] = _now,
        running: Running | None = None,
        arch: str = "x86_64",
    ) -> None:
        self.panic_on_warn = panic_on_warn
        self.show_mem: Callable[[int], Sequence[str]] = lambda gfp: ()
        """Gives the lines on memory in the report of an allocation of such flags."""
        self.modules: Final[list[str]] = []
        """Names of the modules that are loaded, the last one first; reports list them."""
        self._running = running or Running()
        self._arch = arch
        self._clock = clock
        self.start = clock()
        """What the clock said when the machine was switched on."""
        self._records: deque[Record] = deque(maxlen=LOG_LINES)
        self._lost = 0
        """How many records have fallen out."""
        self._warned: set[str] = set()
        self._taints: set[str] = set()
        """Why what the machine does may not be the kernel's fault (Linux: tainted_mask)."""
        self._deaths = 0
        """How many oopses there have been (Linux: die_counter)."""
        self.nopage = RatelimitState(NOPAGE_INTERVAL, NOPAGE_BURST)
        """Of reports of failed allocations."""

    def local_clock(self) -> int:
        """Nanoseconds since the machine was switched on (Linux: local_clock())."""
        return self._clock() - self.start

    def go_on_from(self, now: int) -> None:
        """Have the clock say a time now, in nanoseconds since the machine was switched on."""
        self.start = self._clock() - now

    def printk(self, level: int, text: str) -> None:
        """Append `text`, one record a line."""
        now = self.local_clock()
        lines = text.split("\n")
        self._lost += max(len(self._records) + len(lines) - LOG_LINES, 0)
        self._records.extend(Record(level, now, line) for line in lines)

    def set_times(self, times: Sequence[int]) -> None:
        """Have the first lines be of other times, in nanoseconds: of the machine that this was."""
        records = [*self._records]
        for at, when in enumerate(times[: len(records)]):
            records[at] = records[at]._replace(nanoseconds=when)
        self._records.clear()
        self._records.extend(records)

    def add_module(self, name: str) -> None:
        """Have a module among those that reports list; nothing for one that is there.

        Linux: kernel/module/main.c:load_module()
        """
        if name not in self.modules:
            self.modules.insert(0, name)
            self._taints.add(TAINT_OOT_MODULE)

    def add_taint(self, flag: str) -> None:
        """Say in all reports from now on that something was wrong (Linux: add_taint())."""
        self._taints.add(flag)

    def warn(self, text: str, where: str) -> None:
        """WARN(): a warning with the function it was raised in, `where`, such as "vfree".

        Without a `text` the place says it all (WARN_ON()).  Where Linux has the line of the source,
        here is the file alone.  Linux: kernel/panic.c:__warn()

        Raises:
            KernelBug: under `panic_on_warn`.
        """
        task = self._running.current
        lines = ["------------[ cut here ]------------"]
        if text:
            lines.append(text)
        lines += [
            f"WARNING: CPU: 0 PID: {task.pid} at {FILES.get(where, 'mm')} {where}",
            modules_line(self.modules),
            *info_lines(task, self._taints, self._arch),
            *trace_lines([where], self._arch),
            "---[ end trace 0000000000000000 ]---",
        ]
        self.printk(KERN_WARNING, "\n".join(lines))
        self._taints.add(TAINT_WARN)
        if self.panic_on_warn:
            raise KernelBug(text or f"WARNING at {where}")

    def warn_once(self, text: str, where: str) -> None:
        """WARN_ONCE(): as `warn()`, but only the first time for each place."""
        if where not in self._warned:
            self._warned.add(where)
            self.warn(text, where)

    def warn_alloc(self, text: str, gfp: int = GFP_KERNEL, trace: Sequence[str] = ()) -> None:
        """What Linux says when an allocation fails, once in ten seconds at the most.

        Nothing where the flags have __GFP_NOWARN.  How many reports were kept back is said before
        the next one.

        Args:
            text: why.
            gfp: the flags of the allocation.
            trace: the functions that led to it, the innermost first.

        Linux: mm/page_alloc.c:warn_alloc()
        """
        if gfp & NOWARN:
            return
        now = self.local_clock()
        allowed, missed = self.nopage.ratelimit(now)
        if missed:
            self.printk(KERN_WARNING, f"warn_alloc: {missed} callbacks suppressed")
        if not allowed:
            return
        task = self._running.current
        lines = [
            f"{task.comm}: {text}, mode:{gfp:#x}({gfp_flags_string(gfp)}), "
            "nodemask=(null),cpuset=/,mems_allowed=0",
            *info_lines(task, self._taints, self._arch),
            *trace_lines(["dump_stack_lvl", "warn_alloc", *trace], self._arch),
            *self.show_mem(gfp),
        ]
        self.printk(KERN_WARNING, "\n".join(lines))

    def dump_stack(self, trace: Sequence[str]) -> None:
        """Say who is running, and by which functions, the innermost first.

        Linux: lib/dump_stack.c:dump_stack()
        """
        lines = info_lines(self._running.current, self._taints, self._arch)
        lines += trace_lines(["dump_stack_lvl", *trace], self._arch)
        self.printk(KERN_WARNING, "\n".join(lines))

    def oops(self, report: Callable[[int], Sequence[tuple[int, str]]]) -> None:
        """Print the report of an error that no kernel survives unharmed.

        Args:
            report: gives its lines with their levels, told how many oopses there have been, this
                one included.

        Linux: arch/x86/kernel/dumpstack.c:oops_end()
        """
        self._deaths += 1
        for level, line in report(self._deaths):
            self.printk(level, line)
        self._taints.add(TAINT_DIE)

    @property
    def taints(self) -> frozenset[str]:
        """Flags of `dump_stack`."""
        return frozenset(self._taints)

    def records(self) -> list[Record]:
        """All lines, oldest first."""
        return list(self._records)

    def records_from(self, number: int) -> Iterator[tuple[int, Record]]:
        """The lines from a number on, each with its number, counted from the first one ever."""
        return islice(enumerate(self._records, self._lost), max(number - self._lost, 0), None)

    @property
    def nr_records(self) -> int:
        """How many lines there have been, with those that have fallen out."""
        return self._lost + len(self._records)

    def statistics(self) -> LogStatistics:
        """The books as they stand now."""
        return LogStatistics(self.nr_records, self._lost)

    def __repr__(self) -> str:
        return f"<KernelLog records={len(self._records)} lost={self._lost}>"

    def state(self) -> LogState:
        """All that it holds, as plain data.

        The times, and which reports of failed allocations were kept back, are the clock's, the
        rest the calls' alone.
        """
        return {
            "records": [*self._records],
            "lost": self._lost,
            "warned": sorted(self._warned),
            "modules": list(self.modules),
            "taints": sorted(self._taints),
            "deaths": self._deaths,
            "nopage": self.nopage.state(),
        }

    def restore(self, state: LogState, clock: int) -> None:
        """Hold this; the clock goes on from `clock`, which `local_clock()` gave then."""
        if not {*state["taints"]} <= TAINTS:
            raise StateError("a taint that there is not")
        if any(record.nanoseconds > clock for record in state["records"]):
            raise StateError("a line of the log is of the future")
        self.go_on_from(clock)
        self._records.clear()
        self._records.extend(state["records"])
        self._lost = state["lost"]
        self._warned = {*state["warned"]}
        self.modules[:] = state["modules"]
        self._taints = {*state["taints"]}
        self._deaths = state["deaths"]
        self.nopage.restore(state["nopage"])
        self.check()

    def check(self) -> None:
        """Assert the invariants.  Slow: for tests.

        - no record is a second line, and none is of the future
        """
        assert len(self._records) <= LOG_LINES
        assert not any("\n" in record.text for record in self._records)
        times = [record.nanoseconds for record in self._records]
        assert times == sorted(times)
