"""Is FUSE here, and may this user have it?

The checks of the machine that run before anything is forked: /dev/fuse, the helper of
ordinary users, /etc/fuse.conf. Also the words for what only the import of pyfuse3 shows.
Imports neither pyfuse3 nor trio.
"""

import errno
import os
import re
import stat
from pathlib import Path
from typing import Final

from scullvfs.errors import FuseMissingError, RefusedError
from scullvfs.mounts.fusermount import find_fusermount, fusermount_missing
from scullvfs.text import argument, shown

__all__ = [
    "ADVICE",
    "DEV_FUSE",
    "check_allow_other",
    "check_dev_fuse",
    "check_fusermount",
    "check_mtab",
    "check_requirements",
    "explain_import_error",
    "library_missing",
    "package_missing",
]

DEV_FUSE: Final = "/dev/fuse"
DEV_FUSE_NUMBER: Final = os.makedev(10, 229)
"""Linux: include/linux/miscdevice.h:FUSE_MINOR"""

FUSE_CONF: Final = Path("/etc/fuse.conf")
MTAB: Final = Path("/etc/mtab")

ADVICE: Final = "run 'modprobe fuse'; a container needs '--device /dev/fuse --cap-add SYS_ADMIN'"


def check_requirements(*, allow_other: bool) -> None:
    """Check all that a mount by this user needs.

    Raises:
        FuseMissingError: /dev/fuse, fusermount3 or /etc/mtab is missing.
        RefusedError: /dev/fuse is closed to this user, or allow_other forbidden.
    """
    check_dev_fuse()
    if os.getuid() == 0:
        return
    check_fusermount()
    check_mtab()
    if allow_other:
        check_allow_other()


def check_fusermount() -> str:
    """The path of fusermount3, with which ordinary users can mount.

    Raises:
        FuseMissingError: it is not installed, or runs without root's rights.
    """
    path = find_fusermount()
    if path is None:
        raise fusermount_missing("mount")
    if not (os.stat(path).st_mode & stat.S_ISUID or _has_capabilities(path)):
        raise FuseMissingError(
            f"{shown(path)} is not setuid root, without which only root can mount; "
            f"ask root to run 'chmod u+s {argument(path)}'"
        )
    return path


def _has_capabilities(path: str) -> bool:
    """Whether the program gets capabilities; setcap(8) gives CAP_SYS_ADMIN in setuid's place."""
    try:
        return bool(os.getxattr(path, "security.capability"))
    except OSError:
        return False


def check_mtab() -> None:
    """Raise FuseMissingError unless there is the file that fusermount3 unmounts by."""
    if not MTAB.exists():
        raise FuseMissingError(
            f"{MTAB} is missing, without which fusermount3 does not unmount; "
            f"ask root to run 'ln -s /proc/self/mounts {MTAB}'"
        )


def check_allow_other() -> None:
    """Raise RefusedError unless /etc/fuse.conf lets ordinary users mount with allow_other."""
    if not _user_allow_other():
        raise RefusedError(
            f"allow_other is closed to ordinary users; ask root to write "
            f"'user_allow_other' into {FUSE_CONF}, or leave it out"
        )


def explain_import_error(error: ImportError) -> FuseMissingError | None:
    """What a failed import of `daemon.server` means to the user; None if it is a bug of ours."""
    library = re.search(r"(libfuse3\.so\.[0-9]+):", str(error))
    if library is not None:
        return library_missing(library[1])
    if error.name in ("pyfuse3", "trio"):
        return package_missing(error.name)
    return None


def library_missing(soname: str | None) -> FuseMissingError:
    """What to say where libfuse cannot be loaded.

    Args:
        soname: `libfuse3.so.4`, which is in Debian's package libfuse3-4; None if nothing tells
            the number: then it is fuse3 that brings the right one.
    """
    library, package = soname or "libfuse3", "fuse3"
    if soname is not None:
        package = "libfuse3-" + soname.rpartition(".")[2]
    return FuseMissingError(
        f"the FUSE library {library} is missing or broken; run 'apt install {package}'"
    )


def package_missing(name: str) -> FuseMissingError:
    """What to say where a Python package is not installed."""
    return FuseMissingError(f"the Python package {name} is missing; run 'pip install {name}'")


def check_dev_fuse() -> None:
    """Open /dev/fuse once.

    Raises:
        FuseMissingError: it is missing, or is something else.
        RefusedError: it is closed to this user.
    """
    try:
        if not stat.S_ISCHR(os.stat(DEV_FUSE).st_mode):
            raise FuseMissingError(f"{DEV_FUSE} is not a device; {ADVICE}")
        fd = os.open(DEV_FUSE, os.O_RDWR | os.O_CLOEXEC)
    except PermissionError:
        raise RefusedError(
            f"you may not open {DEV_FUSE}; ask root to run 'chmod 666 {DEV_FUSE}', "
            "or run the container with '--device /dev/fuse'"
        ) from None
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENODEV, errno.ENXIO, errno.ENOTDIR):
            raise
        raise FuseMissingError(f"{DEV_FUSE} is missing; {ADVICE}") from None
    try:
        if os.fstat(fd).st_rdev != DEV_FUSE_NUMBER:
            raise FuseMissingError(f"{DEV_FUSE} is another device; {ADVICE}")
    finally:
        os.close(fd)


def _user_allow_other() -> bool:
    """Whether /etc/fuse.conf has the line `user_allow_other`."""
    try:
        lines = FUSE_CONF.read_text(errors="replace").splitlines()
    except OSError:
        return False
    return "user_allow_other" in (line.strip() for line in lines)
