"""A mount at one moment, as a live view looks at it: what is cheap to read, and no more.

    proc/fs/scullvfs/status           RAM, addresses, what devices were asked, faults
    stat(2), sys/class/NAME/NAMEn     size and quanta of devices: of those that were called, and of
                                      others in turn, where the daemon does not tell who was
    proc/buddyinfo, proc/slabinfo     free blocks by order, the caches
    proc/kmsg, sys/kernel/tracing/    the last lines; both are read whole, so only when they have
                                      changed, and so seldom that it costs the mount little

Each moment is read with the one before at hand, and what has not been looked at anew is of that.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import scullvfs
import scullvfs.options.table  # used by parse_report(); whoever reads the mount may not import it
from scullvfs.mounts.answers import MOST_DEVICES, parse_report
from scullvfs.mounts.health import STATUS_FILE
from scullvfs.scull.family import DRIVERS, driver_of_device
from scullvfs.text import one_line

from .files import Files, nonsense
from .ram import Cache, read_caches

__all__ = [
    "Kinds",
    "LINES",
    "Moment",
    "Sizes",
    "Tail",
    "Zone",
    "calls_of",
    "checked_report",
    "read_moment",
]

IN_TURN: Final = 8
"""Devices that are looked at where the daemon does not tell which were called."""
LINES: Final = 64
"""The last lines of a file that are kept."""
LONGEST: Final = 400
"""Characters of one."""
MOST_EVENTS: Final = 20_000
"""Records of the ring that are read: they are made text one by one."""
RARELY: Final = 50
"""A file is not read again before that many times as long as reading it took."""
WHATEVER: Final = 5 * 10**9
"""Nanoseconds after which the log is read although it is as long as it was."""

NOT_YOURS: Final = "only the mount's owner and root may read it"
ZONE: Final = re.compile(rb"Node 0, zone +(\w{1,16})((?: +\d{1,15}){11}) *")
STATS: Final = re.compile(
    rb"entries: (\d{1,15})\noverrun: (\d{1,15})\n.*?read events: (\d{1,15})", re.S
)

CONTEXT: Final = re.compile(r"^ *(.*?-\d+) +\[\d+\] \S+ +(?=[\d.]+: )")
"""What stands before the time of a record; that has a CPU, and flags, which are always the same."""


Kinds = Mapping[str, Mapping[str, int]]
"""Kind of call -> its counters, as the report has them."""


class Sizes(NamedTuple):
    """A device."""

    name: str
    size: int
    allocated: int
    """Bytes of its quanta, in blocks of 512."""
    quanta: int


class Zone(NamedTuple):
    """A zone's free memory."""

    name: str
    blocks: tuple[int, ...]
    """How many there are of each order."""


class Tail(NamedTuple):
    """The last lines of a file."""

    lines: tuple[str, ...]
    note: str
    """What there is to say of it, or why there is nothing."""
    mark: str
    """Another one when the file has changed."""
    read_at: int
    took: int
    """Nanoseconds."""


class Moment(NamedTuple):
    """All of it."""

    when: int
    """Nanoseconds of the monotonic clock."""
    report: str
    """What the daemon says of itself, not yet checked."""
    sizes: tuple[Sizes, ...]
    turn: int
    """Which of them comes next."""
    zones: tuple[Zone, ...]
    caches: tuple[Cache, ...]
    """The largest first."""
    log: Tail
    events: Tail


NOTHING: Final = Tail((), "", "", 0, 0)


def checked_report(text: str) -> dict[str, Any]:
    """The report of a moment.

    Raises:
        ValueError: it is none, or of another version's daemon.
    """
    report = parse_report(text.encode("utf-8", "surrogateescape"))
    if report["version"] != scullvfs.__version__:
        raise ValueError(
            f"its daemon is of scullvfs {one_line(str(report['version']))}, and this is "
            f"{scullvfs.__version__}"
        )
    return report


def calls_of(report: Mapping[str, Any], name: str) -> Kinds | None:
    """What a device was asked; None, that is not told: of many devices it is of some only."""
    calls: Mapping[str, Kinds] = report["calls"]
    tells_all = len(calls) < MOST_DEVICES or report["devices"] <= MOST_DEVICES
    return calls.get(name, {} if tells_all else None)


def read_moment(files: Files, before: Moment | None) -> Moment:
    """Look at a mount.

    Args:
        before: how it was.

    Raises:
        OSError: as read(2); EBADMSG, what is said makes no sense.
    """
    when = time.monotonic_ns()
    text = files.read(STATUS_FILE).decode("utf-8", "surrogateescape")
    log, events = (before.log, before.events) if before is not None else (NOTHING, NOTHING)
    try:
        report = checked_report(text)
    except ValueError:  # the one who asks says why
        return Moment(when, text, (), 0, (), (), log, events)
    turn = before.turn if before is not None else 0
    return Moment(
        when=when,
        report=text,
        sizes=tuple(_sizes(files, report, before)),
        turn=turn + IN_TURN,
        zones=tuple(_zones(files)),
        caches=tuple(_caches(files)),
        log=_log(files, log),
        events=_events(files, events),
    )


def _sizes(files: Files, report: dict[str, Any], before: Moment | None) -> Iterator[Sizes]:
    """All devices in their order; one that is gone is left out."""
    options = report["options"]
    names = [
        f"{name}{number}"
        for name in options["drivers"].split(":")
        for number in range(options[DRIVERS[name].devs.name])
    ]
    known: dict[str, Sizes] = {}
    turn, same = 0, {*names}
    if before is not None:
        known, turn = {each.name: each for each in before.sizes}, before.turn
        old = checked_report(before.report)
        same = {name for name in names if calls_of(report, name) == calls_of(old, name)}
    untold = [name for name in names if calls_of(report, name) is None]
    in_turn = {untold[(turn + at) % len(untold)] for at in range(IN_TURN if untold else 0)}
    for name in names:
        if name in known and name in same and name not in in_turn:
            yield known[name]
            continue
        driver = driver_of_device(name)
        assert driver is not None
        try:
            stat = files.stat(name)
            quanta = files.number(f"sys/class/{driver.name}/{name}/quanta")
        except FileNotFoundError:
            continue
        yield Sizes(name, stat.st_size, stat.st_blocks * 512, quanta)


def _zones(files: Files) -> Iterator[Zone]:
    for line in files.lines("proc/buddyinfo"):
        found = ZONE.fullmatch(line)
        if found is None:
            raise nonsense("proc/buddyinfo has a line of another kind")
        yield Zone(found[1].decode(), tuple(map(int, found[2].split())))


def _caches(files: Files) -> list[Cache]:
    try:
        return read_caches(files)
    except PermissionError:
        return []


def _log(files: Files, before: Tail) -> Tail:
    """The kernel log; where it is full, lines of the same length may have come as have gone."""
    try:
        mark = str(files.size("proc/kmsg"))
        same = mark == before.mark and time.monotonic_ns() - before.read_at < WHATEVER
        if same or not _is_due(before):
            return before
        return _read(files, "proc/kmsg", mark, "")
    except PermissionError:
        return NOTHING._replace(note=NOT_YOURS)


def _events(files: Files, before: Tail) -> Tail:
    """What is in the ring, which stays there."""
    try:
        found = STATS.match(files.read("sys/kernel/tracing/per_cpu/cpu0/stats"))
        if found is None:
            raise nonsense("the ring has no books")
        entries, overrun, _ = map(int, found.groups())
        mark = b" ".join(found.groups()).decode()
        if mark == before.mark or not _is_due(before):
            return before
        if not entries:
            return NOTHING._replace(mark=mark)
        note = f"{entries:,} events" + (f", {overrun:,} lost before them" if overrun else "")
        if entries > MOST_EVENTS:
            return NOTHING._replace(mark=mark, note=f"{note}: too many to be read here")
        tail = _read(files, "sys/kernel/tracing/trace", mark, note)
        return tail._replace(lines=tuple(CONTEXT.sub(r"\1 ", line) for line in tail.lines))
    except PermissionError:
        return NOTHING._replace(note=NOT_YOURS)


def _is_due(before: Tail) -> bool:
    """Whether to read it takes a small part of the time."""
    return time.monotonic_ns() - before.read_at >= RARELY * before.took


def _read(files: Files, name: str, mark: str, note: str) -> Tail:
    """The end of a file, without the lines of a heading."""
    began, end = time.monotonic_ns(), b""
    for part in files.parts(name):
        end = (end + part)[-LINES * LONGEST :]
    lines = [line for line in end.split(b"\n") if line and not line.startswith(b"#")]
    now = time.monotonic_ns()
    return Tail(
        tuple(
            one_line(line.decode("utf-8", "surrogateescape")[:LONGEST]) for line in lines[-LINES:]
        ),
        note,
        mark,
        now,
        now - began,
    )
