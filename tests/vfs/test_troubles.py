"""docs/troubleshooting.md is complete: every row has a test, and every message has a row."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from scullvfs.errors import ExitStatus, ScullvfsError

from .helpers import SOURCE
from .troubles import TROUBLES, Trouble

TESTS = Path(__file__).parents[1]
KINDS = {kind.__name__: kind for kind in [ScullvfsError, *ScullvfsError.__subclasses__()]}

OTHERS = {"doctor", "fstab", "namespace", "reload", "status"}
"""Modules of other commands than `mount` and `umount`, whose pages have their messages."""


def strings(path: Path) -> set[str]:
    """Every string in the code of a file."""
    tree = ast.parse(path.read_text())
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


@pytest.fixture(scope="module")
def named() -> set[str]:
    """What all tests name."""
    return set().union(*(strings(path) for path in TESTS.rglob("test_*.py")))


@pytest.mark.long
@pytest.mark.parametrize("name", TROUBLES)
def test_every_row_has_a_test(named: set[str], name: str) -> None:
    """A row is named by the test that makes it happen."""
    assert name in named


def pattern(message: ast.expr) -> str:
    """What a message reads like; anything may stand where something is put into it."""
    parts = message.values if isinstance(message, ast.JoinedStr) else [message]
    return "".join(re.escape(p.value) if isinstance(p, ast.Constant) else ".*" for p in parts)


def raised() -> Iterator[tuple[str, int, str]]:
    """Where, with which status and with which message the daemon makes an error of its own."""
    for path in sorted((SOURCE / "scullvfs/daemon").glob("*.py")):
        if path.stem in OTHERS:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in KINDS:
                yield path.stem, int(KINDS[node.func.id].status), pattern(node.args[0])


@pytest.mark.parametrize(("where", "status", "message"), list(raised()))
def test_every_message_has_a_row(where: str, status: int, message: str) -> None:
    """Whatever `mount` and `umount` can end with is in the tables, with its status."""
    rows = [t.message for t in TROUBLES.values() if t.outcome == str(status)]
    assert any(re.fullmatch(message, row) for row in rows), f"{where} says: {message}"


def test_every_status_has_a_row() -> None:
    """No exit status is without an example."""
    assert {str(int(status)) for status in ExitStatus} <= {t.outcome for t in TROUBLES.values()}


def test_fits() -> None:
    """Words in capitals stand for any others, and the rest is literal."""
    trouble = Trouble("x", "", "PATH is (not) there; N or ...", "1")
    assert trouble.fits("/a b is (not) there; 7 or less")
    assert not trouble.fits("/a b is not there; 7 or less")
    assert not trouble.fits("/a b is (not) there; 7")
