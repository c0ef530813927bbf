"""Devices for tests of what stands on their path."""

from __future__ import annotations

import os

from scullvfs.fs.devices import DeviceFile
from scullvfs.mm import Machine
from scullvfs.scull import Module

SIZE = 40_000


def new_file(kind: type[DeviceFile] = DeviceFile) -> DeviceFile:
    """A device with quanta of 64 KiB, and SIZE bytes in it."""
    module = Module(Machine(mem=1 << 24, panic_on_warn=True, seed=7), scullv_devs=2)
    file = kind(module.devices[0], 0o664, 1, 2)
    file.open(os.O_RDWR).write(0, bytes(SIZE), append=False)
    return file
