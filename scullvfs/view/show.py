"""A device in a terminal, as LDD3 draws it, and a quantum of it down to its page frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from rich import box
from rich.console import Group as Stack
from rich.console import RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from scullvfs.mm.layout import LAYOUTS, PAGE_SHIFT, PAGE_SIZE
from scullvfs.scull.family import DRIVERS
from scullvfs.text import shown

from .core import NONE
from .device import Device, Group, Quantum
from .marks import Marks
from .words import (
    NO_QUANTUM,
    bytes_words,
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

__all__ = ["device_title", "draw_device"]

MANY_GROUPS: Final = 6
"""Boxes of items that are drawn."""
MANY_PAGES: Final = 18
"""Lines for the pages of a quantum."""
ITEM_WIDTH: Final = 24
STRIP: Final = 8
"""Cells of RAM beside a page, at the least."""

TITLE: Final = "bold"
VIRTUAL: Final = "cyan"
TABLES: Final = "magenta"
PHYSICAL: Final = "yellow"
QUIET: Final = "dim"


def device_title(device: Device, mount: str) -> Text:
    """What is drawn, of the mount with that path."""
    return Text.assemble((device.name, TITLE), f" in {shown(mount)}")


def draw_device(device: Device, width: int, marks: Marks) -> RenderableType:
    """The picture, `width` columns wide."""
    drawer = _Drawer(device, width, marks)
    parts: list[RenderableType] = [drawer.head(), Text(), *drawer.list()]
    for quantum in device.quanta:
        parts += [Text(), *drawer.quantum(quantum)]
    if not device.nr_quanta:
        parts += [Text(), Text(NO_QUANTUM)]
    return Stack(*parts)


class _Drawer:
    """One device, and the room there is for it."""

    def __init__(self, device: Device, width: int, marks: Marks) -> None:
        self.device = device
        self.driver = DRIVERS[device.driver]
        self.layout = LAYOUTS[device.arch]
        self.width = width
        self.marks = marks
        self.box = box.ASCII if marks.ascii else box.SQUARE

    def address(self, address: int) -> str:
        """With all its digits."""
        return hexadecimal(address, self.layout.pointer_digits)

    def head(self) -> Text:
        """What the device is."""
        return Text(heading(self.device, self.driver.memory, self.driver.by_order))

    # -- the list ----------------------------------------------------------------------------

    def list(self) -> Iterator[RenderableType]:
        """Items, and what hangs on them."""
        device = self.device
        yield Text("List items, and the quantum set of each: an array of pointers", style=TITLE)
        for number, group in enumerate(few_groups(device.groups, MANY_GROUPS)):
            if isinstance(group, str):
                yield Text(f"{'':{ITEM_WIDTH // 2 - 1}}:  {group}")
                continue
            if number:
                yield Text(f"{'':{ITEM_WIDTH // 2 - 1}}{self.marks.down} next")
            yield self._group(group)
        down = f"{'':{ITEM_WIDTH // 2 - 1}}"
        yield Text(f"{down}{self.marks.bar} next\n{down}{self.marks.down}\n{down[:-1]}NULL")
        if unseen := unseen_words(device):
            yield Text(f"{unseen}.")

    def _group(self, group: Group) -> RenderableType:
        device = self.device
        room = self.width - ITEM_WIDTH - 3
        first = "the first at " if group.items > 1 else ""
        place = Text(f"{self.address(group.address)}" if group.listed else "not listed")
        name = group_heading(group)
        if self.driver.head_is_item and not group.first and group.items == 1:
            name = f"{name}, the device"
        item = Panel(
            Stack(Text(name, style=TITLE), place), box=self.box, width=ITEM_WIDTH, padding=(0, 1)
        )
        row = Table.grid(padding=0)
        row.add_column(width=ITEM_WIDTH)
        row.add_column(width=3)
        row.add_column(width=room)
        words = Text(group_words(group, device.qset))
        if not group.qset:
            arrow = Text("\n   ")
            row.add_row(item, arrow, Stack(Text(), words))
            return row
        inner: list[RenderableType] = [
            Text.assemble(("quantum set ", TITLE), f"{first}{self.address(group.qset)}"),
            Text.assemble((self._bar(group, room - 4), VIRTUAL)),
            words,
        ]
        row.add_row(
            item,
            Text(f"\n{self.marks.right}"),
            Panel(Stack(*inner), box=self.box, width=room, padding=(0, 1)),
        )
        return row

    def _bar(self, group: Group, width: int) -> str:
        """The places of a set: where many, each cell is a share of them."""
        qset, marks = self.device.qset, self.marks
        if group.quanta == qset:
            return marks.full * min(width, qset)
        if group.quanta and not group.runs:
            return marks.part * min(width, qset)
        cells = min(width, qset)
        shares = [0.0] * cells
        for first, count in group.runs:
            begin, end = first * cells / qset, (first + count) * cells / qset
            for cell in range(int(begin), min(int(end) + 1, cells)):
                shares[cell] += max(0.0, min(end, cell + 1) - max(begin, cell))
        return "".join(
            marks.full if share > 0.999 else marks.part if share > 0 else marks.empty
            for share in shares
        )

    # -- a quantum ---------------------------------------------------------------------------

    def quantum(self, quantum: Quantum) -> Iterator[RenderableType]:
        """All about one."""
        yield Text.assemble(
            (f"Quantum {quantum.number:,}", TITLE), f": {where_words(quantum, self.device)}"
        )
        if not quantum.length:
            yield Text(why_nothing(quantum, self.device))
            return
        before, address, behind = given_words(quantum, self.device)
        yield Text.assemble(before, (address, VIRTUAL), behind)
        yield Text()
        yield from self._walk(quantum)
        yield Text()
        if quantum.why != "area":
            offset = self.device.page_offset
            yield Text(
                f"{address} - {self.address(offset)} = {quantum.address - offset:#x}, and that is "
                "the address in RAM:"
            )
        yield self._pages(quantum)
        yield Text()
        yield Text(moral(quantum, self.device))

    def _walk(self, quantum: Quantum) -> Iterator[RenderableType]:
        """The way down the page tables, a line for each level."""
        byte = quantum.start + quantum.at
        address = quantum.address + quantum.at
        yield Text.assemble(
            f"The way of byte {byte:,} of the device: ",
            (self.address(address), VIRTUAL),
            " is cut into an index for each level",
        )
        wide = self.width >= 72
        table = Table(box=self.box, padding=(0, 1), header_style=TITLE, pad_edge=True)
        table.add_column("table", style=TABLES)
        table.add_column("in frame", justify="right", style=PHYSICAL)
        table.add_column("index", justify="right")
        if wide:
            table.add_column("entry")
        table.add_column("leads to")
        for number, step in enumerate(quantum.path):
            entry = (self.address(step.entry),) if wide else ()
            to = step_words(quantum, number, self.device)
            table.add_row(step.level, f"{step.table:,}", str(step.place), *entry, to)
        yield table

    def _pages(self, quantum: Quantum) -> RenderableType:
        """Each page and its frame, with where in RAM that is."""
        frames = quantum.frames
        digits = self.layout.pointer_digits
        table = Table(box=None, padding=0, pad_edge=False, header_style=TITLE)
        label = max(len(f"page {len(frames) - 1:,}"), len("guard"))
        number = max(len(f"frame {self.device.nr_frames:,}"), len("none"))
        strip = self.width - digits - 1 - label - 5 - number - 3
        entries = quantum.why == "area" and strip - digits - 5 >= STRIP
        if entries:
            strip -= digits + 5
        arrow = f" {self.marks.right} "
        table.add_column("VIRTUAL", width=digits + 1, style=VIRTUAL, no_wrap=True)
        table.add_column("", width=label, no_wrap=True)
        if entries:
            title = "PAGE-TABLE ENTRY" if digits >= 16 else "ENTRY"
            table.add_column(f"     {title}", width=5 + digits, style=TABLES, no_wrap=True)
        table.add_column("", width=5, no_wrap=True)
        table.add_column("PHYSICAL", width=number + 1, style=PHYSICAL, no_wrap=True)
        ram = bytes_words(self.device.nr_frames << PAGE_SHIFT)
        ends = f" {ram} of RAM" if len(f" {ram} of RAM") <= strip + 2 else " RAM"
        table.add_column(ends, width=strip + 2, no_wrap=True)

        def row(page: int) -> None:
            entry = (f"{arrow}{self.address(quantum.entries[page])}",) if entries else ()
            base = quantum.address & ~(PAGE_SIZE - 1)
            table.add_row(
                self.address(base + (page << PAGE_SHIFT)),
                f"page {page:,}",
                *entry,
                arrow,
                frame_words(frames[page]),
                self._strip([frames[page]], strip),
            )

        if len(frames) <= MANY_PAGES:
            for page in range(len(frames)):
                row(page)
        else:
            for page in range(MANY_PAGES - 4):
                row(page)
            more = len(frames) - MANY_PAGES + 3
            table.add_row("...", f"{more:,} more")
            row(len(frames) - 1)
        if quantum.guard:
            entry = (f"{arrow}{self.address(0)}",) if entries else ()
            fault = "a page fault" if strip + 2 >= len("a page fault") else "a fault"
            table.add_row(
                self.address(quantum.guard), "guard", *entry, arrow, "none", fault, style=QUIET
            )
        if len(frames) > 1:
            blank = ("",) if entries else ()
            table.add_row("", "all", *blank, "", "together", self._strip(frames, strip))
        return table

    def _strip(self, frames: Sequence[int], width: int) -> str:
        """RAM from end to end, with the cells marked that have one of some frames."""
        cells = [self.marks.empty] * width
        for frame in frames:
            if frame == NONE:
                continue
            cells[min(frame * width // self.device.nr_frames, width - 1)] = self.marks.full
        return f"{self.marks.bar}{''.join(cells)}{self.marks.bar}"
