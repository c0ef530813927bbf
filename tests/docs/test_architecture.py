"""docs/architecture.md is about the house as it stands."""

import ast
import re
from pathlib import Path

import pytest

from scullvfs.cli.commands import SUMMARIES

from ..test_imports import ROOMS as ALLOWED

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/architecture.md").read_text()
PACKAGE = ROOT / "scullvfs"

ROOMS = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
ROW = re.compile(r"^\| `(\w+)` \| [^|]* \| ([^|]*) \|$", re.MULTILINE)

OF_A_MOUNT = ("proc/", "sys/", "/")
"""How paths begin that are no files of this repository."""

PATHS = sorted(
    {
        path
        for path in re.findall(r"`([\w./]+)(?::\w+\(\))?`", PAGE)
        if ("/" in path or path.endswith(".py")) and not path.startswith(OF_A_MOUNT)
    }
)


def found(path: str) -> Path:
    """Where `path`, as the page writes it, is in the repository."""
    begins = path.split("/")[0]
    return ROOT / path if begins in ("tests", "docs", "systemd", "scullvfs") else PACKAGE / path


@pytest.mark.parametrize("path", PATHS)
def test_what_is_named_exists(path: str) -> None:
    """A file, or a directory with a slash at its end."""
    assert found(path).is_dir() if path.endswith("/") else found(path).is_file()


def test_paths_are_found() -> None:
    """The page is read as it is meant to be."""
    assert {"mm/vmap.py", "mm/vmalloc.py", "errors.py", "tests/vfs/posix/"} <= {*PATHS}
    assert len(PATHS) > 80


def test_every_room_has_a_row() -> None:
    """In the picture, too; and the modules beside the rooms."""
    picture = PAGE.partition("```\n")[2].partition("```")[0]
    assert {room for room, _ in ROW.findall(PAGE)} == ROOMS
    modules = {path.name for path in PACKAGE.glob("[a-z]*.py")} - {"scullv.py"}
    assert ROOMS | modules <= {*re.findall(r"\w+(?:\.py)?", picture)}


@pytest.mark.parametrize(("room", "below"), ROW.findall(PAGE))
def test_rows_say_what_is_imported(room: str, below: str) -> None:
    """It has each room that a module of this one imports from, and none that it must not."""
    imported = set()
    for path in (PACKAGE / room).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                continue
            imported |= {name.split(".")[1] for name in names if name.startswith("scullvfs.")}
    above = ("cli", "testing", "bench", "faults", "labs", "test_vmalloc", "daemon", "view")
    outside = ROOMS - {*above}
    said = {*re.findall(r"`(\w+)`", below)} or outside
    if below == "nothing":
        said = set()
    assert (imported & ROOMS) - {room} <= said <= ALLOWED[room]


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_rooms_name_their_modules(room: str) -> None:
    """Each in the room's own description; a command is in the table of commands."""
    said = ast.get_docstring(ast.parse((PACKAGE / room / "__init__.py").read_text())) or ""
    modules = {path.stem for path in (PACKAGE / room).glob("[a-z]*.py")}
    if room == "cli":
        modules -= {name.replace("-", "_") for name in SUMMARIES}
    assert modules <= {*re.findall(r"\w+", said)}


def test_readme_lists_the_rooms() -> None:
    """And the modules beside them."""
    house = (ROOT / "README.md").read_text().partition("## The house")[2].partition("\n## ")[0]
    modules = {path.name for path in PACKAGE.glob("[a-z]*.py")}
    assert {f"{room}/" for room in ROOMS} | modules <= {*re.findall(r"\w+(?:/|\.py)", house)}


@pytest.mark.parametrize("page", ["README.md", "docs/index.md"])
def test_pages_lead_there(page: str) -> None:
    """Who looks for the house finds this page."""
    assert re.search(r"\]\((docs/)?architecture\.md\)", (ROOT / page).read_text())
