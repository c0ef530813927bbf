"""The rules for st_atime: which of them holds, and what it does to a node's times."""

from __future__ import annotations

import time

import pytest

from scullvfs.fs.atime import DAY, Atime, atime_rules
from scullvfs.fs.node import Directory, Node, Symlink
from scullvfs.fs.tree import Tree

HOUR = DAY // 24


@pytest.mark.parametrize(
    ("flags", "rules"),
    [
        ((), (Atime.RELATIVE, Atime.RELATIVE)),
        (("noexec", "sync"), (Atime.RELATIVE, Atime.RELATIVE)),
        (("noatime",), (Atime.NEVER, Atime.NEVER)),
        (("nodiratime",), (Atime.RELATIVE, Atime.NEVER)),
        (("strictatime",), (Atime.STRICT, Atime.STRICT)),
        (("strictatime", "nodiratime"), (Atime.STRICT, Atime.NEVER)),
        (("strictatime", "noatime"), (Atime.STRICT, Atime.STRICT)),
        (("ro", "strictatime"), (Atime.NEVER, Atime.NEVER)),
    ],
)
def test_rules(flags: tuple[str, ...], rules: tuple[Atime, Atime]) -> None:
    """The words of mount(8), as the kernel takes them together."""
    assert atime_rules(flags) == rules


@pytest.mark.parametrize(
    ("ago", "modified", "changed", "moves"),
    [
        (2 * HOUR, 3 * HOUR, 3 * HOUR, False),
        (2 * HOUR, 2 * HOUR, 3 * HOUR, True),
        (2 * HOUR, HOUR, 3 * HOUR, True),
        (2 * HOUR, 3 * HOUR, HOUR, True),
        (DAY - HOUR, 2 * DAY, 2 * DAY, False),
        (DAY + HOUR, 2 * DAY, 2 * DAY, True),
        (-HOUR, HOUR, HOUR, False),
    ],
)
def test_accessed(ago: int, modified: int, changed: int, moves: bool) -> None:
    """By the time that has passed since it was read, modified and changed."""
    for rule, expected in (
        (Atime.RELATIVE, moves),
        (Atime.STRICT, True),
        (Atime.NEVER, False),
    ):
        node = Node(0, 0, 0)
        node.atime_rule = rule
        now = time.time_ns()
        node.atime_ns, node.mtime_ns, node.ctime_ns = now - ago, now - modified, now - changed
        before = node.atime_ns
        assert node.accessed() == expected
        assert node.atime_ns >= now if expected else node.atime_ns == before
        assert (node.mtime_ns, node.ctime_ns) == (now - modified, now - changed)


def test_given_by_the_tree() -> None:
    """Directories have a rule of their own."""
    root = Directory(0, 0)
    root.add("directory", Directory(0, 0))
    root.add("link", Symlink("directory", 0, 0))
    tree = Tree(root, (Atime.STRICT, Atime.RELATIVE))
    assert [node.atime_rule for node in tree.nodes.values()] == [
        Atime.RELATIVE,
        Atime.RELATIVE,
        Atime.STRICT,
    ]
