"""Holds the structure of a listing against that of a captured one: everything but the numbers.

A line is cut into fields at its blanks.  What is no number has to be the same, so names, units and
their order are.  The blanks between two fields follow from a format, as printf() has it: the field
before is filled up to a width on its right side, the field behind on its left side, and so many
blanks are between them.  All formats that explain the captured lines of one kind are found out; one
of them has to explain ours.

                     format %-17s %6lu
    scullc                24     a name of 6, a number of 2: 16 blanks
    extent_status        102                 13, 3: 8
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from itertools import product
from typing import NamedTuple

__all__ = ["Structure", "differences"]

WIDEST = (24, 16)
"""No field is filled up to more on its right side, and on its left side."""

Gap = tuple[int, int, int]
"""Blanks, and the lengths of the fields before and behind."""

Format = tuple[int, int, int]
"""What the field before is filled up to, what the field behind is, and the blanks between."""

NUMBERS = re.compile(r"(?P<hexadecimal>0x[0-9a-f]+)|\d+")


class Structure(NamedTuple):
    """The kinds of lines of a text, in the order in which they come first."""

    kinds: dict[str, list[set[Gap]]]
    """A line with its numbers replaced -> the gaps before each of its fields."""
    sequence: list[str]
    """The kinds line by line; one that repeats itself stands once."""

    @classmethod
    def of(cls, text: str, names: Mapping[str, str]) -> Structure:
        """Find it out.

        Args:
            names: placeholder -> regular expression of a field that may be any of many, such as
                the caller in a line of vmallocinfo; it may have blanks in it.
        """
        patterns = "|".join(f"(?P<{name}>{pattern})(?!\\S)" for name, pattern in names.items())
        field = re.compile(f"{patterns}|\\S+" if patterns else r"\S+")
        kinds: dict[str, list[set[Gap]]] = {}
        sequence: list[str] = []
        for line in text.splitlines():
            words, gaps, end, length = [], [], 0, 0
            for match in field.finditer(line):
                words.append(match.lastgroup or NUMBERS.sub(_placeholder, match[0]))
                gaps.append((match.start() - end, length, len(match[0])))
                end, length = match.end(), len(match[0])
            words.append("_" * (len(line) - end))
            kind = " ".join(words)
            if sequence[-1:] != [kind]:
                sequence.append(kind)
            columns = kinds.setdefault(kind, [set() for _ in gaps])
            for column, gap in zip(columns, gaps, strict=True):
                column.add(gap)
        return cls(kinds, sequence)

    @property
    def fields(self) -> int:
        """How many fields the kinds of lines have together."""
        return sum(len(columns) for columns in self.kinds.values())


def _placeholder(match: re.Match[str]) -> str:
    # Hexadecimal numbers have leading zeros: how many digits there are is a part of the format.
    return f"0x<{len(match[0]) - 2}>" if match["hexadecimal"] else "#"


def differences(
    captured: str, ours: str, names: Mapping[str, str] | None = None, *, ordered: bool = True
) -> list[str]:
    """What of the structure of `ours` is otherwise than in `captured`, a sentence each.

    Args:
        names: as in `Structure.of()`.
        ordered: the kinds of lines come one after the other as they do there; else it is enough
            that each of ours is there, too.
    """
    theirs, mine = Structure.of(captured, names or {}), Structure.of(ours, names or {})
    found = [f"no such line there: {kind!r}" for kind in mine.kinds if kind not in theirs.kinds]
    if ordered:
        found += [f"no such line here: {kind!r}" for kind in theirs.kinds if kind not in mine.kinds]
        if not found and theirs.sequence != mine.sequence:
            found.append(f"another order: {mine.sequence}, there {theirs.sequence}")
    for kind, columns in mine.kinds.items():
        for number, gaps in enumerate(columns):
            wanted = theirs.kinds.get(kind)
            if wanted and not _formats(frozenset(wanted[number])) & _formats(frozenset(gaps)):
                found.append(f"field {number + 1} of {kind!r} lies elsewhere")
    return found


@cache
def _formats(gaps: frozenset[Gap]) -> set[Format]:
    """All formats that explain so many blanks between fields of such lengths."""
    blanks, before, behind = next(iter(gaps))
    formats = set()
    for left, right in product(*(range(width + 1) for width in WIDEST)):
        between = blanks - max(left - before, 0) - max(right - behind, 0)
        if between >= 0 and all(
            between + max(left - a, 0) + max(right - b, 0) == count for count, a, b in gaps
        ):
            formats.add((left, right, between))
    return formats
