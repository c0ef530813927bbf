"""Lab 1: one call moves up to the end of its quantum (LDD3, chapter 3: read and write)."""

from __future__ import annotations

from scullvfs.mm.layout import PAGE_SIZE

from .answers import number
from .lab import Lab, Task, fill
from .numbers import Numbers
from .sight import Sight

__all__ = ["LAB"]


def _quantum(numbers: Numbers) -> int:
    return PAGE_SIZE << _order(numbers)


def _order(numbers: Numbers) -> int:
    return numbers.pick("order", 1, 3)


def _data(numbers: Numbers) -> bytes:
    return numbers.text("data", numbers.pick("size", 150_001, 249_999))


def _options(numbers: Numbers) -> str:
    return f"drivers=scullv:scull,mem=64M,scullv_order={_order(numbers)}"


def _prepare(mnt: str, numbers: Numbers) -> None:
    fill(f"{mnt}/scullv0", _data(numbers))


def _tasks(numbers: Numbers) -> tuple[Task, ...]:
    data, quantum = _data(numbers), _quantum(numbers)
    at = quantum * numbers.pick("whole quanta", 1, 4) + numbers.pick("place", 1, quantum - 1)
    block = numbers.pick("block", quantum // 40 + 1, quantum // 6 - 1)
    head = numbers.pick("head", quantum + 1, len(data) - 1)
    calls = [-(-min(quantum, len(data) - start) // block) for start in range(0, len(data), quantum)]

    def copied(sight: Sight) -> str:
        size = sight.device("scullv1").size
        if size != head:
            return f"scullv1 has {size} bytes"
        if sight.content("scullv1") != data[:head]:
            return "scullv1 has other bytes than scullv0"
        return ""

    return (
        number(
            "scull1",
            f"how many bytes a read(2) of 1 MiB at byte {at} of scullv0 gives",
            lambda sight: quantum - at % quantum,
        ),
        number(
            "scull2",
            f"how many calls of read(2), each asking for {block} bytes, give something on the way "
            "through all of scullv0",
            lambda sight: sum(calls),
        ),
        Task(
            f"Copy the first {head} bytes of scullv0 to scullv1 with one dd, bs={head} count=1.",
            copied,
        ),
    )


LAB = Lab(_options, _prepare, _tasks)
