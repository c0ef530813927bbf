"""The file that a picture or a report goes into: there as a whole, or not at all."""

from __future__ import annotations

import os

from scullvfs.errors import UsageError
from scullvfs.text import shown
from scullvfs.whole_files import whole_file

__all__ = ["check_output", "write_output"]


def check_output(path: str, ending: str) -> None:
    """Whether something can be written there.

    Args:
        ending: what its name has to end in, such as `.svg`.

    Raises:
        UsageError: it is called otherwise, or cannot be written.
    """
    if not path.lower().endswith(ending):
        raise UsageError(f"-o {shown(path)} is not possible; the name must end in {ending}")
    place = os.path.realpath(path)
    directory, there = os.path.dirname(place), os.path.lexists(place)
    if not os.access(directory, os.W_OK | os.X_OK) or (there and not os.path.isfile(place)):
        raise UsageError(f"-o {shown(path)} is not possible; you cannot write a file there")
    if there and not os.access(place, os.W_OK):
        raise UsageError(f"-o {shown(path)} is not possible; it is write-protected")


def write_output(path: str, text: str) -> None:
    """Write it, in the place of a file that is there only when all of it is written.

    Raises:
        ScullvfsError: it cannot be written.
    """
    with whole_file(path) as file:
        file.write(text.encode())
