"""Fault injection: what of a machine is made to fail, and what has been.

Each thing that can be made to fail is a `FaultAttr` by its name.  While none is armed and no task
has a `fail-nth`, nobody asks: a method that may fail stands in the place of the plain one only then
(`replacing`), so what is off costs nothing.

Linux: Documentation/fault-injection/fault-injection.rst
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from sys import _getframe
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypedDict

from .call_trace import CallTrace
from .fail_function import FailFunction
from .fail_page_alloc import FailPageAlloc
from .failslab import FailSlab
from .fault_attr import FaultAttr
from .fault_tasks import FaultTasks
from .printk import KernelLog
from .restoring import StateError, random_state, restore_random
from .sched import Running

if TYPE_CHECKING:
    from .slub import KmemCache

__all__ = ["Fault", "FaultInjection", "FaultInjectionState", "FaultState", "FaultStatistics"]


class Fault(Protocol):
    """Something that can be made to go wrong: a `FaultAttr`, or what goes wrong each time."""

    injected: int
    """How often it has."""

    @property
    def name(self) -> str:
        """As the books call it."""

    @property
    def is_armed(self) -> bool:
        """Whether it may, as it is set."""

    def reset(self) -> None:
        """Have it as it is at first."""

    def state(self) -> Any:
        """All of it, as plain data."""

    def restore(self, state: Any) -> None:
        """Be in a state; a ValueError for what is none of its own."""

    def check(self) -> None:
        """Assert its invariants."""


class FaultState(NamedTuple):
    """The books of one fault."""

    injected: int
    """How often it has failed."""
    armed: bool
    """Whether it may fail by what is set now."""


FaultStatistics = dict[str, FaultState]
"""Name -> its books, of those that are armed or have failed."""


class FaultInjectionState(TypedDict):
    """What decides which request fails next."""

    attrs: dict[str, Any]
    """Name -> what that one has; it looks itself."""
    make_it_fail: list[int]
    fail_nth: list[tuple[int, int]]
    random: list[int]


class FaultInjection:
    """The faults of one machine.

    Args:
        seed: of the machine; faults have random numbers of their own.
    """

    def __init__(self, log: KernelLog, running: Running, call_trace: CallTrace, seed: int) -> None:
        self.log: Final = log
        self.running: Final = running
        self.random: Final = Random(f"fault {seed}")
        self.tasks: Final = FaultTasks(self._all_changed)
        self.attrs: Final[dict[str, Fault]] = {}
        """By name."""
        self.tell: Callable[[Fault, str, str], None] | None = None
        """Hears of each fault that is injected: which, the function, what it gives."""
        self.late: Final[dict[str, Callable[[], object]]] = {}
        """What makes faults that are not there before somebody looks for them, by what their names
        begin with, up to a "/"."""
        self._call_trace: Final = call_trace
        self._switches: Final[dict[Fault, Callable[[bool], None]]] = {}
        self._on: Final[set[Fault]] = set()
        """Those that stand on the path."""
        self.failslab: Final = FailSlab("failslab", self)
        self.fail_page_alloc: Final = FailPageAlloc("fail_page_alloc", self)
        self.fail_usercopy: Final = FaultAttr("fail_usercopy", self)
        self.fail_function: Final = FailFunction("fail_function", self)

    def add(self, attr: Fault, switch: Callable[[bool], None]) -> None:
        """Have another fault.

        Args:
            switch: puts it on the path where it has to be asked, and takes it away again.
        """
        self.attrs[attr.name] = attr
        self._switches[attr] = switch
        self.changed(attr)

    def stack(self) -> list[str]:
        """The functions on the way here, the innermost first."""
        return self._call_trace.functions(_getframe(1))

    def changed(self, attr: Fault) -> None:
        """A knob has been set: put the fault on the path, or take it away."""
        switch = self._switches.get(attr)
        on = attr.is_armed or bool(self.tasks.fail_nth)
        if switch is not None and on != (attr in self._on):
            (self._on.add if on else self._on.discard)(attr)
            switch(on)

    def _all_changed(self) -> None:
        for attr in self.attrs.values():
            self.changed(attr)

    def injected(self, attr: Fault, function: str, result: str) -> None:
        """A fault has been injected."""
        if self.tell is not None:
            self.tell(attr, function, result)

    def reset(self) -> None:
        """Have all knobs as they are at first, and nothing set of any task."""
        for attr in self.attrs.values():
            attr.reset()
        self.tasks.clear()

    def statistics(self) -> FaultStatistics:
        """The books as they stand now.

        What a `fail_nth` has made fail is counted where it failed; itself it is only armed.
        """
        books = {
            name: FaultState(attr.injected, attr.is_armed)
            for name, attr in self.attrs.items()
            if attr.injected or attr.is_armed
        }
        if self.tasks.is_armed():
            books["fail-nth"] = FaultState(0, armed=True)
        return books

    def __repr__(self) -> str:
        armed = [name for name, attr in self.attrs.items() if attr.is_armed]
        return f"<FaultInjection armed={armed} tasks={sorted(self.tasks.fail_nth)}>"

    def state(self) -> FaultInjectionState:
        """All that decides which request fails next, as plain data."""
        return {
            "attrs": {name: attr.state() for name, attr in self.attrs.items()},
            "make_it_fail": sorted(self.tasks.make_it_fail),
            "fail_nth": sorted(self.tasks.fail_nth.items()),
            "random": random_state(self.random),
        }

    def restore(self, state: FaultInjectionState, caches: Mapping[str, KmemCache]) -> None:
        """Be in a state, but for what is set of single tasks, as these are others now.

        Args:
            caches: those of the machine, by name.
        """
        for name in state["attrs"].keys() - self.attrs.keys():
            self.late.get(name.partition("/")[0], lambda: None)()
        if state["attrs"].keys() != self.attrs.keys():
            raise StateError("other faults")
        self.tasks.clear()
        for name, attr in self.attrs.items():
            attr.restore(state["attrs"][name])
        self.failslab.restore_caches(caches)
        restore_random(self.random, state["random"])
        self.check()

    def check(self) -> None:
        """Assert the invariants.  Slow: for tests.

        - those stand on the path that may fail, and no others
        """
        assert all(number > 0 for number in self.tasks.fail_nth.values())
        for attr in self.attrs.values():
            attr.check()
            assert (attr in self._on) == (attr.is_armed or bool(self.tasks.fail_nth))
