"""The form of a snapshot: chunks, each with its checksum.

    magic    89 53 43 55 4c 4c 0d 0a      not a text, and cut by who takes it for one
    chunk    kind      4 letters
             length    8 bytes, little-endian, of the data
             data      1 MiB and a little at the most
             CRC-32    4 bytes, little-endian, of all three

    HEAD     JSON: format, version of scullvfs, options of the machine; the first chunk
    PAGE     number of a frame, 8 bytes, and what is in it and those that follow; the rest is zeros
    BOOK     name of a part, a NUL, and a piece of the JSON of its state; pieces follow each other
    DONE     how many chunks came before, 8 bytes; the last chunk, and the end of the file

A reader needs no more memory than one chunk, and the books.  These are of `LARGEST` bytes and
`VALUES` values at the most, so whoever reads a file, whatever is in it, stays below 200 MB.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple
from zlib import crc32

import scullvfs
from scullvfs.errors import BadFileError
from scullvfs.plain import checked
from scullvfs.text import shown

__all__ = ["BOOK", "FORMAT", "PAGE", "Chunks", "Header", "Writer", "opened", "parsed"]

MAGIC: Final = b"\x89SCULL\r\n"
FORMAT: Final = 1
"""Of the file, and of what the parts' states have; one of another number is not read."""

HEAD, PAGE, BOOK, DONE = b"HEAD", b"PAGE", b"BOOK", b"DONE"

PIECE: Final = 1 << 20
"""Bytes of a part's JSON in one chunk."""
MOST: Final = PIECE + 256
"""Bytes of the data of a chunk."""
LARGEST: Final = 16 << 20
"""Bytes of all books together."""
VALUES: Final = 1 << 20
"""Values in them: items of lists, and three for each name.  A quantum takes five."""
LENGTH: Final = 8
CRC: Final = 4


class Header(NamedTuple):
    """What stands at the beginning."""

    format: int
    version: str
    """Of the scullvfs that has written it."""
    options: str
    """Those of the machine, as behind `-o`."""


class Writer:
    """Writes a snapshot.

    Args:
        write: takes all of what it is given.
    """

    def __init__(self, write: Callable[[bytes | memoryview], object], options: str) -> None:
        self._write: Final = write
        self._count = 0
        write(MAGIC)
        header = Header(FORMAT, scullvfs.__version__, options)
        self._chunk(HEAD, json.dumps(header._asdict()).encode())

    def _chunk(self, kind: bytes, *parts: bytes | memoryview) -> None:
        head = kind + sum(map(len, parts)).to_bytes(LENGTH, "little")
        crc = crc32(head)
        self._write(head)
        for part in parts:
            crc = crc32(part, crc)
            self._write(part)
        self._write(crc.to_bytes(CRC, "little"))
        self._count += 1

    def page(self, pfn: int, data: memoryview) -> None:
        """What is in some frames, 1 MiB at the most."""
        self._chunk(PAGE, pfn.to_bytes(8, "little"), data)

    def book(self, name: str, state: Any) -> None:
        """The state of a part."""
        text = json.dumps(state, separators=(",", ":")).encode()
        for at in range(0, len(text), PIECE):
            self._chunk(BOOK, name.encode() + b"\0", text[at : at + PIECE])

    def done(self) -> None:
        """That was all."""
        self._chunk(DONE, self._count.to_bytes(8, "little"))


class Chunks:
    """Reads a snapshot: its header at once, then the chunks of PAGE and BOOK.

    Args:
        read: gives up to so many bytes, none at the end.
        name: of the file, for people.
        tee: is given all that was read, once it is right.

    Raises:
        BadFileError: it is none, or of another format, and so whenever a chunk is asked for.
    """

    def __init__(
        self,
        read: Callable[[int], bytes],
        name: str,
        tee: Callable[[bytes], object] = lambda data: None,
    ) -> None:
        self._read: Final = read
        self._name: Final = name
        self._tee: Final = tee
        magic = self._exactly(len(MAGIC), "is no snapshot of scullvfs")
        if magic != MAGIC:
            raise self.wrong("is no snapshot of scullvfs")
        tee(magic)
        kind, data = self._next()
        if kind != HEAD:
            raise self.wrong("is damaged: it does not begin with a header")
        self.header: Final = self._header(data)

    def wrong(self, why: str) -> BadFileError:
        """What is wrong with it, in a line."""
        return BadFileError(f"{shown(self._name)} {why}")

    def _header(self, data: bytes) -> Header:
        found = parsed(data, self)
        number = found.get("format") if isinstance(found, dict) else None
        if type(number) is int and number != FORMAT:
            raise self.wrong(
                f"is a snapshot of format {number}, and this scullvfs reads format {FORMAT}"
            )
        try:
            if not isinstance(found, dict) or found.keys() != {*Header._fields}:
                raise ValueError
            return checked(Header, [found[name] for name in Header._fields])
        except ValueError:
            raise self.wrong("has a header that says nothing") from None

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        """(kind, data) of each chunk of PAGE and BOOK, until DONE and the end of the file."""
        count = 1
        length = values = 0
        while True:
            kind, data = self._next()
            if kind == DONE:
                break
            if kind == BOOK:
                length += len(data)
                values += _values(data)
                if length > LARGEST or values > VALUES:
                    raise self.wrong("has more in its books than fits into a snapshot")
            elif kind != PAGE:
                raise self.wrong("is damaged: it has a chunk of an unknown kind")
            yield kind, data
            count += 1
        if data != count.to_bytes(8, "little"):
            raise self.wrong("is damaged: a chunk is missing, or there is one too many")
        if self._read(1):
            raise self.wrong("is damaged: something stands behind its end")

    def _next(self) -> tuple[bytes, bytes]:
        head = self._exactly(4 + LENGTH)
        length = int.from_bytes(head[4:], "little")
        if length > MOST:
            raise self.wrong("is damaged: it has a chunk that is too long")
        rest = self._exactly(length + CRC)
        data, crc = rest[:length], rest[length:]
        if crc32(data, crc32(head)).to_bytes(CRC, "little") != crc:
            raise self.wrong("is damaged: a checksum is wrong")
        self._tee(head + rest)
        return head[:4], data

    def _exactly(self, count: int, otherwise: str = "is cut short") -> bytes:
        data = self._read(count)
        while len(data) < count:
            more = self._read(count - len(data))
            if not more:
                raise self.wrong(otherwise)
            data += more
        return data


def _values(text: bytes) -> int:
    """About how many values JSON has, or a piece of it: memory goes by that, not by its length."""
    return text.count(b",") + text.count(b"[") + text.count(b"{") + 2 * text.count(b":")


def parsed(data: bytes | bytearray, chunks: Chunks) -> Any:
    """What JSON says, in ASCII as the writer has it.

    Raises:
        BadFileError: it is none.
    """
    try:
        return json.loads(data.decode("ascii"))
    except (ValueError, RecursionError):
        raise chunks.wrong("is damaged: what it says is no JSON") from None


@contextmanager
def opened(path: str) -> Iterator[Chunks]:
    """A file as its chunks.

    Raises:
        BadFileError: it cannot be read, or is none.
    """
    try:
        # Not one that waits: a FIFO would, until somebody writes.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        with open(fd, "rb", buffering=0) as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise BadFileError(f"{shown(path)} is no snapshot, but no regular file")
            yield Chunks(file.read, path)
    except OSError as error:
        raise BadFileError(f"cannot read {shown(path)}: {error.strerror}") from None
