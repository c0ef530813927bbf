"""One FUSE session: the mount as the kernel sees it, made and unmade.

Here and only here the daemon speaks to pyfuse3. Used by `server`. Nothing in here may
touch the mount point while it is connected: the daemon would wait for itself.
"""

import logging
import os
import select
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec

from scullvfs.fuse import lowlevel  # before pyfuse3: its docstring says why

# isort: split
import pyfuse3

from scullvfs.errors import (
    FuseMissingError,
    MountPointError,
    RefusedError,
    ScullvfsError,
)
from scullvfs.host.requirements import DEV_FUSE, check_dev_fuse
from scullvfs.mounts.fusermount import why_no_fusermount
from scullvfs.mounts.health import ALIVE_TIMEOUT, State, how_is
from scullvfs.mounts.identity import put_on_badge
from scullvfs.mounts.mountinfo import SUBTYPE, Mount, is_mounted, mount_at, read_mounts
from scullvfs.mounts.unmount import take_down
from scullvfs.options.kernel_flags import OURS_ALONE
from scullvfs.options.optstring import escape_for_libfuse
from scullvfs.options.table import MountOptions
from scullvfs.text import shown

__all__ = ["FuseSession", "fuse_session", "lacks_for_want_of_extension", "terminate"]

log = logging.getLogger(__name__)

terminate = pyfuse3.terminate
"""Make the main loop return; what is still mounted then, the end of `fuse_session()` unmounts."""


class FuseSession:
    """A mount that is served, and what has become of it."""

    def __init__(self, mount: Mount | None, fuse: int | None) -> None:
        self._mount = mount
        self._fuse = fuse
        self.left: list[Mount] = []
        """Names at which it stays behind after all."""

    @property
    def mounted(self) -> bool:
        """Whether it is there, and no other mount on top of it."""
        return self._mount is not None and is_mounted(self._mount)

    @property
    def connected(self) -> bool:
        """Whether the kernel still sends requests: it is neither unmounted nor aborted."""
        if self._fuse is None:
            return True
        poll = select.poll()
        poll.register(self._fuse, 0)  # for POLLERR alone
        return not poll.poll(0)

    @property
    def dead(self) -> list[Mount]:
        """Where it stands though it is not connected any more: it was aborted, not unmounted.

        Only for one that is not connected.  Its device number may be another mount's by then,
        so who answers is none of it.  What lies under another mount cannot be asked.
        """
        return [
            name
            for name in self._names()
            if not is_mounted(name) or how_is(name, timeout=ALIVE_TIMEOUT).state == State.DEAD
        ]

    def elsewhere(self) -> list[Mount]:
        """Its names at other paths: a directory above was renamed, or it is bound there, too.

        Only for one that is connected.
        """
        return [name for name in self._names() if name != self._mount and is_mounted(name)]

    def _names(self) -> list[Mount]:
        if self._mount is None:
            return []
        return [
            name for name in read_mounts() if name.is_scullvfs and name.st_dev == self._mount.st_dev
        ]

    def forget(self, name: Mount) -> None:
        """Take down one name of the mount, which would stay behind dead."""
        why: ScullvfsError | str = "another mount lies on top of it"
        try:
            if is_mounted(name):
                take_down(name, lazy=True)
                return
        except ScullvfsError as error:
            why = error
        log.warning("%s stays behind, dead: %s", shown(name.path), why)
        self.left.append(name)


@contextmanager
def fuse_session(
    operations: pyfuse3.Operations, mountpoint: str, mount_options: MountOptions
) -> Iterator[FuseSession]:
    """Mount on `mountpoint`, absolute and resolved, and unmount at the end.

    Raises:
        ScullvfsError: libfuse or the kernel refuses, with their own words.
    """
    options = {*pyfuse3.default_options, "default_permissions"}
    options |= {f"fsname={escape_for_libfuse(mount_options.fsname)}", f"subtype={SUBTYPE}"}
    options |= mount_options.flags - OURS_ALONE
    if mount_options.allow_other:
        options.add("allow_other")
    before = _fuse_fds()
    with _captured_stderr() as said:
        try:
            pyfuse3.init(operations, mountpoint, options)
        except RuntimeError:
            raise _refusal(mountpoint, said()) from None
    mount = mount_at(mountpoint)
    if mount is not None:
        with suppress(OSError):  # then nobody waits for us
            put_on_badge(mount)  # worn to the end of the process
    # The new descriptor is the one that requests come from, which pyfuse3 does not tell.
    served = FuseSession(mount, next(iter(_fuse_fds() - before), None))
    try:
        yield served
    finally:
        # Unmounted lazily, with files still open, it may have made room for another mount,
        # and libfuse would unmount that one: it goes by the path.
        connected = served.connected
        names = served.elsewhere() if connected else []
        pyfuse3.close(unmount=connected and served.mounted)
        # Of a mount that it could not unmount libfuse tells nobody but stderr.
        for name in dict.fromkeys([*names, *served.dead]):
            served.forget(name)


def _fuse_fds() -> set[int]:
    """The descriptors of /dev/fuse: the one that requests come from, and the mount point's lock."""
    fds = set()
    for fd in map(int, os.listdir("/proc/self/fd")):
        with suppress(OSError):
            if os.readlink(f"/proc/self/fd/{fd}") == DEV_FUSE:
                fds.add(fd)
    return fds


def lacks_for_want_of_extension() -> str | None:
    """What a mount would lack, and why; None if the low-level operations would be in place.

    libfuse makes its session, and with it the table of operations, before it looks at the
    mount point, and this one cannot be mounted on. For a process that then ends.
    """
    with _captured_stderr():
        try:
            pyfuse3.init(pyfuse3.Operations(), f"{os.devnull}/nowhere", set())
        except RuntimeError:
            if lowlevel.hooked():
                return None
            built = find_spec(f"{lowlevel.__name__}._interpose") is not None
            why = "it is built, but does not hook in" if built else "it is not built"
            return f"{why}: {lowlevel.MISSING}"
    raise AssertionError("mounted where nothing can be")


@contextmanager
def _captured_stderr() -> Iterator[Callable[[], str]]:
    """Keep what libfuse and fusermount3 write to file descriptor 2; yields what reads it."""
    kept = os.memfd_create("stderr", os.MFD_CLOEXEC)
    stderr = os.dup(2)
    os.dup2(kept, 2)
    try:
        yield lambda: os.fsdecode(os.pread(kept, 1 << 16, 0))
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(kept)


def _refusal(mountpoint: str, said: str) -> ScullvfsError:
    """What is left of a failed mount once all has been checked that can be checked before.

    What libfuse says has changed with its versions, so where a fact can be looked at, that
    decides.
    """
    try:
        check_dev_fuse()
    except ScullvfsError as error:  # it was there before
        return error
    # libfuse runs it where mount(2) is not permitted, and names it when that fails.
    reason = said.replace(mountpoint, "")  # whose name may be any words
    if "fusermount3" in reason and (why := why_no_fusermount()) is not None:
        return FuseMissingError(
            f"cannot mount on {shown(mountpoint)}: mount(2) is not permitted, "
            f"and fusermount3 cannot be run ({why}); "
            "run 'apt install fuse3', a container needs '--cap-add SYS_ADMIN'"
        )
    words = "; ".join(_sentences(said)) or "libfuse gives no reason"
    message = f"cannot mount on {shown(mountpoint)}: {words}"
    if "not permitted" in reason:
        return RefusedError(f"{message}; a container needs '--cap-add SYS_ADMIN'")
    if "ermission denied" in reason:
        return RefusedError(message)
    return MountPointError(message)


def _sentences(said: str) -> list[str]:
    """The lines of `said`, each once: libfuse tries twice, with fusermount3 quiet at first."""
    return list(dict.fromkeys(shown(line.strip()) for line in said.splitlines() if line.strip()))
