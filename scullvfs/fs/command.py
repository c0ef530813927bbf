"""`sys/kernel/debug/mm/`: the machine's memory by hand, with echo and cat.

command    a write is a command; reading gives what the last one has said
handles    what they have allocated, and where it is

    echo 'vmalloc a 65536' > command        cat command    ffffc90000000000
    echo 'peek a 65536' > command           EFAULT, and proc/kmsg has the report
"""

from __future__ import annotations

import errno
import os
from typing import Final

from scullvfs.mm.access import Buffer
from scullvfs.mm.command_line import MAX_LINE, Refused, Why
from scullvfs.mm.commands import Commands

from .node import Directory
from .seq_file import SeqFile
from .shown import WritableFile

__all__ = ["CommandFile", "mm_directory"]

_ERRNOS: Final = {
    Why.INVALID: errno.EINVAL,
    Why.NO_HANDLE: errno.ENOENT,
    Why.NAME_IN_USE: errno.EEXIST,
    Why.NAME_TOO_LONG: errno.ENAMETOOLONG,
    Why.HANDLE_IN_USE: errno.EBUSY,
    Why.TOO_MANY: errno.ENOSPC,
    Why.TOO_LARGE: errno.EFBIG,
    Why.NO_MEMORY: errno.ENOMEM,
    Why.FAULT: errno.EFAULT,
    Why.NOT_ITS_OWN: errno.EPERM,
}


def mm_directory(commands: Commands, uid: int, gid: int) -> Directory:
    """The directory `sys/kernel/debug/mm`."""
    nodes = {
        "command": CommandFile(commands, uid, gid),
        "handles": SeqFile(commands.handles, 0o400, uid, gid),
    }
    return Directory.of(nodes, uid, gid)


class CommandFile(WritableFile):
    """A file into which commands are written, one a write, with or without a newline."""

    def __init__(self, commands: Commands, uid: int, gid: int) -> None:
        super().__init__(0o600, uid, gid, writable=True)
        self._commands = commands

    def text(self) -> str:
        """What the last command has said."""
        return self._commands.answer

    def store(self, data: Buffer) -> int:
        """Do a command.

        Raises:
            OSError: it is none, or cannot be done; `text()` says why.
        """
        # What is longer is no command either way, and need not be copied.
        line = bytes(data[: MAX_LINE + 2]).decode("latin-1").removesuffix("\n")
        try:
            self._commands.do(line)
        except Refused as refused:
            number = _ERRNOS[refused.why]
            raise OSError(number, os.strerror(number)) from refused
        finally:
            self.refresh()
        return len(data)
