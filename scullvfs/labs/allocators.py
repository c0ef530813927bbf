"""Lab 5: the same bytes in four kinds of memory (LDD3, chapter 8)."""

from __future__ import annotations

from scullvfs.mm.layout import PAGE_SIZE

from .answers import number
from .lab import Lab, Task
from .numbers import Numbers
from .sight import Sight

__all__ = ["LAB"]

ASKED = {"scull": "scull1", "scullc": "scull2", "scullp": "scull3", "scullv": "scull4"}
"""Driver -> where the answer about it goes."""


def _options(numbers: Numbers) -> str:
    return (
        "drivers=scullv:scullp:scullc:scull,mem=64M,scull_nr_devs=6,"
        f"scullv_order={numbers.pick('scullv', 1, 3)},scullp_order={numbers.pick('scullp', 0, 2)},"
        f"scullc_quantum={numbers.pick('scullc', 600, 3900)},"
        f"scull_quantum={numbers.pick('scull', 520, 3900)}"
    )


def _prepare(mnt: str, numbers: Numbers) -> None:
    """All four are empty."""


def _tasks(numbers: Numbers) -> tuple[Task, ...]:
    size = numbers.pick("size", 500_001, 1_999_999)

    def written(sight: Sight) -> str:
        for driver in ASKED:
            device = sight.device(f"{driver}0")
            if device.size != size:
                return f"{driver}0 has {device.size} bytes"
            if device.quanta != -(-size // device.quantum):
                return f"{driver}0 has holes"
        return ""

    def taken(driver: str) -> Task:
        def truth(sight: Sight) -> int:
            quantum = sight.device(f"{driver}0").quantum
            return -(-size // quantum) * sight.object_size(driver, quantum)

        return number(
            ASKED[driver],
            f"how many bytes of memory the quanta of {driver}0 take then, what is unused of them "
            "included",
            truth,
        )

    return (
        Task(f"Write {size} bytes to each of scull0, scullc0, scullp0 and scullv0.", written),
        *map(taken, ASKED),
        number(
            "scull5",
            "how many page-table entries map the quanta of scullv0",
            lambda sight: (
                -(-size // (quantum := sight.device("scullv0").quantum)) * (quantum // PAGE_SIZE)
            ),
        ),
    )


LAB = Lab(_options, _prepare, _tasks)
