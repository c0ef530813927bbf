"""RAM: the bytes of all page frames, in one anonymous mapping of the host.

Only this module knows that RAM is an mmap.  A frame that nobody has touched costs the
host nothing, and `release()` makes it so again.  The mapping asks for no huge pages: one
touched frame would make 511 neighbours resident.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable
from typing import Final, Literal, NamedTuple

from .layout import PAGE_SHIFT, PAGE_SIZE, PFN_PHYS

__all__ = ["WORD_FORMAT", "ZERO_PAGE", "Ram", "RamStatistics", "lazy_array"]

ZERO_PAGE: Final = bytes(PAGE_SIZE)

_PRIVATE: Final = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS

WORD_FORMAT: Final[dict[int, Literal["I", "Q"]]] = {4: "I", 8: "Q"}
"""Pointer size in bytes -> the format of a memoryview or array of pointers."""


def lazy_array(count: int) -> memoryview:
    """`count` unsigned 32-bit zeros that take no memory before they are written to."""
    return memoryview(mmap.mmap(-1, max(4 * count, PAGE_SIZE), flags=_PRIVATE)).cast("I")


class RamStatistics(NamedTuple):
    """How much RAM there is."""

    pages: int
    """Page frames, frame 0 included."""
    nbytes: int


class Ram:
    """`size` bytes of RAM, a multiple of PAGE_SIZE, all zeros at first.

    Raises:
        OSError: the host refuses a mapping of that size.
    """

    def __init__(self, size: int, pointer_size: int) -> None:
        self.nr_pages: Final = size >> PAGE_SHIFT
        self._mapping = mmap.mmap(-1, size, flags=_PRIVATE)
        if hasattr(mmap, "MADV_NOHUGEPAGE"):
            self._mapping.madvise(mmap.MADV_NOHUGEPAGE)
        self.bytes: Final = memoryview(self._mapping)
        """All of RAM, indexed by physical address."""
        self.words: Final[memoryview[int]] = self.bytes.cast(WORD_FORMAT[pointer_size])
        """The same as pointer-sized words, indexed by physical address / pointer size."""

    @property
    def size(self) -> int:
        """Bytes of RAM."""
        return self.nr_pages << PAGE_SHIFT

    def statistics(self) -> RamStatistics:
        """What there is."""
        return RamStatistics(self.nr_pages, self.size)

    def __repr__(self) -> str:
        return f"<Ram {self.size >> 20} MiB>"

    def state(self) -> dict[str, int]:
        """How large it is; what is in it comes apart."""
        return {"size": self.size}

    def clear_pages(self, frames: Iterable[int]) -> None:
        """Fill frames with zeros (Linux: clear_page())."""
        view = self.bytes
        for pfn in frames:
            phys = pfn << PAGE_SHIFT
            view[phys : phys + PAGE_SIZE] = ZERO_PAGE

    def release(self, pfn: int, nr_pages: int) -> None:
        """Give the host's memory behind `nr_pages` frames back; they read as zeros again."""
        self._mapping.madvise(mmap.MADV_DONTNEED, PFN_PHYS(pfn), PFN_PHYS(nr_pages))

    def close(self) -> None:
        """Give everything back.  No view of this RAM may be in use any more."""
        self.words.release()
        self.bytes.release()
        self._mapping.close()
