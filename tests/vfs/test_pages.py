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

from scullvfs.mounts.mountinfo import read_mounts
from scullvfs.mounts.unmount import unmount

from .helpers import DEADLINE, SOURCE, Scullvfs, mount_point

MOUNT = "/mnt/scullv"
"""Where the pages mount, and on MOUNT-file those that make two; README and guide on `scullv` in
the working directory."""
FAMILY = "/mnt/ldd3"
"""Where they mount the whole family."""

PAGES = [
    "README.md",
    *(
        f"docs/{name}.md"
        for name in (
            *("commands", "driver", "faults", "guide", "ioctl", "labs", "looking", "overrun"),
            *("pictures", "repeat", "semantics", "snapshots", "teaching", "test-vmalloc"),
            *("testing", "tracing", "view"),
        )
    ),
    *(str(page.relative_to(SOURCE)) for page in sorted(SOURCE.glob("docs/labs/*.md"))),
]

OF_ROOT = {"docs/driver.md", "docs/ioctl.md"}
"""Those that only root can follow to the letter."""

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"(?:/\* (\S+\.[ch]) \*/|# (\S+\.py))\n")
VARIES = re.compile(
    r"(?<=^<\d>\[)[ \d.]{12,}(?=\] )|(?<=[PU]ID: )\d+|(?<= passed in )[\d.]+(?=s$)"
    r"|(?<= avg: )\d+(?= usec$)|(?<==)\d+(?= cycles$)|(?<=, pid )\d+|(?<=, tgid )\d+"
    r"|(?<=, ts )\d+(?= ns$)"
    r"|\d+(?= calls (?:are in|made again))"
    r"|(?<=-)\d+ +(?=\[000\] )|(?<= \.{5}) +\d+\.\d{6}(?=: )",
    re.MULTILINE,
)
"""The kernel log's times and ids, those of a trace, and how long pytest took, or the kernel's test:
no two runs have them in common."""


class Session:
    """A directory with the files of a page, where its commands run on a mount of the test.

    With *pipx* scullvfs is installed by it: the reader's own Python has none.
    """

    def __init__(
        self, directory: Path, mountpoint: Path, scullvfs: Scullvfs, *, pipx: bool
    ) -> None:
        self.directory = directory
        self._paths = {MOUNT: str(mountpoint), FAMILY: str(mountpoint.with_name("ldd3"))}
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
        self.env = {**scullvfs.env, "LC_ALL": "C", "PATH": path}

    def output(self, command: str) -> str:
        """What a command prints, to stdout and stderr; a `cd` holds for those that follow."""
        for path, ours in self._paths.items():
            command = command.replace(path, ours)
        command = f"trap 'pwd >{self._cwd}' EXIT; {command}"
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self._cwd.read_text().removesuffix("\n"),
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=DEADLINE,
        )
        said = done.stdout.replace("bash: line 1: ", "bash: ")  # at a prompt bash says no line
        for path, ours in self._paths.items():
            said = said.replace(ours, path)
        return said


def commands(block: str) -> list[tuple[str, str]]:
    """The commands of a ```console block, each with the output shown."""
    return re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE)


@pytest.fixture
def session(scullvfs: Scullvfs, tmp_path: Path, page: str) -> Iterator[Session]:
    """A session with mount points of its own."""
    with (
        mount_point(scullvfs, tmp_path / "scullv") as mountpoint,
        mount_point(scullvfs, tmp_path / "scullv-file") as other,
        mount_point(scullvfs, tmp_path / "ldd3") as family,
    ):
        yield Session(tmp_path, mountpoint, scullvfs, pipx=page == "README.md")
        for path in (mountpoint, other, family):
            if scullvfs.mounted(path):
                scullvfs("umount", path)
        left = [mount.path for mount in read_mounts() if mount.path.startswith(f"{tmp_path}/")]
        for name in left:  # of a lab, on a directory that it has made
            unmount(name, lazy=True, timeout=DEADLINE)
        assert left == []


@pytest.mark.long
@pytest.mark.parametrize("page", PAGES)
def test_page(session: Session, page: str) -> None:
    """The page's files compile, and its commands print what it says."""
    if page in OF_ROOT and os.geteuid():
        pytest.skip("sets parameters of scull, which takes CAP_SYS_ADMIN")
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
