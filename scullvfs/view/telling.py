"""What the page of `scullvfs view` is told, made of the models, in the process that reads them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Final

from scullvfs.mm.layout import LAYOUTS, PAGE_SHIFT, PAGE_SIZE
from scullvfs.mounts.answers import parse_report
from scullvfs.mounts.health import STATUS_FILE
from scullvfs.scull.family import DRIVERS

from .cells import cells_of, ram_notes, share_of, share_words, window_notes, window_words
from .core import NONE
from .device import Device, Group, Quantum, read_device, read_tree
from .files import Files, nonsense
from .memory import Memory, read_memory, read_part
from .ram import LETTERS, RESERVED
from .state import (
    FULL,
    NOTHING,
    PART,
    Branch,
    Cells,
    Chosen,
    Items,
    Maps,
    Now,
    Page,
    Row,
    Step,
    Tree,
)
from .window import Window
from .words import (
    bytes_words,
    count_words,
    few_groups,
    frame_words,
    given_words,
    group_heading,
    group_words,
    heading,
    hexadecimal,
    moral,
    step_words,
    unseen_words,
    where_words,
    why_nothing,
)

__all__ = [
    "tell_band",
    "tell_chosen",
    "tell_maps",
    "tell_now",
    "tell_tree",
    "told_chosen",
    "told_maps",
    "told_tree",
]

RAM_CELLS: Final = 2048
BAND_CELLS: Final = 1024
SET_CELLS: Final = 20_000
"""Cells of all quantum sets together, and of one at the least and the most."""
FEWEST, MOST = 16, 256
MANY_GROUPS: Final = 12
"""Items of a device that are told one by one, of a few devices."""
ALL_GROUPS: Final = 600
"""And of all devices."""
MANY_PAGES: Final = 64
"""Pages of a quantum that are told one by one."""
MANY_EMPTY: Final = 16
"""Devices without anything that are told one by one."""


TELLING: Final = ("pid", "options", "ram", "vmalloc", "devices")
"""What the status of a mount has that only changes with what is drawn."""
CHANGES: Final = frozenset({"write", "ioctl", "fallocate", "open", "truncate"})
"""And the kinds of call that may change it: an open may trim."""


def tell_now(files: Files) -> Now:
    """Read the mount's status.

    Raises:
        OSError: as read(2); EBADMSG, it is no status of a scullvfs of this version.
    """
    try:
        report = parse_report(files.read(STATUS_FILE))
        made = {
            device: {kind: counted["calls"] for kind, counted in kinds.items() if kind in CHANGES}
            for device, kinds in report["calls"].items()
        }
        marked = [made, *(report[name] for name in TELLING)]
        ram, vmalloc = report["ram"], report["vmalloc"]
        words = (
            f"{bytes_words(ram['used'])} of {bytes_words(ram['total'])} of RAM in use; addresses: "
            f"{bytes_words(vmalloc['used'])} in use, {bytes_words(vmalloc['lazy'])} lazily freed"
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        raise nonsense("its status is none of this version") from None
    return Now(hashlib.sha256(json.dumps(marked, sort_keys=True).encode()).hexdigest(), words)


# -- the devices -----------------------------------------------------------------------------


def tell_tree(files: Files) -> Tree:
    """Read all devices.

    Raises:
        OSError: as `device.read_tree`.
    """
    return told_tree(read_tree(files))


def told_tree(devices: Sequence[Device]) -> Tree:
    """Devices, as they were read."""
    used = [device for device in devices if device.seen or device.size]
    most_groups = max(3, min(MANY_GROUPS, ALL_GROUPS // max(len(used), 1)))
    nr_groups = sum(min(len(device.groups), most_groups) for device in used)
    nr_cells = max(FEWEST, min(MOST, SET_CELLS // max(nr_groups, 1)))
    empty = len(devices) - len(used)
    told = devices if empty <= MANY_EMPTY else used
    branches, nr_letters = [], 0
    for device in told:
        letter = ""
        if device.seen:
            letter = LETTERS[min(nr_letters, len(LETTERS) - 1)]
            nr_letters += 1
        branches.append(_branch(device, letter, most_groups, nr_cells))
    left = f"{count_words(empty, 'device')} more, with nothing in them" if told is used else ""
    return Tree(tuple(branches), left)


def _branch(device: Device, letter: str, most_groups: int, nr_cells: int) -> Branch:
    driver = DRIVERS[device.driver]
    items, left = [], []
    for group in few_groups(device.groups, most_groups):
        if isinstance(group, str):
            left.append(group)
        else:
            items.append(_items(group, device.qset, nr_cells))
    if unseen := unseen_words(device):
        left.append(unseen)
    return Branch(
        name=device.name,
        letter=letter,
        words=heading(device, driver.memory, driver.by_order),
        quantum=device.quantum,
        quanta=device.nr_quanta,
        places=device.nr_items * device.qset,
        items=tuple(items),
        left="; ".join(left),
    )


def _items(group: Group, qset: int, nr_cells: int) -> Items:
    share, cells = _places(group, qset, nr_cells)
    return Items(group_heading(group), group_words(group, qset), group.first * qset, share, cells)


def _places(group: Group, qset: int, nr_cells: int) -> tuple[int, str]:
    """The places of a set, up to the last one that leads somewhere."""
    if not group.quanta:
        return 1, ""
    end = group.runs[-1].first + group.runs[-1].length if group.runs else qset
    share = share_of(end, nr_cells)
    if not group.runs:  # too many to tell
        return share, PART * -(-end // share)
    used = [0] * -(-end // share)
    for first, length in group.runs:
        at = first
        while at < first + length:
            behind = min((at // share + 1) * share, first + length)
            used[at // share] += behind - at
            at = behind
    sizes = (min(share, end - at * share) for at in range(len(used)))
    return share, "".join(
        FULL if count == size else PART if count else NOTHING
        for count, size in zip(used, sizes, strict=True)
    )


# -- the maps --------------------------------------------------------------------------------


def tell_maps(files: Files) -> Maps:
    """Read RAM and the window.

    Raises:
        OSError: as `memory.read_memory`.
    """
    return told_maps(read_memory(files, None, None, BAND_CELLS))


def told_maps(memory: Memory) -> Maps:
    """RAM and the window, as they were read."""
    ram, window = memory.ram, memory.window
    share, letters = cells_of(ram.letters, RAM_CELLS)
    owners = [owner for owner in ram.owners if owner.letter != RESERVED]
    total = sum(owner.frames for owner in owners)
    words = share_words(share, "frame", letters, {owner.letter for owner in ram.owners})
    if share > 1:
        words += " A strip at the foot of a cell: the device of that colour has some of it, too."
    return Maps(
        ram=Cells(
            hexadecimal(0, 12),
            hexadecimal(len(ram.letters) << PAGE_SHIFT, 12),
            12,
            share,
            letters,
            _others(ram.letters, share, letters),
            words,
        ),
        ram_rows=tuple(Row(*owner, _kilobytes(owner.frames)) for owner in owners),
        total=Row("", "MemTotal", total, _kilobytes(total)),
        ram_notes=tuple(ram_notes(ram)),
        band=_band(window, memory.digits),
        window=window_words(window, memory.digits),
        band_rows=tuple(
            Row(each.letter, each.name, each.ranges, bytes_words(each.pages << PAGE_SHIFT))
            for each in window.totals
        ),
    )


def tell_band(files: Files, first: int, last: int) -> Cells:
    """Read a part of the window.

    Args:
        first, last: from an address, to before another one.

    Raises:
        OSError: as `memory.read_part`.
    """
    return _band(*read_part(files, first, last, BAND_CELLS))


def _band(window: Window, digits: int) -> Cells:
    band = window.band
    return Cells(
        hexadecimal(band.start, digits),
        hexadecimal(band.end, digits),
        digits,
        band.cell,
        band.letters,
        "",
        next(window_notes(window, 0)),
    )


def _kilobytes(frames: int) -> str:
    return f"{frames << PAGE_SHIFT >> 10:,} kB"


def _others(letters: str, share: int, cells: str) -> str:
    """For each cell the device that has most of what most of the cell is not."""
    if share == 1:
        return ""
    devices = [letter for letter in LETTERS if letter in letters]
    found = []
    for number, cell in enumerate(cells):
        part = letters[number * share : (number + 1) * share]
        counts = {each: part.count(each) for each in devices if each != cell}
        most = max(counts, key=counts.__getitem__, default=" ")
        found.append(most if counts.get(most) else " ")
    return "".join(found)


# -- a quantum -------------------------------------------------------------------------------


def tell_chosen(files: Files, name: str, number: int) -> Chosen:
    """Read a quantum of a device.

    Raises:
        OSError: as `device.read_device`.
    """
    return told_chosen(read_device(files, name, [number], []))


def told_chosen(device: Device) -> Chosen:
    """The quantum of a device that was read with one."""
    quantum = device.quanta[0]
    layout = LAYOUTS[device.arch]
    digits = layout.pointer_digits
    nothing = Chosen(
        device.name, quantum.number, where_words(quantum, device), False,
        "", "", "", "", (), (), "", (),
        why_nothing(quantum, device) if not quantum.length else "",
    )  # fmt: skip
    if not quantum.length:
        return nothing
    share = share_of(device.nr_frames, RAM_CELLS)
    base = quantum.address & -PAGE_SIZE
    behind = base + (len(quantum.frames) << PAGE_SHIFT)
    pages, left = _pages(quantum, device, share)
    return nothing._replace(
        there=True,
        words="".join(given_words(quantum, device)),
        byte=f"byte {quantum.start + quantum.at:,} of the device, at "
        f"{hexadecimal(quantum.address + quantum.at, digits)}",
        start=hexadecimal(base, digits),
        end=hexadecimal(behind + PAGE_SIZE if quantum.guard else behind, digits),
        path=tuple(
            Step(
                step.level,
                f"{step.table:,}",
                step.place,
                hexadecimal(step.entry, digits),
                step_words(quantum, at, device),
                step.table // share,
            )
            for at, step in enumerate(quantum.path)
        ),
        pages=pages,
        left=left,
        cells=tuple(sorted({frame // share for frame in quantum.frames if frame != NONE})),
        moral=moral(quantum, device),
    )


def _pages(quantum: Quantum, device: Device, share: int) -> tuple[tuple[Page, ...], str]:
    digits = LAYOUTS[device.arch].pointer_digits
    base = quantum.address & -PAGE_SIZE
    frames: Sequence[int] = quantum.frames[:MANY_PAGES]
    pages = [
        Page(
            hexadecimal(base + (page << PAGE_SHIFT), digits),
            f"page {page:,}",
            hexadecimal(quantum.entries[page], digits) if quantum.entries else "",
            frame_words(frame),
            -1 if frame == NONE else frame // share,
        )
        for page, frame in enumerate(frames)
    ]
    if quantum.guard:
        none = hexadecimal(0, digits)
        pages.append(Page(hexadecimal(quantum.guard, digits), "guard", none, "none", -1))
    more = len(quantum.frames) - len(frames)
    return tuple(pages), f"{count_words(more, 'page')} more" if more else ""
