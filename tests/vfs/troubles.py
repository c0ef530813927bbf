"""The tables of docs/troubleshooting.md, and whether the program keeps to them.

A test names the row that it makes happen: `refusal()` compares a command's exit status and line
with it, `fails_as()` an errno. test_troubles.py sees to it that every row is named somewhere.
"""

from __future__ import annotations

import errno
import re
import subprocess
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final

from ..scull.helpers import fails
from .helpers import SOURCE

PAGE: Final = SOURCE / "docs/troubleshooting.md"

PLACEHOLDERS: Final = ("PATH", "NAME", "VALUE", "SIZE", "N", "REASON", "SECONDS")
"""Words of a message that stand for others."""

WILD: Final = re.compile(rf"\b(?:{'|'.join(PLACEHOLDERS)})\b|\.\.\.")

ROW: Final = re.compile(r"^\| ([a-z][-a-z0-9]*) \| (.*) \|$", re.MULTILINE)


@dataclass(frozen=True)
class Trouble:
    """One row."""

    name: str
    what: str
    message: str
    """What the program says; empty for an errno."""
    outcome: str
    """An exit status, the name of an errno, or nothing for a line of the log."""

    def fits(self, said: str) -> bool:
        """Whether *said* is the message of this row."""
        return re.fullmatch(".*".join(map(re.escape, WILD.split(self.message))), said) is not None


def _read() -> dict[str, Trouble]:
    troubles = {}
    for name, rest in ROW.findall(PAGE.read_text()):
        what, *cells = rest.split(" | ")
        message = next((cell.strip("`") for cell in cells if cell.startswith("`")), "")
        outcome = next((cell for cell in cells if not cell.startswith("`")), "")
        assert name not in troubles, name
        troubles[name] = Trouble(name, what, message, outcome)
    return troubles


TROUBLES: Final = _read()
"""Name -> row."""


def refusal(done: subprocess.CompletedProcess[str], name: str) -> str:
    """The one line of a command that ended as the row *name* says."""
    trouble = TROUBLES[name]
    assert (done.returncode, done.stdout) == (int(trouble.outcome), ""), done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("scullvfs: ")
    said = line.removeprefix("scullvfs: ")
    assert trouble.fits(said), (said, trouble.message)
    return said


def fails_as(name: str) -> AbstractContextManager[None]:
    """What is done here fails with the errno of the row *name*."""
    return fails(getattr(errno, TROUBLES[name].outcome))
