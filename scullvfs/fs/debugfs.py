"""`sys/kernel/debug/`: what a developer of the emulator asks it.

validate    writing 1 makes the emulator check itself; reading tells how often it was well
mm/         memory by hand, see `command`
"""

from __future__ import annotations

import errno
import logging
import os
import traceback
from pathlib import Path

from scullvfs.mm import KernelBug
from scullvfs.mm.commands import MAX_BYTES, Commands
from scullvfs.mm.printk import KERN_ERR
from scullvfs.scull import Module

from .attribute import AttributeFile
from .command import mm_directory
from .tree import Directory

__all__ = ["debugfs"]

log = logging.getLogger(__name__)


def debugfs(module: Module, uid: int, gid: int) -> Directory:
    """The directory `sys/kernel/debug` of a loaded module."""
    validator = _Validator(module)
    validate = AttributeFile(lambda: validator.passed, validator.store, uid, gid)
    mm = mm_directory(Commands(module.machine, MAX_BYTES), uid, gid)
    return Directory.of({"validate": validate, "mm": mm}, uid, gid)


class _Validator:
    """Checks all invariants of driver and machine when it is told to, and only then.

    It takes as long as it takes, and no request is served meanwhile.  Modelled on
    /sys/kernel/slab/*/validate (Linux: mm/slub.c:validate_store()).
    """

    def __init__(self, module: Module) -> None:
        self._module = module
        self.passed = 0
        """How often everything was as it should be."""

    def store(self, value: int) -> None:
        """Check, if the value is 1.

        Raises:
            OSError: EINVAL, any other value; EIO, an invariant is broken, and `proc/kmsg` has
                the place; EOPNOTSUPP, Python runs with -O, without assertions.
        """
        if value != 1:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        if not __debug__:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        try:
            self._module.check()
            self._module.machine.check()
        except (AssertionError, KernelBug) as error:
            log.exception("validate: an invariant is broken")
            place = traceback.extract_tb(error.__traceback__)[-1]
            what = str(error) if isinstance(error, KernelBug) else place.line
            text = f"validate: {Path(place.filename).name}:{place.lineno}: {what}"
            self._module.machine.log.printk(KERN_ERR, text)
            raise OSError(errno.EIO, os.strerror(errno.EIO)) from error
        self.passed += 1
