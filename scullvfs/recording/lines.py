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
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple
from zlib import crc32

import scullvfs
from scullvfs.errors import BadFileError
from scullvfs.mm.access import Buffer, View
from scullvfs.text import shown

from .calls import TEXT, U64, Shape, list_of, matches

__all__ = [
    "FORMAT",
    "LONGEST",
    "PLAIN",
    "Entry",
    "Header",
    "Lines",
    "Sums",
    "Writer",
    "read_lines",
    "sum_of",
    "text_of",
    "write_lines",
]

FORMAT: Final = 1
"""The version of the format; another one is not read."""
LONGEST: Final = 4 << 20
"""Bytes of a line at the most; the largest has a write of 1 MiB."""

LISTS: Final = (1 << 20) + (1 << 10)
"""Brackets in a line at the most, of which a text of 1 MiB may be made; as lists they take fifty
times as much memory."""

Line = dict[str, Any]


Entry = tuple[Any, ...]
"""A line that is to be made: a form, the text of a JSON object in ASCII without its last brace, and
the values that stand in it as `%` has them.  Behind %s bytes are in base64."""


def text_of(entry: Entry) -> str:
    """What stands in a line before its sum."""
    if bytes in map(type, entry):
        entry = tuple(b64encode(part).decode() if type(part) is bytes else part for part in entry)
    text: str = entry[0] % entry[1:]
    return text


def write_lines(entries: list[Entry], number: int) -> tuple[bytes, int]:
    """Lines with their sums, and the last of these.

    Args:
        number: the sum over all lines before.
    """
    parts: list[bytes] = []
    for entry in entries:
        body = text_of(entry).encode()
        number = crc32(body, number)
        parts += (body, b',"sum":"%08x"}\n' % number)
    return b"".join(parts), number


def sum_of(data: View) -> int:
    """CRC-32 of what is written or read."""
    return crc32(data if isinstance(data, Buffer) else bytes(data))


class Writer(NamedTuple):
    """How lines are made."""

    write_lines: Callable[[list[Entry], int], tuple[bytes, int]] = write_lines
    sum_of: Callable[[View], int] = sum_of


PLAIN: Final = Writer()


class Sums:
    """Ends lines with their sums."""

    def __init__(self, writer: Writer = PLAIN) -> None:
        self._write_lines: Final = writer.write_lines
        self._sum = 0

    def lines(self, entries: list[Entry]) -> bytes:
        """The lines of these."""
        lines, self._sum = self._write_lines(entries, self._sum)
        return lines

    def line(self, text: str) -> bytes:
        """A line, of a JSON object in ASCII without its last brace."""
        return self.lines([("%s", text)])

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
