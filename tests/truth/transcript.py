"""Shell commands on a device and what they printed: parsing the recordings, and running them.

A command speaks of the devices' directory as $D and of a scratch directory as $T.  Two forms:

    $ command             $ command
    [stdout]              output, both streams
    ...                   exit 0
    [stderr]
    ...
    [exit 0]

What depends on the day or the machine is left out of the output: times and rates, and where
the devices are.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from . import play

__all__ = ["Entry", "empties", "parse", "run", "scratch"]

DEADLINE = 30.0

PROSE = {"lseek END of scullv0, scullv1": "wc -c < $D/scullv0; wc -c < $D/scullv1"}
"""Where the recording tells in words what was done."""


@dataclass
class Entry:
    """A command, what it prints and how it ends, and whether its streams are told apart."""

    command: str
    output: str
    apart: bool


def parse(text: str) -> list[Entry]:
    """The commands of a recording."""
    apart = "[stdout]" in text
    entries = []
    for block in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, output = block.partition("\n")
        command = PROSE.get(command, command)
        command = command.replace("/dev/scullv", "$D/scullv").replace("/proc/", "$D/proc/")
        entries.append(Entry(command, _plain(output), apart))
    return entries


def run(entry: Entry, devices: Path, scratch: Path) -> str:
    """What the command of an entry prints here."""
    done = subprocess.run(
        ["bash", "-c", entry.command],
        env={"D": str(devices), "T": str(scratch), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if entry.apart else subprocess.STDOUT,
        text=True,
        timeout=DEADLINE,
    )
    out, err, status = done.stdout, done.stderr, done.returncode
    if entry.apart:
        output = f"[stdout]\n{out}[stderr]\n{err}[exit {status}]\n"
    else:
        output = f"{out}exit {status}\n"
    return _plain(output.replace(str(devices), "/dev"))


def empties(command: str) -> bool:
    """Whether a command opens a device for writing only, before all else; dd does without seek=."""
    return bool(re.search(r"(^|[^<>])>>?\s*\$D/scullv|of=\$D/scullv(?!.*seek)", command))


def scratch(directory: Path) -> Path:
    """Fill a directory with the files that the commands use."""
    (directory / "small").write_text("hello\n")
    (directory / "rnd1m").write_bytes(play.data_of({"seed": "rnd1m", "len": 1 << 20}))
    (directory / "rnd200k").write_bytes(play.data_of({"seed": "rnd200k", "len": 200 << 10}))
    for tool in ("bash", "dd", "od", "stty", "blockdev"):
        assert shutil.which(tool), f"{tool} is not installed"
    return directory


def _plain(output: str) -> str:
    output = re.sub(r"copied, \S+ s, \S+ \wB/s", "copied", output)
    return "\n".join(line.rstrip() for line in output.strip().splitlines())
