"""When a fault is injected, by the rule of Linux's should_fail_ex(), and what the log has of it."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from scullvfs.mm import Machine, outside
from scullvfs.mm.fault_attr import KNOBS, FaultAttr, KnobKind
from scullvfs.mm.sched import Task


class Fault:
    """A fault of a machine, and whether it stands on the path."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.on = False
        self.attr = FaultAttr("failing", machine.faults)
        machine.faults.add(self.attr, self._switch)

    def _switch(self, on: bool) -> None:
        self.on = on

    def asked(self, times: int, size: int = 1) -> list[int]:
        """Which of so many requests fail, counted from 1."""
        return [number for number in range(1, times + 1) if self.attr.should_fail(size)]

    def log(self) -> list[str]:
        """The lines of the log, but for the first, which is of the start."""
        return [record.text for record in self.machine.log.records()][1:]


@pytest.fixture
def fault(machine: Machine) -> Fault:
    """One that is off, on a machine on which this process runs."""
    machine.running.current = Task(os.getpid(), 0, 0)
    return Fault(machine)


def test_off(fault: Fault) -> None:
    """At first nothing fails, and nothing asks."""
    assert fault.asked(100) == []
    assert not fault.on
    assert fault.log() == []
    assert {knob.name: getattr(fault.attr, knob.field) for knob in KNOBS} == {
        "interval": 1,
        "probability": 0,
        "space": 0,
        "task-filter": False,
        "times": 1,
        "verbose": 2,
        "verbose_ratelimit_burst": 10,
        "verbose_ratelimit_interval_ms": 0,
    }


def test_times(fault: Fault) -> None:
    """So many fail, then none, and it is off the path."""
    fault.attr.arm(times=3)
    assert fault.on
    assert fault.asked(10) == [1, 2, 3]
    assert fault.attr.times == 0
    assert not fault.on


def test_times_without_end(fault: Fault) -> None:
    """-1 stays; any other below 0 is counted down, and wraps as an int does."""
    fault.attr.arm(times=-1)
    assert fault.asked(10) == [*range(1, 11)]
    assert fault.attr.times == -1
    fault.attr.arm(times=-2)
    assert fault.asked(2) == [1, 2]
    assert fault.attr.times == -4
    fault.attr.arm(times=-(1 << 31))
    assert fault.asked(1) == [1]
    assert fault.attr.times == (1 << 31) - 1


@pytest.mark.parametrize("interval", [1, 2, 7])
def test_exactly_the_nth(fault: Fault, interval: int) -> None:
    """With probability=100 times=1 the interval says which request fails."""
    fault.attr.arm(interval=interval, times=1)
    assert fault.asked(30) == [interval]


def test_interval_goes_on(fault: Fault) -> None:
    """Every third; 0 is as 1."""
    fault.attr.arm(interval=3, times=-1)
    assert fault.asked(10) == [3, 6, 9]
    fault.attr.arm(interval=0, times=-1)
    assert fault.asked(2) == [1, 2]


def test_space(fault: Fault) -> None:
    """So many bytes succeed: as long as a request is smaller than what is left."""
    fault.attr.arm(space=10, times=-1)
    assert fault.asked(6, size=4) == [3, 4, 5, 6]
    assert fault.attr.space == 2


def test_interval_counts_behind_space(fault: Fault) -> None:
    """Requests that pass by space are not counted."""
    fault.attr.arm(space=3, interval=2, times=-1)
    assert fault.asked(8) == [4, 6, 8]


def test_probability(make_machine: Callable[..., Machine]) -> None:
    """As likely as it says, by the seed of the machine alone."""

    def failing(seed: int) -> list[int]:
        fault = Fault(make_machine(seed=seed))
        fault.attr.arm(probability=30, times=-1)
        fault.attr.verbose = 0
        return fault.asked(1000)

    assert 230 < len(failing(1)) < 370
    assert failing(1) == failing(1) != failing(2)


@pytest.mark.parametrize("probability", [100, 101, 1 << 63])
def test_certain(fault: Fault, probability: int) -> None:
    """100 and more: always."""
    fault.attr.verbose = 0
    fault.attr.arm(probability=probability, times=-1)
    assert len(fault.asked(300)) == 300


@pytest.mark.parametrize("space", [0, 3, 4, 5, 38, 400])
@pytest.mark.parametrize("interval", [1, 4, 7, 11, 100])
@pytest.mark.parametrize("size", [1, 4, 0])
@pytest.mark.parametrize("fail_nth", [0, 1, 10, 11, 33])
def test_many_at_once(
    make_machine: Callable[..., Machine], space: int, interval: int, size: int, fail_nth: int
) -> None:
    """So many requests in a row are what they are one by one."""

    def play(bulk: bool) -> list[object]:
        machine = make_machine(mem=4 << 20)
        machine.running.current = Task(os.getpid(), 0, 0)
        fault = Fault(machine)
        fault.attr.arm(space=space, interval=interval, times=-1, probability=60)
        fault.attr.verbose = 0
        machine.faults.tasks.set_fail_nth(os.getpid(), fail_nth)
        failed: list[object] = []
        for count in (3, 11, 0, 1, 30, 11, 11):
            if bulk:
                failed.append(fault.attr.should_fail(size, count=count))
            else:
                failed.append(any(fault.attr.should_fail(size) for _ in range(count)))
        return [failed, machine.faults.state()]

    assert play(bulk=True) == play(bulk=False)


def test_task_filter(fault: Fault) -> None:
    """Only those fail that are made to."""
    fault.attr.arm(times=-1)
    fault.attr.task_filter = True
    tasks = fault.machine.faults.tasks
    assert fault.asked(3) == []
    tasks.set_make_it_fail(os.getpid(), True)
    assert fault.asked(3) == [1, 2, 3]
    fault.machine.running.current = Task(1, 0, 0)
    assert fault.asked(3) == []
    tasks.set_make_it_fail(os.getpid(), False)
    assert not tasks.make_it_fail


def test_fail_nth(fault: Fault) -> None:
    """Of one task, past all knobs; as long as it counts, nothing else makes it fail."""
    tasks = fault.machine.faults.tasks
    fault.attr.times = 0
    tasks.set_fail_nth(os.getpid(), 3)
    assert fault.on
    assert fault.asked(10) == [3]
    assert not fault.on
    assert not tasks.fail_nth
    fault.attr.arm(times=-1)
    tasks.set_fail_nth(os.getpid(), 3)
    assert fault.asked(5) == [3, 4, 5]


def test_fail_nth_counts_times_down(fault: Fault) -> None:
    """As recorded: the next report has one less, and 0 stays."""
    for times in (0, 0):
        fault.machine.faults.tasks.set_fail_nth(os.getpid(), 1)
        assert fault.asked(2) == [1]
        assert fault.attr.times == times
    reports = [line for line in fault.log() if line.startswith("name ")]
    assert reports == [
        f"name failing, interval 1, probability 0, space 0, times {n}" for n in (1, 0)
    ]


def test_fail_nth_is_one_tasks(fault: Fault) -> None:
    """Others do not count; 0 takes it away; of who is dead it goes."""
    tasks = fault.machine.faults.tasks
    tasks.set_fail_nth(os.getpid(), 1)
    fault.machine.running.current = Task(1, 0, 0)
    assert fault.asked(3) == []
    tasks.set_fail_nth(os.getpid(), 0)
    assert not fault.on
    pid = os.fork()
    if not pid:
        os._exit(0)
    tasks.set_make_it_fail(pid, True)
    tasks.set_fail_nth(pid, 5)
    os.waitpid(pid, 0)
    assert fault.on
    tasks.forget_dead()
    assert not fault.on
    assert not tasks.fail_nth
    assert not tasks.make_it_fail


def test_fail_nth_is_not_inherited_with_a_number(
    fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread that has begun since, and got the number of one that is dead, has nothing set."""
    tasks = fault.machine.faults.tasks
    tasks.set_make_it_fail(os.getpid(), True)
    tasks.set_fail_nth(os.getpid(), 1)
    assert tasks.is_made_to_fail(os.getpid())
    monkeypatch.setattr(outside, "start_time", lambda pid: "now")
    assert not tasks.is_made_to_fail(os.getpid())
    assert fault.asked(3) == []
    assert not fault.on
    assert not tasks.make_it_fail


def test_report(fault: Fault) -> None:
    """What it was, with the times before; who, and by which functions."""
    fault.attr.arm(times=2, space=-1)
    assert fault.attr.should_fail(function="should_failslab")
    first, second, *rest = fault.log()
    assert first == "FAULT_INJECTION: forcing a failure."
    assert second == "name failing, interval 1, probability 100, space -1, times 2"
    assert rest[0].startswith(f"CPU: 0 UID: 0 PID: {os.getpid()} Comm: ")
    assert rest[-6:] == [
        "Call Trace:",
        " <TASK>",
        " dump_stack_lvl",
        " should_fail_ex",
        " should_failslab",
        " </TASK>",
    ]


@pytest.mark.parametrize(("verbose", "lines"), [(0, 0), (1, 2)])
def test_verbose(fault: Fault, verbose: int, lines: int) -> None:
    """0 says nothing, 1 no trace; with __GFP_NOWARN there is nothing either."""
    fault.attr.arm(times=-1)
    fault.attr.verbose = verbose
    assert fault.asked(1) == [1]
    assert len(fault.log()) == lines
    fault.attr.verbose = 2
    assert fault.attr.should_fail(nowarn=True)
    assert len(fault.log()) == lines
    assert fault.attr.injected == 2


def test_ratelimit(fault: Fault) -> None:
    """A burst in an interval, and later how many were kept back."""
    fault.attr.arm(times=-1)
    fault.attr.verbose = 1
    fault.attr.verbose_ratelimit_interval_ms = 3_600_000
    assert len(fault.asked(25)) == 25
    assert len(fault.log()) == 2 * 10
    fault.attr.verbose_ratelimit_interval_ms = 1
    while len(fault.log()) == 2 * 10:
        fault.asked(1)
    said = [line for line in fault.log() if "suppressed" in line]
    assert len(said) == 1
    assert int(said[0].removeprefix("fail_dump: ").split()[0]) >= 15


def test_told(fault: Fault) -> None:
    """Who listens hears which, where and what."""
    heard: list[tuple[str, str, str]] = []
    fault.machine.faults.tell = lambda attr, *what: heard.append((attr.name, *what))
    fault.attr.arm(times=1)
    fault.attr.should_fail(function="kmalloc", result="-ENOMEM")
    fault.attr.should_fail(function="kmalloc", result="-ENOMEM")
    assert heard == [("failing", "kmalloc", "-ENOMEM")]
    assert fault.machine.faults.statistics() == {"failing": (1, False)}


def test_knobs_wrap() -> None:
    """What does not fit loses its highest bits."""
    assert KnobKind.UNSIGNED_LONG.fit((1 << 64) + 5) == 5
    assert KnobKind.U32.fit(1 << 32) == 0
    assert KnobKind.ATOMIC.fit((1 << 32) - 2) == -2
    assert KnobKind.BOOL.fit(1) == 1


def test_set_and_reset(fault: Fault) -> None:
    """Each knob takes what fits, is in the state, and goes back."""
    state = fault.machine.faults.state()
    for knob in KNOBS:
        fault.attr.set(knob, (1 << 32) + 1)
        assert getattr(fault.attr, knob.field) == knob.kind.fit((1 << 32) + 1)
    assert fault.on
    fault.machine.faults.check()
    assert fault.machine.faults.state() != state
    fault.machine.faults.reset()
    assert fault.machine.faults.state() == state
    assert not fault.on
