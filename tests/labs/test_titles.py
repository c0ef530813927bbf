"""A lab is called the same wherever it is named."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from scullvfs.labs.table import LABS
from scullvfs.labs.titles import TITLES

DOCS = Path(__file__).parents[2] / "docs"


def test_each_lab_has_a_title() -> None:
    """And each title is a lab's."""
    assert [*LABS] == [*TITLES]


@pytest.mark.parametrize("number", TITLES)
def test_pages(number: int) -> None:
    """Its own, and those that list it."""
    (page,) = DOCS.glob(f"labs/{number}-*.md")
    title, name = TITLES[number], f"labs/{page.name}"
    assert page.read_text().startswith(f"# Lab {number}: {title}\n")
    assert f"\n* [Lab {number}: {title}]({name})\n" in (DOCS / "index.md").read_text()
    row = rf"^\| \[{number}\]\({re.escape(name)}\) \| {re.escape(title)} \| [\d, ]+ \|$"
    assert re.search(row, (DOCS / "labs.md").read_text(), re.MULTILINE)
    assert f"\n| `{number}` | {title} |\n" in (DOCS / "commands.md").read_text()
