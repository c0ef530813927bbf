"""Lab 3: order and qset, of the module and of a device (LDD3, chapters 3 and 6: ioctl)."""

from __future__ import annotations

from scullvfs.mm.layout import PAGE_SIZE
from scullvfs.scull.driver import INT_MAX

from .answers import number
from .lab import Lab, Task, fill
from .numbers import Numbers
from .sight import Sight

__all__ = ["LAB"]

ORDER = 4
QSET = 500


def _data(numbers: Numbers) -> bytes:
    return numbers.text("data", numbers.pick("size", 70_001, 129_999))


def _options(numbers: Numbers) -> str:
    return f"drivers=scullv:scull,mem=64M,scullv_order={ORDER},scullv_qset={QSET}"


def _prepare(mnt: str, numbers: Numbers) -> None:
    fill(f"{mnt}/scullv0", _data(numbers))


def _tasks(numbers: Numbers) -> tuple[Task, ...]:
    data = _data(numbers)
    wide = numbers.pick("wide", 6, 12)

    def as_it_was(sight: Sight) -> str:
        device = sight.device("scullv0")
        same = (device.measure, device.qset, device.size) == (ORDER, QSET, len(data))
        if same and sight.content("scullv0") == data:
            return ""
        return "scullv0 was emptied, or written to"

    def to_have(name: str, order: int, qset: int) -> Task:
        def missing(sight: Sight) -> str:
            device = sight.device(name)
            if (device.measure, device.qset) != (order, qset):
                return f"{name} has order {device.measure} and qset {device.qset}"
            return "" if device.quanta else f"{name} is empty"

        return Task(f"Have {name} with order {order} and qset {qset}, and not empty.", missing)

    order, qset = numbers.pick("module's order", 0, 3), numbers.pick("module's qset", 300, 490)

    def module(sight: Sight) -> str:
        now = sight.parameter("scullv_order"), sight.parameter("scullv_qset")
        return "" if now == (order, qset) else f"the module has order {now[0]} and qset {now[1]}"

    return (
        Task("Leave scullv0 as it is, with its order and qset, all the time.", as_it_was),
        to_have("scullv1", numbers.pick("order 1", 0, 3), numbers.pick("qset 1", 10, 90)),
        to_have("scullv2", numbers.pick("order 2", 5, 7), numbers.pick("qset 2", 100, 190)),
        Task(f"Set the module's order to {order} and its qset to {qset}.", module),
        number(
            "scull1",
            f"the largest qset that the driver takes with order {wide}",
            lambda sight: INT_MAX // (PAGE_SIZE << wide),
        ),
    )


LAB = Lab(_options, _prepare, _tasks)
