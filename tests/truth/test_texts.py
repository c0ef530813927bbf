"""The machine's texts against those of a real kernel, 6.12: the same lines, fields and columns.

Numbers differ, nothing else does.  The recordings are in `text`; the longest ones are shortened.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from scullvfs.fs.proc import TEXTS, Vmallocinfo
from scullvfs.fs.seq_file import text_of
from scullvfs.mm import Machine

from .structure import Structure, differences

MIB = 1 << 20

RECORDINGS = Path(__file__).parent / "text"

CALLER = {"CALLER": r"\S+\+0x\S+(?: \[\w+\])?|scullv_write \[scullv\]"}
"""The machine has no code, so its callers have no offset."""

NAMES: dict[str, dict[str, str]] = {
    "buddyinfo": {"ZONE": "DMA|DMA32|Normal"},
    "iomem": {"RANGE": r"[0-9a-f]{8,}-[0-9a-f]{8,}"},
    # The one line that goes by another format is held against itself.
    "meminfo": {"FIELD": r"(?!HardwareCorrupted)\w+(?:\(\w+\))?:"},
}
"""File in proc/ -> what may have any name, and has the same format in all lines."""


def recorded(name: str) -> str:
    """The text of a recording."""
    return (RECORDINGS / f"{name}.txt").read_text()


def used(mem: int = 64 * MIB) -> Machine:
    """A machine on which something of every kind is allocated, and something is freed."""
    machine = Machine(mem)
    vm, caller = machine.vm, "scullv_write [scullv]"
    areas = [vm.vmalloc(size, caller) for size in (4096, 65536, 3 * MIB, 12 * MIB, 65536, 65536)]
    for area in (areas[4], areas[1], areas[5], areas[3]):
        vm.vfree(area)
    vm.ioremap(0xFED0_0000, 4096, caller)
    frames = machine.page_alloc.alloc_pages_bulk(4)
    assert frames is not None
    vm.vmap(frames, caller=caller)
    for size in (8, 100, 5000, 100_000):
        machine.slab.kmalloc(size)
    return machine


def shown(name: str, machine: Machine) -> str:
    """The text of a file in proc/."""
    return TEXTS[name][1](machine)


# the judge itself


def wider(text: str, column: int) -> str:
    """A text whose lines have a blank more before one of their fields."""
    return re.sub(rf"(?m)^((?: *\S+){{{column}}} )", r"\1 ", text)


def without(text: str, column: int) -> str:
    """A text whose lines lack a field."""
    return re.sub(rf"(?m)^((?: *\S+){{{column}}}) *\S+", r"\1", text)


@pytest.mark.parametrize("name", NAMES)
def test_judge_finds_a_wider_column_and_one_that_is_missing(name: str) -> None:
    """Whichever it is; the text itself has no difference."""
    text = recorded(f"proc_{name}")
    assert not differences(text, text, NAMES[name])
    changed = 0
    for column in range(1, max(len(line.split()) for line in text.splitlines())):
        for change in (wider, without):
            other = change(text, column)
            if other != text:
                changed += 1
                assert differences(text, other, NAMES[name]), (change, column)
    assert changed >= 4


def test_judge_finds_lines() -> None:
    """One too few, one too many, or in another order; of many alike the number says nothing."""
    text = "a 1\nb 2\nc 3\n"
    assert not differences(text, "a 1\nb 7\nb 8\nc 3\n")
    assert differences(text, "a 1\nc 3\n") == ["no such line here: 'b # '"]
    assert differences(text, "a 1\nb 2\nc 3\nd 4\n") == ["no such line there: 'd # '"]
    assert differences(text, "b 2\na 1\nc 3\n")
    assert not differences(text, "c 3\na 1\n", ordered=False)


@pytest.mark.parametrize(
    ("theirs", "ours", "same"),
    [
        ("n:    12 kB\nn:  3456 kB\n", "n:     1 kB\n", True),
        ("n:    12 kB\nn:  3456 kB\n", "n:      1 kB\n", False),
        ("n:    12 kB\n", "n:    12 KB\n", False),
        ("at 0x00ff\n", "at 0x0123\n", True),
        ("at 0x00ff\n", "at 0x123\n", False),
        ("a 1 \n", "a 1\n", False),
    ],
)
def test_judge_knows_formats(theirs: str, ours: str, same: bool) -> None:
    """Numbers that are filled up on the left, units, digits, blanks at the end."""
    assert (not differences(theirs, ours)) == same


# the files


@pytest.mark.parametrize("name", ["buddyinfo", "meminfo"])
def test_file(name: str) -> None:
    """The same lines in the same order, field by field."""
    assert not differences(recorded(f"proc_{name}"), shown(name, used()), NAMES[name])


def test_meminfo_has_every_field() -> None:
    """By its name, in the same order, with the same unit."""
    theirs, ours = recorded("proc_meminfo").splitlines(), shown("meminfo", used()).splitlines()
    assert [line.split()[::2] for line in ours] == [line.split()[::2] for line in theirs]


def test_meminfo_vmalloc_total() -> None:
    """The window's size is one byte less than 32 TiB, as VMALLOC_END is its last address."""
    line = re.search("(?m)^VmallocTotal:.*", recorded("proc_meminfo"))
    assert line is not None
    assert line[0] in shown("meminfo", used())


def test_iomem() -> None:
    """Ranges have eight digits, or as many as they need."""
    text = shown("iomem", used(8 << 30))
    assert not differences(recorded("proc_iomem"), text, NAMES["iomem"], ordered=False)
    assert re.search("(?m)^[0-9a-f]{8}-[0-9a-f]{9} : ", text)


@pytest.mark.parametrize("name", ["vmallocinfo_kptr1", "vmallocinfo_after_trim"])
def test_vmallocinfo(name: str) -> None:
    """Each kind of line that is in the recording is in ours, and none that is not."""
    ours = text_of(Vmallocinfo(used()))
    theirs = recorded(name)
    kinds = Structure.of(theirs, CALLER).kinds
    ours = "".join(
        line
        for line in ours.splitlines(keepends=True)
        if name == "vmallocinfo_kptr1" or next(iter(Structure.of(line, CALLER).kinds)) in kinds
    )
    assert not differences(theirs, ours, CALLER, ordered=False)
    missing = kinds.keys() - Structure.of(ours, CALLER).kinds.keys()
    # The per-cpu allocator's areas have no pages of their own, and there is none here.
    assert missing <= {"0x<16>-0x<16> # CALLER vmalloc "}


@pytest.mark.parametrize("text", [recorded("vmallocinfo_kptr1"), text_of(Vmallocinfo(used()))])
def test_vmallocinfo_order(text: str) -> None:
    """Busy areas by address, then the unpurged ones by address."""
    lines = [line for line in text.splitlines() if line < "0xffffffff"]
    busy = [line for line in lines if "unpurged" not in line]
    unpurged = [line for line in lines if "unpurged" in line]
    assert lines == sorted(busy) + sorted(unpurged)
    assert len(unpurged) > 2
