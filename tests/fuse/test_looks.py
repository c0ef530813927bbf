"""Node ids: of a file that shows what there is, another one at each look."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from scullvfs.fs.file import File
from scullvfs.fs.node import Directory, Node
from scullvfs.fs.tasks import BASE, FILES, PID_MAX_LIMIT
from scullvfs.fuse import looks
from scullvfs.fuse.looks import INO_BITS, Looks, ino_of


class Cached(File):
    """A file that the kernel has in its page cache."""

    direct_io = False


def numbered(node: Node, ino: int) -> Node:
    """A node with a number."""
    node.ino = ino
    return node


def test_each_look_at_a_file_gives_another_id(monkeypatch: pytest.MonkeyPatch) -> None:
    """In 64 bits, and from which its number comes back; behind so many they come again, but 0."""
    monkeypatch.setattr(looks, "LOOKS", 5)
    node, given = numbered(File(0o444, 1, 2), 7), Looks()
    ids = [given.node_id(node) for _ in range(10)]
    assert {ino_of(each) for each in ids} == {7}
    assert [each >> INO_BITS for each in ids] == [1, 2, 3, 4, 1, 2, 3, 4, 1, 2]


@pytest.mark.parametrize("node", [Cached(0o644, 1, 2), Directory(1, 2)])
def test_all_others_have_one(node: Node) -> None:
    """What the kernel keeps, and what it keeps nothing of, has its own number as its id."""
    given = Looks()
    assert [given.node_id(numbered(node, 7)) for _ in range(3)] == [7, 7, 7]


def test_all_numbers_fit() -> None:
    """Those of tasks are the largest; libfuse's part of an id is as long as this one's."""
    largest = BASE | PID_MAX_LIMIT << 2 | max(bits for bits, _ in FILES.values())
    assert ino_of(largest) == largest
    assert looks.LOOKS << INO_BITS <= 1 << 63
    source = Path(looks.__file__).parent / "lowlevel/session.c"
    assert re.findall(r"INO_BITS = (\d+)", source.read_text()) == [str(INO_BITS)]
