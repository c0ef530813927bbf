"""Taking away what a killed daemon left: a dead mount, and nothing but a dead one.

For whoever cleans up after a daemon without knowing how it ended, as a service manager
does: a living mount on the same place, whose ever it is, stays.
"""

from .mountinfo import mount_at
from .place import resolve
from .probe import ask_for_pid
from .unmount import unmount

__all__ = ["unmount_dead"]


def unmount_dead(path: str, *, timeout: float) -> None:
    """Unmount *path* at once if there is a scullvfs mount whose daemon is gone, even one in use.

    A mount that does not answer within *timeout* seconds is not dead.

    Raises:
        RefusedError: the mount is dead, but another user's.
    """
    try:
        mount = mount_at(resolve(path))
        dead = (
            mount is not None and mount.is_scullvfs and ask_for_pid(mount, timeout=timeout) is None
        )
    except OSError:  # no such directory, no answer, or a living mount that is closed to us
        return
    if dead:
        unmount(path, lazy=True, timeout=timeout)
