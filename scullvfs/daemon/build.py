"""What a mount serves, built from its options: the machine, the drivers, and the tree.

There is no FUSE in it, so a replay builds the same.  What cannot be built is told in the daemon's
language; used by `assemble` and `replay`.
"""

import errno
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Final

from scullvfs.errors import UsageError
from scullvfs.fs.root import build_tree
from scullvfs.fs.snapshot import SnapshotFile
from scullvfs.fs.tree import Tree
from scullvfs.mm import Machine
from scullvfs.mm.commands import MAX_BYTES, Commands
from scullvfs.options.parsers import format_size
from scullvfs.options.table import MountOptions
from scullvfs.scull import Driver, Module
from scullvfs.scull.faults import add_faults
from scullvfs.scull.tracepoints import add_tracepoints
from scullvfs.snapshot import child, picture
from scullvfs.snapshot.options import of_machine

from .machine import build_machine

__all__ = ["build"]

Daemon = Callable[[Machine, list[Module]], Mapping[str, Callable[[], str]]]
"""Gives what a daemon says of itself and a machine: name of a file -> what makes its text."""

NOBODY: Final[Mapping[str, Callable[[], str]]] = {"pid": str, "status": str}
"""Of no daemon."""


def build(
    options: MountOptions,
    undo: ExitStack,
    daemon: Daemon = lambda machine, modules: NOBODY,
    busy: Callable[[], bool] = lambda: False,
) -> tuple[Machine, list[Module], Tree]:
    """Build the machine, load the drivers, make the tree; `undo` gets what closes them.

    Args:
        daemon: makes the files of `proc/fs/scullvfs`; without it they say nothing.
        busy: whether something is done in slices, of which half is nothing to save.

    Raises:
        UsageError: the options do not go together.
        HostMemoryError: the host refuses the memory.
        BadFileError: the machine that was saved cannot go on.
    """
    machine = build_machine(options)
    undo.callback(machine.close)
    modules = [_module(machine, options, driver) for driver in options.loaded()]
    add_tracepoints(machine, modules)
    add_faults(machine, modules)
    commands = Commands(machine, MAX_BYTES)
    parts = of_machine(options), machine, modules, commands
    snapshot = SnapshotFile(
        lambda: child.begin(lambda out: picture.write(out, *parts)), busy, options.uid, options.gid
    )
    tree = build_tree(
        machine,
        modules,
        uid=options.uid,
        gid=options.gid,
        mode=options.mode,
        semantics=options.semantics,
        flags=options.flags,
        daemon=daemon(machine, modules),
        commands=commands,
        snapshot=snapshot,
        writeback=options.writeback,
    )
    if options.restore:  # when all is there that has a state, the devices' faults, too
        picture.restore(options.restore, *parts)
    return machine, modules, tree


def _module(machine: Machine, options: MountOptions, driver: Driver) -> Module:
    values = options.parameters(driver)
    try:
        return Module(machine, driver, quirk_ldd3=options.quirks == "ldd3", **values)
    except ValueError as error:
        raise UsageError(str(error)) from error
    except OSError as error:
        if error.errno != errno.ENOMEM:
            raise
        forced = [name for name, state in machine.faults.statistics().items() if state.injected]
        if forced:
            raise UsageError(
                f"{' and '.join(forced)}: an allocation of {driver.name} was made to fail as it "
                "was loaded, as the options say"
            ) from error
        broken = f" with fragment={options.fragment}" if options.fragment else ""
        raise UsageError(
            f"mem={format_size(options.mem)}{broken} is too little for "
            f"{values[driver.devs.name]} devices of {driver.name}; "
            f"give {'less fragment' if broken else 'more mem'} or a smaller {driver.devs.name}"
        ) from error
