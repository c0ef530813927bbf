"""Limits that are said in sentences are those that the program has."""

import re
from pathlib import Path

import pytest

from scullvfs.bench import plan
from scullvfs.cli import main
from scullvfs.daemon import lock, start
from scullvfs.fs import seq_file
from scullvfs.host import memory
from scullvfs.mm import command_line, commands, handles, ring_buffer
from scullvfs.mounts import status
from scullvfs.options.parsers import format_size

DOCS = Path(__file__).parents[2] / "docs"

SIZES = f"{format_size(plan.MIN_SIZE)} to {format_size(plan.MAX_SIZE)}"


@pytest.mark.parametrize(
    ("page", "sentence", "number"),
    [
        ("commands.md", r"dead and hung ones cost (\d+) seconds at most", status.ANSWER_TIMEOUT),
        ("troubleshooting.md", r"does not answer within (\d+) seconds", start.ANSWER_TIMEOUT),
        ("troubleshooting.md", r"For (\d+) seconds another", lock.MountPointLock.TIMEOUT),
        ("troubleshooting.md", r"should be `mem=` \+ (\d+) MiB", memory.DAEMON / memory.MIB),
        ("mount.md", r"maps (\d+) MiB at the most", commands.MAX_BYTES / memory.MIB),
        ("mount.md", r"one, or up to (\d+) \|", command_line.MAX_PEEK),
        ("mount.md", r"there is none; (\d+) at the most", command_line.MAX_PFNS),
        ("mount.md", r"A name\shas up to (\d+) letters", handles.MAX_NAME),
        ("tracing.md", r"A record takes (\d+) bytes", ring_buffer.RECORD_BYTES),
        ("mount.md", r"There are up to (\d+) handles", handles.MAX_HANDLES),
        ("troubleshooting.md", r"A name of more than (\d+) characters", handles.MAX_NAME),
        ("troubleshooting.md", r"More than (\d+) handles", handles.MAX_HANDLES),
        ("troubleshooting.md", r"more than (\d+) MiB by one", commands.MAX_BYTES / memory.MIB),
        ("mount.md", r"Beside it the daemon takes (\d+) MiB", memory.DAEMON / memory.MIB),
        ("mount.md", r"as they are read, (\d+) KiB a read", seq_file.MOST / 1024),
        ("mount.md", r"takes (\d+) bytes more for each", memory.OWNER),
        ("mount.md", r"at the most, and (\d+) for each frame", memory.OWNED),
    ],
)
def test_number(page: str, sentence: str, number: float) -> None:
    """One for each sentence, and all of them alike."""
    found = re.findall(sentence, (DOCS / page).read_text())
    assert {*map(float, found)} == {float(number)}


def test_help_of_status() -> None:
    """A docstring cannot be made of a constant."""
    text = " ".join((main.commands["status"].help or "").split())
    assert f"within {status.ANSWER_TIMEOUT:g} seconds, is shown as such" in text


def test_sizes_of_bench() -> None:
    """Its page has the range and the default that the command has."""
    text = (DOCS / "bench.md").read_text()
    assert f"| `--sizes LIST` | `{plan.DEFAULT_SIZES}` | block sizes from {SIZES}" in text
    assert f"| `--bytes SIZE` | {format_size(plan.LIMIT)} |" in text
    assert f"| `--rounds N` | {plan.ROUNDS} |" in text
