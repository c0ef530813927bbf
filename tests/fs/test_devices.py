"""Device files: a device's attributes, and what each call asks of the driver."""

from __future__ import annotations

import errno
import os

import pytest

from scullvfs.fs.devices import FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, DeviceFile, PosixFile
from scullvfs.mm import Machine
from scullvfs.mm.ratelimit import RatelimitState
from scullvfs.mm.workqueue import finish
from scullvfs.scull import COMMANDS, Module

from ..scull.helpers import fails


@pytest.fixture
def file() -> DeviceFile:
    """A device with quanta of 8 KiB, four to an item."""
    module = Module(
        Machine(mem=1 << 24, panic_on_warn=True), scullv_devs=1, scullv_order=1, scullv_qset=4
    )
    return DeviceFile(module.devices[0], 0o664, 1, 2)


def test_attributes(file: DeviceFile) -> None:
    """The size is true, the blocks are the quanta, the I/O block is the quantum."""
    handle = file.open(os.O_RDWR)
    assert (file.size, file.allocated, file.blksize) == (0, 0, 8192)
    handle.write(100_000, b"x", append=False)
    assert (file.size, file.allocated) == (100_001, 8192)
    finish(file.truncate(5))
    assert (file.size, file.allocated) == (5, 0)


@pytest.mark.parametrize("pos", [0, 3, 5, 100_000])
def test_append(file: DeviceFile, pos: int) -> None:
    """Appending is at the size at most, whatever the kernel remembers of it."""
    handle = file.open(os.O_RDWR | os.O_APPEND)
    handle.write(0, b"01234", append=False)
    handle.write(pos, b"x", append=True)
    assert file.size == (6 if pos >= 5 else 5)
    assert bytes(handle.read(min(pos, 5), 1)) == b"x"


def test_read_pages_spans_quanta(file: DeviceFile) -> None:
    """To the page cache a short read would be the end, so it gets all of it, holes as zeros."""
    handle = file.open(os.O_RDWR)
    handle.write(8190, b"ab", append=False)
    handle.write(3 * 8192, b"cd", append=False)
    assert bytes(handle.read(8189, 100)) == b"\0ab"
    assert bytes(handle.read_pages(8189, 1 << 20)) == b"\0ab" + bytes(2 * 8192) + b"cd"
    assert bytes(handle.read_pages(3 * 8192 + 2, 100)) == b""


@pytest.mark.parametrize("rules", [DeviceFile, PosixFile])
def test_write_pages_is_all_or_an_error(file: DeviceFile, rules: type[DeviceFile]) -> None:
    """The kernel forgets pages that were written back, however many bytes the answer has."""
    device, data = file.device, bytes(range(1, 251)) * 100
    handle = rules(device, 0o664, 1, 2).open(os.O_RDWR)
    assert handle.write_pages(100, data) == len(data)
    assert bytes(handle.read_pages(100, len(data))) == data
    device.trim()
    fault = device.machine.faults.failslab
    fault.ignore_gfp_wait, fault.verbose = False, 0
    fault.arm(interval=7, times=1)
    device.machine.log.nopage = RatelimitState(0, 1)
    with fails(errno.ENOMEM):
        handle.write_pages(0, data)
    assert 0 < device.size < len(data)
    assert bytes(handle.read_pages(0, len(data))) == data[: device.size]


@pytest.mark.parametrize("how", ["write", "truncate", "trim"])
def test_modified(file: DeviceFile, how: str) -> None:
    """What changes the bytes changes the times; opening and reading do not."""
    handle = file.open(os.O_RDWR)
    handle.write(0, b"hello", append=False)
    file.mtime_ns = file.ctime_ns = 0
    file.open(os.O_RDWR).read(0, 5)
    assert (file.mtime_ns, file.ctime_ns) == (0, 0)
    if how == "write":
        handle.write(0, b"J", append=False)
    elif how == "truncate":
        finish(file.truncate(1))
    else:
        file.open(os.O_WRONLY)
    assert file.mtime_ns == file.ctime_ns > 0


def test_ioctl(file: DeviceFile) -> None:
    """The commands are the driver's."""
    assert file.open(os.O_RDWR).ioctl(COMMANDS["HORDER"], 3, b"") == (1, b"")
    assert file.device.parameters["scullv_order"] == 3


def test_lseek_and_fallocate(file: DeviceFile) -> None:
    """Neither data nor holes can be sought; EOPNOTSUPP for a hole lets cp --sparse go on."""
    handle = file.open(os.O_RDWR)
    for whence in (3, 4):
        with fails(errno.EINVAL):
            handle.lseek(0, whence)
    with fails(errno.ENODEV):
        handle.fallocate(0, 0, 100)
    with fails(errno.EOPNOTSUPP):
        handle.fallocate(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 100)
