"""In place of the world around a machine, what it had answered when the calls were recorded."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from scullvfs.mm import outside

from .calls import TEXT, U64, Shape, is_of

__all__ = ["Answers", "are_answers"]

_SHAPES: Final[dict[str, Shape]] = {
    "monotonic_ns": U64,
    "time_ns": U64,
    "comm": TEXT,
    "tgid": U64,
    "is_alive": bool,
    "start_time": TEXT,
    "capabilities": U64,
}
assert tuple(_SHAPES) == outside.QUESTIONS


def are_answers(asks: Any) -> bool:
    """Whether it is a list of questions, each followed by an answer that can be."""
    if type(asks) is not list or len(asks) % 2:
        return False
    for question, answer in zip(asks[::2], asks[1::2], strict=True):
        shape = _SHAPES.get(question) if type(question) is str else None
        if shape is None or not is_of(answer, shape):
            return False
    return True


class Answers:
    """Gives the answers of a line, each kind in its order.

    Who asks more than was recorded, as a call does that goes another way, hears what was last true.
    """

    def __init__(self) -> None:
        self._waiting: Final[dict[str, deque[Any]]] = {name: deque() for name in _SHAPES}
        self.now = 0
        """Nanoseconds since the machine was switched on, as it was said last."""
        self._time_ns = 0

    def begin(self, at: int, asks: Sequence[Any]) -> None:
        """Have those of another line, at a time."""
        for waiting in self._waiting.values():
            waiting.clear()
        self.now = at
        for question, answer in zip(asks[::2], asks[1::2], strict=True):
            self._waiting[question].append(answer)

    def _next(self, question: str, otherwise: Any) -> Any:
        waiting = self._waiting[question]
        return waiting.popleft() if waiting else otherwise

    def _monotonic_ns(self) -> int:
        self.now = self._next("monotonic_ns", self.now)
        return self.now

    def _now(self) -> int:
        self._time_ns = self._next("time_ns", self._time_ns)
        return self._time_ns

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Whatever is asked in this process is answered by it."""
        functions: dict[str, Callable[..., Any]] = {
            "monotonic_ns": self._monotonic_ns,
            "time_ns": self._now,
            "comm": lambda pid: self._next("comm", "(gone)"),
            "tgid": lambda pid: self._next("tgid", pid),
            "is_alive": lambda pid: self._next("is_alive", True),
            "start_time": lambda pid: self._next("start_time", ""),
            "capabilities": lambda pid: self._next("capabilities", 0),
        }
        before = {name: getattr(outside, name) for name in functions}
        for name, function in functions.items():
            setattr(outside, name, function)
        try:
            yield
        finally:
            for name, function in before.items():
                setattr(outside, name, function)
