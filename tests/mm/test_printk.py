"""The kernel log: lines, their printed form, warnings."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from scullvfs.mm import KernelBug
from scullvfs.mm.printk import KERN_ERR, KERN_INFO, LOG_LINES, KernelLog, Record
from scullvfs.mm.sched import Running, Task


def ticking() -> Iterator[int]:
    """A clock that starts anywhere and goes on by a microsecond at each look."""
    now = 5_000_000_000
    while True:
        yield now
        now += 1000


class Named(Task):
    """A task of a known name."""

    comm = "fio"


def log(panic_on_warn: bool = False, task: Task | None = None) -> KernelLog:
    """A log with such a clock, of a machine on which a task is running."""
    running = Running()
    if task is not None:
        running.current = task
    return KernelLog(panic_on_warn, clock=ticking().__next__, running=running)


@pytest.mark.parametrize(
    ("nanoseconds", "stamp"),
    [
        (0, "[    0.000000]"),
        (123_999, "[    0.000123]"),
        (12_000_001_000, "[   12.000001]"),
        (123_456_789_000_000, "[123456.789000]"),
    ],
)
def test_record_is_printed_as_proc_kmsg(nanoseconds: int, stamp: str) -> None:
    """Level in angle brackets, seconds in five places, microseconds in six."""
    assert str(Record(4, nanoseconds, "a line")) == f"<4>{stamp} a line"


def test_printk_counts_time_from_the_start() -> None:
    """The stamp is the time since the machine was switched on."""
    kernel_log = log()

    kernel_log.printk(KERN_ERR, "first")
    kernel_log.printk(KERN_INFO, "second")

    assert list(map(str, kernel_log.records())) == [
        "<3>[    0.000001] first",
        "<6>[    0.000002] second",
    ]


def test_printk_makes_a_record_of_each_line() -> None:
    """The lines of one message are records of the same time."""
    kernel_log = log()

    kernel_log.printk(KERN_INFO, "one\ntwo")

    assert kernel_log.records() == [Record(6, 1000, "one"), Record(6, 1000, "two")]


def test_printk_forgets_the_oldest_lines() -> None:
    """The ring holds so many lines and no more."""
    kernel_log = log()
    for i in range(LOG_LINES + 3):
        kernel_log.printk(KERN_INFO, str(i))

    texts = [record.text for record in kernel_log.records()]

    assert texts == [str(i) for i in range(3, LOG_LINES + 3)]


def test_warn_names_the_running_task() -> None:
    """A report says who was running, and where."""
    kernel_log = log(task=Named(1234, 0, 0))

    kernel_log.warn("something is odd", "vfree")

    assert [(record.level, record.text) for record in kernel_log.records()] == [
        (4, "------------[ cut here ]------------"),
        (4, "something is odd"),
        (4, "WARNING: CPU: 0 PID: 1234 at vfree"),
        (4, "CPU: 0 PID: 1234 Comm: fio"),
        (4, "---[ end trace 0000000000000000 ]---"),
    ]


def test_warn_once_warns_once_a_place() -> None:
    """A second warning from the same place is silent, one from another place is not."""
    kernel_log = log()
    for where in ("here", "here", "there"):
        kernel_log.warn_once("odd", where)

    assert [record.text for record in kernel_log.records()].count("odd") == 2


def test_warn_under_panic_on_warn_stops() -> None:
    """The report is in the log, and then the machine stops."""
    kernel_log = log(panic_on_warn=True)

    with pytest.raises(KernelBug, match="odd"):
        kernel_log.warn("odd", "here")
    with pytest.raises(KernelBug, match="odd"):
        kernel_log.warn_once("odd", "here")
    assert len(kernel_log.records()) == 10


def test_warn_alloc_is_no_reason_to_panic() -> None:
    """Running out of memory is told, with the task's name, and is not a bug."""
    kernel_log = log(panic_on_warn=True, task=Named(1, 0, 0))

    kernel_log.warn_alloc("vmalloc error: size 4096, failed to allocate pages")

    assert list(map(str, kernel_log.records())) == [
        "<4>[    0.000001] fio: vmalloc error: size 4096, failed to allocate pages, "
        "mode:0xcc0(GFP_KERNEL), nodemask=(null)"
    ]
