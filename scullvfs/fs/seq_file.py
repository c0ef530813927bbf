"""Long listings, made line by line as they are read, as the kernel's seq_file does.

Nothing of the text is kept: an open file knows where its next line comes from, and the rest of the
line that the last read has cut.  So neither the length of a listing nor how often it is opened
takes memory, and what is read is of the moment of the read.

    read(2) at 0       line 0 | line 1 | li        next comes line 3 at byte 300,
                                        ^ 250      of line 2 the rest is kept
    read(2) at 250     ne 2 | line 3 | ...
    read(2) elsewhere  the place of that byte is looked for anew

Linux: fs/seq_file.c
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Protocol

from scullvfs.mm.access import View
from scullvfs.mm.layout import PAGE_MASK

from .file import File, Handle, only_read

__all__ = ["START", "Listing", "Place", "ScannedListing", "SeqFile", "text_of"]

Place = tuple[int, int]
"""Where in a listing a line comes from: two numbers that only the listing understands."""


class Listing(Protocol):
    """Lines of text (Linux: struct seq_operations)."""

    def size(self) -> int:
        """Length of the whole text in bytes, as it is now."""

    def seek(self, pos: int) -> tuple[Place, int]:
        """A place, and the position of the first byte that comes from there, at most `pos`."""

    def lines(self, place: Place) -> Iterator[tuple[bytes, Place]]:
        """The lines from a place on, each with the place of what comes behind it."""


START: Final = (0, 0)
"""The place of the first line of every listing."""

MOST: Final = 1 << 16
"""Bytes that one read(2) gets, so that others need not wait for long; seq_file's get a page's."""


def text_of(listing: Listing) -> str:
    """All of a listing."""
    return b"".join(line for line, _ in listing.lines(START)).decode()


class ScannedListing:
    """A listing of which every question is answered by going through its lines.

    A subclass has `lines()`, and says in `state()` what they depend on.
    """

    def __init__(self) -> None:
        self._sized: tuple[object, int] = (None, 0)
        """The state when the size was asked for last, and the size."""

    def state(self) -> object:
        """Another one whenever the size may be another one."""
        raise NotImplementedError

    def lines(self, place: Place) -> Iterator[tuple[bytes, Place]]:
        """Each with the place behind it."""
        raise NotImplementedError

    def size(self) -> int:
        """Of all lines."""
        state = self.state()
        if state != self._sized[0]:
            self._sized = state, sum(len(line) for line, _ in self.lines(START))
        return self._sized[1]

    def seek(self, pos: int) -> tuple[Place, int]:
        """From the first line on."""
        at, place = 0, START
        for line, behind in self.lines(START):
            if at + len(line) > pos:
                break
            at, place = at + len(line), behind
        return place, at


class SeqFile(File):
    """A read-only file with a listing.

    Its size is that of the listing, for the reason that `shown` gives.
    """

    attr_timeout = 0
    entry_timeout = 0

    def __init__(self, listing: Listing, permissions: int, uid: int, gid: int) -> None:
        super().__init__(permissions, uid, gid)
        self.listing: Final = listing
        self.told = 0
        """The size that was asked for last, which the kernel takes for i_size."""

    @property
    def size(self) -> int:
        """Length of the listing now."""
        self.told = self.listing.size()
        return self.told

    def looked_up(self, pid: int) -> None:
        """Let the kernel forget what it has cached of the file."""
        self.modified()

    def open(self, flags: int, pid: int = 0) -> Handle:
        """Open for reading.

        Raises:
            OSError: EACCES, opened for writing (only root comes this far).
        """
        only_read(flags)
        return _SeqHandle(self)


class _SeqHandle(Handle):
    """An open listing (Linux: struct seq_file)."""

    def __init__(self, file: SeqFile) -> None:
        self._file = file
        self._told = file.told
        """The size that the look before the open has given."""
        self._pos = 0
        """Where the last read has ended."""
        self._rest = b""
        """What it has left of its last line."""
        self._place: Place = START
        """Where the next line comes from."""
        self._page = b""
        """What it has given of its last page."""

    def read(self, pos: int, count: int) -> View:
        """Up to `count` bytes, and up to MOST, at `pos` of the listing as it is now."""
        return self._read(pos, min(count, MOST), None)

    def read_pages(self, pos: int, count: int) -> View:
        """The same, up to the last line that fits into the size that the kernel knows.

        It takes no more, and where it has grown since, there would be a half of a line. Once it
        knows of that, it asks for the whole of its last page again, and what it had of it stays.
        Where it keeps the size it makes zeros of what it does not get, so it gets empty lines.
        """
        file = self._file
        text = self._read(pos, count, self._told if file.keeps_size else file.told)
        self._page = text[len(text) & PAGE_MASK :]
        return text.ljust(min(count, self._told - pos), b"\n") if file.keeps_size else text

    def _read(self, pos: int, count: int, limit: int | None) -> bytes:
        listing, skip = self._file.listing, 0
        if pos == self._pos - len(self._page):
            self._rest = self._page + self._rest
        elif pos != self._pos:
            self._place, start = listing.seek(pos)
            self._rest, skip = b"", pos - start
        self._page = b""
        parts, length = [self._rest], len(self._rest)
        wanted = skip + count
        if length < wanted:
            for line, place in listing.lines(self._place):
                length += len(line)
                if limit is not None and pos - skip + length > limit:
                    break
                parts.append(line)
                self._place = place
                if length >= wanted:
                    break
        text = b"".join(parts)
        self._rest = text[wanted:]
        self._pos = pos + len(text[skip:wanted])
        return text[skip:wanted]
