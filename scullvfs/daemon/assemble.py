"""The wiring: from mount options to the operations that pyfuse3 calls.

The one place that knows all four lower parts. What cannot be built is told in the
daemon's language; used by `server` only.
"""

import errno
from contextlib import ExitStack

from scullvfs.errors import HostMemoryError, UsageError
from scullvfs.fs.devices import FILE_RULES
from scullvfs.fs.root import build_tree
from scullvfs.fuse import lowlevel
from scullvfs.fuse.operations import Operations
from scullvfs.mm import PAGE_SIZE, Machine
from scullvfs.mounts.probe import STATUS_XATTR
from scullvfs.options.parsers import format_size
from scullvfs.options.table import MountOptions
from scullvfs.scull import Module

from .status_report import Report

__all__ = ["assemble"]


def assemble(options: MountOptions, undo: ExitStack) -> tuple[Machine, Operations]:
    """Build the machine, load the driver, make the tree; `undo` gets what closes them.

    Raises:
        UsageError: the options do not go together.
        HostMemoryError: the host refuses the memory.
    """
    machine = _machine(options)
    undo.callback(machine.close)
    module = _module(machine, options)
    tree = build_tree(
        module,
        uid=options.uid,
        gid=options.gid,
        mode=options.mode,
        semantics=options.semantics,
        flags=options.flags,
    )
    operations = Operations(
        tree,
        machine,
        direct_io=FILE_RULES[options.semantics].direct_io,
        quantum=PAGE_SIZE << options.scullv_order,
    )
    operations.xattrs[STATUS_XATTR.encode()] = Report(
        options,
        module,
        requests=lowlevel.requests,
        calls=operations.files.statistics,
        lowlevel=lowlevel.hooked,
    )
    return machine, operations


def _machine(options: MountOptions) -> Machine:
    try:
        return Machine(options.mem, options.arch, options.shuffle, options.seed, options.cpus)
    except ValueError as error:
        raise UsageError(str(error)) from error
    except (MemoryError, OSError) as error:
        raise HostMemoryError(
            f"the host refuses mem={format_size(options.mem)}: {error}; choose less"
        ) from error


def _module(machine: Machine, options: MountOptions) -> Module:
    try:
        return Module(
            machine,
            options.scullv_devs,
            options.scullv_order,
            options.scullv_qset,
            quirk_ldd3=options.quirks == "ldd3",
        )
    except ValueError as error:
        raise UsageError(str(error)) from error
    except OSError as error:
        if error.errno != errno.ENOMEM:
            raise
        raise UsageError(
            f"mem={format_size(options.mem)} is too little for "
            f"{options.scullv_devs} devices; give more mem or fewer devs"
        ) from error
