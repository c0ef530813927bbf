"""What restoring has in common for all parts: a machine is made again of what `state()` said.

Each part has `restore()` beside its `state()`.  What it is given is of the types that its state
has (`scullvfs.plain`), but may say anything else, as a file may be anybody's: so each part looks
whether its numbers can be, and says which frames are its own, so that in the end each frame has
one holder.  Some of that is asserted, by a part's `check()`; who restores needs assertions.
"""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from typing import Final

__all__ = ["Claims", "StateError", "random_state", "restore_random"]


class StateError(ValueError):
    """What is to be restored cannot be, and why; nothing that it was given to is of use then."""


class Claims:
    """Whose each frame is: every part says its own, one after the other.  Frame 0 is nobody's."""

    def __init__(self, nr_pages: int) -> None:
        self._nr_pages: Final = nr_pages
        self._taken: Final = bytearray(nr_pages)
        self._taken[0] = 1

    def take(self, pfn: int, count: int = 1) -> None:
        """Frames that follow each other have a holder.

        Raises:
            StateError: there are none, or some have one already.
        """
        if not 0 < pfn <= pfn + count <= self._nr_pages:
            raise StateError(f"there is no frame {pfn}")
        if self._taken.find(1, pfn, pfn + count) >= 0:
            raise StateError(f"frame {pfn} has two holders")
        self._taken[pfn : pfn + count] = b"\1" * count

    def take_each(self, frames: Iterable[int]) -> None:
        """As `take()`, for single frames."""
        taken, nr_pages = self._taken, self._nr_pages
        for pfn in frames:
            if not 0 <= pfn < nr_pages or taken[pfn]:
                raise StateError(f"frame {pfn} has two holders, or is none")
            taken[pfn] = 1

    def check(self) -> None:
        """All frames have a holder.

        Raises:
            StateError: one has none.
        """
        pfn = self._taken.find(0)
        if pfn >= 0:
            raise StateError(f"frame {pfn} has no holder")

    def __repr__(self) -> str:
        return f"<Claims {self._taken.count(1)} of {self._nr_pages}>"


def random_state(random: Random | None) -> list[int]:
    """What decides which random numbers come next; nothing where there are none."""
    return [] if random is None else [*random.getstate()[1]]


def restore_random(random: Random | None, numbers: list[int]) -> None:
    """Have those numbers come next that `random_state()` spoke of.

    Raises:
        ValueError, OverflowError: it is none.
    """
    if (random is None) != (not numbers):
        raise StateError("random numbers for who has none, or none for who has")
    if random is not None:
        random.setstate((3, tuple(numbers), None))
