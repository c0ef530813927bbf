"""The wiring: from mount options to the operations that pyfuse3 calls.

The one place that knows all lower parts; used by `server` only.
"""

import os
from collections.abc import Callable
from contextlib import ExitStack

from scullvfs.fs.devices import FILE_RULES
from scullvfs.fuse import lowlevel
from scullvfs.fuse.operations import Operations
from scullvfs.mm import Machine
from scullvfs.mm.vmalloc_ahead import VmallocAhead
from scullvfs.options.table import MountOptions, format_options
from scullvfs.recording.lines import PLAIN, Writer
from scullvfs.recording.stream import Recordings
from scullvfs.scull import Module

from .build import build
from .replaying import replay_for
from .status_report import Report

__all__ = ["assemble"]


def assemble(options: MountOptions, undo: ExitStack) -> tuple[Machine, Operations]:
    """Build what is served, and what serves it; `undo` gets what closes the machine.

    Raises:
        UsageError: the options do not go together.
        HostMemoryError: the host refuses the memory.
        BadFileError: the machine that was saved cannot go on.
    """

    def daemon(machine: Machine, modules: list[Module]) -> dict[str, Callable[[], str]]:
        report = Report(
            options,
            machine,
            modules,
            requests=lowlevel.requests,
            calls=lambda: operations.vfs.statistics(),
            lowlevel=lowlevel.hooked,
        )
        return {"pid": own_pid, "status": report}

    machine, _, tree = build(options, undo, daemon, lambda: operations.slices.are_due())
    operations = Operations(
        tree,
        machine,
        direct_io=FILE_RULES[options.semantics].direct_io,
        quantum=max(options.quantum(driver) for driver in options.loaded()),
        writeback=options.writeback,
    )
    if options.quirks != "ldd3":  # with which a write may look anywhere
        operations.vfs.ahead = VmallocAhead(machine)
    if options.replay:
        replay_for(options, machine, tree, operations.vfs)
    Recordings(
        operations.vfs,
        tree,
        machine,
        format_options(options.as_dict()),
        is_used=bool(options.replay),
        whole=options.quirks == "ldd3" or not options.init_on_alloc,
        writer=Writer(lowlevel.write_lines or PLAIN.write_lines, lowlevel.sum_of or PLAIN.sum_of),
    )
    return machine, operations


def own_pid() -> str:
    """What `proc/fs/scullvfs/pid` has."""
    return f"{os.getpid()}\n"
