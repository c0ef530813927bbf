"""A recording of a test's mount: every call on it, in a file that `scullvfs replay` makes again."""

import errno
import os
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Final

from scullvfs.errors import BusyError
from scullvfs.mounts.recording import RECORD, record_file

from .daemon import Daemon
from .undo import Undo, is_gone

__all__ = ["Recorded"]

PATIENCE: Final = 10.0
"""Seconds in which the rest of a recording comes."""


class Recorded(Undo):
    """A recording that is being made; it ends with the context, by `undo()`, or with the mount."""

    holds_open = True

    def __init__(self, mount: Daemon, path: str | os.PathLike[str], data: bool) -> None:
        self._mount = mount
        self.path: Final = Path(path)
        """The file."""
        mount.must_be_mounted()
        with open(self.path, "wb") as file:
            try:
                fd = os.open(mount.path / record_file(data), os.O_RDONLY)
            except OSError as error:
                if error.errno not in (errno.EBUSY, errno.EOPNOTSUPP):
                    raise
                raise BusyError(
                    f"{mount} was used before, or files of it are open: a recording begins with a "
                    "fresh mount"
                ) from None
            try:
                # The daemon waits for who reads, so that is not to be this process.
                self._reader = subprocess.Popen(
                    ["cat"], stdin=fd, stdout=file, start_new_session=True
                )
            finally:
                os.close(fd)
        mount.standing.append(self)

    def undo(self) -> None:
        """End it; a second time does nothing."""
        if self not in self._mount.standing:
            return
        self._mount.must_answer()
        self._mount.standing.remove(self)
        try:
            with suppress(FileNotFoundError):
                (self._mount.path / RECORD).write_text("0")
        except OSError as error:
            if error.errno != errno.ENODATA and not is_gone(error):  # ENODATA: it has ended
                raise
        finally:
            try:
                self._reader.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self._reader.kill()
