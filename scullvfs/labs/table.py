"""The labs, by number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from . import (
    addresses,
    allocators,
    geometry,
    guard_page,
    holes,
    registers,
    scattered,
    short_reads,
    walk_through,
)

if TYPE_CHECKING:
    from .lab import Lab

__all__ = ["LABS"]

LABS: Final[dict[int, Lab]] = {
    1: short_reads.LAB,
    2: holes.LAB,
    3: geometry.LAB,
    4: scattered.LAB,
    5: allocators.LAB,
    6: registers.LAB,
    7: guard_page.LAB,
    8: addresses.LAB,
    9: walk_through.LAB,
}
