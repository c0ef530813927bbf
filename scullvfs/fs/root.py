"""The plan of the mount: which node stands where.

scullv0 .. scullvN-1    the devices
scullv -> scullv0
proc/                   the kernel's view
sys/                    the module's parameters, the devices' state
"""

from __future__ import annotations

from collections.abc import Collection

from scullvfs.scull import Module

from .atime import atime_rules
from .devices import FILE_RULES
from .proc import procfs
from .sysfs import sysfs
from .tree import Directory, Symlink, Tree

__all__ = ["build_tree"]


def build_tree(
    module: Module,
    *,
    uid: int,
    gid: int,
    mode: int,
    semantics: str = "device",
    flags: Collection[str] = (),
) -> Tree:
    """The tree of a loaded module, all of it owned by `uid` and `gid`.

    Args:
        mode: permission bits of the devices.
        semantics: whose rules the devices follow, a key of FILE_RULES.
        flags: those of mount(8) that are on; the ones about st_atime are carried out here.
    """
    device_file = FILE_RULES[semantics]
    root = Directory(uid, gid)
    for device in module.devices:
        root.add(f"scullv{device.index}", device_file(device, mode, uid, gid))
    root.add("scullv", Symlink("scullv0", uid, gid))
    root.add("proc", procfs(module, uid, gid))
    root.add("sys", sysfs(module, uid, gid))
    return Tree(root, atime_rules(flags))
