"""The files of `sys/kernel/debug/`."""

from __future__ import annotations

import errno
import logging
import os

import pytest

from scullvfs.fs.debugfs import debugfs
from scullvfs.fs.file import File
from scullvfs.mm import Machine
from scullvfs.mm.gfp import GFP_KERNEL
from scullvfs.scull import Module

from ..scull.helpers import fails


@pytest.fixture
def module() -> Module:
    """Four devices with a quantum in the first, on 16 MiB of RAM."""
    module = Module(Machine(mem=16 << 20))
    module.devices[0].write(0, b"x")
    return module


@pytest.fixture
def validate(module: Module) -> File:
    """The file `validate`."""
    node = debugfs(module.machine, [module], 0, 0).entries[b"validate"]
    assert isinstance(node, File)
    return node


def passed(validate: File) -> bytes:
    """How many checks have passed."""
    return bytes(validate.open(os.O_RDONLY).read(0, 100))


def write(validate: File, data: bytes) -> int:
    """Write to the file."""
    return validate.open(os.O_WRONLY).write(0, data, False)


def test_validate(validate: File) -> None:
    """A check that passes is counted, and reading makes none."""
    assert passed(validate) == passed(validate) == b"0\n"
    assert write(validate, b"1\n") == 2
    assert passed(validate) == b"1\n"


@pytest.mark.parametrize("value", [b"0", b"2", b"yes", b""])
def test_validate_other_values(validate: File, value: bytes) -> None:
    """Only 1 starts a check."""
    with fails(errno.EINVAL):
        write(validate, value)
    assert passed(validate) == b"0\n"


def test_validate_machine_broken(
    module: Module, validate: File, caplog: pytest.LogCaptureFixture
) -> None:
    """A leaked frame is EIO; the kernel log has the place, the daemon's log the traceback."""
    assert module.machine.page_alloc.alloc_pages(GFP_KERNEL, 0) is not None
    with fails(errno.EIO):
        write(validate, b"1")
    last = module.machine.log.records()[-1]
    assert last.level == 3
    assert last.text.startswith("validate: machine.py:")
    assert last.text.endswith(', "a frame has no holder"')
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None
    assert passed(validate) == b"0\n"


def test_validate_driver_broken(module: Module, validate: File) -> None:
    """The driver is checked, too; a bare assertion is quoted."""
    module.devices[0].nr_quanta += 1
    with fails(errno.EIO):
        write(validate, b"1")
    assert module.machine.log.records()[-1].text.endswith(": assert len(found) == self.nr_quanta")
    module.devices[0].nr_quanta -= 1
    write(validate, b"1")
    assert passed(validate) == b"1\n"
