"""The pages as a reader meets them."""

import re
from pathlib import Path

import pytest

import scullvfs.mm
import scullvfs.scullv

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(ROOT.glob("docs/**/*.md"))]

BLOCK = re.compile(r"^```(?:sh|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_have_titles(page: Path) -> None:
    """A link says what is behind it, and not only in which file that is."""
    assert re.findall(r"\[`?[^]\s]*\.(?:md|html)`?\]\(", page.read_text()) == []


@pytest.mark.parametrize("reader", ["I read LDD3", "I teach", "I test a program", "I measure FUSE"])
def test_index_has_ways_in(reader: str) -> None:
    """Before its lists of pages the index says where each kind of reader begins."""
    top = (ROOT / "docs/index.md").read_text().partition("\n## ")[0]
    (way,) = re.findall(rf"^\*\*{reader}\.\*\* (.*?)(?:\n\n|\Z)", top, re.MULTILINE | re.DOTALL)
    assert len(re.findall(r"\[[^]]+\]\([a-z]+\.md\)", way)) >= 2


def test_api_begins_with_the_machine() -> None:
    """What one makes first comes first, and nothing that is offered is left out."""
    page = (ROOT / "docs/api.md").read_text()
    listed = re.findall(r"^\.\. auto(?:class|exception|function):: (\S+?)(?:\(\))?$", page, re.M)
    assert listed[0] == "scullvfs.mm.Machine"
    for package in (scullvfs.mm, scullvfs.scullv):
        offered = {name for name in package.__all__ if callable(getattr(package, name))}
        assert {f"{package.__name__}.{name}" for name in offered} <= {*listed}


@pytest.mark.parametrize("name", ["README.md", "docs/guide.md"])
def test_nothing_follows_a_refused_mount(name: str) -> None:
    """On these pages mount is chained to the command that writes to a device or reads it.

    In the bare directory that would make an ordinary file, and seem to work.
    """
    blocks = BLOCK.findall((ROOT / name).read_text())
    mounts = re.findall(r"^(?:\$ )?scullvfs mount .*", "".join(blocks), re.MULTILINE)
    assert len(mounts) >= 3
    assert [line for line in mounts if not re.search(r" &&($| )", line)] == []
