"""The end of a command: what is registered for it is done, and its words and status get out."""

import os
import subprocess
import sys

import pytest


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program that begins `scullvfs` with these arguments."""
    lines = f"from scullvfs.__main__ import main\n{program}\nmain()"
    return subprocess.run([sys.executable, "-c", lines, *arguments], capture_output=True, text=True)


@pytest.mark.parametrize(
    ("arguments", "status"), [(["--version"], 0), ([], 2), (["no-such"], 2), (["umount", "/"], 7)]
)
def test_status(arguments: list[str], status: int) -> None:
    """It is that of the command."""
    assert run("", *arguments).returncode == status


@pytest.mark.parametrize("stderr", ["full", "closed", "read by nobody"])
@pytest.mark.parametrize(
    ("program", "arguments", "status"),
    [("main", ["no-such"], 2), ("main", ["umount", "/"], 7), ("mount_helper", [], 1)],
)
def test_status_where_nobody_can_be_told(
    stderr: str, program: str, arguments: list[str], status: int
) -> None:
    """It is the same where the line that says why cannot be written."""
    lines = f"from scullvfs.__main__ import {program}\n{program}()"
    command = [sys.executable, "-c", lines, *arguments]
    if stderr == "closed":
        command = ["sh", "-c", 'exec "$@" 2>&-', "sh", *command]
    reader, pipe = os.pipe()
    os.close(reader)
    with open(pipe, "wb") as nobody, open("/dev/full", "wb") as full:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=nobody if "read" in stderr else full
        )
    assert (done.returncode, done.stdout) == (status, b"")


def test_what_is_registered_is_done() -> None:
    """By whoever was imported on the way, and what they write is written."""
    program = (
        "import atexit, sys, scullvfs.cli\n"
        "def command(**_):\n"
        "    atexit.register(sys.stdout.write, 'the last word')\n"
        "    sys.exit(5)\n"
        "scullvfs.cli.main = command"
    )
    done = run(program)
    assert (done.returncode, done.stdout, done.stderr) == (5, "the last word", "")


def test_nothing_is_taken_apart() -> None:
    """It takes as long as a short command."""
    program = (
        "import scullvfs.cli\n"
        "class Kept:\n"
        "    def __del__(self): print('taken apart')\n"
        "scullvfs.cli.kept = Kept()"
    )
    done = run(program, "--version")
    assert done.returncode == 0
    assert "taken apart" not in done.stdout


def test_an_exception_is_told() -> None:
    """One that nobody expected has its traceback, and Python's own status."""
    program = "import scullvfs.cli\nscullvfs.cli.main = None"
    done = run(program, "--version")
    assert done.returncode == 1
    assert "TypeError" in done.stderr


def test_garbage_is_looked_for_again() -> None:
    """Once everything is imported that begins a command."""
    program = (
        "import gc, scullvfs.cli\n"
        "scullvfs.cli.main = lambda **_: print(gc.isenabled(), gc.get_freeze_count() > 1000)"
    )
    assert run(program).stdout == "True True\n"
