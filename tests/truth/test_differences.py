"""The list of differences: no entry too many, the page made of it, and the judge itself."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from . import conditions, differences, judge
from .conftest import RECORDINGS, TRANSCRIPTS
from .differences_page import DATA, PAGE, page

DIFFERENCES = differences.load()

OPEN = {"op": "open", "fd": "a"}, {"ret": 0}, {"ret": 0}
WRITE = {"op": "write", "fd": "a", "data": {"text": "0123"}}, {"ret": 4}, {"ret": 4}


def judged(
    *steps: tuple[dict[str, Any], dict[str, Any], dict[str, Any]],
    driver: str = "scullv",
    insmod: dict[str, int] | None = None,
) -> list[str | None]:
    """The verdicts on steps with their recorded results and those here."""
    one = judge.Judge(DIFFERENCES, driver, insmod)
    return [one.step(step, recorded, got) for step, recorded, got in steps]


def data(text: str) -> dict[str, Any]:
    """The result of a read."""
    return {"len": len(text), "hex": text.encode().hex()}


# -- the list ----------------------------------------------------------------------------------


def test_entries_are_needed() -> None:
    """Each names a recording, and to play that one fails unless a step falls under the entry."""
    assert {difference.shown for difference in DIFFERENCES} <= {*RECORDINGS, *TRANSCRIPTS}


def test_entries_bear_different_names() -> None:
    """A verdict names one entry."""
    names = [difference.name for difference in DIFFERENCES]
    assert len(names) == len({*names})


def test_conditions_exist_and_are_used() -> None:
    """An entry's conditions are those that the judge knows."""
    used = {cause.when for difference in DIFFERENCES for cause in difference.steps} - {""}
    assert used == conditions.WHEN.keys()


def test_page_is_up_to_date() -> None:
    """docs/differences.md is what differences_page.py makes of the list."""
    assert PAGE.read_text() == page(), f"run {DATA.with_name('differences_page.py')}"


def test_page_has_each_entry() -> None:
    """The page has a section for each entry, in the order of the list."""
    sections = re.findall("^## (.*)", page(), re.MULTILINE)
    assert sections == [difference.name for difference in DIFFERENCES]


# -- the judge ---------------------------------------------------------------------------------


def test_judge_equal_step() -> None:
    """A step as recorded falls under nothing."""
    assert judged(OPEN, WRITE) == ["", ""]


@pytest.mark.parametrize(
    ("step", "recorded", "got"),
    [
        ({"op": "write", "fd": "a", "data": {"text": "0123"}}, {"ret": 4}, {"ret": 3}),
        ({"op": "read", "fd": "a", "n": 4}, data(""), data("0123")),
        ({"op": "lseek", "fd": "a", "off": 0, "whence": "HOLE"}, {"errno": "EINVAL"}, {"ret": 0}),
        ({"op": "lseek", "fd": "a", "off": 0, "whence": "END"}, {"ret": 0}, {"ret": 4}),
        ({"op": "ioctl", "fd": "a", "cmd": "QORDER"}, {"ret": 4}, {"ret": 3}),
        ({"op": "ioctl", "fd": "a", "cmd": "TORDER", "arg": 3}, {"ret": 0}, {"errno": "EINVAL"}),
        ({"op": "ioctl", "fd": "a", "cmd": "0x4b0d"}, {"errno": "ENOTTY"}, {"errno": "EFAULT"}),
        ({"op": "fsync", "fd": "a"}, {"errno": "EINVAL"}, {"errno": "EIO"}),
        ({"op": "fstat", "fd": "a"}, {"kind": "chr", "size": 0}, {"kind": "reg", "size": 9}),
        ({"op": "truncate", "size": 0}, {"errno": "EINVAL"}, {"errno": "EPERM"}),
        ({"op": "open", "fd": "b", "flags": ["O_WRONLY"]}, {"ret": 0}, {"errno": "EBUSY"}),
    ],
    ids=lambda value: value.get("op") if isinstance(value, dict) else None,
)
def test_judge_unlisted_difference(
    step: dict[str, Any], recorded: dict[str, Any], got: dict[str, Any]
) -> None:
    """A step that differs in what no entry speaks of is not allowed."""
    assert judged(OPEN, (step, recorded, got)) == ["", None]


def test_judge_entry_with_its_consequences() -> None:
    """After O_TRUNC the device is empty, until it is empty in the real driver too."""
    truncating = {"op": "open", "fd": "b", "flags": ["O_RDWR", "O_TRUNC"]}
    emptying = {"op": "open", "fd": "c", "flags": ["O_WRONLY"]}
    read = {"op": "pread", "fd": "a", "n": 4, "at": 0}, data("0123"), data("")
    assert judged(
        OPEN, WRITE, (truncating, {"ret": 0}, {"ret": 0}), read,
        (emptying, {"ret": 0}, {"ret": 0}), read,
    ) == ["", "", "", "O_TRUNC", "", None]  # fmt: skip


def test_judge_consequence_stays_on_its_device() -> None:
    """What happens to one device excuses nothing on another."""
    truncate = {"op": "truncate", "dev": 1, "size": 0}
    read = {"op": "pread", "fd": "a", "n": 4, "at": 0}
    assert judged(
        OPEN, WRITE, (truncate, {"errno": "EINVAL"}, {"ret": 0}), (read, data("0123"), data(""))
    ) == ["", "", "truncate", None]


def test_judge_consequence_excuses_only_what_hangs_on_it() -> None:
    """Other content on a device is no excuse for a short write or a failing lseek."""
    truncate = {"op": "truncate", "size": 1}
    write = {"op": "pwrite", "fd": "a", "data": {"text": "0123"}, "at": 0}
    lseek = {"op": "lseek", "fd": "a", "off": 0, "whence": "SET"}
    assert judged(
        OPEN, WRITE, (truncate, {"errno": "EINVAL"}, {"ret": 0}),
        (write, {"ret": 4}, {"ret": 3}), (lseek, {"ret": 0}, {"errno": "EINVAL"}),
    )[2:] == ["truncate", None, None]  # fmt: skip


def test_judge_position_is_whole_again() -> None:
    """A position that differs is known again when lseek gives the same in both."""
    readv = {"op": "readv", "fd": "a", "ns": [4]}
    read = {"op": "read", "fd": "a", "n": 4}
    seek = {"op": "lseek", "fd": "a", "off": 0, "whence": "SET"}
    assert judged(
        OPEN, WRITE, (seek, {"ret": 0}, {"ret": 0}), (readv, data(""), data("0123")),
        (read, data("0123"), data("")), (seek, {"ret": 0}, {"ret": 0}),
        (read, data("0123"), data("")),
    )[3:] == ["readv and writev", "readv and writev", "", None]  # fmt: skip


def test_judge_append_at_the_end() -> None:
    """O_APPEND excuses nothing when the position is at the end anyway."""
    appending = {"op": "open", "fd": "a", "flags": ["O_RDWR", "O_APPEND"]}
    read = {"op": "pread", "fd": "a", "n": 4, "at": 0}
    assert judged(
        (appending, {"ret": 0}, {"ret": 0}), WRITE, (read, data("0123"), data("012"))
    ) == ["", "", None]


def test_judge_parameter_is_whole_again() -> None:
    """A value out of range is in what ioctl says of it, until another is set; no other is."""
    wrong = {"op": "ioctl", "fd": "a", "cmd": "TORDER", "arg": -1}
    right = {"op": "ioctl", "fd": "a", "cmd": "TORDER", "arg": 1}
    order = {"op": "ioctl", "fd": "a", "cmd": "QORDER"}, {"errno": "EPERM"}, {"ret": 4}
    qset = {"op": "ioctl", "fd": "a", "cmd": "QQSET"}, {"ret": 500}, {"ret": 499}
    name = "values out of range"
    assert judged(
        OPEN, (wrong, {"ret": 0}, {"errno": "EINVAL"}), order, qset,
        (right, {"ret": 0}, {"ret": 0}), order,
    ) == ["", name, name, None, "", None]  # fmt: skip


def test_judge_listing_that_goes_on() -> None:
    """A listing may go on where the real one was cut, not where it was whole."""
    whole = "\nDevice 0: qset 500, order 4, sz 0\n  item at PTR, qset at NULL\n"
    cut = whole + "  item at PTR, qset at NULL\n" * 90
    step = {"op": "scullvmem"}
    more = "  item at PTR, qset at NULL\n"
    assert judged(
        (step, {"text": whole}, {"text": whole + more}),
        (step, {"text": cut}, {"text": cut + more}),
        (step, {"text": cut}, {"text": cut[:-1]}),
    ) == [None, "", None]


def test_judge_listing_of_spoiled_device() -> None:
    """In a listing only the device that a difference spoiled may differ."""

    def listing(*sizes: int) -> dict[str, str]:
        blocks = (f"\nDevice {n}: qset 500, order 4, sz {size}\n" for n, size in enumerate(sizes))
        return {"text": "".join(blocks)}

    truncate = {"op": "truncate", "dev": 1, "size": 7}, {"errno": "EINVAL"}, {"ret": 0}
    step = {"op": "scullvmem"}
    assert judged(
        truncate, (step, listing(0, 0), listing(0, 7)), (step, listing(0, 0), listing(1, 7))
    ) == ["truncate", "truncate", None]


def test_judge_later_item() -> None:
    """Behind the first page of a quantum in a later item the real driver is no judge."""
    order = {"op": "ioctl", "fd": "a", "cmd": "TORDER", "arg": 1}
    qset = {"op": "ioctl", "fd": "a", "cmd": "TQSET", "arg": 2}
    empty = {"op": "open", "fd": "w", "flags": ["O_WRONLY"]}
    fine = {"op": "pwrite", "fd": "a", "data": {"fill": "x", "len": 4096}, "at": 16384}
    too_much = {"op": "pwrite", "fd": "a", "data": {"fill": "x", "len": 4097}, "at": 16384}
    done = {"ret": 0}, {"ret": 0}
    assert judged(
        OPEN, (order, *done), (qset, *done), (empty, *done),
        (fine, {"ret": 1}, {"ret": 4096}), (too_much, {"signal": "SIGKILL"}, {"ret": 4097}),
    )[4:] == [None, "later items"]  # fmt: skip


@pytest.mark.parametrize("driver", ["scullc", "scull"])
def test_judge_later_item_of_other_memory(driver: str) -> None:
    """Quanta that are no pages have their size in later items, too."""
    write = {"op": "pwrite", "fd": "a", "data": {"fill": "x", "len": 5000}, "at": 1 << 23}
    assert judged(OPEN, (write, {"ret": 4000}, {"ret": 3999}), driver=driver)[1:] == [None]


def test_judge_after_a_crash() -> None:
    """Who waits for a dead one's lock is excused, until somebody has got it."""
    qset = {"op": "ioctl", "fd": "a", "cmd": "TQSET", "arg": 0}, {"ret": 0}, {"errno": "EINVAL"}
    empty = {"op": "open", "fd": "w", "flags": ["O_WRONLY"]}, {"ret": 0}, {"ret": 0}
    reset = {"op": "ioctl", "fd": "a", "cmd": "RESET"}, {"ret": 0}, {"ret": 0}
    write = {"op": "write", "fd": "a", "data": {"text": "x"}}
    again = {"op": "open", "fd": "z", "flags": ["O_WRONLY"], "guard": 2}
    listing = {"op": "scullpmem", "guard": 2}, {"timeout": True}, {"text": ""}
    hung, crash = "after a crash", "values out of range"
    assert judged(
        OPEN, listing, qset, empty, reset,
        (write, {"signal": "SIGSEGV"}, {"ret": 1}), (again, {"timeout": True}, {"ret": 0}),
        listing, (again, {"ret": 0}, {"ret": 0}), listing,
        (again, {"timeout": True}, {"ret": 0}),
        driver="scullp",
    ) == ["", None, crash, "", "", crash, hung, hung, "", None, None]  # fmt: skip


def test_judge_crash_with_a_sound_geometry() -> None:
    """What is in order does not crash, but for scullc where nothing may be copied."""
    crash = WRITE[0], {"signal": "SIGSEGV"}, {"ret": 4}
    verdicts = {name: judged(OPEN, crash, driver=name)[1] for name in ("scull", "scullc", "scullp")}
    assert verdicts == {"scull": None, "scullc": "usercopy check", "scullp": None}


@pytest.mark.parametrize(
    ("insmod", "quantum", "verdict"),
    [
        ({}, 4032, None),
        ({}, 4033, "quanta larger than scullc's objects"),
        ({"scullc_quantum": 10}, 16, None),
        ({"scullc_quantum": 10}, 17, "quanta larger than scullc's objects"),
        ({"scullc_quantum": 65536}, 4033, None),
        ({}, 0, "values out of range"),
    ],
)
def test_judge_objects_of_a_cache(
    insmod: dict[str, int], quantum: int, verdict: str | None
) -> None:
    """A quantum may have the bytes that an object takes, which are whole parts of a cache line."""
    tell = {"op": "ioctl", "fd": "a", "cmd": "TQUANTUM", "arg": quantum}
    refused = tell, {"ret": 0}, {"errno": "EINVAL"}
    assert judged(OPEN, refused, driver="scullc", insmod=insmod)[1] == verdict


def test_judge_command_by_its_number() -> None:
    """An entry about a command holds for its number, too, which is another in each driver."""
    result = {"errno": "EPERM"}, {"errno": "EFAULT"}
    steps = [
        {"op": "ioctl", "fd": "a", "cmd": hex(nr), "bad": 0} for nr in (0x40046B01, 0x40044B01)
    ]
    assert judged(OPEN, *[(step, *result) for step in steps], driver="scull")[1:] == [
        "forbidden ioctl through a bad pointer",
        None,
    ]


def test_judge_refused_command() -> None:
    """Who may not set a value has not set it, and is not told that it is wrong."""
    tell = {"op": "ioctl", "fd": "a", "cmd": "TQUANTUM", "arg": 0, "uid": 65534}
    query = {"op": "ioctl", "fd": "a", "cmd": "QQUANTUM"}
    assert judged(
        OPEN, (tell, {"errno": "EPERM"}, {"errno": "EINVAL"}), (query, {"ret": 4000}, {"ret": 0}),
        driver="scull",
    )[1:] == [None, None]  # fmt: skip


def test_judge_parts_of_one_call() -> None:
    """scull's readv goes on behind a part that ends with its quantum; elsewhere it is as read."""
    ends = {"op": "readv", "fd": "a", "ns": [4000, 4]}
    other = {"op": "readv", "fd": "a", "ns": [3999, 4]}
    results = {"len": 4000}, {"len": 4004}
    name = "readv and writev"
    assert judged(OPEN, (ends, *results), driver="scull")[1] == name
    assert judged(OPEN, (other, *results), driver="scull")[1] is None
    assert judged(OPEN, (ends, *results), driver="scullc")[1] is None


def test_judge_mapping_that_is_only_here() -> None:
    """What is done with a mapping that the real driver refuses falls under that; no other does."""
    mmap = {"op": "mmap", "map": "m", "fd": "a", "len": 4096}
    read = {"op": "mread", "map": "m", "at": 0, "n": 1}, {"skipped": "not open"}, data("x")
    unmap = {"op": "munmap", "map": "m"}, {"skipped": "not open"}, {"ret": 0}
    refused = {"errno": "ENODEV"}, {"ret": 0}
    assert judged(
        OPEN, (mmap, *refused), read, ({**mmap, "flags": "private"}, *refused), read, unmap, read,
        driver="scullc",
    )[1:] == [None, None, "mappings", "mappings", "mappings", None]  # fmt: skip


def test_judge_memory_used_up() -> None:
    """A write may fail in the real machine, and not here, when little of its RAM is left."""
    write = {"op": "write", "fd": "a", "data": {"fill": "x", "len": 1 << 22}}
    fails = write, {"errno": "ENOMEM"}, {"ret": 1 << 22}
    fill = {"op": "pwrite", "fd": "a", "at": 600 << 20, "data": {"text": "x"}}
    assert judged(OPEN, fails, (fill, {"ret": 1}, {"ret": 1}), fails)[1:] == [
        None, "", "memory used up",
    ]  # fmt: skip


def test_judge_long_lists() -> None:
    """Only a list of millions takes long to empty."""
    empty = (
        {"op": "open", "fd": "z", "flags": ["O_WRONLY"], "guard": 2},
        {"timeout": True},
        {"ret": 0},
    )
    for at, verdict in ((1 << 45, "long lists"), (1 << 40, None)):
        far = {"op": "pwrite", "fd": "a", "at": at, "data": {"text": "x"}}
        assert judged(OPEN, (far, {"ret": 1}, {"ret": 1}), empty, driver="scull")[2] == verdict


def test_judge_listing_that_is_whole() -> None:
    """/proc/scullseq is never cut."""
    item = "  item at PTR, qset at PTR\n"
    cut = "\nDevice 0: qset 1, q 100, sz 0\n" + item * 90
    steps = [({"op": op}, {"text": cut}, {"text": cut + item}) for op in ("scullmem", "scullseq")]
    assert judged(*steps, driver="scull") == ["", None]


def test_judge_unknown_name() -> None:
    """An entry cannot spoil what the judge does not know."""
    cause = differences.Cause("wrong", ["close"], spoils=["mood"])
    entry = differences.Difference("wrong", Path(), "", "", "", [cause], [])
    with pytest.raises(ValueError, match="mood"):
        judge.Judge([entry]).step({"op": "close", "fd": "a"}, {"ret": 0}, {"ret": 0})
