"""Taking away what a killed daemon left: a dead mount, and nothing but a dead one.

For whoever cleans up after a daemon without knowing how it ended, as a service manager
does: a living mount on the same place, whose ever it is, stays.
"""

from .health import State, how_is
from .mountinfo import mount_at
from .place import resolve
from .unmount import unmount

__all__ = ["unmount_dead"]


def unmount_dead(path: str, *, timeout: float) -> None:
    """Unmount `path` at once if there is a scullvfs mount whose daemon is gone, even one in use.

    A mount that does not answer within `timeout` seconds is not dead.

    Raises:
        RefusedError: the mount is dead, but another user's.
    """
    try:
        mount = mount_at(resolve(path))
    except OSError:  # no such directory
        return
    if mount is None or not mount.is_scullvfs:
        return
    if how_is(mount, timeout=timeout).state == State.DEAD:
        unmount(path, lazy=True, timeout=timeout)
