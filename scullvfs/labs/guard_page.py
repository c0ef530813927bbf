"""Lab 7: lazy freeing, the guard page, and the book's mistake (LDD3, chapters 8 and 15)."""

from __future__ import annotations

from scullvfs.mm.layout import PAGE_SIZE

from .answers import number
from .lab import Lab, Spoilt, Task, command, fill
from .numbers import Numbers
from .sight import Sight

__all__ = ["LAB"]


def _quantum(numbers: Numbers) -> int:
    return PAGE_SIZE << numbers.pick("order", 1, 3)


def _qset(numbers: Numbers) -> int:
    return numbers.pick("qset", 4, 9)


def _options(numbers: Numbers) -> str:
    return (
        "drivers=scullv:scull,mem=64M,quirks=ldd3,"
        f"scullv_order={numbers.pick('order', 1, 3)},scullv_qset={_qset(numbers)}"
    )


def _prepare(mnt: str, numbers: Numbers) -> None:
    """Some areas first, so that the quanta have addresses of this student's."""
    for place in range(numbers.pick("areas", 2, 5)):
        command(mnt, f"vmalloc other{place} {PAGE_SIZE * numbers.pick(f'area {place}', 1, 60)}")
    fill(f"{mnt}/scullv0", numbers.text("data", _qset(numbers) * _quantum(numbers)))


def _tasks(numbers: Numbers) -> tuple[Task, ...]:
    place = numbers.pick("quantum", 0, _qset(numbers) - 1)
    wait = numbers.pick("wait", 4, 12)
    beyond = _qset(numbers) * _quantum(numbers) + PAGE_SIZE

    def guard(sight: Sight) -> int:
        address = sight.quantum("scullv0", place)
        area = next((area for area in sight.areas() if area.start == address), None)
        if area is None:
            raise Spoilt(f"scullv0 has no quantum {place} any more")
        return area.end - PAGE_SIZE

    def caught(sight: Sight) -> str:
        said = f"scullv1: quantum {{}} is {PAGE_SIZE} bytes long, accessed as {_quantum(numbers)}; "
        head, _, tail = said.partition("{}")
        lines = sight.text("proc/kmsg").splitlines()
        if any(f"] {head}" in line and tail in line for line in lines):
            return ""
        return "the log has no report of a quantum of scullv1"

    def waiting(sight: Sight) -> str:
        lazy = sum(area.kind == "lazy" for area in sight.areas())
        return "" if lazy == wait else f"{lazy} are waiting"

    return (
        number(
            "scull1",
            f"the address of the guard page of quantum {place} of scullv0, in hexadecimal",
            guard,
            hexadecimal=True,
        ),
        number(
            "scull2",
            "the position of the first byte of scullv1 that cannot be written",
            lambda sight: beyond,
        ),
        Task("Have the guard page catch a write to scullv1.", caught),
        Task(f"Have {wait} lazily freed areas wait for their purge.", waiting),
    )


LAB = Lab(_options, _prepare, _tasks)
