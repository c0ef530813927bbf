"""A recording that is damaged, cut or none: one line that says so, whatever is in it."""

from __future__ import annotations

import itertools
import json
import re
from random import Random
from typing import Any

import pytest

import scullvfs
from scullvfs.daemon.replaying import options_of
from scullvfs.errors import BadFileError
from scullvfs.recording.calls import arguments
from scullvfs.recording.lines import FORMAT, LISTS, LONGEST, Header, Sums

from ..thorough import rounds
from .play import lines_of, recorded, replayed

SMALL = "mem=4M,devs=2,order=0,qset=4,seed=5,drivers=scullv:scullp:scullc:scull,uid=0,gid=0"


@pytest.fixture(scope="module")
def small() -> bytes:
    """A recording of a few calls of all kinds."""
    return recorded(SMALL, seed=4, count=14, whole=True)


def summed(lines: list[bytes]) -> bytes:
    """Lines without a last brace, with true sums: what somebody makes who means ill."""
    sums = Sums()
    return b"".join(sums.line(line.decode("latin-1")) for line in lines)


def bodies(recording: bytes) -> list[bytes]:
    """Its lines without their sums."""
    return [line[: line.rindex(b',"sum":')] for line in recording.splitlines()]


def read(recording: bytes) -> str:
    """Read all of it; what is wrong with it, "cut", or "" if it is whole."""
    said = ""
    try:
        lines = lines_of(recording)
        options_of(lines)
        for _ in lines:
            pass
    except BadFileError as error:
        said = str(error)
    else:
        return "" if lines.whole else "cut"
    assert said.startswith("run.scull ")
    assert said.isprintable()
    return said


def test_whole(small: bytes) -> None:
    """Nothing is wrong with one that is whole."""
    assert read(small) == ""
    assert replayed(small).difference is None


def test_header(small: bytes) -> None:
    """The first line says who has made it, of what mount, and by which format."""
    first = json.loads(small.splitlines()[0])
    assert (first["scullvfs"], first["recording"], first["data"]) == (
        scullvfs.__version__,
        FORMAT,
        True,
    )
    assert "mem=4M" in first["options"].split(",")
    header = Header.of(first)
    assert header is not None
    assert json.loads(header.text() + "}") == {k: v for k, v in first.items() if k != "sum"}


def test_cut(small: bytes) -> None:
    """Cut within the header it is none, or damaged; behind it, cut; it never passes for whole."""
    header = small.index(b"\n") + 1
    for at in range(header):
        assert re.fullmatch(
            r"run.scull is (no recording of scullvfs|damaged in line 1)", read(small[:at])
        )
    for at in [*range(header, len(small), rounds(1, 23)), len(small) - 1]:
        assert read(small[:at]) == "cut"


@pytest.mark.long
def test_flipped_bits(small: bytes) -> None:
    """Whichever bit is another one, it is seen, and in which line."""
    rng = Random(1)
    for bit in range(8 * len(small.splitlines()[0])):
        flipped = bytearray(small)
        flipped[bit // 8] ^= 1 << bit % 8
        assert read(bytes(flipped)) not in ("", "cut")
    for _ in range(1000):
        at = rng.randrange(len(small) - 1)
        flipped = bytearray(small)
        flipped[at] ^= 1 << rng.randrange(8)
        if flipped[at] != ord("\n") and small[at] != ord("\n"):
            number = 1 + small[:at].count(b"\n")
            assert f"line {number}" in read(bytes(flipped)) or number == 1


def test_lines_that_were_moved(small: bytes) -> None:
    """A line that was taken out, doubled or put elsewhere is seen."""
    lines = small.splitlines(keepends=True)
    for number in range(1, len(lines) - 1):
        without = b"".join(lines[:number] + lines[number + 1 :])
        twice = b"".join(lines[: number + 1] + lines[number:])
        assert f"line {number + 1}" in read(without)
        assert f"line {number + 2}" in read(twice)
    assert read(small + b"\n") == f"run.scull goes on behind its end in line {len(lines)}"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (b"", "is no recording of scullvfs"),
        (b"\0" * 5000, "is no recording of scullvfs"),
        (b"\n" * 5000, "is no recording of scullvfs"),
        (b'{"scullvfs":"' + b"x" * LONGEST, "has a line 1 that is too long to be one"),
        (
            b'{"scullvfs":"9.0","recording":2,',
            f"is a recording of format 2, and this scullvfs ({scullvfs.__version__}) "
            "reads format 1",
        ),
        (
            b'{"scullvfs":"9.0","recording":' + b"9" * 5000 + b",",
            f"is a recording of format {'9' * 20}, and this scullvfs ({scullvfs.__version__}) "
            "reads format 1",
        ),
        (summed([b'{"scullvfs":"9.0","recording":1']), "is damaged in line 1"),
        (summed([b'{"scullvfs":"' + b"[" * 100_000]), "is damaged in line 1"),
    ],
)
def test_not_a_recording(text: bytes, what: str) -> None:
    """Other files, formats to come, and what is made to look like one."""
    assert read(text) == f"run.scull {what}"


@pytest.mark.parametrize(
    "options",
    ["mem=5T", "mem=4M,devs=0", "arch=vax", "nonsense", "order=18,qset=524287", "\\", "\ud800=1"],
)
def test_options_of_no_mount(small: bytes, options: str) -> None:
    """A header that asks for a mount that cannot be."""
    head = Header(options, False, [], [], 0).text().encode()
    said = read(summed([head, *bodies(small)[1:]]))
    if options != "mem=5T":  # which some host may have
        assert said.startswith("run.scull has options of a mount that this version has not: ")


@pytest.mark.parametrize(
    "line",
    [
        b'{"n":1',
        b'{"n":1,"at":1,"by":[1,2,3]',
        b'{"n":1,"at":1,"by":[1,2,3],"call":"__init__"',
        b'{"n":1,"at":1,"by":[1,2,3],"call":["read"]',
        b'{"n":1,"at":1,"by":[1,2],"call":"getattr","ino":1',
        b'{"n":1,"at":1,"by":1,"call":"getattr","ino":1',
        b'{"n":2,"at":1,"by":[1,2,3],"call":"getattr","ino":1',
        b'{"n":1,"at":-1,"by":[1,2,3],"call":"getattr","ino":1',
        b'{"n":1,"at":1,"by":[1,2,3],"call":"getattr","ino":1,"asks":[1]',
        b'{"n":1,"at":1,"by":[1,2,3],"call":"getattr","ino":1,"asks":["comm",1]',
        b'{"n":1,"at":1,"by":[1,2,3],"call":"getattr","ino":1,"asks":["eval","1"]',
        b'{"n":1,"at":1,"by":[1,2,3],"call":"getattr","ino":true',
        b'{"n":1,"at":1,"by":[1,2,3],"call":"getattr","ino":1e300',
        b'{"n":1,"at":1,"by":[1,2,3],"call":"lookup","parent":1,"name":"\\u0100"',
        b'{"n":1,"at":1,"by":[1,2,3],"call":"read","fh":1,"off":0,"size":1e9,"page_cache":false',
        b'{"n":1,"at":1,"by":[1,2,3],"call":"read","fh":1,"off":0,"size":1048577,"page_cache":true',
        b'{"n":1,"at":1,"by":[1,2,3],"call":"write","fh":1,"off":0,"size":9,"flags":0',
        b'{"n":1,"at":1,"by":[1,2,3],"call":"write","fh":1,"off":0,"size":9,"flags":0,"text":"a"',
        b'{"n":1,"at":1,"by":[1,2,3],"call":"write","fh":1,"off":0,"size":9,"flags":0,"data":"@"',
        b'{"n":1,"at":1,"by":[1,2,3],"call":"write","fh":1,"off":0,"size":9,"flags":0,"crc":8',
        b'{"of":1,"at":1,"steps":1',
        b'{"of":[],"at":1,"steps":1',
        b'{"of":1,"at":1,"by":[1,2,3],"again":true',
        b'{"at":1,"idle":-1',
        b'{"n":1,"at":1,"by":[1,2,3],"call":"getattr","ino":1,"touched":{"a":0}',
        b'{"n":1,"at":1,"by":[1,2,3],"call":"getattr","ino":1,"touched":[[]]',
        b'{"n":1,"at":1,"by":[1,2,3],"call":"getattr","ino":1,"gives":[[]]',
        b'{"n":1,"at":1,"by":[1,2,3],"call":"getattr","ino":1,"gives":1e999',
        b'{"n":1,"at":1,"by":[1,2,3],"call":"getattr","ino":1,"errno":5',
        b'{"n":1,"at":1,"by":[1,2,3],"call":"getattr","ino":1,"x":[' + b"[]," * LISTS + b"0]",
    ],
    ids=itertools.count(),
)
def test_lines_that_no_recorder_writes(small: bytes, line: bytes) -> None:
    """With a true sum, but not what a call could be: said so, and which line."""
    with pytest.raises(BadFileError, match="in line 2 what is no call that could be made"):
        replayed(summed([bodies(small)[0], line, b'{"end":1']))


@pytest.mark.parametrize(
    "line",
    [
        b'{"at":1,"idle":9,"by":7,"fh":[]',
        b'{"at":1,"idle":9,"by":[],"ino":{},"of":[]',
        b'{"at":1,"idle":9,"touched":["\\ud800\\n"]',
        b'{"at":1,"idle":9,"errno":"\\udc80\\ud800"',
    ],
)
def test_a_difference_of_what_is_no_call(small: bytes, line: bytes) -> None:
    """What else stands in its line, nobody looks at."""
    assert replayed(summed([bodies(small)[0], line, b'{"end":0'])).difference is not None


def test_idle_for_ever(small: bytes) -> None:
    """So many steps as there are not are a difference, and not made."""
    line = b'{"at":1,"idle":18446744073709551615'
    assert replayed(summed([bodies(small)[0], line, b'{"end":0'])).difference is not None


def mutated(recording: bytes, rng: Random) -> bytes:
    """What a bad disk, a bad link or a bad editor makes of it."""
    data = bytearray(recording)
    for _ in range(rng.choice((1, 1, 1, 3, 10))):
        at, size = rng.randrange(len(data)), rng.choice((1, 1, 4, 50, 1000))
        match rng.randrange(6):
            case 0:
                data[at] ^= 1 << rng.randrange(8)
            case 1:
                del data[at : at + size]
            case 2:
                data[at:at] = rng.randbytes(size)
            case 3:
                data[at:at] = data[at : at + size]
            case 4:
                data[at : at + size] = rng.choice((b"9" * 40, b"-1", b"null", b'"', b"\n", b"{}"))
            case _:
                del data[at:]
        if not data:
            break
    return bytes(data)


@pytest.mark.long
def test_fuzzed(small: bytes) -> None:
    """10,000 files of all sorts of damage, none of which passes for what it was."""
    rng = Random(2)
    tiny = summed([*bodies(small)[:6], b'{"end":5'])
    assert read(tiny) == ""
    for _ in range(10_000):
        other = mutated(tiny, rng)
        assert other == tiny or read(other)


NUMBERS = [0, 1, 2, -1, 4096, 65537, 1 << 20, 1 << 62, (1 << 64) - 1, 1 << 70, 2.5, 1e300]
VALUES: list[Any] = [*NUMBERS, True, None, "", "x", "open", [], [1], {}]


@pytest.mark.long
def test_fuzzed_with_true_sums(small: bytes) -> None:
    """Calls that nobody has made, as somebody may write who means ill: played, or refused."""
    rng = Random(3)
    lines = [json.loads(body + b"}") for body in bodies(small)]
    refused = different = 0
    for _ in range(rounds(500, 100)):
        changed = [dict(line) for line in lines]
        for _ in range(rng.choice((1, 1, 2))):
            line = changed[rng.randrange(1, len(changed))]
            line[rng.choice([*line])] = rng.choice(VALUES)
        texts = [json.dumps(line, separators=(",", ":"))[:-1].encode() for line in changed]
        try:
            different += replayed(summed(texts)).difference is not None
        except BadFileError:
            refused += 1
    assert refused > 20
    assert different > 10


def test_arguments_of_what_was_recorded(small: bytes) -> None:
    """Each call of a recording is one that can be made."""
    calls = [line for line in lines_of(small) if "call" in line]
    assert calls
    assert None not in [arguments(call) for call in calls]
