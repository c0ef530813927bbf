"""When a fault is injected: one rule for all of them, Linux's `struct fault_attr`.

    a request --> fail-nth of who runs? --> probability? --> task-filter? --> times? --> space?
                        |  counts down                                                    |
                        v  at 1                                                           v
                     it fails <-- as likely as `probability` <-- every `interval`-th <----+

Who may be made to fail asks `should_fail()`, once for each request.  As long as nothing can fail
nobody has to ask: `is_armed` says that, and `Faulting.changed()` hears when it changes.

Linux: lib/fault-inject.c
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from random import Random
from typing import Any, Final, NamedTuple, Protocol, TypedDict

from scullvfs.plain import checked

from .fault_tasks import FaultTasks
from .printk import KERN_NOTICE, KERN_WARNING, KernelLog
from .ratelimit import RatelimitBooks, RatelimitState
from .restoring import StateError
from .sched import Running

__all__ = ["KNOBS", "FaultAttr", "FaultAttrState", "Faulting", "Knob", "KnobKind"]

MILLISECOND: Final = 1_000_000
"""In nanoseconds."""


class KnobKind(Enum):
    """What a knob holds, as C has it: its bits, and whether it may be less than 0."""

    UNSIGNED_LONG = (64, False)
    U32 = (32, False)
    ATOMIC = (32, True)
    BOOL = (1, False)

    def __init__(self, bits: int, signed: bool) -> None:
        self.bits: Final = bits
        self.signed: Final = signed

    def fit(self, value: int) -> int:
        """What is left of a number that is stored in it: of a longer one the lowest bits."""
        value &= (1 << self.bits) - 1
        return value - (value >> self.bits - 1 << self.bits) if self.signed else value


class Knob(NamedTuple):
    """A knob of a `FaultAttr`, or of what has more of them."""

    name: str
    """As its file is named."""
    kind: KnobKind

    @property
    def field(self) -> str:
        """The attribute that it is."""
        return self.name.replace("-", "_")


KNOBS: Final = (
    Knob("interval", KnobKind.UNSIGNED_LONG),
    Knob("probability", KnobKind.UNSIGNED_LONG),
    Knob("space", KnobKind.ATOMIC),
    Knob("task-filter", KnobKind.BOOL),
    Knob("times", KnobKind.ATOMIC),
    Knob("verbose", KnobKind.UNSIGNED_LONG),
    Knob("verbose_ratelimit_burst", KnobKind.U32),
    Knob("verbose_ratelimit_interval_ms", KnobKind.U32),
)
"""Linux: lib/fault-inject.c:fault_create_debugfs_attr()"""


class Faulting(Protocol):
    """What all faults of a machine have in common (`fault_inject`)."""

    @property
    def log(self) -> KernelLog:
        """Of the machine."""

    @property
    def running(self) -> Running:
        """Who runs on it."""

    @property
    def tasks(self) -> FaultTasks:
        """What is set of single tasks."""

    @property
    def random(self) -> Random:
        """Of the machine's seed, and nobody else's."""

    def stack(self) -> Sequence[str]:
        """The functions on the way here, the innermost first."""

    def changed(self, attr: FaultAttr) -> None:
        """A knob has been set."""

    def injected(self, attr: FaultAttr, function: str, result: str) -> None:
        """A fault has been injected; see `FaultAttr.should_fail()`."""


class FaultAttrState(TypedDict):
    """The knobs and counters."""

    knobs: dict[str, int]
    count: int
    injected: int
    reports: RatelimitBooks


class FaultAttr:
    """When something fails (Linux: struct fault_attr).

    Args:
        name: as the report calls it.
        faulting: of the machine, `machine.faults`.
    """

    knobs: tuple[Knob, ...] = KNOBS
    """What can be set by a file, by `set()`."""
    asks: tuple[str, ...] = ()
    """The functions of a call trace between it and the one that fails, or asks."""

    def __init__(self, name: str, faulting: Faulting) -> None:
        self.name: Final = name
        self._faulting: Final = faulting
        self.injected = 0
        """How often it has failed."""
        self._ratelimit: Final = RatelimitState(0, 10)
        self.reset()

    def reset(self) -> None:
        """Have all knobs as they are at first."""
        self.probability = 0
        """Percent of the requests that fail; 0: none but by `fail_nth`, 100 and more: all."""
        self.interval = 1
        """Every so-many-th request may fail, counted where all that is below lets it; 0 as 1."""
        self.times = 1
        """So many fail at the most; -1 for any number (and so each other one below 0, but it
        is counted down)."""
        self.space = 0
        """Bytes, or what else a request has a size in, that succeed first."""
        self.verbose = 2
        """What the log gets: 0 nothing, 1 the report, 2 the call trace, too."""
        self.task_filter = False
        """Whether only tasks fail that have `make_it_fail`."""
        self._ratelimit.interval, self._ratelimit.burst = 0, 10
        self._count = 0
        self._faulting.changed(self)

    @property
    def verbose_ratelimit_interval_ms(self) -> int:
        """Milliseconds in which so many reports as the burst are written at most; 0: no limit."""
        return self._ratelimit.interval // MILLISECOND

    @verbose_ratelimit_interval_ms.setter
    def verbose_ratelimit_interval_ms(self, value: int) -> None:
        self._ratelimit.interval = value * MILLISECOND

    @property
    def verbose_ratelimit_burst(self) -> int:
        """Reports in an interval."""
        return self._ratelimit.burst

    @verbose_ratelimit_burst.setter
    def verbose_ratelimit_burst(self, value: int) -> None:
        self._ratelimit.burst = value

    def set(self, knob: Knob, value: int) -> None:
        """Set a knob, to what fits of a number."""
        fits = knob.kind.fit(value)
        setattr(self, knob.field, bool(fits) if knob.kind is KnobKind.BOOL else fits)
        self._faulting.changed(self)

    def arm(self, *, probability: int = 100, interval: int = 1, space: int = 0, times: int) -> None:
        """Set what the parameters of Linux's command line set, and count anew."""
        self.probability, self.interval = probability, interval
        self.space, self.times = space, times
        self._count = 0
        self._faulting.changed(self)

    @property
    def is_armed(self) -> bool:
        """Whether a request may fail by the knobs alone."""
        return self.probability > 0 and self.times != 0

    def should_fail(
        self,
        size: int = 1,
        nowarn: bool = False,
        function: str = "",
        result: str = "",
        count: int = 1,
    ) -> bool:
        """Whether a request is to fail; if so, that is in the log, the trace and the books.

        Args:
            size: of the request, which `space` goes by.
            nowarn: write no report.
            function: that fails, or asks, as the report's call trace begins with it.
            result: what it gives then, such as -ENOMEM, for the trace.
            count: there are so many requests, one after the other; the first that fails ends it.

        Linux: lib/fault-inject.c:should_fail_ex()
        """
        fails = self._faulting.tasks.count_down(self._faulting.running.current.pid, count)
        if fails is None:
            fails = self._by_knobs(size, count)
        if fails:
            self._fail(nowarn, function, result)
        return fails

    def _by_knobs(self, size: int, count: int) -> bool:
        """What they make of `count` requests, without going over those that cannot fail."""
        if not self.probability:
            return False
        faulting = self._faulting
        if self.task_filter and not faulting.tasks.is_made_to_fail(faulting.running.current.pid):
            return False
        if not self.times:
            return False
        if self.space > size:
            passed = min(count, -((size - self.space) // size)) if size > 0 else count
            self.space -= passed * size
            count -= passed
        if self.interval < 2:
            return any(self._is_drawn() for _ in range(count))
        while count:
            asked = min(count, self.interval - self._count % self.interval)
            self._count += asked
            count -= asked
            if not self._count % self.interval and self._is_drawn():
                return True
        return False

    def _is_drawn(self) -> bool:
        return self._faulting.random.randrange(100) < self.probability

    def _fail(self, nowarn: bool, function: str, result: str) -> None:
        if not nowarn:
            self._dump(function)
        self.injected += 1
        if self.times not in (0, -1):
            self.times = KnobKind.ATOMIC.fit(self.times - 1)
            if not self.times:
                self._faulting.changed(self)
        self._faulting.injected(self, function, result)

    def _stack(self) -> Sequence[str]:
        """The functions on the way to who asks, the innermost first."""
        return self._faulting.stack()

    def _dump(self, function: str) -> None:
        """Linux: lib/fault-inject.c:fail_dump()"""
        if not self.verbose:
            return
        log = self._faulting.log
        allowed, missed = self._ratelimit.ratelimit(log.local_clock())
        if missed:
            log.printk(KERN_WARNING, f"fail_dump: {missed} callbacks suppressed")
        if not allowed:
            return
        log.printk(
            KERN_NOTICE,
            "FAULT_INJECTION: forcing a failure.\n"
            f"name {self.name}, interval {self.interval}, probability {self.probability}, "
            f"space {self.space}, times {self.times}",
        )
        if self.verbose > 1:
            stack = self._stack()
            innermost = stack[0].partition(" ")[0] if stack else ""
            asking = (function,) if function not in ("", innermost) else ()
            log.dump_stack(("should_fail_ex", *self.asks, *asking, *stack))

    def __repr__(self) -> str:
        return (
            f"<FaultAttr {self.name} interval={self.interval} probability={self.probability} "
            f"space={self.space} times={self.times} injected={self.injected}>"
        )

    def state(self) -> Any:
        """The knobs and counters, as plain data: a `FaultAttrState`, or what has more.

        How often it is reported is the clock's.
        """
        return self._books()

    def _books(self) -> FaultAttrState:
        return {
            "knobs": {knob.name: int(getattr(self, knob.field)) for knob in self.knobs},
            "count": self._count,
            "injected": self.injected,
            "reports": self._ratelimit.state(),
        }

    def restore(self, state: Any) -> None:
        """Have these knobs and counters.

        Raises:
            ValueError: there are no such.
        """
        self._restore_books(checked(FaultAttrState, state))

    def _restore_books(self, state: FaultAttrState) -> None:
        if state["knobs"].keys() != {knob.name for knob in self.knobs}:
            raise StateError(f"other knobs than those of {self.name}")
        for knob in self.knobs:
            value = state["knobs"][knob.name]
            if knob.kind.fit(value) != value:
                raise StateError(f"{self.name}/{knob.name} cannot be {value}")
            setattr(self, knob.field, bool(value) if knob.kind is KnobKind.BOOL else value)
        self._count, self.injected = state["count"], state["injected"]
        self._ratelimit.restore(state["reports"])
        self._faulting.changed(self)

    def check(self) -> None:
        """Assert the invariants.  Slow: for tests.

        - each knob holds what its kind can
        """
        for knob in self.knobs:
            value = getattr(self, knob.field)
            assert knob.kind.fit(value) == value, knob.name
        assert self.injected >= 0
