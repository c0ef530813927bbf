"""What a mount says of itself, checked: it may be anybody's daemon that calls itself scullvfs.

A report of this version has the fields of `daemon.status_report`, each of its type and within its
range; one of another version may have others, as long as they are plain and few. Used by `status`;
the most that there is of some things the report itself has from here.
"""

import math
import re
from collections.abc import Callable
from typing import Any, Final

import scullvfs
from scullvfs.errors import UsageError
from scullvfs.options.kernel_flags import KERNEL_FLAGS
from scullvfs.text import one_line

__all__ = ["parse_report"]

MOST: Final = (1 << 64) - 1
"""The largest number that is believed."""

LONGEST_TIME: Final = 1000 * 365 * 86400
"""The most seconds that are believed: more than any clock here can count or show."""
MOST_DEVICES: Final = 32
"""Devices whose calls are told."""
MOST_FAULTS: Final = 64
"""Faults that are told."""
FAULT: Final = re.compile(r"[a-z][a-z0-9_/-]{0,40}", re.ASCII)
DEVICE: Final = re.compile(r"scull[a-z]?\d{1,4}", re.ASCII)
KINDS: Final = frozenset({"read", "write", "ioctl", "lseek", "fallocate", "open", "truncate"})

LONGEST: Final = 64
"""Characters of a version."""

DEPTH: Final = 4
"""How deep the fields of another version may be nested."""


def parse_report(answer: bytes) -> dict[str, Any]:
    """The report in `answer`.

    Raises:
        ValueError: there is none that can be believed, and why.
    """
    import json  # not where nothing is mounted

    try:
        report = json.loads(answer)
    except (ValueError, RecursionError):
        raise ValueError("its report is no JSON") from None
    if not isinstance(report, dict) or not _is_version(report.get("version")):
        raise ValueError("its report has no version")
    if report["version"] != scullvfs.__version__:
        return {one_line(name): _plain(value, DEPTH) for name, value in report.items()}
    for name, is_right in FIELDS.items():
        if name not in report or not is_right(report[name]):
            raise ValueError(f"its report has no {name}, or none that can be")
    return {name: report[name] for name in FIELDS}


def _is_version(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= LONGEST and value.isprintable()


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MOST


def _is_number(value: Any) -> bool:
    return _is_count(value) or (type(value) is float and math.isfinite(value) and 0 <= value < MOST)


def _is_time(value: Any) -> bool:
    return _is_number(value) and value <= LONGEST_TIME


def _has(*names: str) -> Callable[[Any], bool]:
    """A check for an object of these counts and no others."""

    def is_right(value: Any) -> bool:
        return (
            isinstance(value, dict) and {*value} == {*names} and all(map(_is_count, value.values()))
        )

    return is_right


def _are_calls(value: Any) -> bool:
    """Whether they are kinds of call with their counters, of some devices."""
    return (
        isinstance(value, dict)
        and len(value) <= MOST_DEVICES
        and all(DEVICE.fullmatch(device) for device in value)
        and all(isinstance(kinds, dict) and {*kinds} <= KINDS for kinds in value.values())
        and all(_is_counter(each) for kinds in value.values() for each in kinds.values())
    )


def _are_faults(value: Any) -> bool:
    """Whether they are faults with their books."""
    return (
        isinstance(value, dict)
        and len(value) <= MOST_FAULTS
        and all(FAULT.fullmatch(name) for name in value)
        and all(isinstance(each, dict) for each in value.values())
        and all({*each} == {"injected", "armed"} for each in value.values())
        and all(_is_count(each["injected"]) for each in value.values())
        and all(type(each["armed"]) is bool for each in value.values())
    )


def _are_options(value: Any) -> bool:
    """Whether they are all the options that there are, each with a value that it can have."""
    from scullvfs.options.table import OPTIONS, parse_options

    if not isinstance(value, dict) or not isinstance(value.get("drivers"), str):
        return False
    try:
        defaults = parse_options([f"drivers={value['drivers']}"]).as_dict()
    except UsageError:
        return False
    if not {*defaults} <= {*value} <= {*defaults, *KERNEL_FLAGS}:
        return False
    if any(type(value[name]) is not type(default) for name, default in defaults.items()):
        return False
    try:
        value["fsname"].encode()  # any text; what the kernel has is shown in its place
        return all(
            option.parse(option.parse.format(value[option.name])) == value[option.name]
            for option in OPTIONS
            if option.parse is not None and option.name in defaults and option.name != "fsname"
        ) and all(value[name] is True for name in {*value} - {*defaults})
    except ValueError:
        return False


def _plain(value: Any, depth: int) -> Any:
    """`value`, of any type that JSON has, within bounds."""
    if isinstance(value, str):
        return one_line(value)
    if isinstance(value, dict) and depth:
        return {one_line(name): _plain(item, depth - 1) for name, item in value.items()}
    if isinstance(value, list) and depth:
        return [_plain(item, depth - 1) for item in value]
    if (
        value is None
        or type(value) is bool
        or (type(value) in (int, float) and _is_number(abs(value)))
    ):
        return value
    raise ValueError("its report, of another version, is not plain")


_is_counter: Final = _has("calls", "bytes", "errors", "nanoseconds")

FIELDS: Final[dict[str, Callable[[Any], bool]]] = {
    "pid": lambda value: _is_count(value) and value > 0,
    "version": _is_version,
    "uptime": _is_time,
    "options": _are_options,
    "ram": _has("used", "total"),
    "vmalloc": _has("used", "lazy", "total"),
    "devices": _is_count,
    "requests": lambda value: value is None or _is_count(value),
    "calls": _are_calls,
    "faults": _are_faults,
    "lowlevel": lambda value: type(value) is bool,
    "rss": _is_count,
    "cpu": _is_time,
}
"""What a report of this version has, and whether a value can be one of it."""
