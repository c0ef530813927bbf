"""Reports, checked: what a mount says of itself may be anything."""

from __future__ import annotations

import json
from typing import Any

import pytest

import scullvfs as package
from scullvfs.mounts.answers import parse_report
from scullvfs.options.table import MountOptions, parse_options

COUNTERS = {"calls": 3, "bytes": 4096, "errors": 0, "nanoseconds": 12345}
FAULT = {"injected": 3, "armed": True}
REPORT: dict[str, Any] = {
    "pid": 1,
    "version": package.__version__,
    "uptime": 1.5,
    "options": MountOptions().as_dict(),
    "ram": {"used": 0, "total": 1 << 30},
    "vmalloc": {"used": 0, "lazy": 0, "total": 1 << 45},
    "devices": 4,
    "requests": 1,
    "calls": {"scullv0": {"read": COUNTERS, "truncate": COUNTERS}, "scull12": {}},
    "faults": {
        "failslab": {"injected": 3, "armed": True},
        "scullv0/write": {"injected": 0, "armed": False},
    },
    "lowlevel": True,
    "rss": 1 << 20,
    "cpu": 0.5,
}
"""What is believed."""

OPTIONS = REPORT["options"]
NO_JSON = "its report is no JSON"
NO_VERSION = "its report has no version"


def test_report() -> None:
    """That of a daemon is taken as it is, and what is more than that is left out."""
    assert parse_report(json.dumps(REPORT | {"requests": None}).encode())["requests"] is None
    assert parse_report(json.dumps(REPORT | {"more": 1}).encode()) == REPORT
    given = parse_options(
        ["ro,allow_other,mode=0600,fsname=\u0442,arch=i386,seed=18446744073709551615"]
    )
    report = REPORT | {"options": given.as_dict()}
    assert parse_report(json.dumps(report).encode()) == report


def test_report_of_another_version() -> None:
    """Names and values are free; what does not print is shown."""
    report = {"version": "0.0", "\x1b[31m": ["\x1b]0;x\x07", "\ud800", None, -1.5, True]}
    assert parse_report(json.dumps(report).encode()) == {
        "version": "0.0",
        r"\033[31m": [r"\033]0;x\007", r"\355\240\200", None, -1.5, True],
    }


@pytest.mark.parametrize("text", ["", "[1,", "[" * 60000, "9" * 5000, "\udcff"], ids=range(5))
def test_report_no_json(text: str) -> None:
    """Neither what is cut, nor what is too deep or too long for Python."""
    with pytest.raises(ValueError, match=f"^{NO_JSON}$"):
        parse_report(text.encode(errors="surrogateescape"))


@pytest.mark.parametrize("text", ["[]", "{}", "1", '{"version": 1}', '{"version": "\\u001b"}'])
def test_report_no_version(text: str) -> None:
    """Without that nothing is known of the rest."""
    with pytest.raises(ValueError, match=f"^{NO_VERSION}$"):
        parse_report(text.encode())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("pid", value) for value in ("1", True, 0, -1, 1.0, None, 1 << 64)),
        *(("uptime", value) for value in (float("nan"), float("inf"), 10**400, 10**15, -1, "1")),
        ("cpu", 1e15),
        *(("rss", value) for value in (-1, 1.5, [1])),
        *(("ram", value) for value in ([], {}, {"used": 1}, {"used": 1, "total": "x"})),
        *(("options", OPTIONS | value) for value in ({"mem": "x"}, {"mem": 1}, {"\x1b": 1})),
        *(("options", OPTIONS | value) for value in ({"ro": 1}, {"fsname": "\ud800"}, {"uid": -1})),
        ("options", {}),
        ("lowlevel", 1),
        ("requests", -1),
        *(("calls", value) for value in (None, [], {"\x1b": {}}, {"scullv0\n": {}})),
        ("calls", {f"scullv{number}": {} for number in range(33)}),
        ("calls", {"scullv0": {"unlink": COUNTERS}}),
        *(("faults", value) for value in (None, [], {"\x1b": FAULT}, {"a b": FAULT}, {"x": 1})),
        ("faults", {f"fault{number}": FAULT for number in range(65)}),
        ("faults", {"failslab": FAULT | {"injected": -1}}),
        ("faults", {"failslab": FAULT | {"armed": 1}}),
        ("faults", {"failslab": FAULT | {"more": 1}}),
        ("calls", {"scullv0": ["read"]}),
        ("calls", {"scullv0": {"read": COUNTERS | {"more": 1}}}),
        ("calls", {"scullv0": {"read": COUNTERS | {"bytes": -1}}}),
    ],
)
def test_report_field(name: str, value: Any) -> None:
    """Each is of its type and within its range."""
    with pytest.raises(ValueError, match=f"^its report has no {name}, or none that can be$"):
        parse_report(json.dumps(REPORT | {name: value}).encode())


@pytest.mark.parametrize("name", [name for name in REPORT if name != "version"])
def test_report_without_a_field(name: str) -> None:
    """All of them are there."""
    report = {field: value for field, value in REPORT.items() if field != name}
    with pytest.raises(ValueError, match=f"^its report has no {name}, "):
        parse_report(json.dumps(report).encode())


@pytest.mark.parametrize("value", [[[[[[[]]]]]], 10**30, float("nan")], ids=range(3))
def test_report_of_another_version_is_plain(value: Any) -> None:
    """Too deep, or no number."""
    with pytest.raises(ValueError, match=r"is not plain$"):
        parse_report(json.dumps({"version": "0.0", "a": value}).encode())
