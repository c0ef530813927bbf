"""The command line, without a mount."""

import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

import scullvfs
from scullvfs.cli import main
from scullvfs.cli.help import ALWAYS
from scullvfs.errors import ExitStatus
from scullvfs.options.table import OPTIONS
from scullvfs.scull.family import SCULL, SCULLC, SCULLP, SCULLV, driver_of_parameter

from .interactive import said_on_a_terminal


def run(*arguments: str) -> Result:
    """Run `scullvfs` with `arguments` in this process."""
    return CliRunner().invoke(main, arguments, prog_name="scullvfs")


def test_without_a_command() -> None:
    """The help, as an error."""
    result = run()
    assert result.exit_code == ExitStatus.USAGE
    assert result.stderr.startswith("Usage: scullvfs")


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_lists_the_commands(flag: str) -> None:
    """Every command, with what it does."""
    result = run(flag)
    assert result.exit_code == ExitStatus.SUCCESS
    assert all(f"\n  {command}  " in result.stdout for command in main.commands)
    assert "..." not in result.stdout.partition("Commands:")[2], "a command's summary is cut"


def test_mount_help_lists_every_option() -> None:
    """Both forms, the range and the default of each, in one line of a terminal."""
    table = run("mount", "--help").stdout.partition("Mount options [default]:\n")[2]
    options = [o for o in OPTIONS if driver_of_parameter(o.name) in (None, SCULLV)]
    for option, row in zip(options, table.splitlines()[: len(options)], strict=True):
        equals = "" if option.parse is None else "="
        names = ", ".join(f"{form}{equals}" for form in option.forms)
        takes = "" if option.parse is None else f": {option.parse.brief}"
        assert re.fullmatch(rf"  {names} +{re.escape(option.help + takes)} \[(.*)\]", row)
        assert row.endswith(f" [{option.default}]")
        assert len(row) < 80


def test_mount_help_lists_every_parameter() -> None:
    """Of the other drivers, with their defaults."""
    text = run("mount", "--help").stdout
    for driver in (SCULLP, SCULLC, SCULL):
        for parameter in driver.parameters:
            assert f" {parameter.name}= [{parameter.default}]" in text


@pytest.mark.parametrize("name", main.commands)
def test_help_fits_on_a_screen(name: str) -> None:
    """bench's alone has more options than a screen has lines; of mount's the options stay.

    Those of ioctl and lab have a table that is as long as what it lists.
    """
    lines = run(name, "--help").stdout.splitlines()
    most = {"bench": 50, "mount": 58, "ioctl": 38, "lab": 36, "test-vmalloc": 45}
    assert len(lines) <= most.get(name, 30)
    if name == "mount":
        assert len(lines) - lines.index("Mount options [default]:") <= 31


def test_help_lists_every_exit_status() -> None:
    """The one table of exit statuses, whole."""
    text = " ".join(run("--help").stdout.split())
    assert all(f" {status.value} {status.meaning}" in text for status in ExitStatus)


def test_version() -> None:
    """Everything that a report of a bug should name, in one line."""
    result = run("--version")
    assert result.exit_code == ExitStatus.SUCCESS
    (line,) = result.stdout.splitlines()
    assert line.startswith(f"scullvfs {scullvfs.__version__} (Python {platform.python_version()}, ")
    assert platform.release() in line
    assert all(f" {part} " in line for part in ("pyfuse3", "trio", "libfuse"))
    assert "missing" not in line


@pytest.mark.parametrize("name", main.commands)
def test_help_of_each_command(name: str) -> None:
    """Ends with examples that call it, and with the statuses that it may exit with."""
    text = run(name, "--help").stdout
    _, examples, statuses = re.split(r"^(?:Examples|Exit status):\n", text, flags=re.MULTILINE)
    calls = re.findall(r"^  (scullvfs .*)", examples, re.MULTILINE)
    assert calls
    assert all(f"scullvfs {name}" in call for call in calls)
    shown = [int(number) for number in re.findall(r"\d+", statuses)]
    assert {*ALWAYS} <= {ExitStatus(number) for number in shown}
    assert shown == sorted(shown)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["moutn"], "unknown command 'moutn'; did you mean 'mount'?"),
        (["frobnicate"], "unknown command 'frobnicate'; 'scullvfs --help' says more"),
        (["mount"], "Missing argument 'MOUNTPOINT'; 'scullvfs mount --help' says more"),
        (["mount", "-o"], "Option '-o' requires an argument"),
        (["mount", "--bogus", "/mnt"], "unknown option '--bogus'; 'scullvfs mount --help' says"),
        (["mount", "--foregruond", "/mnt"], "unknown option '--foregruond'; did you mean '--fore"),
        (["--vesion"], "unknown option '--vesion'; did you mean '--version'?"),
        (["status", "--jsn"], "unknown option '--jsn'; did you mean '--json'?"),
        (["doctor", "now"], "Got unexpected extra argument"),
        (["completion", "tcsh"], "'tcsh' is not one of 'bash', 'zsh', 'fish'"),
        (["mount", "-o", "ordr=3", "/mnt"], "unknown option 'ordr'; did you mean 'order'?"),
        (["mount", "-o", "order=19", "/mnt"], "order=19 is not possible"),
        (["mount", "-o", "devs=1,scullv_devs=2", "/mnt"], "contradict each other"),
        (["mount", "/mnt", "/mnt2"], "Got unexpected extra argument"),
        (["umount"], "Missing argument 'MOUNTPOINT'"),
        (["umount", "--timeout", "-1", "/mnt"], "'--timeout'"),
        (["umount", "--timeout", "nan", "/mnt"], "'nan' is not a number of seconds"),
        (["bench", "--seconds", "NaN", "/mnt"], "'NaN' is not a number of seconds"),
    ],
)
def test_usage_error(arguments: list[str], words: str) -> None:
    """One line that says what is wrong, and status 2."""
    result = run(*arguments)
    assert result.exit_code == ExitStatus.USAGE
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("scullvfs: ")
    assert words in line


@pytest.mark.long
@pytest.mark.parametrize(
    ("env", "colours"),
    [
        ({}, True),
        ({"NO_COLOR": ""}, True),
        ({"NO_COLOR": "1"}, False),
        ({"NO_COLOR": "0"}, False),
        ({"TERM": "dumb"}, False),
    ],
)
def test_colours_on_a_terminal(env: dict[str, str], colours: bool) -> None:
    """Where NO_COLOR is not empty, or the terminal can do nothing, there are none."""
    plain = {name: os.environ[name] for name in os.environ if name != "NO_COLOR"}
    command = [sys.executable, "-m", "scullvfs", "doctor", "--no-mount"]
    said = said_on_a_terminal(command, {**plain, "TERM": "xterm", **env})
    assert "libfuse" in said
    assert ("\x1b[" in said) is colours


@pytest.mark.long
def test_no_colours_in_a_pipe() -> None:
    """What goes into a file is text."""
    command = [sys.executable, "-m", "scullvfs", "doctor", "--no-mount"]
    done = subprocess.run(command, env={**os.environ, "TERM": "xterm"}, capture_output=True)
    assert b"libfuse" in done.stdout
    assert b"\x1b" not in done.stdout


def test_module_is_the_program() -> None:
    """`python -m scullvfs` calls itself scullvfs and does the same."""
    done = subprocess.run(
        [sys.executable, "-m", "scullvfs", "--help"], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == run("--help").stdout.split()


def test_import_needs_no_fuse() -> None:
    """The command line is there without pyfuse3 and trio."""
    program = "import sys, scullvfs.cli; sys.exit(str({'pyfuse3', 'trio'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stderr.strip() == "set()"


def test_closed_stdout() -> None:
    """A reader that goes away early gets no traceback."""
    command = subprocess.Popen(
        [sys.executable, "-m", "scullvfs", "mount", "--help"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with command:
        assert command.stdout is not None
        assert command.stderr is not None
        command.stdout.close()
        assert command.stderr.read() == b""


@pytest.mark.parametrize("command", ["--version", "mount --help", "status --json"])
def test_output_that_cannot_be_written(command: str) -> None:
    """One line says so: a script must not take a part for the whole."""
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "scullvfs", *command.split()],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == 1
    assert done.stderr == "scullvfs: cannot write the output: No space left on device\n"


def test_bench_page_lists_every_option() -> None:
    """The table of docs/bench.md has what --help has, with the same defaults."""
    page = (Path(scullvfs.__file__).parents[1] / "docs/bench.md").read_text()
    rows = dict(re.findall(r"^\| `(?:-v`, `)?(-[-\w]+)[^|]*\| ([^|]*?) ?\|", page, re.MULTILINE))
    options = {
        option.opts[-1]: option
        for option in main.commands["bench"].params
        if isinstance(option, click.Option)
    }
    assert rows.keys() == options.keys()
    with_default = {name: option for name, option in options.items() if option.show_default}
    assert len(with_default) == 4
    for name, option in with_default.items():
        assert rows[name].strip("`") == str(option.default)
