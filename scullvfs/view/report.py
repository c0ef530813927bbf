"""All that a report of a mount has, read together: devices, memory, listings, log and trace.

    options, calls      what the daemon says of itself, `daemon.status_report`
    devices             their listings; of some of them the whole model, for a picture
    memory              RAM and the window, as `scullvfs map` has them
    listings            files as text

Of a text that is long there are its beginning and its end, and how many bytes are between them:
what the machine has may be a hundred thousand lines, and nobody reads these.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final, NamedTuple

from scullvfs.mounts.health import STATUS_FILE
from scullvfs.scull.driver import Driver
from scullvfs.scull.family import DRIVERS
from scullvfs.text import one_line

from .device import Device, read_device
from .files import Files
from .listing import Listed, listed_devices
from .memory import SVG_CELLS, Memory, read_memory

__all__ = ["LOG", "TRACE", "Excerpt", "Report", "Row", "read_report"]

LOG: Final = "proc/kmsg"
TRACE: Final = "sys/kernel/tracing/trace"
LISTINGS: Final = (
    *("proc/vmallocinfo", "proc/buddyinfo", "proc/pagetypeinfo", "proc/zoneinfo", "proc/meminfo"),
    *("proc/slabinfo", "proc/iomem"),
    # as x86 and arm64 call it
    *("sys/kernel/debug/page_tables/kernel", "sys/kernel/debug/kernel_page_tables"),
)
"""Those of the machine; the drivers have their own."""

ROWS: Final = 64
"""Devices that are listed."""
PICTURES: Final = 6
"""Devices that are drawn."""
HEAD: Final = 32 << 10
TAIL: Final = 16 << 10
"""Bytes of a text."""


class Row(NamedTuple):
    """A device that is not empty."""

    name: str
    size: int
    items: int
    quanta: int
    quantum: int
    """Bytes of one."""
    qset: int


class Excerpt(NamedTuple):
    """A file as text, in lines."""

    name: str
    """Its path in the mount."""
    head: tuple[str, ...]
    left_out: int
    """Bytes behind `head` that are left out."""
    tail: tuple[str, ...]
    """What comes behind them."""


class Report(NamedTuple):
    """What a report is made of."""

    said: str
    """The daemon's own words, unchecked (`mounts.answers`)."""
    rows: tuple[Row, ...]
    unlisted: int
    """Devices that are not empty, and in no row."""
    empty: int
    """Devices that are."""
    devices: tuple[Device, ...]
    """Those that are drawn: of each driver the first ones."""
    memory: Memory
    listings: tuple[Excerpt, ...]
    log: Excerpt
    trace: Excerpt


def read_report(files: Files) -> Report:
    """Read it.

    Raises:
        OSError: as read(2); EBADMSG, what is said does not fit together.
    """
    drivers = [driver for name, driver in DRIVERS.items() if files.has(f"sys/class/{name}")]
    listed = [
        (driver, device)
        for driver in drivers
        for device in listed_devices(files, driver.listings[0])
    ]
    used = [each for each in listed if each[1].size or any(item.qset for item in each[1].items)]
    rows = tuple(_row(files, *each) for each in used[:ROWS])
    drawn = sorted((row for row in rows if row.quanta), key=lambda row: _number(row.name))
    names = (*(f"proc/{driver.listings[0]}" for driver in drivers), *LISTINGS)
    return Report(
        said=files.read(STATUS_FILE).decode("utf-8", "replace"),
        rows=rows,
        unlisted=len(used) - len(rows),
        empty=len(listed) - len(used),
        devices=tuple(read_device(files, row.name, (), ()) for row in drawn[:PICTURES]),
        memory=read_memory(files, None, None, SVG_CELLS),
        listings=tuple(read_excerpt(files, name) for name in names if files.has(name)),
        log=read_excerpt(files, LOG),
        trace=read_excerpt(files, TRACE),
    )


def _number(name: str) -> int:
    return int(name.lstrip("abcdefghijklmnopqrstuvwxyz"))


def _row(files: Files, driver: Driver, device: Listed) -> Row:
    name = f"{driver.name}{device.number}"
    directory = f"sys/class/{driver.name}/{name}"
    return Row(
        name,
        device.size,
        files.number(f"{directory}/items"),
        files.number(f"{directory}/quanta"),
        device.quantum(driver),
        device.qset,
    )


def read_excerpt(files: Files, name: str) -> Excerpt:
    """A text, or its first HEAD bytes and its last TAIL, in whole lines.

    Raises:
        OSError: as read(2).
    """
    with files.opened(name) as fd:
        head = _bytes(fd, 0, HEAD)
        behind = max(os.fstat(fd).st_size, len(head))
        begin = max(len(head), behind - TAIL)
        tail = _bytes(fd, begin, TAIL)
    if begin == len(head):
        return Excerpt(name, (*_lines(head + tail),), 0, ())
    last = head.rfind(b"\n") + 1 or len(head)
    first = tail.find(b"\n") + 1
    return Excerpt(name, (*_lines(head[:last]),), begin + first - last, (*_lines(tail[first:]),))


def _bytes(fd: int, pos: int, count: int) -> bytes:
    """Some bytes of a file, fewer only where it ends."""
    data = b""
    while len(data) < count and (part := os.pread(fd, count - len(data), pos + len(data))):
        data += part
    return data


def _lines(text: bytes) -> Iterator[str]:
    """Lines as they can be shown, whatever a process's name has made of them."""
    for line in text.removesuffix(b"\n").split(b"\n"):
        yield one_line(line.expandtabs().decode("utf-8", "surrogateescape"))
