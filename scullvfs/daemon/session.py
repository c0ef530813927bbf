"""One FUSE session: the mount as the kernel sees it, made and unmade.

Here and only here the daemon speaks to pyfuse3. Used by `server`. Nothing in here may
touch the mount point: the daemon would wait for itself.
"""

import logging
import os
import select
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from scullvfs.fuse import lowlevel  # before pyfuse3: its docstring says why

# isort: split
import pyfuse3

from scullvfs.daemon.errors import (
    FuseMissingError,
    MountPointError,
    RefusedError,
    ScullvfsError,
)
from scullvfs.daemon.flags import OURS_ALONE
from scullvfs.daemon.mountinfo import Mount, is_mounted, mount_at, read_mounts
from scullvfs.daemon.options import MountOptions
from scullvfs.daemon.requirements import DEVICE, check_device, why_no_fusermount
from scullvfs.daemon.unmount import take_down

__all__ = ["hooks_in", "session", "terminate"]

log = logging.getLogger(__name__)

terminate = pyfuse3.terminate
"""Make the main loop return; what is still mounted then, the end of `session` unmounts."""


@contextmanager
def session(
    operations: pyfuse3.Operations, mountpoint: str, mount_options: MountOptions
) -> Iterator[None]:
    """Mount on *mountpoint*, absolute and resolved, and unmount at the end.

    Raises:
        ScullvfsError: libfuse or the kernel refuses, with their own words.
    """
    options = {*pyfuse3.default_options, "default_permissions"}
    options |= {f"fsname={_escape(mount_options.fsname)}", "subtype=scullvfs"}
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
    fuse = next(iter(_fuse_fds() - before), None)  # which pyfuse3 does not tell
    try:
        yield
    finally:
        # Unmounted lazily, with files still open, it may have made room for another mount,
        # and libfuse would unmount that one: it goes by the path.
        elsewhere = _elsewhere(mount, fuse)
        pyfuse3.close(unmount=mount is not None and is_mounted(mount))
        for name in elsewhere:
            _forget(name)


def _fuse_fds() -> set[int]:
    """The descriptors of /dev/fuse: the one that requests come from, and the mount point's lock."""
    fds = set()
    for fd in map(int, os.listdir("/proc/self/fd")):
        with suppress(OSError):
            if os.readlink(f"/proc/self/fd/{fd}") == DEVICE:
                fds.add(fd)
    return fds


def _elsewhere(mount: Mount | None, fuse: int | None) -> list[Mount]:
    """Names of *mount* at other paths: a directory above was renamed, or it is bound there, too.

    None once it is disconnected: then its device number may be another mount's.
    """
    if mount is None or fuse is None:
        return []
    poll = select.poll()
    poll.register(fuse, 0)  # for POLLERR alone
    if poll.poll(0):
        return []
    names = [m for m in read_mounts() if m.device == mount.device and m.path != mount.path]
    return [name for name in names if is_mounted(name)]


def _forget(name: Mount) -> None:
    """Take down one more name of the mount, which would stay behind dead."""
    try:
        take_down(name, lazy=True)
    except ScullvfsError as error:
        log.warning("%s stays behind, dead: %s", name.path, error)


def hooks_in() -> bool:
    """Whether the low-level operations would be in place; found out without a mount.

    libfuse makes its session, and with it the table of operations, before it looks at the
    mount point, and this one cannot be mounted on. For a process that then ends.
    """
    with _captured_stderr():
        try:
            pyfuse3.init(pyfuse3.Operations(), f"{os.devnull}/nowhere", set())
        except RuntimeError:
            return lowlevel.hooked()
    raise AssertionError("mounted where nothing can be")


def _escape(text: str) -> str:
    """*text* as one value of libfuse's -o; libfuse: lib/fuse_opt.c:process_opt_sep_arg()"""
    return text.replace("\\", "\\\\").replace(",", "\\,")


@contextmanager
def _captured_stderr() -> Iterator[Callable[[], str]]:
    """Keep what libfuse and fusermount3 write to file descriptor 2; yields what reads it."""
    kept = os.memfd_create("stderr", os.MFD_CLOEXEC)
    stderr = os.dup(2)
    os.dup2(kept, 2)
    try:
        yield lambda: os.pread(kept, 1 << 16, 0).decode(errors="replace")
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
        check_device()
    except ScullvfsError as error:  # it was there before
        return error
    # libfuse runs it where mount(2) is not permitted, and names it when that fails.
    if "fusermount3" in said and (why := why_no_fusermount()) is not None:
        return FuseMissingError(
            f"cannot mount on {mountpoint}: mount(2) is not permitted, and fusermount3 cannot be "
            f"run ({why}); run 'apt install fuse3', a container needs '--cap-add SYS_ADMIN'"
        )
    words = "; ".join(_sentences(said)) or "libfuse gives no reason"
    message = f"cannot mount on {mountpoint}: {words}"
    if "not permitted" in said:
        return RefusedError(f"{message}; a container needs '--cap-add SYS_ADMIN'")
    if "ermission denied" in said:
        return RefusedError(message)
    return MountPointError(message)


def _sentences(said: str) -> list[str]:
    """The lines of *said*, each once: libfuse tries twice, with fusermount3 quiet at first."""
    return list(dict.fromkeys(line.strip() for line in said.splitlines() if line.strip()))
