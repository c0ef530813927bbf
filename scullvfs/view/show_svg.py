"""A device as SVG: the list as LDD3 draws it, and from each page of a quantum a line to RAM."""

from __future__ import annotations

from typing import Final

from scullvfs.mm.layout import LAYOUTS, PAGE_SHIFT, PAGE_SIZE
from scullvfs.scull.family import DRIVERS
from scullvfs.text import shown

from .core import NONE
from .device import Device, Group, Quantum
from .shapes import PAPER, QUIET, Canvas
from .words import (
    NO_QUANTUM,
    bytes_words,
    count_words,
    few_groups,
    frame_words,
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

__all__ = ["device_svg"]

WIDTH: Final = 1200
LEFT: Final = 30
ROW: Final = 20
ITEM: Final = 200
MANY_GROUPS: Final = 6
MANY_PAGES: Final = 24
VIRTUAL: Final = "#d6eaf8"
TABLES: Final = "#ebdef0"
PHYSICAL: Final = "#fdebd0"
INKS: Final = ("#1b6ca8", "#a04000", "#1e8449", "#7d3c98", "#b03a2e", "#5d6d7e")
"""Of the lines, one after the other, so that an eye can follow one."""


def device_svg(device: Device, mount: str) -> str:
    """The picture.

    Args:
        mount: its path.

    Raises:
        ScullvfsError: Jinja2 is not installed.
    """
    drawer = _Drawer(device, mount)
    y = drawer.list(drawer.head(40))
    for quantum in device.quanta:
        y = drawer.quantum(quantum, y + 30)
    if not device.nr_quanta:
        drawer.canvas.text(LEFT, y + 20, NO_QUANTUM)
        y += 40
    return drawer.canvas.svg(y + 20)


class _Drawer:
    """One device; each part says where the next one begins."""

    def __init__(self, device: Device, mount: str) -> None:
        self.device = device
        self.driver = DRIVERS[device.driver]
        self.layout = LAYOUTS[device.arch]
        self.mount = shown(mount)
        self.canvas: Final = Canvas(device.name, WIDTH, f"{device.name} in {self.mount}")

    def address(self, address: int) -> str:
        """With all its digits."""
        return hexadecimal(address, self.layout.pointer_digits)

    def head(self, y: float) -> float:
        """What is drawn."""
        self.canvas.text(LEFT, y, self.device.name, 20, bold=True)
        words = heading(self.device, self.driver.memory, self.driver.by_order)
        y = self.canvas.paragraph(LEFT, y + 24, f"in {self.mount}: {words}", WIDTH - 2 * LEFT)
        return y + 20

    def list(self, y: float) -> float:
        """Items, and the quantum set of each."""
        canvas, device = self.canvas, self.device
        canvas.text(LEFT, y, "list items", bold=True)
        canvas.text(LEFT + ITEM + 70, y, "quantum sets: arrays of pointers", bold=True)
        canvas.text(LEFT + 800, y, "quanta", bold=True)
        y += 14
        for group in few_groups(device.groups, MANY_GROUPS):
            if isinstance(group, str):
                canvas.text(LEFT + ITEM + 70, y + 14, group, fill=QUIET)
                y += 34
                continue
            y = self._group(group, y)
        canvas.text(LEFT + ITEM / 2 - 16, y + 12, "NULL")
        y += 30
        if unseen := unseen_words(device):
            canvas.text(LEFT, y, unseen)
            y += 24
        return y

    def _group(self, group: Group, y: float) -> float:
        canvas, qset = self.canvas, self.device.qset
        canvas.box(LEFT, y, ITEM, 52, PHYSICAL if group.listed else "#eeeeee")
        canvas.text(LEFT + 10, y + 21, group_heading(group), bold=True)
        if group.listed:
            canvas.text(LEFT + 10, y + 41, self.address(group.address))
        x = LEFT + ITEM
        bottom = y + 52
        canvas.line(f"M{LEFT + ITEM / 2} {bottom}V{bottom + 26}", tip=True)
        canvas.text(LEFT + ITEM / 2 + 10, bottom + 18, "next", 11, QUIET)
        words = group_words(group, qset)
        if not group.qset:
            canvas.text(x + 20, y + 31, words, fill=QUIET)
            return bottom + 30
        canvas.line(f"M{x} {y + 12}H{x + 70}", tip=True)
        canvas.text(x + 20, y + 28, "data", 11, QUIET)
        x += 70
        width = 430.0
        canvas.box(x, y, width, 24, "#f4f6f7")
        for first, length in group.runs or ((0, qset),):
            share = max(length * width / qset, 1.5)
            canvas.box(x + first * width / qset, y, share, 24, VIRTUAL)
        canvas.text(x, y + 44, words, 12)
        if group.quanta:
            canvas.line(f"M{x + width} {y + 12}H{LEFT + 795}", tip=True)
            canvas.text(LEFT + 800, y + 17, self._quanta_words(group))
        return bottom + 30

    def _quanta_words(self, group: Group) -> str:
        each = " each" if group.items > 1 else ""
        return f"{count_words(group.quanta, 'quantum', 'quanta')}{each}"

    def quantum(self, quantum: Quantum, y: float) -> float:
        """All about one."""
        canvas = self.canvas
        canvas.line(f"M{LEFT} {y - 20}H{WIDTH - LEFT}", QUIET, 0.6)
        canvas.text(LEFT, y + 6, f"quantum {quantum.number:,}", 16, bold=True)
        canvas.text(LEFT, y + 30, where_words(quantum, self.device))
        y += 60
        if not quantum.length:
            return canvas.paragraph(LEFT, y, why_nothing(quantum, self.device), WIDTH - 2 * LEFT)
        y = self._walk(quantum, y)
        y = self._pages(quantum, y + 20)
        return canvas.paragraph(LEFT, y + 24, moral(quantum, self.device), WIDTH - 2 * LEFT)

    def _walk(self, quantum: Quantum, y: float) -> float:
        """The tables, from left to right, each with the one entry that leads on."""
        canvas = self.canvas
        byte = quantum.start + quantum.at
        address = quantum.address + quantum.at
        canvas.text(
            LEFT,
            y,
            f"The way of byte {byte:,}: its address {self.address(address)} is an index"
            " for each level of page tables, and a byte in a page",
        )
        y += 22
        width, gap = 248.0, 42.0
        for number, step in enumerate(quantum.path):
            x = LEFT + number * (width + gap)
            high = self.layout.levels[number].shift + self.layout.levels[number].bits - 1
            canvas.text(
                x, y, f"{step.level}: bits {high}-{self.layout.levels[number].shift}", 12, QUIET
            )
            canvas.box(x, y + 8, width, 84, "#faf7fb")
            canvas.text(x + 8, y + 26, f"table in frame {step.table:,}", 12, QUIET)
            canvas.box(x, y + 36, width, 26, TABLES)
            canvas.text(x + 8, y + 54, f"{step.place:>4}  {self.address(step.entry)}")
            canvas.text(x + 8, y + 82, step_words(quantum, number, self.device), 12)
            if number + 1 < len(quantum.path):
                canvas.line(f"M{x + width} {y + 49}H{x + width + gap}", tip=True)
        return y + 110

    def _pages(self, quantum: Quantum, y: float) -> float:
        """The pages one below the other, RAM as a bar, and a line from each page to its frame."""
        canvas, frames = self.canvas, quantum.frames
        shown_pages = list(range(len(frames)))
        if len(frames) > MANY_PAGES:
            shown_pages = [*range(MANY_PAGES - 2), -1, len(frames) - 1]
        rows = len(shown_pages) + bool(quantum.guard)
        top, height = y + 34, max(rows, 12) * ROW
        virtual, bar = LEFT + 150.0, 880.0
        canvas.text(LEFT, y, "VIRTUAL", bold=True)
        canvas.text(LEFT, y + 18, "the pages, as programs see them: in a row", 12, QUIET)
        canvas.text(bar, y, "PHYSICAL", bold=True)
        ram = bytes_words(self.device.nr_frames << PAGE_SHIFT)
        canvas.text(bar, y + 18, f"{ram} of RAM from end to end", 12, QUIET)
        canvas.box(bar, top, 120, height, PHYSICAL)
        canvas.text(bar + 130, top + 10, "frame 0", 12, QUIET)
        canvas.text(bar + 130, top + height, f"frame {self.device.nr_frames - 1:,}", 12, QUIET)
        base = quantum.address & ~(PAGE_SIZE - 1)
        scale = height / self.device.nr_frames
        # An entry that is written over may have no frame, or one that is no RAM: its end.
        places = {
            frame: top + min(frame, self.device.nr_frames) * scale
            for frame in frames
            if frame != NONE
        }
        end = virtual + 90 + canvas.extent("frame ", 12) + canvas.extent("9" * 11, 12)
        for number, page in enumerate(shown_pages):
            at = top + number * ROW
            if page < 0:
                canvas.text(virtual, at + 14, f"... {len(frames) - len(shown_pages) + 1:,} more")
                continue
            ink = INKS[number % len(INKS)]
            canvas.text(LEFT, at + 14, self.address(base + (page << PAGE_SHIFT)), 12)
            canvas.box(virtual, at, 84, ROW, VIRTUAL)
            canvas.text(virtual + 6, at + 14, f"page {page:,}", 12)
            canvas.text(virtual + 92, at + 14, frame_words(frames[page]), 12, ink)
            if frames[page] == NONE:
                continue
            place = places[frames[page]]
            canvas.line(
                f"M{end:.1f} {at + 10}C{end + 240:.1f} {at + 10} {bar - 240} {place:.1f} "
                f"{bar} {place:.1f}",
                ink,
            )
        for place in sorted({round(place, 1) for place in places.values()}):
            canvas.line(f"M{bar} {place}H{bar + 120}", "#a04000", 1.4)
        if quantum.guard:
            at = top + len(shown_pages) * ROW
            canvas.text(LEFT, at + 14, self.address(quantum.guard), 12)
            canvas.box(virtual, at, 84, ROW, canvas.hatch)
            canvas.box(virtual + 3, at + 3, canvas.extent("guard", 12) + 6, ROW - 6, PAPER, "")
            canvas.text(virtual + 6, at + 14, "guard", 12)
            canvas.text(virtual + 92, at + 14, "no frame: fault", 12)  # lines begin behind it
        return top + height + 10
