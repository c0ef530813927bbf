"""The list of differences: no entry too many, the page made of it, and the judge itself."""

from __future__ import annotations

import re
from typing import Any

import pytest

from . import judge
from .conftest import RECORDINGS, TRANSCRIPTS, Stage
from .differences_page import DATA, PAGE, page

DIFFERENCES = judge.load()

OPEN = {"op": "open", "fd": "a"}, {"ret": 0}, {"ret": 0}
WRITE = {"op": "write", "fd": "a", "data": {"text": "0123"}}, {"ret": 4}, {"ret": 4}


def judged(*steps: tuple[dict[str, Any], dict[str, Any], dict[str, Any]]) -> list[str | None]:
    """The verdicts on steps with their recorded results and those here."""
    one = judge.Judge(DIFFERENCES)
    return [one.step(step, recorded, got) for step, recorded, got in steps]


def data(text: str) -> dict[str, Any]:
    """The result of a read."""
    return {"len": len(text), "hex": text.encode().hex()}


# -- the list ----------------------------------------------------------------------------------


@pytest.mark.parametrize("difference", DIFFERENCES, ids=lambda difference: difference.name)
def test_entry_is_needed(stage: Stage, difference: judge.Difference) -> None:
    """Some step of some recording falls under each entry."""
    needed = {
        cause.name
        for recording in RECORDINGS + TRANSCRIPTS
        for cause in stage.played(recording).used
    }
    assert difference.name in needed


def test_entries_bear_different_names() -> None:
    """A verdict names one entry."""
    names = [difference.name for difference in DIFFERENCES]
    assert len(names) == len({*names})


def test_conditions_exist_and_are_used() -> None:
    """An entry's conditions are those that the judge knows."""
    used = {cause.when for difference in DIFFERENCES for cause in difference.steps} - {""}
    assert used == judge.WHEN.keys()


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
    )[3:] == ["readv", "readv", "", None]  # fmt: skip


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


def test_judge_unknown_name() -> None:
    """An entry cannot spoil what the judge does not know."""
    cause = judge.Cause("wrong", ["close"], spoils=["mood"])
    entry = judge.Difference("wrong", "", "", "", [cause], [])
    with pytest.raises(ValueError, match="mood"):
        judge.Judge([entry]).step({"op": "close", "fd": "a"}, {"ret": 0}, {"ret": 0})
