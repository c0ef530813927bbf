"""The seed of a student, and the numbers of a lab that follow from it.

A number goes by its lab and its name, not by how many were drawn before: a task more leaves the
others as they are.
"""

from __future__ import annotations

from hashlib import sha256, shake_256
from typing import Final

__all__ = ["Numbers", "seed_of"]

LINE: Final = 32
"""Bytes of a line of a student's text."""


def seed_of(student: str) -> int:
    """The mount option `seed` of a student, by whatever word; without one it is 0."""
    return _hashed(f"student {student}") if student else 0


class Numbers:
    """Those of one lab, for one student."""

    def __init__(self, lab: int, seed: int) -> None:
        self._base: Final = f"lab {lab} seed {seed}"

    def pick(self, name: str, low: int, high: int) -> int:
        """A number from `low` to `high`, both included."""
        return low + _hashed(f"{self._base} {name}") % (high - low + 1)

    def some(self, name: str, of: int, least: int, most: int) -> tuple[int, ...]:
        """From `least` to `most` of the numbers from 0 to `of` - 1, in rising order."""
        count = self.pick(f"{name} count", least, most)
        order = sorted(range(of), key=lambda number: _hashed(f"{self._base} {name} {number}"))
        return tuple(sorted(order[:count]))

    def text(self, name: str, size: int) -> bytes:
        """`size` bytes in lines, of which no two are the same."""
        lines = -(-size // LINE)
        width = LINE - 9
        digits = shake_256(f"{self._base} {name}".encode()).hexdigest(lines * width // 2 + 1)
        return "".join(
            f"{number:07d} {digits[number * width : (number + 1) * width]}\n"
            for number in range(lines)
        ).encode()[:size]


def _hashed(text: str) -> int:
    return int.from_bytes(sha256(text.encode("utf-8", "surrogateescape")).digest()[:8], "big")
