"""RAM: the bytes of all page frames, in one anonymous mapping of the host.

Only this module knows that RAM is an mmap.  A frame that nobody has touched costs the
host nothing, and `release()` makes it so again.  The mapping asks for no huge pages: one
touched frame would make 511 neighbours resident.
"""

from __future__ import annotations

import mmap
import os
from array import array
from collections.abc import Iterable, Iterator
from typing import Final, Literal, NamedTuple, TypedDict

from .layout import PAGE_SHIFT, PAGE_SIZE, PFN_PHYS

__all__ = [
    "WORD_FORMAT",
    "ZERO_PAGE",
    "Ram",
    "RamState",
    "RamStatistics",
    "lazy_array",
    "lazy_bytes",
]

ZERO_PAGE: Final = bytes(PAGE_SIZE)

_PRIVATE: Final = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS

WORD_FORMAT: Final[dict[int, Literal["I", "Q"]]] = {4: "I", 8: "Q"}
"""Pointer size in bytes -> the format of a memoryview or array of pointers."""


AT_ONCE: Final = 256
"""Frames that `Ram.written()` gives in one piece at the most."""
LOOKED_AT: Final = 512
"""Frames that the host is asked for at once."""


def lazy_array(count: int) -> memoryview:
    """`count` unsigned 32-bit zeros that take no memory before they are written to."""
    return memoryview(mmap.mmap(-1, max(4 * count, PAGE_SIZE), flags=_PRIVATE)).cast("I")


def lazy_bytes(count: int) -> mmap.mmap:
    """`count` zeros, 1 or more, that take no memory before they are written to.

    A slice of them is a copy, and quick to compare.
    """
    return mmap.mmap(-1, count, flags=_PRIVATE)


class RamStatistics(NamedTuple):
    """How much RAM there is."""

    pages: int
    """Page frames, frame 0 included."""
    nbytes: int


class RamState(TypedDict):
    """How large it is."""

    size: int


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

    def state(self) -> RamState:
        """How large it is; what is in it comes apart, as `written()`."""
        return {"size": self.size}

    def written(self) -> Iterator[tuple[int, int]]:
        """(first, how many) of the frames that are not all zeros, up to `AT_ONCE` that follow.

        It goes over those only that the host holds memory for, where it says which these are.
        """
        for first, end in self._resident():
            run = first
            for pfn in range(first, end):
                # A copy: to compare a memoryview takes longer by far.
                if bytes(self.bytes[PFN_PHYS(pfn) : PFN_PHYS(pfn + 1)]) == ZERO_PAGE:
                    if run < pfn:
                        yield run, pfn - run
                    run = pfn + 1
                elif pfn - run == AT_ONCE:
                    yield run, AT_ONCE
                    run = pfn
            if run < end:
                yield run, end - run

    def _resident(self) -> Iterator[tuple[int, int]]:
        """(first, end) of the frames that the host may hold memory for.

        Linux: Documentation/admin-guide/mm/pagemap.rst
        """
        try:
            if os.readlink("/proc/self") != str(os.getpid()):  # /proc is another namespace's
                raise OSError
            with open("/proc/self/pagemap", "rb", buffering=0) as pagemap:
                pagemap.seek(self._address() // PAGE_SIZE * 8)
                for at in range(0, self.nr_pages, LOOKED_AT):
                    count = min(LOOKED_AT, self.nr_pages - at)
                    entries = array("Q", pagemap.read(8 * count))
                    if not any(entries):
                        continue
                    first = at
                    for pfn, entry in enumerate(entries, at):
                        if not entry >> 62:  # neither present nor swapped out
                            if first < pfn:
                                yield first, pfn
                            first = pfn + 1
                    if first < at + count:
                        yield first, at + count
        except OSError:
            yield 0, self.nr_pages

    def _address(self) -> int:
        """Where the mapping is in this process."""
        import ctypes  # which only who saves needs

        return ctypes.addressof(ctypes.c_char.from_buffer(self._mapping))

    def clear(self) -> None:
        """Have nothing but zeros, and give the host's memory back."""
        self.release(0, self.nr_pages)

    def clear_pages(self, frames: Iterable[int]) -> None:
        """Fill frames with zeros (Linux: clear_page())."""
        view = self.bytes
        for pfn in frames:
            phys = pfn << PAGE_SHIFT
            view[phys : phys + PAGE_SIZE] = ZERO_PAGE

    def clear_used_pages(self, frames: Iterable[int]) -> None:
        """As `clear_pages()`, but frames of zeros are not touched, so the host needs no memory."""
        view = self.bytes
        for pfn in frames:
            phys = pfn << PAGE_SHIFT
            # A copy: to compare a memoryview takes longer by far.
            if bytes(view[phys : phys + PAGE_SIZE]) != ZERO_PAGE:
                view[phys : phys + PAGE_SIZE] = ZERO_PAGE

    def release(self, pfn: int, nr_pages: int) -> None:
        """Give the host's memory behind `nr_pages` frames back; they read as zeros again."""
        self._mapping.madvise(mmap.MADV_DONTNEED, PFN_PHYS(pfn), PFN_PHYS(nr_pages))

    def close(self) -> None:
        """Give everything back.  No view of this RAM may be in use any more."""
        self.words.release()
        self.bytes.release()
        self._mapping.close()
