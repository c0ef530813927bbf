"""fusermount3, the helper that mounts and unmounts for ordinary users: where it is."""

import os

from scullvfs.errors import FuseMissingError

__all__ = ["find_fusermount", "fusermount_missing", "why_no_fusermount"]


def find_fusermount() -> str | None:
    """The path of fusermount3, None if it is not installed."""
    paths = (os.path.join(directory, "fusermount3") for directory in _where_it_is().split(":"))
    return next((path for path in paths if os.access(path, os.X_OK) and os.path.isfile(path)), None)


def fusermount_missing(to_do: str) -> FuseMissingError:
    """What to say where it is not installed, and it is needed to mount or to unmount."""
    return FuseMissingError(
        f"fusermount3 is missing, without which only root can {to_do}; run 'apt install fuse3'"
    )


def why_no_fusermount() -> str | None:
    """What keeps this user from running fusermount3 at all; None if it can be run."""
    import subprocess

    try:
        subprocess.run(
            ["fusermount3", "--version"],
            env={**os.environ, "PATH": _where_it_is()},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    except OSError as error:
        return error.strerror
    return None


def _where_it_is() -> str:
    """The directories that it is looked for in: libfuse tries the one it was installed to, too."""
    return f"{os.environ.get('PATH', '')}:/usr/bin"
