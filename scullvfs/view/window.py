"""The window of vmalloc(), as `vmap_areas` and the page tables have it, as a band of cells.

    | area | guard | area | guard | lazily freed | pool | free ...

A cell is a number of pages, and has the letter of what most of them are: that of a device (`ram`),
V of another area, and these of addresses.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from scullvfs.mm.layout import PAGE_SHIFT, PAGE_SIZE

from .core import NONE, Core
from .files import nonsense
from .listing import BUSY, Area
from .ram import GUARD, VMALLOC

__all__ = ["KINDS", "Band", "Total", "Window", "read_window"]

LETTERS: Final = {"lazy": "Z", "pool": "P", "free": "."}
"""Kind of a range -> its letter."""
KINDS: Final = {
    GUARD: "guard pages, mapped to nothing",
    "Z": "lazily freed, not yet purged",
    "P": "purged, kept for areas of that size",
    ".": "free",
}
"""Letter -> what addresses are."""


BEYOND: Final = 16
"""Pages that the band has behind the last one in use, if nobody says where it ends."""


class Total(NamedTuple):
    """What of the window is of one kind."""

    letter: str
    name: str
    ranges: int
    pages: int


class Band(NamedTuple):
    """A part of it, in cells."""

    start: int
    end: int
    cell: int
    """Pages of a cell."""
    letters: str


class Window(NamedTuple):
    """All of it."""

    start: int
    end: int
    totals: tuple[Total, ...]
    band: Band


_Range = tuple[int, int, str]
"""First address, the one behind the last, letter."""


def read_window(
    core: Core,
    names: Mapping[str, str],
    owners: Mapping[int, str],
    areas: Sequence[Area],
    bounds: tuple[int, int] | None,
    nr_cells: int,
) -> Window:
    """Read what the window has.

    Args:
        names: letter -> name of the devices.
        owners: address of an area -> letter of its device.
        areas: all that `vmap_areas` has, by address.
        bounds: which addresses the band has; not given, those up to the last one that is not free.
        nr_cells: how many cells there is room for.

    Raises:
        OSError: as read(2); EBADMSG, what is said does not fit together.
    """
    layout = core.layout
    start, end = layout.vmalloc_start, layout.vmalloc_end
    ranges = list(_ranges(core, owners, areas))
    counts: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])
    for first, behind, letter in ranges:
        count = counts[letter]
        count[0] += 1
        count[1] += (behind - first) >> PAGE_SHIFT
    if sum(pages for _, pages in counts.values()) != (end - start) >> PAGE_SHIFT:
        raise nonsense("the ranges are not the window")
    if bounds is None:
        used = next((behind for _, behind, letter in reversed(ranges) if letter != "."), start)
        bounds = start, min(used + BEYOND * PAGE_SIZE, end)
    names = {**names, VMALLOC: "other areas", **KINDS}
    return Window(
        start,
        end,
        tuple(Total(each, names[each], *counts[each]) for each in names if each in counts),
        _band(ranges, *bounds, nr_cells),
    )


def _ranges(core: Core, owners: Mapping[int, str], areas: Iterable[Area]) -> Iterator[_Range]:
    """All ranges by address, each of one kind."""
    at = core.layout.vmalloc_start
    for area in areas:
        if area.start < at:
            raise nonsense("two areas overlap")
        at = area.end
        if area.kind != BUSY:
            yield area.start, at, LETTERS[area.kind]
            continue
        letter = owners.get(area.start, VMALLOC)
        guard = at - PAGE_SIZE
        if guard > area.start and core.frame(guard) == NONE:
            yield area.start, guard, letter
            yield guard, at, GUARD
        else:
            yield area.start, at, letter


def _band(ranges: list[_Range], start: int, end: int, nr_cells: int) -> Band:
    """Some addresses in cells; each is of a power of two of pages."""
    cell = 1
    while (end - start) > (cell * nr_cells) << PAGE_SHIFT:
        cell *= 2
    size = cell << PAGE_SHIFT
    shares: list[dict[str, int]] = [{} for _ in range(-(-(end - start) // size))]
    for first, last, letter in ranges:
        if last <= start or first >= end:
            continue
        number = (first - start) // size
        if first >= start and (last - 1 - start) // size == number:  # most are in one cell
            share = shares[number]
            share[letter] = share.get(letter, 0) + last - first
            continue
        begin, behind = max(first, start), min(last, end)
        while begin < behind:
            number = (begin - start) // size
            stop = min(start + (number + 1) * size, behind)
            share = shares[number]
            share[letter] = share.get(letter, 0) + stop - begin
            begin = stop
    letters = "".join(max(share, key=share.__getitem__) if share else " " for share in shares)
    return Band(start, end, cell, letters)
