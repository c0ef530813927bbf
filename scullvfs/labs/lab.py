"""What a lab is made of."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NamedTuple

from .numbers import Numbers
from .sight import Sight

__all__ = ["Lab", "Spoilt", "Task", "command", "fill"]


class Spoilt(Exception):
    """What the lab has put there is not there any more, so a task cannot be checked."""


class Task(NamedTuple):
    """Something to find out, or to do."""

    text: str
    """What, with the student's numbers."""
    missing: Callable[[Sight], str]
    """What is missing, in a phrase; nothing if it is done.  May raise `Spoilt`, and OSError as
    `Sight` does."""


class Lab(NamedTuple):
    """One lab; each part goes by the student's numbers."""

    options: Callable[[Numbers], str]
    """The mount options, but the seed."""
    prepare: Callable[[str, Numbers], None]
    """Puts there what the tasks need, by the files of the mount, of which it has the path."""
    tasks: Callable[[Numbers], tuple[Task, ...]]


def fill(path: str, data: bytes, at: int = 0) -> None:
    """Write all of `data` to a device from `at` on, in as many calls as it takes."""
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        view = memoryview(data)
        while view:
            count = os.pwrite(fd, view, at)
            view, at = view[count:], at + count
    finally:
        os.close(fd)


def command(mnt: str, text: str) -> None:
    """Give a command to `sys/kernel/debug/mm/command`."""
    fd = os.open(f"{mnt}/sys/kernel/debug/mm/command", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
