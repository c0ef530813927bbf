"""Pages that show sessions: every command is run, and prints what the page prints.

In a page, a ```c block that begins with the comment of a file's name is that file, and so is
such a ```python block; the lines of a ```console block that begin with `$ ` are commands,
those after it their output.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .helpers import DEADLINE, SOURCE, Scullvfs, mount_point

MOUNT = "/mnt/scullv"
"""Where the pages mount, and on MOUNT-file those that make two; README and guide on `scullv` in
the working directory."""

PAGES = [
    "README.md",
    *(
        f"docs/{name}.md"
        for name in ("commands", "driver", "guide", "ioctl", "overrun", "semantics", "testing")
    ),
]

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"(?:/\* (\S+\.[ch]) \*/|# (\S+\.py))\n")
VARIES = re.compile(
    r"(?<=^<\d>\[)[ \d.]{12,}(?=\] )|(?<=[PU]ID: )\d+|(?<= passed in )[\d.]+(?=s$)", re.MULTILINE
)
"""The kernel log's times and ids, and how long pytest took: no two runs have them
in common."""


class Session:
    """A directory with the files of a page, where its commands run on a mount of the test.

    With *pipx* scullvfs is installed by it: the reader's own Python has none.
    """

    def __init__(
        self, directory: Path, mountpoint: Path, scullvfs: Scullvfs, *, pipx: bool
    ) -> None:
        self.directory = directory
        self._mountpoint = mountpoint
        programs = directory / "bin"
        venvs = directory / "venvs"
        calls = {
            programs / "scullvfs": f'exec {sys.executable} -m scullvfs "$@"',
            programs / "pytest": f'exec {sys.executable} -m pytest -p no:hypothesispytest "$@"',
            programs / "python3": f'exec {sys.executable} {"-I -S" if pipx else ""} "$@"',
            programs / "pipx": f"echo {venvs}",  # what it is asked for here
            venvs / "scullvfs/bin/python": f'exec {sys.executable} "$@"',
        }
        for program, call in calls.items():
            program.parent.mkdir(parents=True, exist_ok=True)
            program.write_text(f"#!/bin/sh\n{call}\n")
            program.chmod(0o755)
        path = f"{programs}:{os.environ['PATH']}"
        self._cwd = programs / "cwd"
        self._cwd.write_text(f"{directory}\n")
        self._env = {**scullvfs.env, "LC_ALL": "C", "PATH": path}

    def output(self, command: str) -> str:
        """What a command prints, to stdout and stderr; a `cd` holds for those that follow."""
        command = f"trap 'pwd >{self._cwd}' EXIT; {command.replace(MOUNT, str(self._mountpoint))}"
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self._cwd.read_text().removesuffix("\n"),
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=DEADLINE,
        )
        # At a prompt bash says no line.
        return done.stdout.replace("bash: line 1: ", "bash: ").replace(str(self._mountpoint), MOUNT)


def commands(block: str) -> list[tuple[str, str]]:
    """The commands of a ```console block, each with the output shown."""
    return re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE)


@pytest.fixture
def session(scullvfs: Scullvfs, tmp_path: Path, page: str) -> Iterator[Session]:
    """A session with mount points of its own."""
    with (
        mount_point(scullvfs, tmp_path / "scullv") as mountpoint,
        mount_point(scullvfs, tmp_path / "scullv-file") as other,
    ):
        yield Session(tmp_path, mountpoint, scullvfs, pipx=page == "README.md")
        for path in (mountpoint, other):
            if scullvfs.mounted(path):
                scullvfs("umount", path)


@pytest.mark.parametrize("page", PAGES)
def test_page(session: Session, page: str) -> None:
    """The page's files compile, and its commands print what it says."""
    played = 0
    for language, block in BLOCK.findall((SOURCE / page).read_text()):
        file = FILE.match(block)
        assert file is not None or language != "c"
        if file is not None:
            (session.directory / (file[1] or file[2])).write_text(block)
        elif language == "console":
            for command, shown in commands(block):
                printed = session.output(command)
                assert VARIES.sub("*", printed) == VARIES.sub("*", shown), command
                played += 1
    assert played >= 4
