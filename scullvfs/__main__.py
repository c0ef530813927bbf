"""`scullvfs`, `mount.scullvfs` and ``python -m scullvfs``: how each program begins.

Before anything is imported that takes its time: what was inherited is put right, Ctrl-C has an
end of its own, and where a mount is asked for, its daemon is on its way.
"""

import sys
from collections.abc import Sequence

from scullvfs.daemon import ahead
from scullvfs.daemon.inherited import settle
from scullvfs.daemon.interrupts import interrupts_end_at_once

__all__ = ["main", "mount_helper"]


def main() -> None:
    """Run `scullvfs` and exit."""
    settle()
    if sys.argv[1:2] == ["mount"] and not _has_flag(sys.argv[2:], "fh"):
        ahead.begin()
    try:
        with interrupts_end_at_once("scullvfs: interrupted", 130):
            from scullvfs.cli import main as program
        program(prog_name="scullvfs")
    finally:
        ahead.drop()


def mount_helper() -> None:
    """Run `mount.scullvfs` and exit."""
    settle()
    if len(sys.argv) > 2 and not _has_flag(sys.argv[1:], "fNh"):
        ahead.begin()
    try:
        with interrupts_end_at_once("mount.scullvfs: interrupted", 8):
            from scullvfs.cli.mount_helper import main as program
        program()
    finally:
        ahead.drop()


def _has_flag(arguments: Sequence[str], flags: str) -> bool:
    """Whether one of *flags* seems to be among *arguments*, or anything in long."""
    return any(
        argument[:1] == "-" and (argument[1:2] == "-" or set(flags) & set(argument.split("o")[0]))
        for argument in arguments
    )


if __name__ == "__main__":
    main()
