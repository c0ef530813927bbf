"""`scullvfs ioctl` without a mount: its help, and what it refuses before or at the first call."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from scullvfs.cli import main
from scullvfs.errors import ExitStatus
from scullvfs.scull import COMMANDS
from scullvfs.scull.family import SCULLV

LETTERS = {
    "S": "set",
    "T": "tell",
    "G": "get",
    "Q": "query",
    "X": "exchange",
    "H": "shift",
}


def run(*arguments: object) -> Result:
    """Run `scullvfs ioctl` with `arguments` in this process."""
    return CliRunner().invoke(main, ["ioctl", *map(str, arguments)], prog_name="scullvfs")


def refusal(result: Result, status: ExitStatus) -> str:
    """The one line with which it failed."""
    assert (result.exit_code, result.stdout) == (status, "")
    (line,) = result.stderr.splitlines()
    return line.removeprefix("scullvfs: ")


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_ioctl_help_lists_every_command(flag: str) -> None:
    """All 13, under the words that it takes."""
    text = run(flag).stdout
    assert "\n  reset  " in text
    for name in set(COMMANDS) - {"RESET"}:
        assert f"{LETTERS[name[0]]}-{name[1:].lower()}" in text


def test_ioctl_help_has_the_ranges() -> None:
    """As the module has them."""
    text = run("--help").stdout
    for name in ("order", "qset"):
        _, low, high, *_ = SCULLV.parameter(f"scullv_{name}")
        assert re.search(rf"\ban? {name} (is )?{low} to {high}\b", text)


@pytest.mark.parametrize("arguments", [[], ["/dev/null"]])
def test_ioctl_missing_argument(arguments: list[str]) -> None:
    """Device and command are needed."""
    assert refusal(run(*arguments), ExitStatus.USAGE).startswith("Missing argument")


def test_ioctl_too_many_arguments() -> None:
    """One value is enough."""
    assert "extra argument" in refusal(run("/dev/null", "set-order", 1, 2), ExitStatus.USAGE)


@pytest.mark.parametrize(
    ("command", "hint"),
    [
        ("set-oder", "did you mean 'set-order'?"),
        ("qeury-qset", "did you mean 'query-qset'?"),
        ("rest", "did you mean 'reset'?"),
        ("frobnicate", "'scullvfs ioctl --help' lists them all"),
        ("SORDER", "'scullvfs ioctl --help' lists them all"),
        ("", "'scullvfs ioctl --help' lists them all"),
    ],
)
def test_ioctl_unknown_command(command: str, hint: str) -> None:
    """The line names it, and the one that was meant."""
    line = refusal(run("/dev/null", command), ExitStatus.USAGE)
    assert line == f"unknown ioctl command '{command}'; {hint}"


@pytest.mark.parametrize("command", ["set-order", "tell-qset", "exchange-order", "shift-qset"])
def test_ioctl_missing_value(command: str) -> None:
    """What sets something needs a value, and the line shows where."""
    line = refusal(run("/dev/null", command), ExitStatus.USAGE)
    assert line == f"'{command}' needs a value: 'scullvfs ioctl DEVICE {command} VALUE'"


@pytest.mark.parametrize("command", ["reset", "get-order", "query-qset"])
def test_ioctl_needless_value(command: str) -> None:
    """What sets nothing takes no value."""
    line = refusal(run("/dev/null", command, 3), ExitStatus.USAGE)
    assert line == f"'{command}' takes no value"


@pytest.mark.parametrize(
    "value",
    [
        *("", " ", "four", "4x", "4.0", "1e1", " 4", "4 ", "1_0", "010", "0x", "0b1", "--4", "٤"),
        *("2147483648", "-2147483649", "99999999999999999999999", "9" * 5000),
    ],
)
@pytest.mark.parametrize("command", ["set-order", "shift-qset"])
def test_ioctl_no_number(command: str, value: str) -> None:
    """A value that is no number, or no int, is refused before the device is opened."""
    line = refusal(run("/no/such/device", command, value), ExitStatus.USAGE)
    assert line == f"'{value}' is no number that '{command}' can take"


def test_ioctl_missing_file(tmp_path: Path) -> None:
    """There is no such file."""
    line = refusal(run(tmp_path / "scullv0", "query-order"), ExitStatus.NOT_MOUNTED)
    assert line == f"cannot open {tmp_path}/scullv0: No such file or directory"


@pytest.mark.parametrize("command", ["reset", "query-order", "get-qset", "exchange-order"])
def test_ioctl_no_device(tmp_path: Path, command: str) -> None:
    """Files, directories and other devices are told apart from scullv's."""
    (tmp_path / "file").write_text("kept")
    for path in (tmp_path / "file", tmp_path, Path("/dev/null")):
        value = [2] if command == "exchange-order" else []
        line = refusal(run(path, command, *value), ExitStatus.NOT_MOUNTED)
        assert line == f"{path} is no device of a driver, or its mount has no ioctl"
    assert (tmp_path / "file").read_text() == "kept"


def test_ioctl_fifo_does_not_hang(tmp_path: Path) -> None:
    """A fifo that nobody writes to is no device either, and not waited for."""
    os.mkfifo(tmp_path / "fifo")
    line = refusal(run(tmp_path / "fifo", "query-order"), ExitStatus.NOT_MOUNTED)
    assert line.endswith("is no device of a driver, or its mount has no ioctl")
