"""docs/commands.md names every command, every option and every exit status, and no others."""

import re
from pathlib import Path

import click
import pytest

from scullvfs.cli import main
from scullvfs.cli.checks import CHECKS
from scullvfs.cli.help import Command
from scullvfs.errors import ExitStatus
from scullvfs.mounts.health import State

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "commands.md").read_text()
ELSEWHERE = {"bench": "bench.md"}
"""Commands whose options have their table on a page of their own."""
SECTIONS = dict(re.findall(r"^## (.*)\n((?:(?!## ).*\n)*)", PAGE, re.MULTILINE))


def first_column(text: str) -> set[str]:
    """What stands between backquotes in the first cell of each row of the tables."""
    cells = re.findall(r"^\| (.*?) \|", text, re.MULTILINE)
    return {word for cell in cells for word in re.findall(r"`([^` ]+)[^`]*`", cell)}


def options(command: click.Command) -> set[str]:
    """All forms of all its options but --help, as they are on its help."""
    return {
        form
        for parameter in command.params
        if isinstance(parameter, click.Option)
        for form in parameter.opts
    }


def test_every_command_has_a_section() -> None:
    """In the order of the table above, which has them all."""
    assert list(SECTIONS) == [
        "Exit statuses",
        *re.findall(r"^\| \[`([\w-]+)`\]", PAGE, re.MULTILINE),
    ]
    assert sorted(SECTIONS) == sorted(["Exit statuses", *main.commands])


@pytest.mark.parametrize("name", main.commands)
def test_every_option_has_a_row(name: str) -> None:
    """And nothing has a row that looks like an option and is none."""
    text = (DOCS / ELSEWHERE[name]).read_text() if name in ELSEWHERE else SECTIONS[name]
    rows = {word for word in first_column(text) if word.startswith("-")}
    assert rows == options(main.commands[name])
    assert all(form in PAGE for form in options(main))


@pytest.mark.parametrize("name", main.commands)
def test_exit_statuses_of_each_command(name: str) -> None:
    """Those that its help lists."""
    command = main.commands[name]
    assert isinstance(command, Command)
    said = re.search(r"^Exit statuses: (.*)", SECTIONS[name], re.MULTILINE)
    assert said is not None
    if set(command.statuses) != set(ExitStatus):
        assert said[1] == ", ".join(str(status.value) for status in command.statuses) + "."


def test_exit_statuses() -> None:
    """The table is that of the program, word for word."""
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", SECTIONS["Exit statuses"], re.MULTILINE)
    assert rows == [(str(status.value), status.meaning) for status in ExitStatus]


def test_states_and_checks() -> None:
    """Each state of a mount, and everything that the doctor looks at."""
    assert {state.value for state in State} <= first_column(SECTIONS["status"])
    checks = {name for name, _ in CHECKS} | {"mount"}
    rows = first_column(SECTIONS["doctor"])
    assert {word for word in rows if not word.startswith("-")} == checks
