"""New values for a running mount: the modules' parameters, through the mount's own tree.

Of all options only these can change while it is mounted; as with the real modules, a
device takes them over when it is next trimmed.
"""

import errno
import json
import os
import stat
from typing import Final

from scullvfs.errors import ScullvfsError, UsageError
from scullvfs.options.table import MountOptions
from scullvfs.text import shown

from .health import trouble_of
from .mountinfo import Mount
from .place import find_scullvfs
from .probe import ANSWER_TIMEOUT, ask, enter

__all__ = ["reload"]

LONGEST: Final = 32
"""Bytes that are read of a parameter's value."""


def reload(options: MountOptions, path: str) -> dict[str, tuple[int, int]]:
    """Set the parameters of the modules of the mount on `path` to what `options` says.

    Those that are writable; the drivers are those that `options` has, and the mount.

    Returns:
        parameter -> its old and its new value, for those that were another.

    Raises:
        NotMountedError: there is no scullvfs mount on `path`, or a dead one.
        RefusedError: this user may not set them.
        UsageError: the mount has not all the drivers of `options`, or a value is none for it.
        BusyError: the mount does not answer.
    """
    mount = find_scullvfs(path)

    def change() -> bytes:
        changes = {}
        for driver in options.loaded():
            for name in driver.settable:
                fd = _open(mount, f"sys/module/{driver.name}/parameters/{name}")
                changes[name] = int(os.read(fd, LONGEST)), getattr(options, name), fd
        # What becomes smaller goes first, so that they fit together all the time.
        done: list[str] = []
        for name in sorted(changes, key=lambda name: changes[name][1] > changes[name][0]):
            old, new, fd = changes[name]
            if old != new:
                try:
                    os.write(fd, b"%d\n" % new)
                except OSError:  # so that what is refused changes nothing
                    for earlier in reversed(done):
                        old, _, fd = changes[earlier]
                        os.write(fd, b"%d\n" % old)
                    raise
                done.append(name)
        changed = {name: (old, new) for name, (old, new, _) in changes.items() if old != new}
        return json.dumps(changed).encode()

    try:
        changed = json.loads(ask(change, timeout=ANSWER_TIMEOUT))
    except OSError as error:
        raise _failure(path, error, options) from None
    return {name: (old, new) for name, (old, new) in changed.items()}


def _failure(path: str, error: OSError, options: MountOptions) -> ScullvfsError:
    trouble = trouble_of(error, path, "set the parameters of")
    if trouble is not None:
        return trouble
    if error.errno == errno.ENOENT:
        return UsageError(
            f"{shown(path)} was not mounted with drivers={options.drivers}; "
            "which are loaded a new mount says"
        )
    if error.errno == errno.EINVAL:
        bounds = [
            f"; {d.measure.name} is no larger than {d.bound}" for d in options.loaded() if d.bound
        ]
        return UsageError(f"{shown(path)} cannot have such parameters{''.join(bounds)}")
    return ScullvfsError(f"cannot set the parameters of {shown(path)}: {error.strerror}")


def _open(mount: Mount, path: str) -> int:
    """Open a file of `mount` to read and write, and nothing that a link in it leads to.

    Raises:
        OSError: ELOOP, a link is on the way; ENXIO, it is no regular file; or as open(2).
    """
    directory = os.open(enter(mount), os.O_PATH)
    *above, name = path.split("/")
    for part in above:
        directory = os.open(part, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=directory)
    fd = os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=directory)
    status = os.fstat(fd)
    if stat.S_ISLNK(status.st_mode):
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    st_dev = f"{os.major(status.st_dev)}:{os.minor(status.st_dev)}"
    if not stat.S_ISREG(status.st_mode) or st_dev != mount.st_dev:
        raise OSError(errno.ENXIO, os.strerror(errno.ENXIO))
    return os.open(f"/proc/self/fd/{fd}", os.O_RDWR)
