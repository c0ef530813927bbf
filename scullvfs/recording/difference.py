"""A difference in words: which call, by whom and when, what was recorded and what has come."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from scullvfs.fs.node import Directory
from scullvfs.fs.tree import Tree
from scullvfs.text import shown

from .calls import ARGUMENTS, task_of
from .lines import Line
from .replay import COMPARED, Difference, compared

__all__ = ["describe"]

WIDEST: Final = 200
"""Characters of a value that are shown."""


def describe(difference: Difference, tree: Tree, inos: dict[int, int]) -> Iterator[str]:
    """The lines of a report, the first of which says where it is.

    Args:
        tree: of the machine that has made the calls again.
        inos: handle of each open file -> its inode number.
    """
    recorded = difference.recorded
    yield f"{_what(recorded)}{_name(recorded, tree, inos)}"
    if len(difference.got) != 1:
        yield f"  recorded  {_short(compared(recorded))}"
        yield f"       got  {_short([compared(line) for line in difference.got]) or 'nothing'}"
        return
    (got,) = difference.got
    for field in COMPARED:
        if recorded.get(field) != got.get(field):
            yield from _field(field, recorded.get(field), got.get(field))


def _what(line: Line) -> str:
    at = f"at {line['at'] / 1e9:.6f} s"
    if "idle" in line:
        return f"idle work {at}"
    task = task_of(line)
    by = f", by pid {task.pid}" if task is not None else ""
    if "of" in line:
        return f"call {line['of']}, which went on {at}{by}"
    names = ARGUMENTS[line["call"]]
    given = ", ".join(f"{name}={_short(line[name])}" for name in names if line[name] is not None)
    return f"call {line['n']}, {at}{by}: {line['call']}({given})"


def _name(line: Line, tree: Tree, inos: dict[int, int]) -> str:
    """The file that a call is about."""
    if "call" not in line:
        return ""
    ino = line.get("ino", inos.get(line.get("fh", -1)))
    path = None if ino is None else next(_paths(tree.root, ino, b""), None)
    return f" of {shown(path)}" if path else ""


def _paths(directory: Directory, ino: int, above: bytes) -> Iterator[bytes]:
    for name, node in directory.entries.items():
        if node.ino == ino:
            yield above + name
        if isinstance(node, Directory):
            yield from _paths(node, ino, above + name + b"/")


def _field(name: str, recorded: Any, got: Any) -> Iterator[str]:
    """What is another; of lists the first item that is."""
    where = name
    if name == "touched":
        one, other = recorded or [], got or []
        same = 0
        while same < min(len(one), len(other)) and one[same] == other[same]:
            same += 1
        where = f"{name}[{same}]"
        recorded = one[same] if same < len(one) else None
        got = other[same] if same < len(other) else None
    yield f"  {where}: recorded  {_short(recorded)}"
    yield f"  {'':{len(where)}}       got  {_short(got)}"


def _short(value: Any) -> str:
    if value is None:
        return "nothing"
    text = value if isinstance(value, str) else json.dumps(value)
    text = shown(text)
    return text if len(text) <= WIDEST else f"{text[:WIDEST]} ..."
