"""Failures of a device that nobody hears of, and the next call in that place has to have once more.

The page cache asks for more than somebody wants, and writes in several requests what is one
write(2).  A failure that counts once has to be seen once.
"""

from __future__ import annotations

from typing import Final

from scullvfs.mm import PAGE_SIZE

__all__ = ["RefusedFills", "RefusedWrite"]


class RefusedFills:
    """Ranges of pages that the page cache could not be filled with.

    What is read ahead and fails nobody hears of.  The kernel asks for a page of it anew when it is
    read, and it is the answer to that which the reader gets: so it has to be the same, and must not
    count twice (Linux: mm/filemap.c:filemap_update_page()).
    """

    MOST: Final = 1024

    def __init__(self) -> None:
        self._ranges: dict[tuple[int, int], bool] = {}
        """Begin and end -> whether nobody has heard of it yet."""

    def clear(self) -> None:
        """Forget them."""
        self._ranges.clear()

    @property
    def unheard(self) -> bool:
        """Whether there are any that nobody has heard of yet."""
        return any(self._ranges.values())

    def fails_again(self, pos: int, count: int) -> bool:
        """Whether a fill is the second one of what has failed, which somebody hears of."""
        if count <= PAGE_SIZE:
            for key, unheard in self._ranges.items():
                if unheard and key[0] <= pos < key[1]:
                    self._ranges[key] = False
                    return True
        return False

    def failed(self, pos: int, count: int) -> None:
        """A fill has failed.  A page that was asked for before is not asked for a second time."""
        if count > PAGE_SIZE or not any(begin <= pos < end for begin, end in self._ranges):
            if len(self._ranges) >= self.MOST:
                del self._ranges[next(iter(self._ranges))]
            self._ranges[pos, pos + count] = True

    def filled(self, pos: int, count: int) -> None:
        """A fill has not.  The kernel fills several pages only where it has none of them."""
        for begin, end in [*self._ranges]:
            if (
                begin < pos + count
                and pos < end
                and (count > PAGE_SIZE or end - begin <= PAGE_SIZE)
            ):
                del self._ranges[begin, end]


class RefusedWrite:
    """A write that has failed behind others that have not, of the same write(2) perhaps.

    The kernel makes a request of its own of what begins within a page that it does not have, and of
    each mebibyte (Linux: fs/fuse/file.c:fuse_fill_write_pages(), fuse_perform_write()).  What a
    program has written in such pieces by itself cannot be told from that.
    """

    LARGEST: Final = 1 << 20

    def __init__(self) -> None:
        self._pos = -1
        self._end = -1
        """Of the write before, where that could be followed by another one of the same call."""

    def clear(self) -> None:
        """Forget it."""
        self._pos = self._end = -1

    @property
    def unheard(self) -> bool:
        """Whether there is one that nobody has heard of yet."""
        return self._pos >= 0

    def fails_again(self, pos: int) -> bool:
        """Whether a write is in the place of one that nobody has heard of."""
        again = pos == self._pos
        if again:
            self.clear()
        return again

    def failed(self, pos: int) -> None:
        """A write has failed."""
        self._pos = pos if pos == self._end else -1
        self._end = -1

    def written(self, pos: int, end: int) -> None:
        """A write has not, and all of it was taken."""
        part = pos % PAGE_SIZE and not end % PAGE_SIZE and end - pos < PAGE_SIZE
        self._end = end if part or end - pos == self.LARGEST else -1
