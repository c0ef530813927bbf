"""Recording a mount from outside, by its files `sys/kernel/debug/record` and `record_data`.

    cat record > run.scull &        begin_recording()
    echo 0 > record                 end_recording()

By hand it is the same.
"""

from __future__ import annotations

import errno
import os
import select
import subprocess
import time
from collections.abc import Callable
from typing import Final

from scullvfs.errors import BusyError
from scullvfs.text import shown

from .health import trouble_of
from .mountinfo import Mount
from .probe import ANSWER_TIMEOUT, ask, enter, who_may_enter
from .reader import begin_reader

__all__ = ["RECORD", "begin_recording", "end_recording", "record_file"]

RECORD: Final = "sys/kernel/debug/record"
"""The path of the file within a mount."""
PATIENCE: Final = 0.5
"""Seconds in which whoever only looks at a mount, such as a page of `scullvfs view`, leaves a
moment in which none of its files is open."""


def record_file(whole: bool) -> str:
    """The one that is read for a recording, with the data or without."""
    return f"{RECORD}_data" if whole else RECORD


def begin_recording(mount: Mount, whole: bool) -> subprocess.Popen[bytes]:
    """What prints every call on a mount from now on.

    Args:
        whole: with the data that is written to devices.

    Raises:
        BusyError: it is recorded already, it is in use, or was used before; or no answer comes.
        NotMountedError: it is dead, or gone.
        RefusedError: it is another user's.
    """
    name = record_file(whole)

    end = time.monotonic() + PATIENCE

    def could_begin() -> bytes:
        while True:
            try:
                os.close(os.open(f"{enter(mount)}/{name}", os.O_RDONLY))
            except OSError as error:
                if error.errno != errno.EBUSY or time.monotonic() > end:
                    raise
                time.sleep(PATIENCE / 100)
            else:
                return b""

    while True:
        _asked(mount, could_begin)
        reader = begin_reader(mount, name)
        if _has_begun(reader) or time.monotonic() > end:
            return reader
        with reader:  # somebody has looked in between
            pass


def _has_begun(reader: subprocess.Popen[bytes]) -> bool:
    """Whether it has something to read, or waits for it; else it has ended without a word."""
    assert reader.stdout is not None
    poll = select.poll()
    poll.register(reader.stdout, select.POLLIN)
    return [event for _, event in poll.poll(ANSWER_TIMEOUT * 1000)] != [select.POLLHUP]


def end_recording(mount: Mount) -> None:
    """End the recording of a mount; nothing if it has ended.

    Raises:
        BusyError, NotMountedError, RefusedError: as above.
    """

    def end() -> bytes:
        fd = os.open(f"{enter(mount)}/{RECORD}", os.O_WRONLY)
        try:
            os.write(fd, b"0")
        except OSError as error:
            if error.errno != errno.ENODATA:
                raise
        return b""

    _asked(mount, end)


def _asked(mount: Mount, question: Callable[[], bytes]) -> None:
    path = shown(mount.path)
    try:
        ask(question, timeout=ANSWER_TIMEOUT, identity=who_may_enter(mount))
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:
            raise BusyError(
                f"{path} was used before, and a recording begins with a fresh mount; record one "
                "with the same options, or with restore= and what 'scullvfs snapshot save' saves"
            ) from None
        if error.errno == errno.EBUSY:
            raise BusyError(
                f"{path} is being recorded already, or files of it are open; "
                "a recording has to see them opened"
            ) from None
        raise (
            trouble_of(error, mount.path, "record", RECORD)
            or BusyError(f"cannot record {path}: {error.strerror}")
        ) from None
