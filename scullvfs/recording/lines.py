"""The lines of a recording: JSON, one object a line, each with a sum over all bytes up to it.

    {"scullvfs":"0.1.0","recording":1,"options":"mem=16M,...", ... ,"sum":"5d0be59e"}
    {"n":1,"at":812345,"by":[77,0,0],"call":"open", ... ,"gives":65537,"sum":"..."}
    ...
    {"end":212,"sum":"..."}

The sum goes on from line to line, so what was cut out, put in or moved is found as well as a
flipped bit.  `docs/repeat.md` has all fields.
"""

from __future__ import annotations

import json
from binascii import hexlify
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final
from zlib import crc32

import scullvfs
from scullvfs.errors import BadFileError
from scullvfs.text import shown

from .calls import TEXT, U64, Shape, list_of, matches

__all__ = ["FORMAT", "LONGEST", "Header", "Lines", "Sums", "read_lines"]

FORMAT: Final = 1
"""The version of the format; another one is not read."""
LONGEST: Final = 4 << 20
"""Bytes of a line at the most; the largest has a write of 1 MiB."""

LISTS: Final = (1 << 20) + (1 << 10)
"""Brackets in a line at the most, of which a text of 1 MiB may be made; as lists they take fifty
times as much memory."""

Line = dict[str, Any]


class Sums:
    """Ends lines with their sums."""

    def __init__(self) -> None:
        self._sum = 0

    def line(self, text: str) -> bytes:
        """A line, of a JSON object in ASCII without its last brace."""
        body = text.encode()
        self._sum = number = crc32(body, self._sum)
        # Twice as quick as a format with %08x.
        return b"".join((body, b',"sum":"', hexlify(number.to_bytes(4)), b'"}\n'))

    def body(self, line: bytes) -> bytes | None:
        """The object of a line; None if the sum is another one."""
        body, end = line[:-19], line[-19:]
        self._sum = crc32(body, self._sum)
        return body + b"}" if end == b',"sum":"%08x"}\n' % self._sum else None


_TAIL: Final = len(',"sum":"00000000"}\n')
assert _TAIL == 19


class Header:
    """The first line: which machine it was, and how it began.

    Args:
        options: as they stand behind `-o`.
        whole: whether what is written to devices is in the recording.
        times: of what the machine has noted by then, in nanoseconds (`Machine.times()`).
        made: the inode numbers of the late directories whose names are made (`fs.node`).
        opened: how many files had been opened.
        version: of the scullvfs that has made it.
    """

    SHAPE: Final[dict[str, Shape]] = {
        "scullvfs": TEXT,
        "recording": U64,
        "options": TEXT,
        "data": bool,
        "times": list_of(U64),
        "made": list_of(U64),
        "opened": U64,
    }

    def __init__(
        self,
        options: str,
        whole: bool,
        times: list[int],
        made: list[int],
        opened: int,
        version: str = scullvfs.__version__,
    ) -> None:
        self.options: Final = options
        self.whole: Final = whole
        self.times: Final = times
        self.made: Final = made
        self.opened: Final = opened
        self.version: Final = version

    def text(self) -> str:
        """It as a line, without the last brace."""
        fields = {
            "scullvfs": self.version,
            "recording": FORMAT,
            "options": self.options,
            "data": self.whole,
            "times": self.times,
            "made": self.made,
            "opened": self.opened,
        }
        return json.dumps(fields, separators=(",", ":"))[:-1]

    @classmethod
    def of(cls, line: Line) -> Header | None:
        """The header that a line is; None if it is none of FORMAT."""
        if not matches(line, cls.SHAPE):
            return None
        names = ("options", "data", "times", "made", "opened", "scullvfs")
        return cls(*(line[name] for name in names))


class Lines:
    """A recording as it is read: its header, and then line by line what has happened."""

    def __init__(self, name: str, file: BinaryIO) -> None:
        self._name: Final = name
        self._file: Final = file
        self._sums: Final = Sums()
        self._number = 0
        """Of the line that was read last."""
        self.whole = False
        """Whether the end mark was found."""
        self.header: Final = self._header()

    def _header(self) -> Header:
        raw = self._raw()
        if not raw.startswith(b'{"scullvfs":"'):
            raise self.bad("is no recording of scullvfs")
        version = raw.partition(b'"recording":')[2].partition(b",")[0]
        if version.isdigit() and version != b"%d" % FORMAT:
            raise self.bad(
                f"is a recording of format {shown(version[:20])}, and this scullvfs "
                f"({scullvfs.__version__}) reads format {FORMAT}"
            )
        header = Header.of(self._object(raw))
        if header is None:
            raise self.bad("is damaged in line 1")
        return header

    def __iter__(self) -> Iterator[Line]:
        """What has happened, in its order; a file that was cut ends where it was.

        Raises:
            BadFileError: it is damaged, and where.
        """
        while True:
            raw = self._raw()
            if not raw.endswith(b"\n"):
                return  # cut, in a line or between two
            line = self._object(raw)
            if "end" in line:
                if self._file.read(1):
                    raise self.bad(f"goes on behind its end in line {self._number}")
                self.whole = True
                return
            yield line

    def _raw(self) -> bytes:
        self._number += 1
        raw = self._file.readline(LONGEST + 1)
        if len(raw) > LONGEST:
            raise self.bad(f"has a line {self._number} that is too long to be one")
        return raw

    def _object(self, raw: bytes) -> Line:
        body = self._sums.body(raw)
        if body is not None:
            if len(body) > LISTS and body.count(b"[") + body.count(b"{") > LISTS:
                raise self.wrong()
            try:
                line = json.loads(body)
            except (ValueError, RecursionError):
                line = None
            if type(line) is dict:
                return line
        raise self.bad(f"is damaged in line {self._number}")

    def bad(self, what: str) -> BadFileError:
        """What is wrong with the file."""
        return BadFileError(f"{shown(self._name)} {what}")

    def wrong(self) -> BadFileError:
        """The line that was read last has what no recorder writes."""
        return self.bad(f"has in line {self._number} what is no call that could be made")


def read_lines(path: Path | str, file: BinaryIO) -> Lines:
    """A recording.

    Raises:
        BadFileError: it is none, of another format, or its header is damaged.
    """
    return Lines(str(path), file)
