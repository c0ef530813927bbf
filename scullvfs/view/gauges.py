"""The lines above the table of a live view: RAM, addresses, free blocks, slabs, calls."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from rich.text import Text

from scullvfs.mm.layout import PAGE_SHIFT
from scullvfs.text import shown

from .marks import Marks
from .moment import Moment
from .ram import FREE
from .rates import Rates
from .words import bytes_words, count_words

__all__ = ["USED", "cost_words", "curve_words", "gauges", "rate_words", "short_bytes", "title"]

LABEL: Final = 8
"""Columns before a bar."""
WORDS: Final = 38
"""Columns behind it."""

NAME: Final = "bold"
USED: Final = "cyan"
OTHERS: Final = "magenta"
QUIET: Final = "dim"
ALARM: Final = "bold red"

UNITS: Final = "KMGTPE"
STEPS: Final = " ▁▂▃▄▅▆▇█"
ASCII_STEPS: Final = " .:-=+*%#"
"""Heights of a column of the curve, from nothing to the most."""


def short_bytes(count: float) -> str:
    """Bytes in five columns at the most: 0, 512, 64K, 1.25M."""
    if count < 1024:
        return f"{count:.0f}"
    unit = -1
    while count >= 1023.5 and unit < len(UNITS) - 1:
        count /= 1024
        unit += 1
    text = f"{count:.2f}" if count < 9.995 else f"{count:.1f}" if count < 99.95 else f"{count:.0f}"
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text}{UNITS[unit]}"


def rate_words(rate: float) -> str:
    """Calls a second: 0, 0.3, 12, 1,234, 1.2M."""
    if 0 < rate < 9.95:
        return f"{rate:.1f}"
    return f"{rate:,.0f}" if rate < 999_999.5 else f"{rate / 1e6:.1f}M"


def cost_words(nanoseconds: float, marks: Marks) -> str:
    """A time: 850 ns, 49 µs, 1.3 ms, 2.0 s; "" for none."""
    if not nanoseconds:
        return ""
    for unit, size in (("s", 1e9), ("ms", 1e6), ("us" if marks.ascii else "µs", 1e3)):
        if nanoseconds >= size * 0.9995:
            amount = nanoseconds / size
            return f"{amount:.1f} {unit}" if amount < 9.95 else f"{amount:.0f} {unit}"
    return f"{nanoseconds:.0f} ns"


def curve_words(curve: Iterable[float], most: float, width: int, marks: Marks) -> str:
    """The last values of a curve, a column each, where `most` is as high as they get."""
    steps = ASCII_STEPS if marks.ascii else STEPS
    heights = [steps[math.ceil(each * (len(steps) - 1) / most)] if most else " " for each in curve]
    return f"{''.join(heights[-width:]):>{width}}"


def title(path: str, report: Mapping[str, Any], share: float | None, width: int) -> Text:
    """Which mount, since when, what its daemon takes, and whether anything is made to fail."""
    words = [f"up {timedelta(seconds=int(report['uptime']))}"]
    cpu = "" if share is None else f", {share:.1%} CPU"
    words.append(f"daemon {short_bytes(report['rss'])}{cpu}")
    right = Text("  ".join(words))
    armed = sum(each["armed"] for each in report["faults"].values())
    if armed:
        right = Text.assemble((f"{count_words(armed, 'fault')} armed", ALARM), "  ", right)
    room = max(width - right.cell_len - 2, 8)
    left = Text(shown(path), style=NAME)
    if left.cell_len > room:  # the end of a path says most
        while left.cell_len > room - 2:
            left = left[1:]
        left = Text.assemble(("..", NAME), left)
    return Text.assemble(left, " " * max(width - left.cell_len - right.cell_len, 1), right)


def gauges(
    moment: Moment,
    report: Mapping[str, Any],
    rates: Rates | None,
    curve: Sequence[float],
    width: int,
    marks: Marks,
) -> Iterator[Text]:
    """The lines.

    Args:
        rates: of all devices together; None, unknown.
        curve: calls a second, the last ones.
    """
    room = width - LABEL - WORDS
    yield _ram(moment, report["ram"], room, marks)
    yield _window(report["vmalloc"], room, marks)
    yield _free(moment, room, marks)
    yield _slabs(moment, width)
    yield _calls(rates, curve, room, marks)


def _line(label: str, bar: Sequence[tuple[str, str]], words: str) -> Text:
    return Text.assemble((f"{label:<{LABEL - 1}}", NAME), "[", *bar, "] ", words)


def _bar(
    parts: Sequence[tuple[int, str, str]], total: int, room: int, marks: Marks
) -> list[tuple[str, str]]:
    """Shares of a whole as cells: whoever has anything has one, if there is room for it."""
    cells, left = [], room - 2
    for amount, mark, style in parts:
        count = min(max(round(amount * (room - 2) / total), 1), left) if amount and total else 0
        cells.append((mark * count, style))
        left -= count
    return [*cells, (marks.empty * left, QUIET)]


def _ram(moment: Moment, ram: Mapping[str, int], room: int, marks: Marks) -> Text:
    devices = min(sum(each.allocated for each in moment.sizes), ram["used"])
    parts = (devices, marks.full, USED), (ram["used"] - devices, marks.part, OTHERS)
    words = f"{bytes_words(ram['used'])} of {bytes_words(ram['total'])} in use"
    return _line("RAM", _bar(parts, ram["total"], room, marks), words)


def _window(window: Mapping[str, int], room: int, marks: Marks) -> Text:
    parts = (window["used"], marks.full, USED), (window["lazy"], marks.part, "red")
    words = f"{bytes_words(window['used'])} of {bytes_words(window['total'])}"
    if window["lazy"]:
        words += f", {bytes_words(window['lazy'])} lazy"
    return _line("window", _bar(parts, window["total"], room, marks), words)


def _free(moment: Moment, room: int, marks: Marks) -> Text:
    """Free memory by the order of its blocks, as `map` has them: digits, and X for 10."""
    blocks = [sum(column) for column in zip(*(zone.blocks for zone in moment.zones), strict=True)]
    pages = [count << order for order, count in enumerate(blocks)]
    free = sum(pages)
    if not free:
        return _line("free", [(" " * (room - 2), "")], "nothing is")
    largest = max(order for order, count in enumerate(blocks) if count)
    cells, begin = [], 0
    for order, count in enumerate(pages):
        end = begin + count
        letters = FREE[order] * (end * (room - 2) // free - begin * (room - 2) // free)
        cells.append((letters, USED if order == largest else QUIET))
        begin = end
    words = f"largest: order {largest}, {bytes_words(1 << largest + PAGE_SHIFT)}"
    return _line("free", cells, words)


def _slabs(moment: Moment, width: int) -> Text:
    """The largest caches, as many as there is room for."""
    caches = moment.caches
    total = sum(cache.frames for cache in caches)
    text = Text.assemble((f"{'slabs':<{LABEL}}", NAME), f"{bytes_words(total << PAGE_SHIFT)}")
    for number, cache in enumerate(caches):
        words = (
            f"{': ' if not number else ', '}{cache.name} {short_bytes(cache.frames << PAGE_SHIFT)}"
        )
        rest = f", {len(caches) - number:,} more"
        if text.cell_len + len(words) + len(rest) > width:
            return text.append(rest)
        text.append(words)
    return text


def _calls(rates: Rates | None, curve: Sequence[float], room: int, marks: Marks) -> Text:
    """The curve of calls, and what they were."""
    bar = [(curve_words(curve, max(curve, default=0.0), room - 2, marks), USED)]
    if rates is None:
        return _line("calls", bar, "")
    words = (
        f"{rate_words(rates.calls)}/s  read {short_bytes(rates.read)}/s  "
        f"write {short_bytes(rates.written)}/s"
    )
    return _line("calls", bar, words)
