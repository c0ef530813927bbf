"""Functions that are made to fail as they are entered, with a value that one chooses.

Which can be, and what each may return, is listed beforehand; of those that are chosen each call
asks one `FaultAttr` in common.

    injectable    scullv_write  [scullv]  ERRNO        what there is
    inject        scullv_write                         what is chosen
    retval        -5                                   what it returns then

Linux: kernel/fail_function.c, lib/error-inject.c
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum
from typing import Any, Final, NamedTuple

from scullvfs.plain import checked

from .fault_attr import FaultAttr, FaultAttrState, Faulting
from .restoring import StateError

__all__ = ["ErrorType", "FailFunction", "Injectable", "Injection"]

MAX_ERRNO: Final = 4095
EINVAL: Final = 22
"""Linux: include/uapi/asm-generic/errno-base.h, where nothing else is chosen."""


class ErrorType(Enum):
    """What a function may return as it fails (Linux: include/asm-generic/error-injection.h)."""

    NULL = "NULL"
    ERRNO = "ERRNO"
    ERRNO_NULL = "ERRNO_NULL"
    TRUE = "TRUE"

    def adjusted(self, value: int) -> int:
        """The value, or another one where it cannot be that one.

        Linux: kernel/fail_function.c:adjust_error_retval()
        """
        if self is ErrorType.NULL:
            return 0
        if self is ErrorType.TRUE:
            return 1
        is_errno = -MAX_ERRNO <= value < 0 or (self is ErrorType.ERRNO_NULL and not value)
        return value if is_errno else -EINVAL


class Injectable(NamedTuple):
    """A function that can be made to fail."""

    name: str
    module: str
    """Whose it is; "" for the kernel's own."""
    type: ErrorType
    switch: Callable[[Injection | None], None]
    """Has it ask, or with None no more (`replacing`)."""

    def __str__(self) -> str:
        """As the kernel prints one (%ps)."""
        return f"{self.name} [{self.module}]" if self.module else self.name


class Injection:
    """A function that is chosen (Linux: struct fei_attr)."""

    def __init__(self, function: Injectable, fault: FailFunction) -> None:
        self.function: Final = function
        self.retval = function.type.adjusted(0)
        """What it returns."""
        self._fault: Final = fault

    def set_retval(self, value: int) -> bool:
        """Have another value; False, and nothing changes, where it cannot return that.

        Linux: kernel/fail_function.c:fei_retval_set()
        """
        if self.function.type.adjusted(value) != value:
            return False
        self.retval = value
        return True

    def fails(self, count: int = 1) -> bool:
        """Whether a call is to fail, or one of so many in a row."""
        kind, value = self.function.type, self.retval
        result = kind.name if kind in (ErrorType.NULL, ErrorType.TRUE) else str(value)
        return self._fault.should_fail(function=self.function.name, result=result, count=count)

    def __repr__(self) -> str:
        return f"<Injection {self.function} retval={self.retval}>"


class FailFunctionState(FaultAttrState):
    """As a `FaultAttr`'s, with what is chosen: function -> what it returns."""

    injections: dict[str, int]


class FailFunction(FaultAttr):
    """The functions, those that are chosen, and when they fail."""

    asks = ("fei_kprobe_handler",)

    def __init__(self, name: str, faulting: Faulting) -> None:
        self.functions: Final[dict[str, Injectable]] = {}
        """By name."""
        self.injections: Final[dict[str, Injection]] = {}
        """Those that are chosen, in that order."""
        self._on = False
        super().__init__(name, faulting)

    def reset(self) -> None:
        """Have all knobs as they are at first, and no function chosen."""
        self.remove_all()
        super().reset()

    def add(self, functions: Iterable[Injectable]) -> None:
        """Have more functions."""
        self.functions.update((function.name, function) for function in functions)

    @property
    def is_armed(self) -> bool:
        """Whether a call may fail by the knobs alone."""
        return super().is_armed and bool(self.injections)

    def put(self, on: bool) -> None:
        """Have the functions that are chosen ask, or not."""
        self._on = on
        for injection in self.injections.values():
            injection.function.switch(injection if on else None)

    def inject(self, name: str) -> Injection:
        """Choose one of `functions`, which is not chosen yet."""
        injection = self.injections[name] = Injection(self.functions[name], self)
        self._faulting.changed(self)
        if self._on:
            injection.function.switch(injection)
        return injection

    def remove(self, name: str) -> None:
        """Choose it no more."""
        injection = self.injections.pop(name)
        injection.function.switch(None)
        self._faulting.changed(self)

    def remove_all(self) -> None:
        """Choose none."""
        for name in [*self.injections]:
            self.remove(name)

    def state(self) -> Any:
        """A `FailFunctionState`."""
        chosen = {name: each.retval for name, each in self.injections.items()}
        state: FailFunctionState = {**self._books(), "injections": chosen}
        return state

    def restore(self, state: Any) -> None:
        """As a `FaultAttr`'s, with what is chosen."""
        books = checked(FailFunctionState, state)
        self.remove_all()
        for name, value in books["injections"].items():
            if name not in self.functions or not self.inject(name).set_retval(value):
                raise StateError(f"{name} is no function that can return {value}")
        self._restore_books(books)

    def check(self) -> None:
        """Assert the invariants.  Slow: for tests.

        - each function that is chosen returns what it can
        """
        super().check()
        for injection in self.injections.values():
            retval = injection.retval
            assert injection.function.type.adjusted(retval) == retval
