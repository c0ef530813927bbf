"""The daemon of a mount, forked ahead: it imports `server` while its parent looks around.

The imports take longer than all that the parent has to do, its own included, so the earlier the
fork, the sooner the mount. `begin` may be wrong about what the user wants: that costs some
time of a CPU, and nothing else. Imports next to nothing, since all of it comes before the fork.
"""

from scullvfs.errors import ExitStatus

from .fork import Daemon, Starter

__all__ = ["begin", "drop", "take"]

_begun: Daemon | None = None


def begin() -> None:
    """Fork the daemon of a mount that is probably asked for."""
    global _begun
    _begun = Daemon(_main)


def take() -> Daemon:
    """The daemon that was begun, or a new one; it is the caller's from now on."""
    global _begun
    daemon, _begun = _begun, None
    return daemon or Daemon(_main)


def drop() -> None:
    """End the daemon that was begun, if nobody has taken it."""
    if _begun is not None:
        take().end()


def _main(starter: Starter) -> ExitStatus:
    from .serving import serve_by_order  # here, and not in the parent

    return serve_by_order(starter)
