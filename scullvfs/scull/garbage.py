"""What a device was given, kept beside its arrays of pointers, which cannot always be believed.

With the quirk a device writes over other memory, quantum sets among it.  So it remembers what was
allocated for it:

    quantum set in RAM    ffff888000123000  7878787878787878  ffff888000125000
    given                 ffff888000123000  ffff888000124000  ffff888000125000
                             a quantum          garbage           a quantum

A read or write follows what is in RAM, wherever it leads.  But what is freed is only what was
given; of the rest the log has what the kernel says, and what nobody points to any more is lost.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, TypedDict

__all__ = ["Given", "GivenState"]


class GivenState(TypedDict):
    """Address and bytes of all quanta."""

    sizes: list[tuple[int, int]]
    left: list[list[tuple[int, int]]]


class Given:
    """The quanta of one device, by address."""

    def __init__(self) -> None:
        self._sizes: dict[int, int] = {}
        self._left: Final[list[dict[int, int]]] = []
        """What is no part of the device any more: when it is all freed, the rest is lost."""

    def add(self, quantum: int, size: int) -> None:
        """A quantum of so many bytes was allocated."""
        self._sizes[quantum] = size

    def size(self, quantum: int) -> int:
        """Its bytes; 0 for a pointer to none."""
        return self._sizes.get(quantum, 0)

    def take(
        self, quanta: Iterable[int], size: int, sizes: dict[int, int] | None = None
    ) -> tuple[list[int], list[int]]:
        """Of some pointers those to quanta of a size, which are taken out; and the others.

        Args:
            sizes: what has left, where they are no part of the device any more.
        """
        sizes = self._sizes if sizes is None else sizes
        genuine, garbage = [], []
        for quantum in quanta:
            if sizes.get(quantum) == size:
                del sizes[quantum]
                genuine.append(quantum)
            else:
                garbage.append(quantum)
        return genuine, garbage

    def leave(self, quanta: Iterable[int], left: dict[int, int]) -> int:
        """Those of some pointers that are quanta are no part of the device any more.

        Returns how many; they are put into `left`, which is empty at first.
        """
        before = len(left)
        for quantum in quanta:
            size = self._sizes.pop(quantum, 0)
            if size:
                left[quantum] = size
        if left and not before:
            self._left.append(left)
        return len(left) - before

    def leave_all(self) -> dict[int, int]:
        """All that there is, which is no part of the device any more."""
        left, self._sizes = self._sizes, {}
        self._left.append(left)
        return left

    def state(self) -> GivenState:
        """All of them, as plain data."""
        return {"sizes": [*self._sizes.items()], "left": [[*each.items()] for each in self._left]}

    def restore(self, state: GivenState) -> None:
        """Have these quanta."""
        self._sizes = dict(state["sizes"])
        self._left[:] = map(dict, state["left"])

    def __len__(self) -> int:
        """How many the device has."""
        return len(self._sizes)

    def all(self) -> Iterator[tuple[int, int]]:
        """(address, bytes) of all that was given and is not freed, with what is lost."""
        yield from self._sizes.items()
        for left in self._left:
            yield from left.items()

    def lost(self) -> list[int]:
        """What nobody points to any more, once all that waits to be freed is."""
        self._left[:] = filter(None, self._left)
        return [quantum for left in self._left for quantum in left]
