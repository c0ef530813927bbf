"""A replay on what the options of the recording make.

Used by `scullvfs replay`, which serves nothing, and by `assemble`, for a mount that begins where
a recording was at some call.  Imports nothing of FUSE.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from scullvfs.errors import BadFileError, ScullvfsError, UsageError
from scullvfs.fs.tree import Tree
from scullvfs.fs.vfs import Vfs
from scullvfs.mm import Machine
from scullvfs.options.table import MountOptions, parse_options
from scullvfs.recording.difference import describe
from scullvfs.recording.lines import Lines, read_lines
from scullvfs.recording.replay import Difference, Replay, Replayed
from scullvfs.text import shown

from .build import build

__all__ = ["Replayed", "opened", "options_of", "replay_for", "replaying", "report"]


@contextmanager
def opened(path: str) -> Iterator[Lines]:
    """A recording, to be read.

    Raises:
        BadFileError: it cannot be read, or is none.
    """
    try:
        file = open(path, "rb")  # noqa: SIM115  (closed below)
    except OSError as error:
        raise BadFileError(f"cannot read {shown(path)}: {error.strerror}") from None
    with file:
        try:
            yield read_lines(path, file)
        except OSError as error:
            raise BadFileError(f"cannot read {shown(path)}: {error.strerror}") from None


def options_of(lines: Lines) -> MountOptions:
    """The options of the mount that was recorded.

    Raises:
        BadFileError: they are none of this version.
    """
    try:
        options = parse_options([lines.header.options])
    except (UsageError, UnicodeEncodeError) as error:  # the latter of half a character
        raise lines.bad(f"has options of a mount that this version has not: {error}") from None
    return replace(options, allow_other=False, remount_stale=False)


def report(replay: Replay, difference: Difference) -> Iterator[str]:
    """A difference in words; the first line says where it is, the others what."""
    return describe(difference, replay.tree, replay.vfs.inos())


def replay_for(options: MountOptions, machine: Machine, tree: Tree, vfs: Vfs) -> None:
    """Make the calls of the recording that the options name on what is going to be mounted.

    Raises:
        BadFileError: it is damaged.
        ScullvfsError: it comes to something else now.
    """
    with opened(options.replay) as lines:
        replay = Replay(lines, lambda: (machine, tree, vfs))
        try:
            done = replay.run(options.replay_to)
        finally:
            replay.close()
    if done.difference is not None:
        raise ScullvfsError(
            f"a replay of {shown(options.replay)} has come to something else; "
            f"'scullvfs replay {shown(options.replay)}' says where"
        )


@contextmanager
def replaying(lines: Lines) -> Iterator[Replay]:
    """A replay that has not begun, on a machine of its own.

    Raises:
        BadFileError: its options are none.
        HostMemoryError: the host refuses the memory.
    """
    options = options_of(lines)
    with ExitStack() as undo:

        def make() -> tuple[Machine, Tree, Vfs]:
            machine, _, tree = build(options, undo)
            return machine, tree, Vfs(tree, machine)

        try:
            replay = Replay(lines, make)
        except UsageError as error:
            raise lines.bad(f"has options of no mount: {error}") from None
        try:
            yield replay
        finally:
            replay.close()
