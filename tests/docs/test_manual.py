"""The manual pages: up to date with the program, and without fault."""

import re
import runpy
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(ROOT.glob("docs/*.8.md"))
MANUALS = sorted(ROOT.glob("docs/man/*.8"))

SECTIONS = [
    *("NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "COMMANDS", "MOUNT OPTIONS", "EXIT STATUS"),
    *("FILES", "ENVIRONMENT", "EXAMPLES", "SEE ALSO"),
]

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)


@pytest.fixture(scope="module")
def manpage() -> dict[str, Any]:
    """What docs/manpage.py defines."""
    return runpy.run_path(str(ROOT / "docs/manpage.py"))


def test_every_region_has_a_place(manpage: dict[str, Any]) -> None:
    """Nothing that is made for the pages gets lost for want of a place."""
    text = "".join(page.read_text() for page in PAGES)
    places = re.findall(r"^<!-- (\w+): made by docs/manpage\.py -->$", text, re.MULTILINE)
    assert sorted(places) == sorted(region.__name__ for region in manpage["REGIONS"])


@each_page
def test_page_is_up_to_date(page: Path, manpage: dict[str, Any]) -> None:
    """The page has the options, commands and statuses that the program has."""
    text = page.read_text()
    assert manpage["filled"](text) == text, "run `make man`"


@each_page
def test_page_has_the_usual_sections(page: Path) -> None:
    """They are those of any manual page, in the same order."""
    sections = re.findall(r"^## (.*)$", page.read_text(), re.MULTILINE)
    assert sections == [section for section in SECTIONS if section in sections]
    assert {"NAME", "SYNOPSIS", "DESCRIPTION", "SEE ALSO"} <= {*sections}


@pytest.mark.long
def test_manuals_are_up_to_date(tmp_path: Path) -> None:
    """What gets installed is what Sphinx makes of the pages, byte by byte.

    Where `make docs` has read all the pages, Sphinx reads only those again that have changed since.
    """
    doctrees = tmp_path / "doctrees"
    with suppress(FileNotFoundError):
        shutil.copytree(ROOT / "build/docs/doctrees", doctrees)
    sphinx = [sys.executable, "-m", "sphinx", "-q", "-c", "docs", "-d", doctrees]
    subprocess.run([*sphinx, "-b", "man", ".", tmp_path / "man"], cwd=ROOT, check=True)
    made = {path.name: path.read_text() for path in tmp_path.glob("man/*.8")}
    assert {path.name: path.read_text() for path in MANUALS} == made, "run `make man`"


@pytest.mark.parametrize("manual", MANUALS, ids=lambda path: path.name)
@pytest.mark.parametrize("check", ["mandoc -T lint", "groff -t -man -T utf8 -ww -z"])
def test_manual_has_no_fault(check: str, manual: Path) -> None:
    """Neither of the two programs that show manual pages has a complaint."""
    done = subprocess.run([*check.split(), manual], capture_output=True, text=True)
    assert (done.stdout + done.stderr, done.returncode) == ("", 0)
