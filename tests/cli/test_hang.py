"""Long lines: broken to the width of a terminal, whole elsewhere."""

import os
import re
import subprocess
import sys

import pytest

from scullvfs.cli.checks import CHECKS
from scullvfs.cli.hang import NARROW, hang

from .interactive import said_on_a_terminal

TEXT = "scullv_devs=1000,mem=16M,seed=7,allow_other,noexec"

DOCTOR = [sys.executable, "-m", "scullvfs", "doctor", "--no-mount"]
PLAIN = {name: value for name, value in os.environ.items() if name != "COLUMNS"} | {"NO_COLOR": "1"}


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """As if stdout were a terminal; COLUMNS says how wide."""
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "40")
    return monkeypatch


@pytest.mark.usefixtures("terminal")
def test_hang() -> None:
    """A line ends behind a comma, the next begins below the text, and nothing is lost."""
    lines = hang(TEXT, 12, after=",").split("\n")
    assert lines == [
        "scullv_devs=1000,mem=16M,",
        "            seed=7,allow_other,noexec",
    ]


@pytest.mark.usefixtures("terminal")
def test_hang_at_blanks() -> None:
    """A blank at the end of a line goes, and takes no column."""
    word = "1234567890"
    assert hang(f"{word} {word} {word} {word}", 8) == f"{word} {word} {word}\n{'':8}{word}"


@pytest.mark.usefixtures("terminal")
def test_hang_what_cannot_be_broken() -> None:
    """A word longer than the line stays whole, alone on its line."""
    assert hang(f"a {'b' * 99} c", 4) == f"a\n    {'b' * 99}\n    c"


def test_hang_narrow(terminal: pytest.MonkeyPatch) -> None:
    """Where there is hardly any room, some words still stand side by side."""
    terminal.setenv("COLUMNS", "5")
    first = hang("word " * 20, 30).split("\n")[0]
    assert NARROW - 5 <= len(first) <= NARROW


def test_hang_in_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line, whatever its length."""
    monkeypatch.setattr("sys.stdout.isatty", lambda: False)
    assert hang(TEXT * 9, 12, after=",") == TEXT * 9


@pytest.mark.long
def test_doctor_on_a_terminal() -> None:
    """Three columns, whatever is in them."""
    lines = said_on_a_terminal(DOCTOR, PLAIN, columns=60).splitlines()
    whole = subprocess.run(DOCTOR, env=PLAIN, capture_output=True, text=True).stdout.splitlines()
    assert len(lines) > len(whole) == len(CHECKS)
    start = whole[0].index("python") + max(len(name) for name, _ in CHECKS) + 1
    assert {line[start - 1] for line in [*whole, *lines]} == {" "}
    assert " " not in {line[start] for line in [*whole, *lines]}
    heads = [line[:start].split() for line in lines if not line.startswith(" ")]
    assert heads == [line[:start].split() for line in whole]
    texts = [" ".join(" ".join(these).split()) for these in (lines, whole)]
    said, expected = (re.sub(r"\d+M can", "*M can", text) for text in texts)
    assert said == expected
    assert all(len(line) <= 60 for line in lines if " " in line[start:])
