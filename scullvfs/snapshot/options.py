"""The options of a machine: those that a snapshot has, and that a mount from it cannot have others.

    of the machine    mem, arch, seed, drivers, their parameters, semantics ...   in the file
    of the mount      uid, gid, mode, allow_other, writeback, log_level ...       given at each

Loads no machine.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import fields, replace
from typing import TYPE_CHECKING

from scullvfs.errors import UsageError
from scullvfs.options.table import (
    OF_THE_MOUNT,
    MountOptions,
    check_together,
    format_options,
    parse_options,
    read_options,
)
from scullvfs.text import shown

if TYPE_CHECKING:
    from .file import Chunks

__all__ = ["mount_options", "of_machine", "options_of"]


def of_machine(options: MountOptions) -> str:
    """Those that describe the machine, as behind `-o`, with those that have their defaults."""
    values = options.as_dict().items()
    names = {field.name for field in fields(options)} - OF_THE_MOUNT
    return format_options({name: value for name, value in values if name in names})


def options_of(chunks: Chunks) -> MountOptions:
    """The options of the machine in a snapshot.

    Raises:
        BadFileError: they are none.
    """
    try:
        options = parse_options([chunks.header.options])
    except (UsageError, UnicodeEncodeError) as error:  # the latter of half a character
        raise chunks.wrong(f"has options that this scullvfs has not: {error}") from None
    if of_machine(options) != chunks.header.options:
        raise chunks.wrong("has other options than those of a machine")
    return options


def mount_options(arguments: Iterable[str]) -> MountOptions:
    """As `parse_options()`; with `restore=FILE` those that describe the machine are the file's.

    Raises:
        UsageError: as there, or an option says something else than the file or does not go with it.
        BadFileError: the file cannot be read, or is no snapshot.
    """
    arguments = [*arguments]
    given, flags = read_options(arguments)
    if not given.get("restore"):
        return parse_options(arguments)
    from .file import opened  # which most mounts do without

    path = given["restore"]
    with opened(path) as chunks:
        saved = options_of(chunks)
    for name, value in given.items():
        if name not in OF_THE_MOUNT and value != getattr(saved, name):
            mine = format_options({name: value})
            its = format_options({name: getattr(saved, name)})
            raise UsageError(
                f"{mine} contradicts {shown(path)}, whose machine has {its}; leave it out"
            )
    of_the_mount = {name: value for name, value in given.items() if name in OF_THE_MOUNT}
    options = replace(saved, **(of_the_mount | {"restore": os.path.abspath(path)}), flags=flags)
    check_together(options)
    return options
