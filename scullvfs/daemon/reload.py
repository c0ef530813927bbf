"""New values for a running mount: the module's parameters, through the mount's own tree.

Of all options only these can change while it is mounted; as with the real module, a
device takes them over when it is next trimmed.
"""

import errno
import json
import os
from typing import Final

from scullvfs.daemon.errors import BusyError, NotMountedError, RefusedError, ScullvfsError
from scullvfs.daemon.mountinfo import mount_at, resolve
from scullvfs.daemon.options import MountOptions
from scullvfs.daemon.probe import DEAD, ask

__all__ = ["PARAMETERS", "reload"]

PARAMETERS: Final = ("scullv_order", "scullv_qset")
"""The options that are parameters of the module, and writable."""

ANSWER_TIMEOUT: Final = 10.0
"""Seconds that the mount has to take them over."""


def reload(options: MountOptions, path: str) -> dict[str, tuple[int, int]]:
    """Set the PARAMETERS of the mount on *path* to what *options* says.

    Returns:
        parameter -> its old and its new value, for those that were another.

    Raises:
        NotMountedError: there is no scullvfs mount on *path*, or a dead one.
        RefusedError: this user may not set them.
        BusyError: the mount does not answer.
    """
    directory = os.path.join(_find(path), "sys/module/scullv/parameters")

    def change() -> bytes:
        changed = {}
        for name in PARAMETERS:
            with open(os.path.join(directory, name), "r+", encoding="ascii", buffering=1) as file:
                old, new = int(file.read()), getattr(options, name)
                if old != new:
                    file.write(f"{new}\n")
                    changed[name] = old, new
        return json.dumps(changed).encode()

    try:
        changed = json.loads(ask(change, timeout=ANSWER_TIMEOUT))
    except TimeoutError:
        raise BusyError(
            f"the daemon of {path} does not answer within {ANSWER_TIMEOUT:g} s"
        ) from None
    except PermissionError:
        raise RefusedError(f"you may not set the parameters of the mount on {path}") from None
    except OSError as error:
        if error.errno in DEAD:
            raise NotMountedError(
                f"the mount on {path} is dead; 'scullvfs umount {path}' clears it away"
            ) from None
        if error.errno == errno.EROFS:
            raise RefusedError(f"{path} is mounted read-only") from None
        raise ScullvfsError(f"cannot set the parameters of {path}: {error.strerror}") from None
    return {name: (old, new) for name, (old, new) in changed.items()}


def _find(path: str) -> str:
    """The resolved path of the scullvfs mount on *path*."""
    try:
        mount = mount_at(resolve(path))
    except OSError as error:
        raise NotMountedError(f"cannot look for {path}: {error.strerror}") from None
    if mount is None or not mount.is_scullvfs:
        raise NotMountedError(
            f"no scullvfs mount is on {path}; 'findmnt -t fuse.scullvfs' lists those that are"
        )
    return mount.path
