"""A daemon that checks its machine at the end: run as a program, it serves one mount.

    python checked_daemon.py OPTIONS MOUNTPOINT

Everything is the daemon's own; only, between the end of the session and the machine being
switched off, the invariants of the driver and of the machine are checked, the module is
unloaded, and nothing may be left.  Exit status 0 if all of it holds.
"""

from __future__ import annotations

import logging
import sys
from contextlib import ExitStack

from scullvfs.daemon import server
from scullvfs.daemon.assemble import assemble
from scullvfs.daemon.status_report import Report
from scullvfs.fuse.operations import Operations
from scullvfs.mm import Machine
from scullvfs.mounts.probe import STATUS_XATTR
from scullvfs.options.table import MountOptions, parse_options


def check(machine: Machine, operations: Operations) -> None:
    """Check what the requests have left behind, unload the module, and check again."""
    report = operations.xattrs[STATUS_XATTR.encode()]
    assert isinstance(report, Report)
    module = report._module
    assert len(operations.files) == 0, "a file is open"
    module.check()
    machine.check()
    warnings = [str(record) for record in machine.log.records() if record.level <= 4]
    assert not warnings, warnings
    module.unload()
    machine.vm.vm_unmap_aliases()
    machine.check()
    assert machine.vm.nr_vmalloc_pages == 0
    assert machine.slab.statistics().objects == 0
    assert not machine.vmap_space.busy
    print("checked", flush=True)


def checked_assemble(options: MountOptions, undo: ExitStack) -> tuple[Machine, Operations]:
    """As the daemon's, with the check before the machine is closed."""
    machine, operations = assemble(options, undo)
    undo.callback(check, machine, operations)
    return machine, operations


if __name__ == "__main__":
    logging.basicConfig()
    server.assemble = checked_assemble
    server.run(parse_options(sys.argv[1:2]), sys.argv[2], lambda: None)
