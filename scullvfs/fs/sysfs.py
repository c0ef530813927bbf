"""`sys/`: the module's parameters, the devices of its class, and debugfs.

    sys/module/scullv/parameters/   scullv_devs, scullv_order, scullv_qset
    sys/class/scullv/scullvN/       order, qset, size, items, quanta
    sys/kernel/debug/               what `debugfs` has

A parameter set here and by ioctl(2) is the same one; a device takes it over when it is
trimmed.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from scullvfs.scull import Module, ScullvDev

from .attribute import AttributeFile
from .debugfs import debugfs
from .tree import Directory, Node

__all__ = ["sysfs"]


def sysfs(module: Module, uid: int, gid: int) -> Directory:
    """The directory `sys` of a loaded module."""
    parameters: dict[str, Node] = {
        "scullv_devs": AttributeFile(lambda: module.statistics().scullv_devs, None, uid, gid)
    }
    for name in ("scullv_order", "scullv_qset"):
        store = partial(module.set_parameter, name)
        parameters[name] = AttributeFile(partial(_parameter, module, name), store, uid, gid)
    devices = {f"scullv{device.index}": _device(device, uid, gid) for device in module.devices}

    def directory(nodes: Mapping[str, Node]) -> Directory:
        return Directory.of(nodes, uid, gid)

    return directory(
        {
            "module": directory({"scullv": directory({"parameters": directory(parameters)})}),
            "class": directory({"scullv": directory(devices)}),
            "kernel": directory({"debug": debugfs(module, uid, gid)}),
        }
    )


def _parameter(module: Module, name: str) -> int:
    value: int = getattr(module.statistics(), name)
    return value


def _device(device: ScullvDev, uid: int, gid: int) -> Directory:
    def show(name: str) -> int:
        value: int = getattr(device.statistics(), name)
        return value

    names = ("order", "qset", "size", "items", "quanta")
    files = {name: AttributeFile(partial(show, name), None, uid, gid) for name in names}
    return Directory.of(files, uid, gid)
