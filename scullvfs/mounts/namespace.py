"""Entering another mount namespace, for `mount -N`.

mount(8) leaves that to its helper. Python has `os.setns` from 3.12 on only.
"""

import ctypes
import os
from typing import Final

from scullvfs.errors import RefusedError, UsageError
from scullvfs.text import shown

__all__ = ["enter_mount_namespace"]

CLONE_NEWNS: Final = 0x00020000
"""Linux: include/uapi/linux/sched.h"""


def enter_mount_namespace(namespace: str) -> None:
    """Make `namespace`, a file such as /proc/17/ns/mnt, that of this process.

    Its files need not be ours, so what is needed later has to be imported before.

    Raises:
        UsageError: `namespace` is none.
        RefusedError: this user may not enter it.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        fd = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise UsageError(
            f"cannot enter the namespace {shown(namespace)}: {error.strerror}"
        ) from None
    failed = libc.setns(fd, CLONE_NEWNS)
    os.close(fd)
    if failed:
        reason = os.strerror(ctypes.get_errno())
        raise RefusedError(f"cannot enter the namespace {shown(namespace)}: {reason}")
