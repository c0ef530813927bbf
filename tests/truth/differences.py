"""The list of differences (differences.toml), read into classes that say what falls under one.

Used by the judge, and by the tests of the recordings.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from .conditions import WHEN
from .play import LISTINGS
from .world import Result, Step, World

__all__ = ["DATA", "Cause", "Command", "Difference", "load"]

DATA = Path(__file__).with_name("differences.toml")


@dataclass(frozen=True, eq=False)
class Cause:
    """One way in which a difference shows: a table `step` of the data file."""

    name: str
    op: list[str]
    when: str = ""
    drivers: list[str] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)
    cmd: list[str] = field(default_factory=list)
    recorded: Result = field(default_factory=dict)
    got: Result = field(default_factory=dict)
    spoils: list[str] = field(default_factory=list)

    def applies(self, step: Step, recorded: Result, got: Result, world: World) -> bool:
        """Whether it is about this step, its recorded result and the one here."""
        op = "listing" if step["op"] in LISTINGS else step["op"]
        return (
            op in self.op
            and (not self.drivers or world.name in self.drivers)
            and set(self.flags) <= set(step.get("flags", ["O_RDWR"]))
            and (not self.cmd or bool({step["cmd"], world.command(step)} & {*self.cmd}))
            and self.recorded.items() <= recorded.items()
            and self.got.items() <= got.items()
            and (not self.when or WHEN[self.when](step, recorded, got, world))
        )


@dataclass(frozen=True, eq=False)
class Command:
    """A shell command that shows a difference: a table `command` of the data file."""

    name: str
    runs: str = ""
    after: str = ""
    recorded: str = ""
    got: str = ""

    def applies(self, command: str, recorded: str, got: str, before: str) -> bool:
        """Whether it is about a command, what was recorded and what is printed here.

        Args:
            before: the commands since the device was last emptied, a line each.
        """
        return all(
            re.search(pattern, text, re.MULTILINE)
            for pattern, text in (
                (self.runs, command),
                (self.after, before),
                (self.recorded, recorded),
                (self.got, got),
            )
        )


@dataclass(frozen=True)
class Difference:
    """An entry of the data file."""

    name: str
    shown: Path
    """A recording with a step that falls under it."""
    real: str
    here: str
    why: str
    steps: list[Cause]
    commands: list[Command]


def load(path: Path = DATA) -> list[Difference]:
    """The differences that are allowed."""
    with path.open("rb") as file:
        entries = tomllib.load(file)["difference"]
    return [
        Difference(
            **{key: entry[key].strip() for key in ("name", "real", "here", "why")},
            shown=path.parent / entry["shown"],
            steps=[Cause(entry["name"], **table) for table in entry.get("step", [])],
            commands=[Command(entry["name"], **table) for table in entry.get("command", [])],
        )
        for entry in entries
    ]
