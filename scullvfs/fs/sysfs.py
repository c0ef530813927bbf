"""`sys/`: the modules' parameters, the devices of their classes, and debugfs.

    sys/module/scullv/parameters/   scullv_devs, scullv_order, scullv_qset
    sys/class/scullv/scullvN/       order (of scull and scullc: quantum), qset, size, items, quanta
    sys/kernel/debug/               what `debugfs` has
    sys/kernel/slab/CACHE/failslab  what `slab` has
    sys/kernel/tracing/             what `tracefs` has

A parameter set here and by ioctl(2) is the same one; a device takes it over when it is
trimmed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from scullvfs.mm import Machine
from scullvfs.scull import Module, ScullDev

from .attribute import AttributeFile
from .node import Directory, Node
from .slab import slab
from .tracefs import tracefs

__all__ = ["sysfs"]


def sysfs(
    machine: Machine, modules: Sequence[Module], debug: Directory, uid: int, gid: int
) -> Directory:
    """The directory `sys` of a machine with some modules loaded.

    Args:
        debug: what `debugfs` has, which stands in it.
    """

    def directory(nodes: Mapping[str, Node]) -> Directory:
        return Directory.of(nodes, uid, gid)

    return directory(
        {
            "module": directory(
                {
                    module.driver.name: directory({"parameters": _parameters(module, uid, gid)})
                    for module in modules
                }
            ),
            "class": directory(
                {
                    module.driver.name: directory(
                        {device.name: _device(device, uid, gid) for device in module.devices}
                    )
                    for module in modules
                }
            ),
            "kernel": directory(
                {
                    "debug": debug,
                    "slab": slab(machine, uid, gid),
                    "tracing": tracefs(machine.trace, machine.layout, uid, gid),
                }
            ),
        }
    )


def _parameters(module: Module, uid: int, gid: int) -> Directory:
    """All may be set but how many devices there are."""
    files: dict[str, Node] = {}
    for name in module.statistics():
        store = partial(module.parameters.store, name)
        show = partial(module.parameters.__getitem__, name)
        constant = name == module.driver.devs.name
        files[name] = AttributeFile(show, None if constant else store, uid, gid)
    return Directory.of(files, uid, gid)


def _device(device: ScullDev, uid: int, gid: int) -> Directory:
    def show(name: str) -> int:
        value: int = getattr(device.statistics(), name)
        return value

    names = {device.driver.word: "measure"} | {n: n for n in ("qset", "size", "items", "quanta")}
    files = {
        name: AttributeFile(partial(show, field), None, uid, gid) for name, field in names.items()
    }
    return Directory.of(files, uid, gid)
