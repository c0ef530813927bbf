"""Each call of `fs.vfs` by its name: what it takes and gives, as JSON has it, and what that may be.

A recording comes from anywhere: what is in it is checked against the shapes here before it is
used, so that a replay makes only calls that the kernel might.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Mapping
from typing import Any, Final

from scullvfs.fs.vfs import Attributes
from scullvfs.mm.sched import Task

__all__ = [
    "ARGUMENTS",
    "TEXT",
    "U64",
    "Shape",
    "arguments",
    "is_given",
    "is_of",
    "list_of",
    "matches",
    "task_of",
]

Shape = Callable[[Any], bool] | type
"""Whether a value is one that can be."""


def _number(low: int, high: int) -> Shape:
    return lambda value: type(value) is int and low <= value <= high


def _optional(shape: Shape) -> Shape:
    return lambda value: value is None or is_of(value, shape)


def list_of(shape: Shape, most: int = 1 << 16) -> Shape:
    """A list of values, not too many."""
    return lambda value: (
        type(value) is list and len(value) <= most and all(is_of(item, shape) for item in value)
    )


def is_of(value: Any, shape: Shape) -> bool:
    """Whether a value has a shape."""
    return type(value) is shape if isinstance(shape, type) else bool(shape(value))


def _latin(value: Any) -> bool:
    return type(value) is str and (value.isascii() or max(value) <= "\xff")


S64: Final = _number(-(1 << 63), (1 << 63) - 1)
U64: Final = _number(0, (1 << 64) - 1)
S32: Final = _number(-(1 << 31), (1 << 31) - 1)
U32: Final = _number(0, (1 << 32) - 1)
COUNT: Final = _number(0, 1 << 20)
"""Bytes of a request at the most."""
TEXT: Final = str
BYTES: Final = _latin
"""Bytes as a text, each its character in Latin-1."""

ARGUMENTS: Final[dict[str, dict[str, Shape]]] = {
    "lookup": {"parent": U64, "name": BYTES},
    "getattr": {"ino": U64},
    "notify_change": {
        "ino": U64,
        "mode": _optional(U32),
        "uid": _optional(U32),
        "gid": _optional(U32),
        "atime_ns": _optional(S64),
        "mtime_ns": _optional(S64),
    },
    "truncate": {"ino": U64, "length": _number(0, (1 << 63) - 1)},
    "readlink": {"ino": U64},
    "readdir": {"ino": U64},
    "statfs": {},
    "open": {"ino": U64, "flags": U32},
    "read": {"fh": U64, "off": _number(0, (1 << 63) - 1), "size": COUNT, "page_cache": bool},
    "write": {"fh": U64, "off": S64, "size": COUNT, "flags": _optional(U32)},
    "write_pages": {"fh": U64, "off": S64, "size": COUNT, "flags": _optional(U32)},
    "ioctl": {"fh": U64, "cmd": U32, "arg": U64, "data": BYTES},
    "lseek": {"fh": U64, "off": S64, "whence": S32},
    "fallocate": {"fh": U64, "mode": S32, "off": S64, "length": S64},
    "poll": {"fh": U64, "wakes": bool},
    "release": {"fh": U64},
}
"""Call -> its arguments.  Of a write there is one of `text`, `data` and `crc` besides."""


def is_given(value: Any) -> bool:
    """Whether it is what a call may give: nothing, a number, a text, or a list of these two."""
    return value is None or any(
        is_of(value, shape) for shape in (int, str, list_of(lambda item: type(item) in (int, str)))
    )


def matches(line: Mapping[str, Any], shape: Mapping[str, Shape]) -> bool:
    """Whether a line has these fields, and each is what it may be."""
    return all(name in line and is_of(line[name], part) for name, part in shape.items())


def task_of(line: Mapping[str, Any]) -> Task | None:
    """Who calls; None if the line does not say."""
    by = line.get("by")
    if is_of(by, list_of(S64, 3)) and len(by or ()) == 3:
        return Task(*(by or ()))
    return None


def arguments(line: Mapping[str, Any]) -> tuple[Any, ...] | None:
    """What the call of a line is made with; None if that cannot be."""
    name = line["call"]
    shape = ARGUMENTS.get(name) if type(name) is str else None
    if shape is None or not matches(line, shape):
        return None
    values = [line[field] for field in shape]
    if name in ("write", "write_pages"):
        data = _data(line)
        return None if data is None else (values[0], values[1], data, values[3])
    if name == "notify_change":
        return values[0], Attributes(*values[1:])
    if name == "poll":
        return values[0], (lambda: None) if values[1] else None
    if name in ("lookup", "ioctl"):
        values[-1] = values[-1].encode("latin-1")
    return tuple(values)


def _data(line: Mapping[str, Any]) -> bytes | None:
    """What is written; what is not in the recording is made up, the same for the same."""
    size = int(line["size"])
    text, data, crc = line.get("text"), line.get("data"), line.get("crc")
    if text is not None and is_of(text, BYTES):
        written = str(text).encode("latin-1")
    elif type(data) is str:
        try:
            written = b64decode(data, validate=True)
        except ValueError:
            return None
    elif type(crc) is str and len(crc) == 8:
        return (crc.encode("utf-8", "replace")[:8] * -(-size // 8))[:size]
    else:
        return None
    return written if len(written) == size else None
