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
    "mount": "Mount the devices on MOUNTPOINT, an empty directory.",
    "umount": "Unmount MOUNTPOINT, and wait for its daemon's end.",
    "reload": "Take new values of the drivers' parameters over into a mount.",
    "status": "Show the mounts, and how they are.",
    "show": "Draw a device, down to page tables and frames.",
    "map": "Draw the machine's RAM by owner, and its vmalloc window.",
    "report": "Write what a mount has into one HTML file.",
    "top": "Watch a mount in the terminal.",
    "view": "Show a mount in a browser, as it changes.",
    "snapshot": "Save the machine of a mount in a file, or show what such a file has.",
    "trace": "Show what the machine does, as it does it.",
    "record": "Record every call on a mount, to be made again by 'scullvfs replay'.",
    "replay": "Make the calls of a recording again, without a mount.",
    "doctor": "Find out what is missing on this machine.",
    "ioctl": "Carry out one of the driver's ioctl commands.",
    "bench": "Measure writes, rewrites and reads with dd on a device.",
    "faults": "Run COMMAND again and again, with another request for memory failing.",
    "test-vmalloc": "Run the scenarios of Linux's lib/test_vmalloc.c on an emulated machine.",
    "lab": "Set up a lab on a mount, check its answers, or list all labs.",
    "demo": "Show what scullvfs does, on a temporary mount.",
    "completion": "Print a script that makes SHELL complete words.",
}
"""Name -> the first sentence of its help.

The command is `scullvfs.cli.NAME.NAME`, with `_` for `-`.
"""


class Commands(MutableMapping[str, click.Command]):
    """Name -> command."""

    def __init__(self) -> None:
        self._loaded: dict[str, click.Command | None] = dict.fromkeys(SUMMARIES)

    def __getitem__(self, name: str) -> click.Command:
        command = self._loaded[name]
        if command is None:
            identifier = name.replace("-", "_")
            command = getattr(import_module(f"scullvfs.cli.{identifier}"), identifier)
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
