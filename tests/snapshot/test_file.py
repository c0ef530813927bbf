"""Whatever is wrong with a file, it is one line, and nothing else: no traceback, no memory."""

from __future__ import annotations

import copy
import json
import os
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any
from zlib import crc32

import pytest

import scullvfs
from scullvfs.errors import BadFileError
from scullvfs.snapshot.file import FORMAT, LARGEST, MAGIC, PIECE, VALUES, Chunks, opened
from scullvfs.snapshot.options import options_of
from scullvfs.snapshot.picture import read_books
from scullvfs.snapshot.summary import summary

from ..thorough import rounds
from .helpers import Kernel, Play

OPTIONS = "mem=4M,seed=3,drivers=scullv:scullp,scullv_devs=1,scullp_devs=1,scullv_order=0,qset=7"


@pytest.fixture(scope="module")
def kernel() -> Kernel:
    """One that has done something of all."""
    kernel = Kernel(OPTIONS)
    play = Play(kernel, 1)
    for _ in range(120):
        play.step()
    kernel.machine.faults.reset()
    return kernel


@pytest.fixture(scope="module")
def good(kernel: Kernel) -> bytes:
    """Its file."""
    return kernel.save()


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk, with its checksum."""
    head = kind + len(data).to_bytes(8, "little")
    return head + data + crc32(head + data).to_bytes(4, "little")


def chunks_of(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(kind, data) of each chunk, the first and the last one included."""
    at = len(MAGIC)
    while at < len(data):
        end = at + 12 + int.from_bytes(data[at + 4 : at + 12], "little")
        yield data[at : at + 4], data[at + 12 : end]
        at = end + 4


def joined(chunks: list[tuple[bytes, bytes]]) -> bytes:
    """A file of these chunks."""
    return MAGIC + b"".join(chunk(kind, data) for kind, data in chunks)


def look(data: bytes) -> None:
    """Read all of a file but into no machine."""
    view, at = memoryview(data), 0

    def read(count: int) -> bytes:
        nonlocal at
        at += count
        return bytes(view[at - count : at])

    chunks = Chunks(read, "machine.snap")
    options_of(chunks)
    read_books(chunks, lambda pfn, page: None)


def refused(data: bytes) -> str:
    """The line that a file is refused with."""
    with pytest.raises(BadFileError) as caught:
        look(data)
    line = str(caught.value)
    assert line.startswith("machine.snap ")
    assert line.isprintable()
    assert len(line) < 500
    return line.removeprefix("machine.snap ")


def test_the_good_one(good: bytes, tmp_path: Path) -> None:
    """It can be read, and says what it holds."""
    look(good)
    assert joined([*chunks_of(good)]) == good
    path = tmp_path / "machine.snap"
    path.write_bytes(good)
    lines = [*summary(str(path))]
    assert lines[0] == f"format {FORMAT}, by scullvfs {scullvfs.__version__}"
    assert lines[1].startswith("options: scullv_devs=1,scullv_order=0,scullv_qset=7,")
    assert lines[-1].startswith("scullp0: order ")


@pytest.mark.long
def test_cut_at_each_byte_of_the_header(good: bytes) -> None:
    """And at some others."""
    header = len(joined([*chunks_of(good)][:1]))
    for end in (*range(header + 20), *range(header, len(good), 997), len(good) - 1):
        why = refused(good[:end])
        assert why == ("is no snapshot of scullvfs" if end < len(MAGIC) else "is cut short"), end


def test_each_flipped_bit_of_the_header(good: bytes) -> None:
    """And one of each other byte of a small part."""
    header = len(joined([*chunks_of(good)][:1]))
    for at in range(header):
        for bit in range(8):
            refused(good[:at] + bytes([good[at] ^ 1 << bit]) + good[at + 1 :])


def fuzzed(good: bytes, rng: Random) -> bytes:
    """A file in which bytes are changed, put in, taken out or repeated."""
    data = bytearray(good)
    while data == good:
        for _ in range(rng.choice([1, 1, 2, 8])):
            at = min(rng.randrange(len(data)), rng.choice([40, 600, len(data)]))
            length = rng.choice([1, 1, 4, 8, 100])
            match rng.randrange(5):
                case 0:
                    data[at : at + length] = rng.randbytes(length)
                case 1:
                    data[at:at] = rng.randbytes(length)
                case 2:
                    del data[at : at + length]
                case 3:
                    data[at:at] = data[at : at + length]
                case _:
                    data[at : at + 8] = b"\xff" * 8
    return bytes(data)


@pytest.mark.long
def test_fuzzed(good: bytes) -> None:
    """Whatever is in a file, there is never anything but one line."""
    rng = Random(7)
    for _ in range(rounds(10_000, 1_000)):
        refused(fuzzed(good, rng))


def test_fuzzed_in_little_memory(good: bytes) -> None:
    """And whatever a file says that it is going to have."""
    rng = Random(8)
    tracemalloc.start()
    try:
        for _ in range(rounds(500, 100)):
            refused(fuzzed(good, rng))
        assert tracemalloc.get_traced_memory()[1] < 100 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("header", "why"),
    [
        ({"format": FORMAT + 1, "more": []}, f"is a snapshot of format {FORMAT + 1}, and this "),
        ({"format": "1"}, "has a header that says nothing"),
        ([], "has a header that says nothing"),
        ({"format": FORMAT, "version": "1", "options": 7}, "has a header that says nothing"),
        ({"format": FORMAT, "version": "1", "options": "mem=7"}, "has options that this scullvfs"),
        ({"format": FORMAT, "version": "1", "options": "\ud800"}, "has options that this scullvfs"),
        ({"format": FORMAT, "version": "1", "options": "mum=8M"}, "has options that this scullvfs"),
        ({"format": FORMAT, "version": "1", "options": "mem=8M"}, "has other options than those"),
        ({"format": FORMAT, "version": "1", "options": "restore=/x"}, "has other options than"),
    ],
)
def test_headers(good: bytes, header: object, why: str) -> None:
    """Of another format, or of none, or with other options."""
    _, *rest = chunks_of(good)
    assert refused(joined([(b"HEAD", json.dumps(header).encode()), *rest])).startswith(why)


def test_chunks_that_are_right_but_wrong(good: bytes) -> None:
    """Missing, twice, unknown, too long, behind the end, deep, or no JSON."""
    head, *middle, done = chunks_of(good)
    assert "a chunk is missing" in refused(joined([head, *middle[1:], done]))
    assert "a chunk is missing" in refused(joined([head, middle[0], *middle, done]))
    assert "unknown kind" in refused(joined([head, (b"NEWS", b""), *middle, done]))
    assert "does not begin with a header" in refused(joined([done]))
    assert "behind its end" in refused(good + b"\0")
    assert "cut short" in refused(joined([head, *middle]))
    huge = MAGIC + chunk(*head) + b"PAGE" + (1 << 62).to_bytes(8, "little")
    assert "too long" in refused(huge + bytes(1000))
    for text in (b"[" * 100_000, b"{", b"1" * 5000, b"\xff", '"\u00e4"'.encode()):
        books = [head, (b"BOOK", b"clock\0" + text), (b"DONE", (2).to_bytes(8, "little"))]
        assert "no JSON" in refused(joined(books))
    for text in (b"7", b"null", b"[]"):
        books = [head, (b"BOOK", b"clock\0" + text), (b"DONE", (2).to_bytes(8, "little"))]
        assert "says what cannot be" in refused(joined(books))


def with_book(good: bytes, name: bytes, text: bytes) -> bytes:
    """The file with another book of that name, of any length."""
    kept = [chunk for chunk in [*chunks_of(good)][:-1] if not chunk[1].startswith(name + b"\0")]
    kept += [(b"BOOK", name + b"\0" + text[at : at + PIECE]) for at in range(0, len(text), PIECE)]
    return joined([*kept, (b"DONE", len(kept).to_bytes(8, "little"))])


@pytest.mark.parametrize(
    ("item", "count"),
    [
        (b"[],", VALUES),
        (b"{},", VALUES),
        (b"0,", VALUES),
        (b'{"a":0},', VALUES // 4),
        (b'"' + b"x" * 1000 + b'",', LARGEST // 1000),
    ],
)
def test_books_that_are_too_large(good: bytes, item: bytes, count: int) -> None:
    """They are refused before anything is made of them, as it may be thirty times as large."""
    data = with_book(good, b"clock", b"[" + item * count + b"0]")
    tracemalloc.start()
    try:
        assert refused(data) == "has more in its books than fits into a snapshot"
        assert tracemalloc.get_traced_memory()[1] < 3 * LARGEST
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: None])
def test_no_file(make: Any, tmp_path: Path) -> None:
    """A FIFO, where one would wait, a directory, and nothing at all."""
    path = tmp_path / "machine\n.snap"
    make(path)
    with pytest.raises(BadFileError, match=r"machine\\012.snap") as caught, opened(str(path)):
        pass
    assert str(caught.value).isprintable()


# what is well-formed, and cannot be


def restored(chunks: list[tuple[bytes, bytes]], path: Path) -> None:
    """Restore a machine from a file of these chunks; if it can be, it is well."""
    path.write_bytes(joined(chunks))
    kernel = Kernel(OPTIONS)
    try:
        kernel.restore(path)
    except BadFileError as error:
        line = str(error)
        assert line.isprintable()
        assert "says what cannot be" in line
    else:
        kernel.state()
    finally:
        kernel.close()


def changed(state: Any, rng: Random) -> Any:
    """A state with something in it that is another."""
    state = copy.deepcopy(state)
    at: Any = state
    while True:
        keys = [*at] if isinstance(at, dict) else [*range(len(at))]
        key = rng.choice(keys)
        if not isinstance(at[key], (dict, list)) or not at[key] or rng.random() < 0.05:
            break
        at = at[key]
    numbers = (-1, 0, 1, 7, 511, 512, 1 << 20, 1 << 31, 1 << 63, 1 << 64, -(1 << 70))
    match at[key]:
        case bool(value):
            at[key] = not value
        case int(value):
            at[key] = rng.choice([value + 1, value - 1, value ^ 512, *numbers])
        case str():
            at[key] = rng.choice(["", "x", "\x1b[2J\n", "scullv9", "x" * 10_000])
        case list(value) if value:
            rng.choice([value.pop, value.clear, lambda: value.append(value[0]), value.reverse])()
        case _:
            at[key] = rng.choice([None, 0, [], {}, "x", [[]]])
    return state


@pytest.mark.long
def test_books_that_cannot_be(good: bytes, tmp_path: Path) -> None:
    """One value of some book is another, and every checksum is right."""
    rng = Random(5)
    chunks = [*chunks_of(good)]
    numbers = [number for number, (kind, _) in enumerate(chunks) if kind == b"BOOK"]
    for _ in range(rounds(200, 50)):
        number = rng.choice(numbers)
        kind, data = chunks[number]
        name, _, text = data.partition(b"\0")
        if isinstance(state := json.loads(text), (dict, list)) and state:
            text = json.dumps(changed(state, rng)).encode()
            other = (kind, name + b"\0" + text)
            restored([*chunks[:number], other, *chunks[number + 1 :]], tmp_path / "machine.snap")


@pytest.mark.long
def test_pages_that_cannot_be(good: bytes, tmp_path: Path) -> None:
    """Frames that there are not, pieces of a frame; and the page tables overwritten."""
    chunks = [*chunks_of(good)]
    rng = Random(3)
    numbers = [number for number, (kind, _) in enumerate(chunks) if kind == b"PAGE"]
    for _ in range(rounds(100, 30)):
        number = rng.choice(numbers)
        kind, data = chunks[number]
        pfn, content = int.from_bytes(data[:8], "little"), bytearray(data[8:])
        match rng.randrange(4):
            case 0:
                pfn = rng.choice([1 << 63, 1 << 20, 1024, pfn ^ 1])
            case 1:
                content = content[: rng.choice([0, 1, 4095, len(content) - 1])]
            case _:
                at = rng.randrange(0, len(content), 8)
                content[at : at + 8] = rng.randbytes(8)
        other = (kind, (pfn & (1 << 64) - 1).to_bytes(8, "little") + content)
        restored([*chunks[:number], other, *chunks[number + 1 :]], tmp_path / "machine.snap")
