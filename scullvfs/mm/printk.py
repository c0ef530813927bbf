"""The kernel log: what printk() and WARN() write, and `proc/kmsg` shows.

A ring buffer of lines, as in Linux: the oldest fall out.  `mm` writes here what Linux
would say to the administrator; errors that a caller has to handle are return values.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, Final, NamedTuple

from .errors import KernelBug
from .gfp import __GFP_NOWARN as NOWARN
from .gfp import GFP_KERNEL, gfp_flags_string
from .sched import Running

__all__ = ["KERN_ERR", "KERN_INFO", "KERN_WARNING", "KernelLog", "LogStatistics", "Record"]

KERN_ERR: Final = 3
KERN_WARNING: Final = 4
KERN_INFO: Final = 6

LOG_LINES: Final = 4096
"""How many lines the ring holds."""


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


class KernelLog:
    """The log of one machine.

    Args:
        panic_on_warn: raise KernelBug from `warn()`, as the kernel's parameter of that
            name stops a machine at its first warning.  Tests run with it.
        clock: nanoseconds, monotonic.
        running: asked for the task when a report names it.
    """

    def __init__(
        self,
        panic_on_warn: bool = False,
        clock: Callable[[], int] = time.monotonic_ns,
        running: Running | None = None,
    ) -> None:
        self.panic_on_warn = panic_on_warn
        self._running = running or Running()
        self._clock = clock
        self._start = clock()
        self._records: deque[Record] = deque(maxlen=LOG_LINES)
        self._lost = 0
        """How many records have fallen out."""
        self._warned: set[str] = set()

    def printk(self, level: int, text: str) -> None:
        """Append `text`, one record a line."""
        now = self._clock() - self._start
        lines = text.split("\n")
        self._lost += max(len(self._records) + len(lines) - LOG_LINES, 0)
        self._records.extend(Record(level, now, line) for line in lines)

    def warn(self, text: str, where: str) -> None:
        """WARN(): a warning with the place it was raised at, `where`, such as "vfree".

        Without a `text` the place says it all (WARN_ON()).

        Raises:
            KernelBug: under `panic_on_warn`.
        """
        task = self._running.current
        self.printk(
            KERN_WARNING,
            "------------[ cut here ]------------\n"
            + (text and f"{text}\n")
            + f"WARNING: CPU: 0 PID: {task.pid} at {where}\n"
            f"CPU: 0 PID: {task.pid} Comm: {task.comm}\n"
            "---[ end trace 0000000000000000 ]---",
        )
        if self.panic_on_warn:
            raise KernelBug(text or where)

    def warn_once(self, text: str, where: str) -> None:
        """WARN_ONCE(): as `warn()`, but only the first time for each place."""
        if where not in self._warned:
            self._warned.add(where)
            self.warn(text, where)

    def warn_alloc(self, text: str, gfp: int = GFP_KERNEL) -> None:
        """What Linux says when an allocation fails (Linux: mm/page_alloc.c:warn_alloc()).

        Nothing where the flags have __GFP_NOWARN.
        """
        if gfp & NOWARN:
            return
        task = self._running.current
        mode = f"{gfp:#x}({gfp_flags_string(gfp)})"
        self.printk(KERN_WARNING, f"{task.comm}: {text}, mode:{mode}, nodemask=(null)")

    def records(self) -> list[Record]:
        """All lines, oldest first."""
        return list(self._records)

    @property
    def nr_records(self) -> int:
        """How many lines there have been, with those that have fallen out."""
        return self._lost + len(self._records)

    def statistics(self) -> LogStatistics:
        """The books as they stand now."""
        return LogStatistics(self.nr_records, self._lost)

    def __repr__(self) -> str:
        return f"<KernelLog records={len(self._records)} lost={self._lost}>"

    def state(self) -> dict[str, Any]:
        """All that it holds, as plain data; times are the clock's, the rest the calls' alone."""
        return {
            "records": [list(record) for record in self._records],
            "lost": self._lost,
            "warned": sorted(self._warned),
        }

    def check(self) -> None:
        """Assert the invariants.  Slow: for tests.

        - no record is a second line, and none is of the future
        """
        assert len(self._records) <= LOG_LINES
        assert not any("\n" in record.text for record in self._records)
        times = [record.nanoseconds for record in self._records]
        assert times == sorted(times)

    def records_from(self, number: int) -> Iterator[tuple[int, Record]]:
        """The lines from a number on, each with its number, counted from the first one ever."""
        return islice(enumerate(self._records, self._lost), max(number - self._lost, 0), None)
