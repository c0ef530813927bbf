"""`scullvfs trace`: the command line of `scullvfs.mounts.tracing`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

import click

from scullvfs.errors import ExitStatus, NotMountedError, ScullvfsError, UsageError
from scullvfs.text import shown

from .candidates import candidate, complete_mounts
from .help import Command

if TYPE_CHECKING:
    from scullvfs.mounts.mountinfo import Mount

    from .candidates import Items

__all__ = ["trace"]

EVENTS: Final = [
    ("vmalloc", "addresses: taken, freed, purged"),
    ("kmem", "frames, objects of kmalloc and of caches: allocated, freed"),
    ("scull", "what programs ask of the devices: open, read, write, ioctl, trim"),
    ("SYSTEM:EVENT", "one event; 'sys/kernel/tracing/available_events' lists them"),
]


def _complete(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> Items:
    """Events, and where no word is there yet, mounts."""
    from scullvfs.options.events import event_names

    given: tuple[str, ...] = ctx.params.get(parameter.name or "") or ()
    mounts = [] if given else complete_mounts(ctx, parameter, incomplete)
    return mounts + [
        candidate(name)
        for name in event_names()
        if name.startswith(incomplete) and name not in given
    ]


@click.command(
    cls=Command,
    tables={"Events": EVENTS},
    examples=[
        ("scullvfs trace /mnt/scullv", "Everything, until Ctrl-C."),
        ("scullvfs trace vmalloc kmem:kfree", "Of the only mount that there is."),
        ("scullvfs trace -n 100 /mnt/scullv kmem >trace.txt", "So many lines."),
    ],
    statuses=(ExitStatus.PERMISSION, ExitStatus.NOT_MOUNTED, ExitStatus.BUSY),
)
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(min=0),
    metavar="LINES",
    help="End after so many lines.",
)
@click.argument("words", nargs=-1, metavar="[MOUNTPOINT] [EVENT]...", shell_complete=_complete)
def trace(lines: int | None, words: tuple[str, ...]) -> None:
    """Show what the machine does, as it does it.

    Switches each EVENT on, prints what is recorded, and puts back what was on before. Without an
    EVENT it follows those that are on, and if there are none, all. MOUNTPOINT may be left out
    where there is one mount. Ctrl-C ends it, with status 0.
    """
    from scullvfs.interrupts import interruptible
    from scullvfs.mounts.tracing import traced

    mount, events = _mount_and_events(words)
    try:
        with interruptible(), traced(mount, events) as reader:
            assert reader.stdout is not None
            left = -1 if lines is None else lines
            while left != 0:
                line = reader.stdout.readline()
                if not line:
                    raise _ended(mount, reader.wait())
                click.echo(line, nl=False)
                sys.stdout.flush()
                left -= 1
    except KeyboardInterrupt:
        return


def _ended(mount: Mount, status: int) -> ScullvfsError:
    """Why nothing comes any more."""
    if status == 0:
        return NotMountedError(f"{shown(mount.path)} is gone, or its tracing was switched off")
    return ScullvfsError(
        f"{shown(mount.path)} gives no more records; a mount without its extension has nothing "
        "that waits for them"
    )


def _mount_and_events(words: tuple[str, ...]) -> tuple[Mount, tuple[str, ...]]:
    """The first word is a mount if it is the path of one, or looks like a path.

    An empty one does: it comes of a variable that has no path yet, and no other mount is meant.
    """
    from scullvfs.mounts.mountinfo import mount_at
    from scullvfs.mounts.place import find_scullvfs, resolve

    if words:
        try:
            is_mount = mount_at(resolve(words[0])) is not None
        except OSError:
            is_mount = False
        if is_mount or not words[0] or "/" in words[0]:
            return find_scullvfs(words[0]), words[1:]
    return _only_mount(), words


def _only_mount() -> Mount:
    from scullvfs.mounts.mountinfo import scullvfs_mounts

    mounts = list(scullvfs_mounts())
    if not mounts:
        raise NotMountedError("nothing is mounted; 'scullvfs mount MOUNTPOINT' does that")
    if len(mounts) > 1:
        paths = ", ".join(shown(mount.path) for mount in mounts)
        raise UsageError(f"there are several mounts, so one has to be named: {paths}")
    return mounts[0]
