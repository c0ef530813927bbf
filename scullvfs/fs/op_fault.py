"""When an operation of a device fails, and with what; and the numbers that all calls go by.

    call 3       from the third call on, counted from when that was set
    byte 1000    from the byte at 1000 on: a call up to it is cut short there, the next one fails

Linux's knobs (`mm.fault_attr`) come behind that: calls that are let by are not counted in the
interval, and take nothing off `space`.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypedDict

from scullvfs.mm.dump_stack import syscall_trace
from scullvfs.mm.fail_function import MAX_ERRNO
from scullvfs.mm.fault_attr import FaultAttr, FaultAttrState, Faulting
from scullvfs.mm.printk import KERN_NOTICE
from scullvfs.mm.restoring import StateError
from scullvfs.plain import checked

if TYPE_CHECKING:
    from scullvfs.mm.fault_inject import FaultInjection

__all__ = ["BYTES", "OPERATIONS", "RANDOM", "At", "DeviceKnob", "OpFault"]

OPERATIONS: Final = ("open", "read", "write", "ioctl", "llseek", "fallocate", "truncate")
"""What can be made to fail, as the driver's functions are named.  Of lseek(2) only SEEK_DATA and
SEEK_HOLE come here."""
BYTES: Final = frozenset(("read", "write", "fallocate"))
"""Those that have a range of bytes."""

RANDOM: Final = -1
"""In place of a number of bytes: as many as chance has it."""

CALL: Final = "call"
BYTE: Final = "byte"


class At(NamedTuple):
    """From where on calls fail."""

    unit: str
    """CALL or BYTE."""
    number: int

    def __str__(self) -> str:
        return f"{self.unit} {self.number}"


def tell_of_setting(faults: Faulting, name: str, value: int) -> None:
    """Have in the log what calls go by from now on."""
    shown = "random" if value == RANDOM else value
    faults.log.printk(KERN_NOTICE, f"FAULT_INJECTION: {name} is {shown}")


class DeviceKnobState(TypedDict):
    """All of a `DeviceKnob`."""

    value: int
    injected: int


class OpFaultState(FaultAttrState):
    """As a `FaultAttr`'s, with what it has not."""

    errno: int
    delay_us: int
    at: At | None
    calls: int


class DeviceKnob:
    """A number that all calls of a device go by; 0 for none.

    Args:
        changed: called when it is set.
    """

    def __init__(self, name: str, faults: FaultInjection, changed: Callable[[], None]) -> None:
        self.name: Final = name
        self.injected = 0
        """How many calls it has changed."""
        self.value = 0
        self._faults: Final = faults
        self._changed: Final = changed

    @property
    def is_armed(self) -> bool:
        """Whether it is set."""
        return self.value != 0

    def set(self, value: int) -> None:
        """Set it; the log tells of another value, as it does not of each call."""
        if value != self.value:
            tell_of_setting(self._faults, self.name, value)
        self.value = value
        self._faults.changed(self)
        self._changed()

    def reset(self) -> None:
        """Have it as it is at first."""
        self.set(0)

    def inject(self, function: str, result: str) -> None:
        """Count a call that it has changed, and have it in the trace."""
        self.injected += 1
        self._faults.injected(self, function, result)

    def limit(self, count: int, function: str) -> int:
        """How many of `count` bytes a call is to move, 1 or more of more than none.

        Args:
            function: of the driver, for the trace.
        """
        if not self.value or not count:
            return count
        if self.value == RANDOM:
            most = 1 + self._faults.random.randrange(count)
        else:
            most = min(self.value, count)
        if most < count:
            self.inject(function, f"{most}")
        return most

    def __repr__(self) -> str:
        return f"<DeviceKnob {self.name} {self.value} injected={self.injected}>"

    def state(self) -> DeviceKnobState:
        """All of it, as plain data."""
        return {"value": self.value, "injected": self.injected}

    def restore(self, state: Any) -> None:
        """Be in a state, and say nothing of it.

        Raises:
            ValueError: it is none.
        """
        books = checked(DeviceKnobState, state)
        self.value, self.injected = books["value"], books["injected"]
        if self.value < RANDOM:
            raise StateError(f"{self.name} cannot be {self.value}")
        self._faults.changed(self)
        self._changed()

    def check(self) -> None:
        """Assert the invariants.  Slow: for tests."""
        assert self.value >= RANDOM
        assert self.injected >= 0


class OpFault(FaultAttr):
    """When an operation of a device fails, and how.

    Args:
        function: of the driver, as a call trace has it.
        arch: the machine's, for the rest of a call trace.
        changed: called when one is set of what `FaultAttr` has not.
    """

    def __init__(
        self,
        name: str,
        faults: FaultInjection,
        function: str,
        arch: str,
        changed: Callable[[], None],
    ) -> None:
        self.function: Final = function
        self._arch: Final = arch
        self._updated: Final = changed
        super().__init__(name, faults)

    @property
    def operation(self) -> str:
        """One of OPERATIONS."""
        return self.name.rpartition("/")[2]

    def reset(self) -> None:
        """Have all as it is at first."""
        self.error = 0
        """The errno that it fails with; with 0 it never does."""
        self.delay_us = 0
        """Microseconds that each call takes at least, besides the device's."""
        self.at: At | None = None
        """Nothing before that fails."""
        self.calls = 0
        """How many calls there were since `at` was set; only then they need be counted."""
        super().reset()
        self._updated()

    @property
    def is_armed(self) -> bool:
        """Whether a call may fail by the knobs alone, or is delayed."""
        return self.delay_us > 0 or self.may_fail

    @property
    def may_fail(self) -> bool:
        """Whether a call may fail by the knobs alone."""
        return self.error != 0 and super().is_armed

    @property
    def counts(self) -> bool:
        """Whether calls are counted, which they are before there is an errno, too."""
        return self.at is not None and self.at.unit == CALL

    def set_error(self, number: int) -> None:
        """Set the errno.

        One that cannot come as the knobs are, since they are as at first or it has come as often
        as it was to, comes once: the probability is 100 then, or `times` 1.
        """
        self.error = number
        if number:
            self.probability = self.probability or 100
            self.times = self.times or 1
        self._set()

    def set_delay(self, microseconds: int) -> None:
        """Set the delay; calls that are delayed already go by it, too."""
        if microseconds != self.delay_us:
            tell_of_setting(self._faulting, f"{self.name}/delay_us", microseconds)
        self.delay_us = microseconds
        self._set()

    def set_at(self, at: At | None) -> None:
        """Set from where on calls fail; calls are counted from now on."""
        self.at, self.calls = at, 0
        self._set()

    def _set(self) -> None:
        self._faulting.changed(self)
        self._updated()

    def begin(self, pos: int = 0, end: int = 0, whole: bool = False) -> int | None:
        """Count a call, of the bytes `pos`..`end` - 1 where it moves some.

        A call that begins before the first byte that fails is cut short there, without `whole`;
        that counts for nothing.

        Returns where it is to end; None if it fails.
        """
        self.calls += 1
        at = self.at
        if at is not None and at.unit == CALL and self.calls < at.number:
            return end
        if at is not None and at.unit == BYTE:
            if end <= max(at.number, pos):
                return end
            if pos < at.number and not whole:
                return at.number if self._could_fail() else end
        return None if self.error and self._fails(end - pos or 1) else end

    def _could_fail(self) -> bool:
        """Whether the call of who runs may fail by the knobs."""
        faulting = self._faulting
        return self.may_fail and (
            not self.task_filter or faulting.tasks.is_made_to_fail(faulting.running.current.pid)
        )

    def reaches(self, pos: int, end: int) -> bool:
        """Whether some of `pos`..`end` - 1 are bytes from the first one that fails on."""
        at = self.at
        behind = at is not None and at.unit == BYTE and at.number < end and pos < end
        return behind and self._could_fail()

    def _fails(self, size: int) -> bool:
        result = f"-{errno.errorcode.get(self.error, self.error)}"
        return self.should_fail(size, function=self.function, result=result)

    def _stack(self) -> list[str]:
        """What leads to the driver's function."""
        return syscall_trace(self.operation, self._arch)

    def state(self) -> Any:
        """An `OpFaultState`."""
        state: OpFaultState = {
            **self._books(),
            "errno": self.error,
            "delay_us": self.delay_us,
            "at": self.at,
            "calls": self.calls,
        }
        return state

    def restore(self, state: Any) -> None:
        """As a `FaultAttr`'s, with what it has not."""
        books = checked(OpFaultState, state)
        self.error, self.delay_us = books["errno"], books["delay_us"]
        self.at, self.calls = books["at"], books["calls"]
        if self.at is not None and self.at.unit not in (CALL, BYTE):
            raise StateError(f"{self.name} cannot fail from {self.at} on")
        if not 0 <= self.error <= MAX_ERRNO or self.delay_us < 0:
            raise StateError(f"{self.name} has no such errno or delay")
        self._restore_books(books)
        self._set()
