"""What a call is made with and what it gives, as JSON in a line; how it is read, `calls` has."""

from __future__ import annotations

import errno
from collections.abc import Callable
from json import dumps
from typing import Any, Final

from scullvfs.fs.node import Node
from scullvfs.fs.vfs import Attributes
from scullvfs.mm.access import View

from .lines import sum_of

__all__ = ["GIVEN", "WRITTEN", "errno_of", "name_of", "nothing", "text"]


def text(data: bytes | memoryview) -> str:
    return dumps(bytes(data).decode("latin-1"))


def _optional(value: int | None) -> int | str:
    return "null" if value is None else value


def _attributes_to_set(ino: int, attributes: Attributes) -> str:
    named = zip(attributes._fields, attributes, strict=True)
    return f'"ino":{ino},' + "".join(f'"{name}":{_optional(value)},' for name, value in named)


WRITTEN: Final[dict[str, Callable[..., str]]] = {
    "lookup": lambda parent, name: f'"parent":{parent},"name":{text(name)},',
    "getattr": lambda ino: f'"ino":{ino},',
    "notify_change": _attributes_to_set,
    "truncate": lambda ino, length: f'"ino":{ino},"length":{length},',
    "readlink": lambda ino: f'"ino":{ino},',
    "readdir": lambda ino: f'"ino":{ino},',
    "statfs": lambda: "",
    "open": lambda ino, flags: f'"ino":{ino},"flags":{flags},',
    "ioctl": lambda fh, cmd, arg, data: f'"fh":{fh},"cmd":{cmd},"arg":{arg},"data":{text(data)},',
    "lseek": lambda fh, off, whence: f'"fh":{fh},"off":{off},"whence":{whence},',
    "fallocate": lambda fh, mode, off, length: (
        f'"fh":{fh},"mode":{mode},"off":{off},"length":{length},'
    ),
    "poll": lambda fh, wake: f'"fh":{fh},"wakes":{"false" if wake is None else "true"},',
    "release": lambda fh: f'"fh":{fh},',
}
"""Call -> what it is made with, each behind which there is a comma; of reads and writes above."""


def _attributes(node: Node) -> str:
    """Those that are not times: number, mode, links, owner, group, size, bytes taken."""
    try:
        size: int | str = node.size if node.recorded else 0
    except OSError as error:
        size = name_of(error)
    return (
        f'"gives":[{node.ino},{node.mode},{node.nlink},{node.uid},{node.gid},{size},'
        f"{node.allocated}]"
    )


def _summed(result: View) -> str:
    data = bytes(result)
    return f'"gives":{len(data)},"sum_of_data":"{sum_of(data):08x}"'


def _names(entries: list[tuple[bytes, Node]]) -> str:
    names = b"".join(b"%d %b\0" % (node.ino, name) for name, node in entries)
    return f'"gives":{len(entries)},"sum_of_data":"{sum_of(names):08x}"'


def nothing(result: object) -> str:
    return '"gives":null'


GIVEN: Final[dict[str, Callable[[Any], str]]] = {
    "lookup": _attributes,
    "getattr": _attributes,
    "notify_change": _attributes,
    "readlink": lambda target: f'"gives":{text(target)}',
    "readdir": _names,
    "statfs": lambda statfs: f'"gives":[{",".join(map(str, statfs))}]',
    "read": lambda data: f'"gives":{len(data)}',
    "read_summed": _summed,
    "write": lambda count: f'"gives":{count}',
    "write_pages": lambda count: f'"gives":{count}',
    "ioctl": lambda result: f'"gives":[{result[0]},"{bytes(result[1]).hex()}"]',
    "poll": lambda events: f'"gives":{events}',
}
"""Call -> what it has given."""


def name_of(error: BaseException) -> str:
    number = error.errno if isinstance(error, OSError) else None
    return f'"{errno.errorcode.get(number or 0, type(error).__name__)}"'


def errno_of(error: BaseException) -> str:
    return f'"errno":{name_of(error)}'
