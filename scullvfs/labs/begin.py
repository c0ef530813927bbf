"""A lab's mount, made and filled."""

from __future__ import annotations

import os
from contextlib import ExitStack
from functools import partial

from scullvfs.daemon.start import mount_in_background
from scullvfs.errors import MountPointError, ScullvfsError
from scullvfs.interrupts import interruptible, undisturbed
from scullvfs.mounts.place import find_scullvfs
from scullvfs.mounts.unmount import take_down
from scullvfs.options.optstring import escape
from scullvfs.options.table import MountOptions, parse_options
from scullvfs.text import shown

from .numbers import Numbers, seed_of
from .table import LABS

__all__ = ["begin", "options_of", "source_of"]


def source_of(number: int) -> str:
    """What the source of a lab's mount begins with, as findmnt shows it; a student comes behind."""
    return f"lab{number}:"


def options_of(number: int, seed: int, *more: str) -> MountOptions:
    """The mount options of a lab for a seed, and some more."""
    return parse_options([LABS[number].options(Numbers(number, seed)), f"seed={seed}", *more])


def begin(number: int, path: str, student: str) -> None:
    """Mount on `path`, which is made if it is not there, and put there what the lab needs.

    Whatever is raised, Ctrl-C included, leaves no mount, and no directory that was made here.

    Raises:
        ScullvfsError: there is no such mount, and why.
    """
    seed = seed_of(student)
    options = options_of(number, seed, f"fsname={escape(source_of(number) + student)}")
    with interruptible(), ExitStack() as undo:
        if _make(path):
            undo.callback(os.rmdir, path)
        mount_in_background(options, path)
        undo.callback(undisturbed, partial(take_down, lazy=True), find_scullvfs(path))
        try:
            LABS[number].prepare(path, Numbers(number, seed))
        except OSError as error:
            raise ScullvfsError(
                f"cannot fill the devices of {shown(path)}: {error.strerror}"
            ) from None
        undo.pop_all()


def _make(path: str) -> bool:
    """Whether there was no such directory, and now there is."""
    if not path:
        return False  # which has its own words, at the mount
    try:
        os.mkdir(path)
    except FileExistsError:
        return False
    except OSError as error:
        raise MountPointError(f"cannot make {shown(path)}: {error.strerror}") from None
    return True
