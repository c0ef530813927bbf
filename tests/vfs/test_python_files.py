"""Python's own files on a device: open() in its modes, with and without buffers."""

from __future__ import annotations

import errno
import io
import os
from pathlib import Path

import pytest

from ..scull.helpers import fails
from .helpers import QUANTUM, read_all

DATA = os.urandom(300_001)

BUFFERING = pytest.mark.parametrize("buffering", [-1, 512, 100_000])


@BUFFERING
def test_wb_rb(scullv0: Path, buffering: int) -> None:
    """What "wb" writes "rb" reads, whatever the buffer's size: short writes are its business."""
    with open(scullv0, "wb", buffering) as file:
        assert file.write(DATA) == len(DATA)
    with open(scullv0, "rb", buffering) as file:
        assert file.read() == DATA
    assert os.stat(scullv0).st_size == len(DATA)


def test_wb_unbuffered(scullv0: Path) -> None:
    """Without a buffer each write is a system call, and says how short it was."""
    with open(scullv0, "wb", 0) as file:
        assert file.write(DATA) == QUANTUM
        assert file.write(DATA[QUANTUM : QUANTUM + 10]) == 10
    with open(scullv0, "rb", 0) as file:
        assert file.read(len(DATA)) == DATA[:QUANTUM]
        assert file.read(len(DATA)) == DATA[QUANTUM : QUANTUM + 10]
        assert file.read(1) == b""
        file.seek(0)
        assert file.readall() == DATA[: QUANTUM + 10]


@BUFFERING
def test_r_plus_b(scullv0: Path, buffering: int) -> None:
    """ "r+b" keeps what is there, and reads and writes by turns."""
    scullv0.write_bytes(DATA)
    with open(scullv0, "r+b", buffering) as file:
        file.seek(100)
        assert file.read(5) == DATA[100:105]
        file.write(b"here")
        file.seek(200_000)
        file.write(b"there")
        assert file.tell() == 200_005
        file.seek(0, os.SEEK_END)
        file.write(b"end")
    expected = bytearray(DATA + b"end")
    expected[105:109] = b"here"
    expected[200_000:200_005] = b"there"
    assert scullv0.read_bytes() == expected


def test_w_plus_b(scullv0: Path) -> None:
    """ "w+b" empties, and reads back what it writes."""
    scullv0.write_bytes(DATA)
    with open(scullv0, "w+b") as file:
        assert file.read() == b""
        file.write(b"hello")
        file.seek(0)
        assert file.read() == b"hello"


def test_ab(scullv0: Path) -> None:
    """ "ab" opens for writing only, so it begins with an empty device."""
    scullv0.write_bytes(DATA)
    with open(scullv0, "ab") as file:
        assert file.tell() == 0
        file.write(b"hello")
        file.write(b" world")
    assert scullv0.read_bytes() == b"hello world"


def test_a_plus_b(scullv0: Path) -> None:
    """ "a+b" keeps what is there and appends."""
    scullv0.write_bytes(b"hello")
    with open(scullv0, "a+b") as file:
        file.seek(0)
        file.write(b" world")
        file.seek(0)
        assert file.read() == b"hello world"


def test_xb(scullv0: Path) -> None:
    """ "xb" wants to make the file, and it is there."""
    with fails(errno.EEXIST), open(scullv0, "xb"):
        pass


def test_truncate(scullv0: Path) -> None:
    """truncate() of a file that reads and writes."""
    scullv0.write_bytes(DATA)
    with open(scullv0, "r+b") as file:
        file.truncate(70_000)
        file.seek(0)
        assert file.read() == DATA[:70_000]
        file.truncate(0)
    assert read_all(scullv0) == b""


def test_text(scullv0: Path) -> None:
    """Lines of text, across the ends of quanta."""
    lines = [f"line {number}: äöü\n" for number in range(20_000)]
    with open(scullv0, "w", encoding="utf-8") as file:
        file.writelines(lines)
    with open(scullv0, encoding="utf-8") as file:
        assert list(file) == lines


def test_hole_ends_a_read(scullv0: Path) -> None:
    """To a reader that knows nothing of the device a hole is the end of the file."""
    with open(scullv0, "r+b") as file:
        file.write(b"first")
        file.seek(4 * QUANTUM)
        file.write(b"last")
    assert scullv0.read_bytes() == b"first" + bytes(QUANTUM - 5)
    with open(scullv0, "rb") as file:
        file.seek(4 * QUANTUM)
        assert file.read() == b"last"


def test_raw_is_seekable(scullv0: Path) -> None:
    """A device is a file to Python: it can be read, written and sought."""
    with open(scullv0, "r+b", 0) as file:
        assert isinstance(file, io.FileIO)
        assert (file.seekable(), file.readable(), file.writable()) == (True, True, True)
        assert not file.isatty()
