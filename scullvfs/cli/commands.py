"""The commands: what each is called and is for, and its module, imported when it is asked for.

Most of the time that a command takes would else be that of the others' imports. The table here
is all that `scullvfs --help` and the completion of a command's name need.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from importlib import import_module
from typing import TYPE_CHECKING, Final

import click

from .candidates import candidate

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

__all__ = ["COMPLETE_VAR", "SUMMARIES", "Commands", "OnDemand"]

COMPLETE_VAR: Final = "_SCULLVFS_COMPLETE"
"""What a shell's script sets to ask what may come next."""

SUMMARIES: Final = {
    "mount": "Mount the scullv devices on MOUNTPOINT, an empty directory.",
    "umount": "Unmount MOUNTPOINT, and wait for its daemon's end.",
    "reload": "Take new values of order and qset over into a mount.",
    "status": "Show the mounts, and how they are.",
    "doctor": "Find out what is missing on this machine.",
    "ioctl": "Carry out one of the driver's ioctl commands.",
    "bench": "Measure writes, rewrites and reads with dd on a device.",
    "demo": "Show what scullvfs does, on a temporary mount.",
    "completion": "Print a script that makes SHELL complete words.",
}
"""Name -> the first sentence of its help. The command is `scullvfs.cli.NAME.NAME`."""


class Commands(MutableMapping[str, click.Command]):
    """Name -> command."""

    def __init__(self) -> None:
        self._loaded: dict[str, click.Command | None] = dict.fromkeys(SUMMARIES)

    def __getitem__(self, name: str) -> click.Command:
        command = self._loaded[name]
        if command is None:
            command = getattr(import_module(f"scullvfs.cli.{name}"), name)
            assert isinstance(command, click.Command)
            self._loaded[name] = command
        return command

    def __setitem__(self, name: str, command: click.Command) -> None:
        self._loaded[name] = command

    def __delitem__(self, name: str) -> None:
        del self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._loaded)

    def __len__(self) -> int:
        return len(self._loaded)


class OnDemand(click.Group):
    """A group that lists its commands without importing them."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table of commands."""
        with formatter.section("Commands"):
            formatter.write_dl(sorted(SUMMARIES.items()))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        """The commands that begin like `incomplete`, and the options that do."""
        names = [
            candidate(name, help=summary)
            for name, summary in sorted(SUMMARIES.items())
            if name.startswith(incomplete)
        ]
        return names + click.Command.shell_complete(self, ctx, incomplete)
