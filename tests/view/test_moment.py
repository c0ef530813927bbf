"""Files of anybody's choice: a moment, or the error that is caught."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from scullvfs.view import moment
from scullvfs.view.files import Files
from scullvfs.view.moment import Moment, calls_of, checked_report, read_moment

from ..scull.helpers import fails
from .test_rates import report

BUDDYINFO = f"Node 0, zone   Normal      1 {'     0 ' * 9}     2 \n"
STATS = "entries: 2\noverrun: 1\ncommit overrun: 0\nnow ts: 3\ndropped events: 0\nread events: 0\n"
DEVICES = [f"scullv{number}" for number in range(4)]


class Mount(Files):
    """A directory that is as a mount, and counts what is read of it."""

    def __init__(self, root: Path) -> None:
        super().__init__(str(root))
        self.root = root
        self.read_names: list[str] = []
        self.say(report())
        self.write("proc/buddyinfo", BUDDYINFO)
        self.write("proc/slabinfo", "")
        self.write("proc/kmsg", "<6>[    0.1] one\n")
        self.write("sys/kernel/tracing/per_cpu/cpu0/stats", STATS)
        self.write("sys/kernel/tracing/trace", "# heading\n  a-1  [000] ..... 1.5: kfree: x\n")
        for name in DEVICES:
            self.write(name, "x")
            self.write(f"sys/class/scullv/{name}/quanta", "1\n")

    def say(self, said: object) -> None:
        """Have a report."""
        self.write("proc/fs/scullvfs/status", json.dumps(said) + "\n")

    def write(self, name: str, text: str) -> None:
        """Have a file."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def number(self, name: str) -> int:
        """Is counted."""
        self.read_names.append(name.split("/")[3])
        return super().number(name)


@pytest.fixture
def mount(tmp_path: Path) -> Mount:
    """One with four devices."""
    return Mount(tmp_path)


def taking(seen: Moment, nanoseconds: int) -> Moment:
    """As if log and trace had taken that long to be read."""
    return seen._replace(
        log=seen.log._replace(took=nanoseconds), events=seen.events._replace(took=nanoseconds)
    )


def test_honest(mount: Mount) -> None:
    """What the lies are told of."""
    seen = read_moment(mount, None)
    assert [(each.name, each.size, each.quanta) for each in seen.sizes] == [
        (name, 1, 1) for name in DEVICES
    ]
    assert [(zone.name, zone.blocks[10]) for zone in seen.zones] == [("Normal", 2)]
    assert seen.log.lines == ("<6>[    0.1] one",)
    assert seen.events.lines == ("a-1 1.5: kfree: x",)
    assert seen.events.note == "2 events, 1 lost before them"


def test_only_what_was_called_is_looked_at(mount: Mount) -> None:
    """The others are as they were before; one that has gone is left out."""
    first = read_moment(mount, None)
    assert mount.read_names == DEVICES
    counters = {"calls": 1, "bytes": 0, "errors": 0, "nanoseconds": 9}
    mount.say(report(calls={"scullv2": {"open": counters}}))
    mount.write("scullv1", "longer")
    mount.write("scullv2", "longer")
    second = read_moment(mount, first)
    assert mount.read_names == [*DEVICES, "scullv2"]
    assert [each.size for each in second.sizes] == [1, 1, 6, 1]
    (mount.root / "scullv2").unlink()
    mount.say(report())
    assert [each.name for each in read_moment(mount, second).sizes] == [
        "scullv0",
        "scullv1",
        "scullv3",
    ]


def test_devices_that_are_not_told_of_have_their_turn(
    mount: Mount, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of many, some at each look, until each has been looked at."""
    monkeypatch.setattr(moment, "MOST_DEVICES", 2)
    monkeypatch.setattr(moment, "IN_TURN", 1)
    counters = {"calls": 1, "bytes": 0, "errors": 0, "nanoseconds": 9}
    said = report(calls={name: {"open": counters} for name in DEVICES[:2]})
    mount.say(said)
    assert [calls_of(said, name) is None for name in DEVICES] == [False, False, True, True]
    before = None
    for _ in range(4):
        before = read_moment(mount, before)
    assert mount.read_names == [*DEVICES, "scullv3", "scullv2", "scullv3"]


def test_files_that_are_as_before_are_not_read_again(mount: Mount) -> None:
    """Nor those that have changed, where that would cost too much."""
    first = read_moment(mount, None)
    slow = taking(first, 1 << 60)
    mount.write("proc/kmsg", "another\n" * 3)
    mount.write("sys/kernel/tracing/per_cpu/cpu0/stats", STATS.replace("2", "3"))
    second = read_moment(mount, slow)
    assert (second.log, second.events) == (slow.log, slow.events)
    third = read_moment(mount, taking(first, 0))
    assert third.log.lines == ("another",) * 3
    mount.write("sys/kernel/tracing/trace", "")
    assert read_moment(mount, third).events == third.events


def test_empty_ring(mount: Mount) -> None:
    """What was recorded and thrown away is not shown."""
    first = taking(read_moment(mount, None), 0)
    mount.write("sys/kernel/tracing/per_cpu/cpu0/stats", STATS.replace("2", "0", 1))
    assert read_moment(mount, first).events.lines == ()


def test_lines_are_bounded_and_printable(mount: Mount) -> None:
    """Whatever there is in the log."""
    mount.write("proc/kmsg", "\x1b[31m\0" + "x" * 100_000 + "\n" + "y\ty\n" * 1000)
    lines = read_moment(mount, None).log.lines
    assert len(lines) == moment.LINES
    assert {*lines} == {r"y\011y"}
    mount.write("proc/kmsg", "\x1b" + "x" * 1_000_000)
    assert max(map(len, read_moment(mount, None).log.lines)) <= 4 * moment.LONGEST


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("proc/buddyinfo", "Node 0, zone Normal 1 2 3\n"),
        ("proc/buddyinfo", "\x1b[31m\n"),
        ("proc/buddyinfo", BUDDYINFO.replace("Normal", "N\x1bl")),
        ("proc/buddyinfo", BUDDYINFO.replace("2", "9" * 20)),
        ("sys/class/scullv/scullv0/quanta", "many"),
        ("sys/kernel/tracing/per_cpu/cpu0/stats", "entries: all\n"),
    ],
)
def test_nonsense(mount: Mount, name: str, text: str) -> None:
    """It is one error."""
    mount.write(name, text)
    with fails(errno.EBADMSG):
        read_moment(mount, None)


def test_reports_that_are_none(mount: Mount) -> None:
    """They are left to the one who has asked."""
    for said in ({}, {"version": "0.0.1"}, report() | {"devices": -1}):
        mount.say(said)
        seen = read_moment(mount, None)
        assert (seen.sizes, seen.zones) == ((), ())
        with pytest.raises(
            ValueError, match=r"its report has no |its daemon is of scullvfs 0\.0\.1"
        ):
            checked_report(seen.report)
    assert isinstance(seen, Moment)
