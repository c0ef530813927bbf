"""What of the extension needs no mount, beside the same in Python: copying into page frames, and
writing the lines of a recording."""

from __future__ import annotations

import errno
import random
import sys
from array import array
from types import SimpleNamespace
from typing import Any

import pytest

from scullvfs.fs.calls import CallTable
from scullvfs.fs.node import Directory
from scullvfs.fs.tree import Tree
from scullvfs.fuse import lowlevel
from scullvfs.fuse.lowlevel import Handlers
from scullvfs.fuse.operations import Operations
from scullvfs.mm import LAYOUTS, PAGE_SIZE, Machine
from scullvfs.mm import scatterlist as in_python
from scullvfs.mm.scatterlist import Scatterlist
from scullvfs.mm.sched import Running
from scullvfs.recording import lines as plain_lines

P = PAGE_SIZE


def test_it_is_in_c() -> None:
    """Else the tests below compare Python with itself."""
    assert lowlevel.sg_copy_from_buffer is not in_python.sg_copy_from_buffer


@pytest.mark.parametrize("arch", LAYOUTS)
@pytest.mark.parametrize(("offset", "count"), [(0, P), (0, 16 * P), (4095, 2), (7, 16 * P - 7)])
def test_sg_copy_from_buffer(arch: str, offset: int, count: int) -> None:
    """All of RAM is the same afterwards, whoever copies; frames and entries are a machine's."""
    data = random.Random(count).randbytes(count)
    rams = []
    for copy in (in_python.sg_copy_from_buffer, lowlevel.sg_copy_from_buffer):
        machine = Machine(4 << 20, arch, seed=3)
        address = machine.vm.vzalloc(16 * P)
        assert address is not None
        copy(machine.memory._scatterlist(address + offset, count, write=True), data)
        assert bytes(machine.memory.read(address + offset, count)) == data
        rams.append(bytes(machine.ram.bytes))
    assert rams[0] == rams[1]


def test_a_mount_copies_in_c(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its machine writes several pages by it, and one page without."""
    copied: list[int] = []
    monkeypatch.setattr(lowlevel, "sg_copy_from_buffer", lambda sg, data: copied.append(len(data)))
    machine = Machine(4 << 20)
    Operations(Tree(Directory(0, 0)), machine)
    address = machine.vm.vmalloc(3 * P)
    assert address is not None
    machine.memory.write(address, b"x" * P)
    machine.memory.write(address, b"x" * 2 * P)
    assert copied == [2 * P]


def handlers() -> Handlers:
    """Some that nobody calls."""

    def never(*args: Any) -> Any:
        raise AssertionError

    return Handlers(Running(), CallTable(["scullv0"]).numbers, *[never] * 8)


@pytest.mark.parametrize(
    ("max_write", "number"),
    [(P - 1, 1), ((1 << 20) + 1, 1), (-1, 1), (P, 0), (P, -5), (P, 1000)],
)
def test_serve_with_bounds(max_write: int, number: int) -> None:
    """A size that no request can have, or no errno, is refused."""
    with pytest.raises(ValueError, match=r"requests of|no errno"):
        lowlevel.serve_with(handlers(), max_write, number, True)


@pytest.mark.parametrize(("max_write", "number"), [(P, 1), (1 << 20, 999), (65537, errno.EINVAL)])
def test_serve_with(max_write: int, number: int) -> None:
    """The first and the last of each, and what a mount takes."""
    lowlevel.serve_with(handlers(), max_write, number, True)


RAM = 8 * P


MASK = 0xFFFF_FFFF_F000


def words(*frames: int) -> array[int]:
    """Frames, with a bit that is none of their address."""
    return array("Q", [frame * P | 1 for frame in frames])


def sg(**changed: Any) -> Any:
    """Two pages of a RAM of eight, but for what is changed."""
    fields = {
        "ram": memoryview(bytearray(RAM)),
        "words": words(5, 7),
        "address_bits": MASK,
        "offset": 0,
        "count": 2 * P,
    }
    return SimpleNamespace(**(fields | changed))


@pytest.mark.parametrize(
    "changed",
    [
        {"words": words(5, 8)},
        {"words": words(5)},
        {"words": words(), "count": 1},
        {"words": array("H", [1] * 8)},
        {"address_bits": (1 << 64) - 1},
        {"offset": 1},
        {"offset": P, "count": P},
        {"count": 1 << 63},
        {"ram": memoryview(bytearray(P))},
    ],
    ids=["frame", "one", "none", "width", "bits", "offset", "page", "count", "ram"],
)
def test_sg_copy_from_buffer_stays_in_ram(changed: dict[str, Any]) -> None:
    """A frame behind RAM, or more bytes than there are pages, and nothing is copied."""
    bad = sg(**changed)
    with pytest.raises(ValueError, match="not in RAM"):
        lowlevel.sg_copy_from_buffer(bad, b"x" * 2 * P)
    assert bytes(bad.ram) == bytes(len(bad.ram))


@pytest.mark.parametrize(
    ("changed", "data", "error"),
    [
        ({}, b"x" * (2 * P - 1), ValueError),
        ({}, "text", TypeError),
        ({"ram": bytes(RAM)}, b"x" * 2 * P, BufferError),
        ({"words": [1, 2]}, b"x" * 2 * P, TypeError),
        ({"offset": -1}, b"x" * 2 * P, OverflowError),
        ({"address_bits": None}, b"x" * 2 * P, TypeError),
    ],
    ids=["data", "type", "read-only", "list", "negative", "none"],
)
def test_sg_copy_from_buffer_of_something_else(
    changed: dict[str, Any], data: Any, error: type[Exception]
) -> None:
    """Is an exception, and leaves no buffer in use."""
    bad = sg(**changed)
    # CPython may drop an exception when it has to look for an attribute anew.
    clear_caches = getattr(sys, "_clear_internal_caches", None) or sys._clear_type_cache
    clear_caches()
    with pytest.raises(error):
        lowlevel.sg_copy_from_buffer(bad, data)
    if isinstance(bad.ram, memoryview):
        bad.ram.release()


def test_sg_copy_from_buffer_keeps_nothing() -> None:
    """No reference to what it was given."""
    ram, data = memoryview(bytearray(RAM)), b"x" * 2 * P
    frames = words(5, 7)
    view = Scatterlist(ram, frames, MASK, 0, 2 * P)
    objects = (ram, frames, view, data)
    before = [sys.getrefcount(each) for each in objects]
    for _ in range(1000):
        lowlevel.sg_copy_from_buffer(view, data)
    assert [sys.getrefcount(each) for each in objects] == before


def test_write_lines() -> None:
    """Lines of all that can stand in one, and data of many lengths, are as in Python."""
    assert lowlevel.write_lines is not None
    rng = random.Random(7)
    lengths = [*range(300), 4095, 4096, 65536]
    entries: list[tuple[Any, ...]] = [
        ("{",),
        ("%s", ""),
        ('{"a":%d,"b":%d,"c":%d', 0, (1 << 64) - 1, -(1 << 63)),
        ('{"a":%s,"b":"%08x","c":"%08x"', 12, 0, 0xFFFFFFFF),
        ("%s", '{"a":"100%d"'),
        *[('{"n":%d,"data":"%s","gives":%d', n, rng.randbytes(n), n) for n in lengths],
    ]
    for begun in (0, 0xDEADBEEF):
        written = lowlevel.write_lines(entries, begun)
        assert written == plain_lines.write_lines(entries, begun)
        assert type(written[0]) is bytes
    assert lowlevel.write_lines([], 5) == plain_lines.write_lines([], 5) == (b"", 5)


@pytest.mark.parametrize(
    ("entry", "error"),
    [
        (("%d",), ValueError),
        (("%d", 1, 2), ValueError),
        (("%x", 1), ValueError),
        (("%", 1), ValueError),
        (("%d", 1.5), TypeError),
        (("%08x", "1"), TypeError),
        (("%08x", 1 << 64), OverflowError),
        ((b"%d", 1), TypeError),
        ((), TypeError),
        (["%d", 1], TypeError),
    ],
)
def test_write_lines_of_something_else(entry: Any, error: type[Exception]) -> None:
    """A form that does not fit its values, or a value that cannot stand in a line."""
    assert lowlevel.write_lines is not None
    with pytest.raises(error):
        lowlevel.write_lines([("{",), entry], 0)
    assert lowlevel.write_lines([("{",)], 0) == plain_lines.write_lines([("{",)], 0)


def test_sum_of() -> None:
    """It is CRC-32, of any length wherever it begins, and of what is scattered."""
    if lowlevel.sum_of is None:
        pytest.skip("this CPU has nothing for it")
    data = memoryview(random.Random(1).randbytes(70_000))
    for count in (*range(600), 4096, 65_536):
        for offset in (0, 1, 7):
            part = data[offset : offset + count]
            assert lowlevel.sum_of(part) == plain_lines.sum_of(part)
    machine = Machine(4 << 20, seed=3)
    address = machine.vm.vmalloc(16 * P)
    assert address is not None
    machine.memory.write(address, data[: 16 * P])
    for offset, count in ((0, 16 * P), (4095, 2), (7, 9 * P)):
        view = machine.memory.read(address + offset, count)
        assert lowlevel.sum_of(view) == plain_lines.sum_of(data[offset : offset + count])
    with pytest.raises(ValueError, match="not in RAM"):
        lowlevel.sum_of(sg(words=words(5, 8)))
    with pytest.raises((AttributeError, TypeError)):
        lowlevel.sum_of("text")  # type: ignore[arg-type]


def test_lines_keep_nothing() -> None:
    """No reference to what they were given."""
    assert lowlevel.write_lines is not None
    data, words_of = bytes(range(256)) * 1000, "".join(["w", "ords"])
    entries: list[tuple[Any, ...]] = [("%s %s %d", data, words_of, 1 << 62)]
    objects = (data, words_of, entries, entries[0])
    before = [sys.getrefcount(each) for each in objects]
    for _ in range(100):
        lowlevel.write_lines(entries, 0)
    assert [sys.getrefcount(each) for each in objects] == before
