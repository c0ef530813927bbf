"""The kernel log: lines, their printed form, warnings."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from scullvfs.mm import KernelBug
from scullvfs.mm.gfp import __GFP_NOWARN as NOWARN
from scullvfs.mm.gfp import __GFP_ZERO as ZERO
from scullvfs.mm.gfp import GFP_KERNEL
from scullvfs.mm.printk import KERN_ERR, KERN_INFO, LOG_LINES, KernelLog, Record
from scullvfs.mm.ratelimit import RatelimitState
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
    kernel_log = log(task=Named(1234, 1000, 100))

    kernel_log.warn("something is odd", "vfree")

    assert [(record.level, record.text) for record in kernel_log.records()] == [
        (4, "------------[ cut here ]------------"),
        (4, "something is odd"),
        (4, "WARNING: CPU: 0 PID: 1234 at mm/vmalloc.c vfree"),
        (4, "Modules linked in:"),
        (4, "CPU: 0 UID: 1000 PID: 1234 Comm: fio Not tainted 6.12.0-scullvfs #1"),
        (4, "Hardware name: scullvfs emulated x86_64"),
        (4, "Call Trace:"),
        (4, " <TASK>"),
        (4, " vfree"),
        (4, " </TASK>"),
        (4, "---[ end trace 0000000000000000 ]---"),
    ]


def test_warn_on_has_no_text() -> None:
    """Where the place says it all there is no line for it, and it is what the bug is named by."""
    kernel_log = log(panic_on_warn=True)

    with pytest.raises(KernelBug, match="vmap"):
        kernel_log.warn("", "vmap")
    lines = [record.text for record in kernel_log.records()]
    assert lines[1] == "WARNING: CPU: 0 PID: 0 at mm/vmalloc.c vmap"


def test_what_has_happened_taints() -> None:
    """A module, a warning and an oops are in all reports behind, with Linux's letters in place."""
    kernel_log = log(task=Named(1, 0, 0))
    kernel_log.add_module("scullv")
    kernel_log.add_module("scullp")
    kernel_log.add_module("scullv")
    kernel_log.warn("odd", "vfree")
    kernel_log.oops(lambda number: [(1, f"the {number}st")])
    kernel_log.warn("odder", "vfree")

    lines = [record.text for record in kernel_log.records()]
    assert [line for line in lines if "aint" in line or "Modules" in line] == [
        "Modules linked in: scullp(O) scullv(O)",
        "CPU: 0 UID: 0 PID: 1 Comm: fio Tainted: G           O       6.12.0-scullvfs #1",
        "Tainted: [O]=OOT_MODULE",
        "Modules linked in: scullp(O) scullv(O)",
        "CPU: 0 UID: 0 PID: 1 Comm: fio Tainted: G      D W  O       6.12.0-scullvfs #1",
        "Tainted: [D]=DIE, [W]=WARN, [O]=OOT_MODULE",
    ]
    assert "the 1st" in lines
    assert kernel_log.taints == {"D", "W", "O"}


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
    texts = [record.text for record in kernel_log.records()]
    assert texts.count("---[ end trace 0000000000000000 ]---") == 2


def test_warn_alloc_is_no_reason_to_panic() -> None:
    """Running out of memory is told, with the task's name and the flags, and is not a bug."""
    kernel_log = log(panic_on_warn=True, task=Named(1, 0, 0))
    kernel_log.show_mem = lambda gfp: ["Mem-Info:", f"of {gfp:#x}"]

    kernel_log.warn_alloc("vmalloc error: size 4096, oh", GFP_KERNEL | ZERO, ["vmalloc_noprof"])

    assert [record.text for record in kernel_log.records()] == [
        "fio: vmalloc error: size 4096, oh, mode:0xdc0(GFP_KERNEL|__GFP_ZERO), "
        "nodemask=(null),cpuset=/,mems_allowed=0",
        "CPU: 0 UID: 0 PID: 1 Comm: fio Not tainted 6.12.0-scullvfs #1",
        "Hardware name: scullvfs emulated x86_64",
        "Call Trace:",
        " <TASK>",
        " dump_stack_lvl",
        " warn_alloc",
        " vmalloc_noprof",
        " </TASK>",
        "Mem-Info:",
        "of 0xdc0",
    ]


def test_warn_alloc_says_nothing_where_nobody_wants_to_hear() -> None:
    """With __GFP_NOWARN a failure is silent, and does not count."""
    kernel_log = log()

    kernel_log.warn_alloc("one", GFP_KERNEL | NOWARN)
    assert kernel_log.records() == []
    kernel_log.warn_alloc("two")
    assert kernel_log.records()[0].text.startswith("swapper/0: two, mode:0xcc0(GFP_KERNEL), ")


def test_warn_alloc_keeps_quiet_for_ten_seconds() -> None:
    """One report in ten seconds; before the next one stands how many there would have been."""
    now = [0]
    kernel_log = KernelLog(clock=lambda: now[0] * 1_000_000_000)
    told = []
    for second in (5, 6, 14, 15, 16, 27):
        now[0], before = second, len(kernel_log.records())
        kernel_log.warn_alloc(f"at {second}")
        told.append([record.text.split(",")[0] for record in kernel_log.records()[before:]])

    assert [lines[:1] for lines in told] == [
        ["swapper/0: at 5"],
        [],
        [],
        [],
        ["warn_alloc: 3 callbacks suppressed"],
        ["swapper/0: at 27"],
    ]
    assert told[4][1] == "swapper/0: at 16"


def test_warn_alloc_without_a_limit() -> None:
    """An interval of 0 is none (Linux: lib/ratelimit.c)."""
    kernel_log = log()
    kernel_log.nopage = RatelimitState(0, 1)
    for _ in range(3):
        kernel_log.warn_alloc("again")

    lines = [record.text for record in kernel_log.records()]
    assert len([line for line in lines if line.startswith("swapper/0: again")]) == 3
    assert not any("suppressed" in line for line in lines)


def test_ratelimit_lets_a_burst_through() -> None:
    """So many of an interval that begins with the first of them."""
    state = RatelimitState(interval=10, burst=3)
    assert [state.ratelimit(now)[0] for now in (7, 8, 9, 17)] == [True, True, True, False]
    assert [state.ratelimit(now) for now in (18, 18, 28, 29)] == [
        *((True, 1), (True, 0), (True, 0), (True, 0))
    ]
