"""A driver's listing (`proc/scullvmem`), and the list of areas, of which one is looked for.

The listing has the items of each device, up to 10,000 and the last one, each with its quantum set;
where the quanta are stands in the sets, which are in RAM.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from scullvfs.mm.layout import PAGE_SIZE
from scullvfs.scull.driver import Driver

from .files import Files, nonsense

__all__ = ["BUSY", "Area", "Item", "Listed", "areas", "find_area", "listed_devices"]

DEVICE: Final = re.compile(rb"Device (\d{1,4}): qset (\d{1,10}), \w+ (\d{1,10}), sz (\d{1,19})")
ITEM: Final = re.compile(rb"  item at ([0-9a-f]{8,16}), qset at ([0-9a-f]{8,16})")
MORE: Final = re.compile(rb"  \.\.\. (\d{1,19}) more")
AREA: Final = re.compile(
    rb"^0x([0-9a-f]{8,16})-0x([0-9a-f]{8,16}) {1,19}\d{1,19} (busy|lazy|pool|free)$", re.MULTILINE
)

BUSY: Final = "busy"
VMAP_AREAS: Final = "sys/kernel/debug/vmap_areas"


class Item(NamedTuple):
    """A list item."""

    number: int
    address: int
    qset: int
    """Where its quantum set is, 0 if it has none."""


class Listed(NamedTuple):
    """What the listing says of a device."""

    number: int
    qset: int
    measure: int
    size: int
    items: tuple[Item, ...]
    """By number; where one is missing, that many are left out."""

    def quantum(self, driver: Driver) -> int:
        """Bytes of a quantum.

        Raises:
            OSError: EBADMSG, the driver lets no device be so: whoever computes with such numbers
                may never come to an end.
        """
        possible = all(
            parameter.low <= value <= parameter.high
            for parameter, value in ((driver.measure, self.measure), (driver.qset, self.qset))
        )
        if not possible or not driver.fits(self.measure, self.qset):
            raise nonsense("no device has such a geometry")
        return driver.quantum(self.measure)


class Area(NamedTuple):
    """A range of the window."""

    start: int
    end: int
    kind: str
    """busy, lazy, pool, free."""


def listed_devices(files: Files, name: str, only: int | None = None) -> Iterator[Listed]:
    """The devices of a driver's listing, or one of them.

    Args:
        name: of the listing, such as scullvmem.
        only: the number of the device.

    Raises:
        OSError: as read(2); EBADMSG, a line is none of the driver's.
    """
    head: tuple[int, int, int, int] | None = None
    items: list[Item] = []
    number = 0
    for line in files.lines(f"proc/{name}"):
        found = DEVICE.fullmatch(line)
        if found is not None:
            if head is not None and only in (None, head[0]):
                yield Listed(*head, tuple(items))
                if only is not None:
                    return
            index, qset, measure, size = map(int, found.groups())
            head, items, number = (index, qset, measure, size), [], 0
        elif head is None or (only is not None and head[0] != only):
            continue
        elif (found := ITEM.fullmatch(line)) is not None:
            items.append(Item(number, int(found[1], 16), int(found[2], 16)))
            number += 1
        elif (found := MORE.fullmatch(line)) is not None:
            number += int(found[1])
    if head is not None and only in (None, head[0]):
        yield Listed(*head, tuple(items))


def areas(files: Files) -> Iterator[Area]:
    """All ranges of the window, in the order of the file.

    Raises:
        OSError: as read(2); EBADMSG, a line is none of that file.
    """
    left = b""
    for part in files.parts(VMAP_AREAS):
        lines, end, left = (left + part).rpartition(b"\n")
        if end:
            yield from _areas(lines)
    if left:
        raise nonsense(f"{VMAP_AREAS} ends in a line")


def find_area(files: Files, address: int) -> Area | None:
    """The area in use that an address lies in; None, there is none.

    All lines have the same length, and those in use come first, by address: so a few are read.
    """
    with files.opened(VMAP_AREAS) as fd:
        length = os.pread(fd, 256, 0).find(b"\n") + 1
        if not length:
            return None
        low, high = 0, os.fstat(fd).st_size // length
        while low < high:
            middle = (low + high) // 2
            area = next(_areas(os.pread(fd, length, middle * length)[:-1]))
            if area.kind != BUSY or area.start > address:
                high = middle
            elif area.end <= address:
                low = middle + 1
            else:
                return area
    return None


def _areas(lines: bytes) -> Iterator[Area]:
    """Those of some lines, without the end of the last one."""
    found = AREA.findall(lines)
    if len(found) != lines.count(b"\n") + 1:
        raise nonsense(f"{VMAP_AREAS} has a line of another kind")
    for first, behind, kind in found:
        start, end = int(first, 16), int(behind, 16)
        if start >= end or (start | end) % PAGE_SIZE:
            raise nonsense(f"{VMAP_AREAS} has a range that is no pages")
        yield Area(start, end, kind.decode())
