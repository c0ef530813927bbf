"""Lab 4: contiguous against scattered (LDD3, chapters 8 and 15: page frames behind addresses)."""

from __future__ import annotations

from scullvfs.mm.layout import PAGE_SHIFT, PAGE_SIZE

from .answers import number
from .lab import Lab, Spoilt, Task, fill
from .numbers import Numbers
from .sight import Sight

__all__ = ["LAB"]

ORDER = 2
QUANTUM = PAGE_SIZE << ORDER


def _nr_quanta(numbers: Numbers) -> int:
    return numbers.pick("quanta", 6, 12)


def _options(numbers: Numbers) -> str:
    return f"drivers=scullv:scullp:scull,mem=64M,scullv_order={ORDER},scullp_order={ORDER}"


def _prepare(mnt: str, numbers: Numbers) -> None:
    for name in ("scullv0", "scullp0"):
        fill(f"{mnt}/{name}", numbers.text(name, _nr_quanta(numbers) * QUANTUM))


def _address(sight: Sight, name: str, quantum: int) -> int:
    address = sight.quantum(name, quantum)
    if not address:
        raise Spoilt(f"{name} has no quantum {quantum} any more")
    return address


def _tasks(numbers: Numbers) -> tuple[Task, ...]:
    quantum = numbers.pick("quantum", 1, _nr_quanta(numbers) - 1)
    page = numbers.pick("page", 0, (1 << ORDER) - 1)
    byte = numbers.pick("byte", QUANTUM, _nr_quanta(numbers) * QUANTUM - 1)
    large = numbers.pick("large", 4_300_000, 7_900_000)

    def frame(sight: Sight) -> int:
        found = sight.frame(_address(sight, "scullv0", quantum) + page * PAGE_SIZE)
        if found is None:
            raise Spoilt("the quanta of scullv0 are not mapped any more")
        return found

    def physical(sight: Sight) -> int:
        place, rest = divmod(byte, QUANTUM)
        found = sight.physical(_address(sight, "scullp0", place) + rest)
        if found is None:
            raise Spoilt("the quanta of scullp0 are not in the linear mapping")
        return found

    def allocated(sight: Sight) -> str:
        handle = sight.handles().get("big")
        if handle is None:
            return "there is no handle 'big'"
        pages = -(-large // PAGE_SIZE)
        if handle.size >> PAGE_SHIFT != pages:
            return f"'big' has {handle.size} bytes"
        return "" if "v" in handle.kind else f"'big' is {handle.kind}"

    return (
        number(
            "scull1",
            f"the number of the page frame behind page {page} of quantum {quantum} of scullv0, "
            "both counted from 0",
            frame,
        ),
        number(
            "scull2",
            f"the physical address of byte {byte} of scullp0, in hexadecimal",
            physical,
            hexadecimal=True,
        ),
        Task(
            f"Allocate {large} bytes by hand, as the handle big, in the way that works.",
            allocated,
        ),
    )


LAB = Lab(_options, _prepare, _tasks)
