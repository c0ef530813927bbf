"""Tasks whose answer is a number, or a few, written to a device: `echo 65536 > lab1/scull1`."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from .lab import Task
from .sight import Sight

__all__ = ["number", "numbers"]

MOST: Final = 40
"""Characters of a wrong answer that are repeated."""
DECIMAL: Final = re.compile(r"[0-9]{1,20}", re.ASCII)
HEXADECIMAL: Final = re.compile(r"(?:0x)?[0-9a-f]{1,16}", re.ASCII | re.IGNORECASE)


def number(
    device: str, what: str, truth: Callable[[Sight], int], *, hexadecimal: bool = False
) -> Task:
    """To find out a number.

    Args:
        device: where the answer is to be written.
        what: the question, as it stands behind "Write to scull1".
        truth: the answer on this mount.
        hexadecimal: it is an address.
    """
    return numbers(device, what, lambda sight: (truth(sight),), hexadecimal=hexadecimal)


def numbers(
    device: str,
    what: str,
    truth: Callable[[Sight], tuple[int, ...]],
    *,
    hexadecimal: bool = False,
) -> Task:
    """To find out some numbers, in this order; as `number()`."""
    form, base = (HEXADECIMAL, 16) if hexadecimal else (DECIMAL, 10)

    def missing(sight: Sight) -> str:
        said = sight.answer(device)
        if not said:
            return f"{device} is empty"
        words = said.split()
        if not all(form.fullmatch(word) for word in words):
            kind = "hexadecimal " if hexadecimal else ""
            return f"{device} has '{said[:MOST]}', which is no {kind}number"
        if tuple(int(word, base) for word in words) == truth(sight):
            return ""
        return f"{device} has {said[:MOST]}, which is not right"

    return Task(f"Write to {device} {what}.", missing)
