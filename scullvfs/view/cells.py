"""RAM and the window as cells, rows of a legend, and notes: what both kinds of picture draw."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from scullvfs.mm.layout import PAGE_SHIFT

from .ram import FREE, KERNEL, LETTERS, OTHER, RESERVED, Ram
from .window import Window
from .words import bytes_words, count_words, hexadecimal

__all__ = [
    "cells_of",
    "ram_notes",
    "ram_rows",
    "ram_words",
    "share_of",
    "share_words",
    "window_notes",
    "window_rows",
    "window_words",
]

MANY_CACHES = 6
USED = "".join((*LETTERS, *KERNEL))
"""The letters of all who use frames."""


def share_of(count: int, nr_cells: int) -> int:
    """How many of `count` things a cell has, a power of two, where there are so many cells."""
    share = 1
    while count > share * nr_cells:
        share *= 2
    return share


def cells_of(letters: str, nr_cells: int) -> tuple[int, str]:
    """Letters of frames in so many cells at most: (frames of a cell, whose most of them are)."""
    share = share_of(len(letters), nr_cells)
    if share == 1:
        return 1, letters
    parts = (letters[at : at + share] for at in range(0, len(letters), share))
    return share, "".join(_most(part) for part in parts)


def _most(part: str) -> str:
    """Whose most of it is; free frames count together, and have the digit of most of them."""
    if part == part[0] * len(part):
        return part[0]
    free = [part.count(letter) for letter in FREE]
    used = [part.count(letter) for letter in USED]
    if sum(free) >= max(used):
        return FREE[free.index(max(free))]
    return USED[used.index(max(used))]


def share_words(share: int, what: str, cells: str, letters: Iterable[str]) -> str:
    """What a cell is, and who is too small for one."""
    if share == 1:
        return f"A cell is one {what}."
    words = f"A cell is {count_words(share, what)}, {bytes_words(share << PAGE_SHIFT)}, and has "
    words += "the letter of most of them."
    missing = sorted({*letters} - {*cells})
    if missing:
        words += f" Too few in one place for a cell: {', '.join(missing)}."
    return words


def ram_words(ram: Ram) -> str:
    """How much there is."""
    nr_frames = len(ram.letters)
    return f"{bytes_words(nr_frames << PAGE_SHIFT)}, {count_words(nr_frames, 'frame')} of 4 KiB"


def ram_rows(ram: Ram) -> list[tuple[str, str, str, str]]:
    """Letter, name, frames, kB of who has some, and MemTotal, which is their sum."""
    owners = [owner for owner in ram.owners if owner.letter != RESERVED]
    total = sum(owner.frames for owner in owners)
    return [
        (letter, name, f"{frames:,}", f"{frames << PAGE_SHIFT >> 10:,}")
        for letter, name, frames in (*owners, ("", "MemTotal", total))
    ]


def ram_notes(ram: Ram) -> Iterator[str]:
    """What the legend cannot tell apart by place."""
    counts = {owner.letter: owner.frames for owner in ram.owners}
    if RESERVED in counts:
        frames = counts[RESERVED]
        yield f"{RESERVED}: {count_words(frames, 'frame')} beside that, {KERNEL[RESERVED]}."
    waiting = max(ram.free - sum(counts.get(digit, 0) for digit in FREE), 0)
    if counts.get(OTHER, 0) != waiting:
        yield (
            f"Of {OTHER}, {count_words(waiting, 'frame')} are free, too, on per-cpu lists, and "
            f"{ram.cached:,} are files in memory."
        )
    if ram.caches:
        few, rest = ram.caches[:MANY_CACHES], ram.caches[MANY_CACHES:]
        words = ", ".join(f"{cache.name} {cache.frames:,}" for cache in few)
        if rest:
            frames = sum(cache.frames for cache in rest)
            words += f", {count_words(len(rest), 'other')} {frames:,}"
        yield f"Slabs by cache, in frames, with what devices have in them: {words}."


def window_words(window: Window, digits: int) -> str:
    """Its addresses, with so many digits."""
    start, end = hexadecimal(window.start, digits), hexadecimal(window.end, digits)
    return f"{start}-{end}, {bytes_words(window.end - window.start)} of addresses"


def window_rows(window: Window) -> list[tuple[str, str, str, str]]:
    """Letter, what it is, how many ranges, how much."""
    return [
        (each.letter, each.name, f"{each.ranges:,}", bytes_words(each.pages << PAGE_SHIFT))
        for each in window.totals
    ]


def window_notes(window: Window, across: int) -> Iterator[str]:
    """What a cell of the band is, what is behind it, and how to see more of it.

    Args:
        across: cells of a row.
    """
    band = window.band
    words = share_words(band.cell, "page", band.letters, {each.letter for each in window.totals})
    if band.end < window.end:
        words += f" {bytes_words(window.end - band.end)} of the window are behind that."
    yield words
    if band.cell > 1:
        end = min(band.start + (across << PAGE_SHIFT), window.end)
        yield f"To tell single pages apart: --from {band.start:#x} --to {end:#x}"
