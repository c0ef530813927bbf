"""The plan of the mount: which node stands where.

scullv0 .. scullvN-1    the devices of a driver
scullv -> scullv0       and so on for each that is loaded
proc/                   the kernel's view
sys/                    the modules' parameters, the devices' state
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from scullvfs.mm import Machine
from scullvfs.mm.commands import Commands
from scullvfs.scull import Module

from .atime import atime_rules
from .debugfs import debugfs
from .devices import FILE_RULES, DeviceFile
from .node import Directory, Symlink
from .proc import procfs
from .snapshot import SnapshotFile
from .sysfs import sysfs
from .tree import Tree

__all__ = ["build_tree"]


def build_tree(
    machine: Machine,
    modules: Sequence[Module],
    *,
    uid: int,
    gid: int,
    mode: int,
    semantics: str = "device",
    flags: Collection[str] = (),
    daemon: Mapping[str, Callable[[], str]] = {},
    commands: Commands | None = None,
    snapshot: SnapshotFile | None = None,
    writeback: bool = False,
) -> Tree:
    """The tree of a machine with some modules loaded, all of it owned by `uid` and `gid`.

    Args:
        mode: permission bits of the devices.
        semantics: whose rules the devices follow, a key of FILE_RULES.
        flags: those of mount(8) that are on; the ones about st_atime are carried out here.
        daemon: the files of proc/fs/scullvfs: name -> what makes the text.
        commands: what is done by hand (`mm.commands`); made here if not given.
        snapshot: what a read of saves it all, if there is such a thing.
        writeback: whether the kernel writes back later, and keeps the sizes that it knows.
    """
    device_file = FILE_RULES[semantics]
    root = Directory(uid, gid)
    files: list[DeviceFile] = []
    for module in modules:
        for device in module.devices:
            files.append(device_file(device, mode, uid, gid))
            root.add(device.name, files[-1])
        root.add(module.driver.name, Symlink(module.devices[0].name, uid, gid))
    proc = procfs(machine, modules, uid, gid, daemon)
    root.add("proc", proc)
    debug = debugfs(machine, modules, uid, gid, files, commands, snapshot)
    root.add("sys", sysfs(machine, modules, debug, uid, gid))
    tree = Tree(root, atime_rules(flags), keeps_sizes=writeback)
    proc.adopt, tree.nodes.made = tree.adopt, proc.made
    return tree
