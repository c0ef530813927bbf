"""Counters of calls: which row, which kind, and what a call adds to them."""

from __future__ import annotations

import os

import pytest

from scullvfs.fs.calls import MAX_ROWS, ROW_BITS, CallTable, Kind
from scullvfs.fs.file import File
from scullvfs.fs.open_files import OpenFiles
from scullvfs.fs.root import build_tree
from scullvfs.mm import Machine
from scullvfs.scull import MAX_DEVS, Module


def test_each_row_and_kind_has_its_counters() -> None:
    """No two calls meet in one number, and a call adds what it has moved."""
    table = CallTable(["a", "b"])
    for row in range(3):
        for kind in Kind:
            for _ in range(row + 1):
                with table.row(row).counting(kind) as call:
                    call.bytes = 10 * row + kind
    assert list(table.statistics()) == ["a", "b"]
    for row in range(3):
        statistics = table.row(row).statistics()
        assert list(statistics) == [kind.name.lower() for kind in Kind]
        for kind, each in zip(Kind, statistics.values(), strict=True):
            assert each["nanoseconds"] > 0
            assert (each["calls"], each["errors"]) == (row + 1, 0)
            assert each["bytes"] == (row + 1) * (10 * row + kind)


def test_a_call_that_fails() -> None:
    """Is an error, and has moved nothing."""
    table = CallTable(["a"])

    def fail() -> None:
        with table.row(1).counting(Kind.WRITE) as call:
            call.bytes = 5
            raise OSError("no")

    with pytest.raises(OSError, match="no"):
        fail()
    write = table.statistics()["a"]["write"]
    assert (write["calls"], write["bytes"], write["errors"]) == (1, 0, 1)


def test_rows_of_a_tree() -> None:
    """Each device has its own, all other files have one; an open file's handle has it, too."""
    assert MAX_DEVS < MAX_ROWS
    module = Module(Machine(1 << 24), scullv_devs=3)
    tree = build_tree(module.machine, [module], uid=0, gid=0, mode=0o664)
    files = OpenFiles(module.machine.running, tree.calls)
    rows = {}
    for name in (b"scullv0", b"scullv1", b"scullv2"):
        node = tree.root.entries[name]
        assert isinstance(node, File)
        fhs = [files.open_file(node, os.O_RDWR)[0] for _ in range(3)]
        assert len({*fhs}) == 3
        (rows[name],) = {fh & (1 << ROW_BITS) - 1 for fh in fhs}
        with files.counting(fhs[0], Kind.READ) as call:
            call.bytes = 7
        assert files.statistics()[name.decode()]["read"]["bytes"] == 7
    assert rows == {b"scullv0": 1, b"scullv1": 2, b"scullv2": 3}
    others = [node for node in tree.nodes.values() if isinstance(node, File) and not node.counted]
    assert {node.calls.row for node in others} == {0}
