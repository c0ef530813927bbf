"""`scullvfs doctor`: prints what `scullvfs.cli.checks` finds."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import click

from scullvfs.errors import ExitStatus
from scullvfs.text import one_line

from .hang import hang
from .help import Command

if TYPE_CHECKING:
    from .checks import Finding

__all__ = ["doctor"]

COLORS: Final = {"ok": "green", "warn": "yellow", "missing": "red"}
"""Verdict -> how it is shown."""


@click.command(
    cls=Command,
    examples=[
        ("scullvfs doctor", "Look, and try a mount on a temporary directory."),
        ("scullvfs doctor --no-mount", "Only look."),
    ],
    statuses=(
        ExitStatus.NO_FUSE,
        ExitStatus.PERMISSION,
        ExitStatus.NO_MEMORY,
        ExitStatus.MOUNT_POINT,
        ExitStatus.BUSY,
    ),
)
@click.option("--no-mount", is_flag=True, help="Do not try a mount.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list, an object a finding.")
def doctor(no_mount: bool, as_json: bool) -> ExitStatus:
    """Find out what is missing on this machine.

    Looks at what a mount by you needs: ok; warn, where something will not work, or takes
    longer; or missing, where a mount will not work, and how to get it. Then it makes a mount
    on a temporary directory, and takes it down again.

    The status is 0 if a mount works, or else that of the first thing that is missing, which
    is what 'scullvfs mount' would exit with.
    """
    from .checks import CHECKS, examine

    width = max(len(name) for name, _ in CHECKS)
    findings = []
    for finding in examine(try_mount=not no_mount):
        findings.append(finding)
        if not as_json:
            _show(finding, width)
    if as_json:
        objects = [
            {"name": finding.name, "verdict": finding.verdict, "text": one_line(finding.text)}
            for finding in findings
        ]
        click.echo(json.dumps(objects, indent=2))
    return next((f.status for f in findings if f.status), ExitStatus.SUCCESS)


def _show(finding: Finding, width: int) -> None:
    """A line in columns: the verdict, the name in a column of that width, and the text."""
    verdict = f"{finding.verdict:<{max(map(len, COLORS))}} "
    name = f"{finding.name:<{width}} "
    text = hang(one_line(finding.text), len(verdict + name))
    click.echo(click.style(verdict, fg=COLORS[finding.verdict], bold=True) + name + text)
