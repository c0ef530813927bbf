"""Every way in which `scullvfs` can fail, and the exit status of each.

Defined here and only here: the table of exit statuses, which `scullvfs --help`
prints, and one exception a status. The rest of `scullvfs.daemon` raises them, with a
message of one line that says what is wrong and what to do; `scullvfs.cli` prints that
line and exits. Imports nothing of scullvfs::

    ScullvfsError            1
    ├── UsageError           2
    ├── MountPointError      3
    ├── FuseMissingError     4
    ├── RefusedError         5
    ├── HostMemoryError      6
    ├── NotMountedError      7
    ├── BusyError            8
    └── BadFileError        10
"""

from enum import IntEnum

__all__ = [
    "BadFileError",
    "BusyError",
    "ExitStatus",
    "FuseMissingError",
    "HostMemoryError",
    "MountPointError",
    "NotMountedError",
    "RefusedError",
    "ScullvfsError",
    "UsageError",
    "error_of_status",
]


class ExitStatus(IntEnum):
    """The exit statuses of `scullvfs`, each with its meaning."""

    meaning: str

    def __new__(cls, value: int, meaning: str) -> "ExitStatus":
        status = int.__new__(cls, value)
        status._value_ = value
        status.meaning = meaning
        return status

    SUCCESS = 0, "Done; after a mount, the mount answers."
    FAILURE = 1, "An unexpected failure; the log has the details."
    USAGE = 2, "An unknown command or option, or a value that cannot be."
    MOUNT_POINT = 3, "The mount point is missing, no directory, not empty or already in use."
    NO_FUSE = 4, "FUSE is not available: /dev/fuse, libfuse, pyfuse3 or fusermount3 is missing."
    PERMISSION = 5, "Permission denied."
    NO_MEMORY = 6, "The host cannot give as much memory as mem= asks for."
    NOT_MOUNTED = 7, "There is no scullvfs mount at the place given."
    BUSY = 8, "The mount is in use, dead or does not answer, or its daemon does not end in time."
    FOUND = 9, "A fault that was injected leaked memory or broke something, or a lab is not done."
    BAD_FILE = 10, "A snapshot or recording cannot be read: missing, damaged, or of another format."
    DIFFERENT = 11, "A replay has come to something else than what was recorded."
    INTERRUPTED = 130, "Interrupted from the keyboard."


class ScullvfsError(Exception):
    """A failure that a user can understand; its text is one line without a full stop."""

    status = ExitStatus.FAILURE


class UsageError(ScullvfsError):
    """An option that does not exist, or a value that cannot be."""

    status = ExitStatus.USAGE


class MountPointError(ScullvfsError):
    """The mount point cannot be mounted on."""

    status = ExitStatus.MOUNT_POINT


class FuseMissingError(ScullvfsError):
    """A part of FUSE is missing on this machine."""

    status = ExitStatus.NO_FUSE


class RefusedError(ScullvfsError):
    """This user may not do that."""

    status = ExitStatus.PERMISSION


class HostMemoryError(ScullvfsError):
    """The emulated RAM does not fit into the memory that the host can give."""

    status = ExitStatus.NO_MEMORY


class NotMountedError(ScullvfsError):
    """No scullvfs mount is where one was named."""

    status = ExitStatus.NOT_MOUNTED


class BusyError(ScullvfsError):
    """The mount or its daemon stays in use, or does not answer."""

    status = ExitStatus.BUSY


class BadFileError(ScullvfsError):
    """A snapshot or a recording cannot be read, or is none that this version can go on with."""

    status = ExitStatus.BAD_FILE


def error_of_status(status: int, message: str) -> ScullvfsError:
    """Make the exception that `status` belongs to; the way back from an exit status.

    A status without an exception of its own gives a plain `ScullvfsError`.
    """
    kinds = {int(kind.status): kind for kind in ScullvfsError.__subclasses__()}
    return kinds.get(status, ScullvfsError)(message)
