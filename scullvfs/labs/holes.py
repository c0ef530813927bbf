"""Lab 2: what was never written (LDD3, chapter 3: the list, and reading where there is nothing)."""

from __future__ import annotations

from scullvfs.mm.layout import PAGE_SIZE

from . import answers
from .lab import Lab, Task, fill
from .numbers import Numbers
from .sight import Sight

__all__ = ["LAB"]


class _Holes:
    """What is in scullv0: which of its quanta are holes, and the bytes of the others."""

    def __init__(self, numbers: Numbers) -> None:
        self.order = numbers.pick("order", 0, 2)
        self.qset = numbers.pick("qset", 3, 6)
        self.quantum = PAGE_SIZE << self.order
        self.nr_quanta = numbers.pick("quanta", 12, 16)
        inner = numbers.some("holes", self.nr_quanta - 2, 4, 7)
        self.holes = tuple(place + 1 for place in inner)  # neither the first nor the last
        self.size = self.nr_quanta * self.quantum - numbers.pick("short", 1, self.quantum - 1)
        data = bytearray(numbers.text("data", self.size))
        for place in self.holes:
            data[place * self.quantum : (place + 1) * self.quantum] = bytes(self.quantum)
        self.data = bytes(data)
        self.far = self.quantum * self.qset * numbers.pick("far", 5, 60) + numbers.pick(
            "in", 2, self.quantum * self.qset
        )
        """The size that scullv1 is to have."""


def _options(numbers: Numbers) -> str:
    holes = _Holes(numbers)
    return f"drivers=scullv:scull,mem=64M,scullv_order={holes.order},scullv_qset={holes.qset}"


def _prepare(mnt: str, numbers: Numbers) -> None:
    holes = _Holes(numbers)
    for place in range(holes.nr_quanta):
        start = place * holes.quantum
        if place not in holes.holes:
            fill(f"{mnt}/scullv0", holes.data[start : start + holes.quantum], start)


def _tasks(numbers: Numbers) -> tuple[Task, ...]:
    holes = _Holes(numbers)

    def filled(sight: Sight) -> str:
        device = sight.device("scullv0")
        if device.size != holes.size:
            return f"scullv0 has {device.size} bytes, and had {holes.size}"
        if sight.content("scullv0") != holes.data:
            return "scullv0 has other bytes than before, or a hole is filled with others than zeros"
        left = holes.nr_quanta - device.quanta
        return f"holes that are left: {left}" if left else ""

    def far(sight: Sight) -> str:
        device = sight.device("scullv1")
        if device.size != holes.far:
            return f"scullv1 has {device.size} bytes"
        return "" if device.quanta == 1 else f"scullv1 has {device.quanta} quanta"

    return (
        answers.numbers(
            "scull1",
            "the numbers of the quanta of scullv0 that are holes, counted from 0, in rising order, "
            "with blanks between them",
            lambda sight: holes.holes,
        ),
        Task(
            f"Fill the holes of scullv0 with zeros and leave all else as it is, so that cat gives "
            f"{holes.size} bytes.",
            filled,
        ),
        Task(f"Have scullv1 be {holes.far} bytes long, with one quantum.", far),
        answers.number(
            "scull2",
            "how many list items scullv1 has then",
            lambda sight: (holes.far - 1) // (holes.quantum * holes.qset) + 1,
        ),
    )


LAB = Lab(_options, _prepare, _tasks)
