"""A daemon that checks its machine at the end: run as a program, it serves one mount.

    python checked_daemon.py OPTIONS MOUNTPOINT

Everything is the daemon's own; only, between the end of the session and the machine being
switched off, the invariants of the driver and of the machine are checked, the module is
unloaded, and nothing may be left.  Exit status 0 if all of it holds.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from scullvfs.daemon import assemble as assembly
from scullvfs.daemon import build as building
from scullvfs.daemon import server
from scullvfs.fs.root import build_tree
from scullvfs.fs.tree import Tree
from scullvfs.fuse.operations import Operations
from scullvfs.mm import Machine
from scullvfs.options.table import MountOptions, parse_options
from scullvfs.scull import Module


def check(machine: Machine, operations: Operations, modules: Sequence[Module]) -> None:
    """Check what the requests have left behind, unload the module, and check again."""
    assert len(operations.vfs) == 0, "a file is open"
    machine.workqueue.state()
    for module in modules:
        module.check()
    machine.check()
    warnings = [str(record) for record in machine.log.records() if record.level <= 4]
    assert not warnings, warnings
    for module in modules:
        module.unload()
    machine.vm.vm_unmap_aliases()
    machine.check()
    assert machine.vm.nr_vmalloc_pages == 0
    assert machine.slab.statistics().objects == machine.vmap_space.statistics().vmap_areas
    assert not machine.vmap_space.busy
    print("checked", flush=True)


def checked_assemble(options: MountOptions, undo: ExitStack) -> tuple[Machine, Operations]:
    """As the daemon's, with the check before the machine is closed."""
    loaded: list[Module] = []

    def build(machine: Machine, modules: Sequence[Module], **further: Any) -> Tree:
        loaded.extend(modules)
        return build_tree(machine, modules, **further)

    building.build_tree = build
    machine, operations = assembly.assemble(options, undo)
    undo.callback(check, machine, operations, loaded)
    return machine, operations


if __name__ == "__main__":
    logging.basicConfig()
    server.assemble = checked_assemble
    server.run(parse_options(sys.argv[1:2]), sys.argv[2], lambda: None)
