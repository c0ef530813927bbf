"""The recordings, given to a machine as the commands that a user writes.

The recorded words are those of `scullvfs.mm.commands`, with a line for each step.  Where addresses
lie is the matter of `test_addresses`; here each word is done, or gives NULL where it was NULL, and
what else it says is as it was.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scullvfs.mm import Machine
from scullvfs.mm.command_line import USAGE, Refused
from scullvfs.mm.commands import Commands

RECORDINGS = sorted(Path(__file__).parent.glob("mm/[0-9]*.json"))
RAM = 768 << 20
"""Of the recorded machine, with one CPU."""


def line(op: str, h: int | None = None, **args: int) -> str:
    """A step as a command."""
    if op == "ioremap":  # what lies in the kernel's own code passes there, and RAM does not here
        args = {"phys": args["phys"] | RAM, "size": args["size"]}
    return " ".join(map(str, [op, *([] if h is None else [h]), *args.values()]))


def null(result: dict[str, Any]) -> bool:
    """Whether the kernel gave NULL."""
    return result.get("addr") == "NULL"


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
def test_recording(path: Path) -> None:
    """Every step is a command, and NULL where the kernel says so."""
    machine = Machine(RAM, shuffle=False)
    commands = Commands(machine)
    nulls: set[int] = set()
    for step in json.loads(path.read_text())["steps"]:
        result = step.pop("result")
        if step["op"] == "free" and step["h"] in nulls:
            continue
        if null(result):
            with pytest.raises(Refused, match="NULL"):
                commands.do(line(**step))
            nulls.add(step["h"])
            continue
        answer = commands.do(line(**step))
        if "ksize" in result and step["op"] == "sizes":
            assert answer == f"{result['ksize']}\n"
        elif "ksize" in result:
            handle = commands.handles.find(str(step["h"]))
            assert handle is not None
            assert handle.size == result["ksize"]
        elif "pfns" in result:
            assert len(answer.split()) == len(result["pfns"])
        elif "addr" in result or "kaddr" in result:
            handle = commands.handles.find(str(step["h"]))
            assert handle is not None
            assert int(answer, 16) == handle.address
    machine.close()


def test_every_word_is_a_command() -> None:
    """All of them, in whatever recording they are."""
    paths = Path(__file__).parent.glob("mm/*.json")
    words = {step["op"] for path in paths for step in json.loads(path.read_text())["steps"]}
    assert words <= {*USAGE}
