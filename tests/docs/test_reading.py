"""The pages as a reader meets them."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(ROOT.glob("docs/*.md"))]

BLOCK = re.compile(r"^```(?:sh|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_have_titles(page: Path) -> None:
    """A link says what is behind it, and not only in which file that is."""
    assert re.findall(r"\[`?[^]\s]*\.(?:md|html)`?\]\(", page.read_text()) == []


@pytest.mark.parametrize("name", ["README.md", "docs/guide.md"])
def test_nothing_follows_a_refused_mount(name: str) -> None:
    """On these pages mount is chained to the command that writes to a device or reads it.

    In the bare directory that would make an ordinary file, and seem to work.
    """
    blocks = BLOCK.findall((ROOT / name).read_text())
    mounts = re.findall(r"^(?:\$ )?scullvfs mount .*", "".join(blocks), re.MULTILINE)
    assert len(mounts) >= 3
    assert [line for line in mounts if not re.search(r" &&($| )", line)] == []
