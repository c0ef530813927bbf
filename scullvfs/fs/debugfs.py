"""`sys/kernel/debug/`: what a developer of the emulator asks it.

validate              writing 1 makes the emulator check itself; reading tells how often it was well
extfrag/              how fragmented free memory is, see `extfrag`
mm/                   memory by hand, see `command`
page_tables/kernel    what is mapped how; on arm64 `kernel_page_tables`
page_owner            who holds which page frames, where that is kept
vmap_areas            the addresses of the vmalloc window
failslab/ ...         what is made to fail, and when, see `fault_files`
fail_function/        functions that are, see `fail_function`
scull/NAMEn/          what a device does wrong, see `device_fault_files`
record, record_data   every call on the mount, as it is made, see `record_file`
snapshot              all of the machine, to be restored by another mount
"""

from __future__ import annotations

import errno
import logging
import traceback
from collections.abc import Sequence
from pathlib import Path

from scullvfs.mm import KernelBug, Machine
from scullvfs.mm.commands import MAX_BYTES, Commands
from scullvfs.mm.printk import KERN_ERR
from scullvfs.scull import Module

from .attribute import AttributeFile
from .command import mm_directory
from .device_fault_files import scull_directory
from .devices import DeviceFile
from .extfrag import extfrag
from .fail_function import error_injection, fail_function
from .fault_files import fault_directory
from .node import Directory, Node, refused
from .page_owner import PageOwnerListing
from .page_tables import PageTablesListing
from .record_file import RecordFile
from .seq_file import SeqFile
from .snapshot import SnapshotFile
from .vmap_areas import VmapAreas

__all__ = ["debugfs"]

log = logging.getLogger(__name__)


def debugfs(
    machine: Machine,
    modules: Sequence[Module],
    uid: int,
    gid: int,
    files: Sequence[DeviceFile] = (),
    commands: Commands | None = None,
    snapshot: SnapshotFile | None = None,
) -> Directory:
    """The directory `sys/kernel/debug` of a machine with some modules loaded.

    Args:
        files: those of their devices, for what is done to these.
        commands: what is done by hand.
        snapshot: what a read of saves it all.
    """
    validator = _Validator(machine, modules)
    validate = AttributeFile(lambda: validator.passed, validator.store, uid, gid)
    mm = mm_directory(commands or Commands(machine, MAX_BYTES), uid, gid)
    nodes: dict[str, Node] = {
        "validate": validate,
        "extfrag": extfrag(machine, uid, gid),
        "mm": mm,
    }
    page_tables = SeqFile(PageTablesListing(machine), 0o400, uid, gid)
    if machine.layout.name == "arm64":
        nodes["kernel_page_tables"] = page_tables
    else:
        nodes["page_tables"] = Directory.of({"kernel": page_tables}, uid, gid)
    if machine.page_owner is not None:
        nodes["page_owner"] = SeqFile(PageOwnerListing(machine.page_owner), 0o400, uid, gid)
    nodes["vmap_areas"] = SeqFile(VmapAreas(machine), 0o400, uid, gid)
    faults = machine.faults
    for attr in (faults.failslab, faults.fail_page_alloc, faults.fail_usercopy):
        nodes[attr.name] = fault_directory(attr, uid, gid)
    nodes["error_injection"] = error_injection(faults.fail_function, uid, gid)
    nodes["fail_function"] = fail_function(faults.fail_function, machine.layout, uid, gid)
    nodes["scull"] = scull_directory(files, faults, uid, gid)
    nodes["record"] = RecordFile(False, uid, gid)
    nodes["record_data"] = RecordFile(True, uid, gid)
    if snapshot is not None:
        nodes["snapshot"] = snapshot
    return Directory.of(nodes, uid, gid)


class _Validator:
    """Checks all invariants of drivers and machine when it is told to, and only then.

    It takes as long as it takes, and no request is served meanwhile.  Modelled on
    /sys/kernel/slab/*/validate (Linux: mm/slub.c:validate_store()).
    """

    def __init__(self, machine: Machine, modules: Sequence[Module]) -> None:
        self._machine = machine
        self._modules = modules
        self.passed = 0
        """How often everything was as it should be."""

    def store(self, value: int) -> None:
        """Check, if the value is 1.

        Raises:
            OSError: EINVAL, any other value; EIO, an invariant is broken, and `proc/kmsg` has
                the place, or a driver's mistake has had memory overwritten since the mount, and
                it has whose and by whom; EOPNOTSUPP, Python runs with -O, without assertions.
        """
        if value != 1:
            raise refused(errno.EINVAL)
        if not __debug__:
            raise refused(errno.EOPNOTSUPP)
        broken = self._find_broken()
        found = [*([] if broken is None else [broken]), *self._machine.overruns.report()]
        for line in found:
            self._machine.log.printk(KERN_ERR, line)
        if found:
            raise refused(errno.EIO)
        self.passed += 1

    def _find_broken(self) -> str | None:
        """A line about the first invariant that is broken, if one is."""
        try:
            self._machine.workqueue.state()  # what is taken off a device has no holder else
            for module in self._modules:
                module.check()
            self._machine.check()
        except (AssertionError, KernelBug) as error:
            log.exception("validate: an invariant is broken")
            place = traceback.extract_tb(error.__traceback__)[-1]
            what = str(error) if isinstance(error, KernelBug) else place.line
            return f"validate: {Path(place.filename).name}:{place.lineno}: {what}"
        return None
