"""Attribute files: one value each, as sysfs, debugfs and module parameters have them.

Reading gives the value and a newline, as it was when the file was opened.  Writing sets it,
with or without a newline, wherever in the file one writes.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from typing import Final

from scullvfs.mm import PAGE_SIZE
from scullvfs.mm.access import Buffer

from .shown import WritableFile

__all__ = ["AttributeFile", "kstrtoint"]

INT_MIN: Final = -(1 << 31)
INT_MAX: Final = (1 << 31) - 1
_U64_MAX: Final = (1 << 64) - 1

_NUMBER: Final = re.compile(rb"([+-]?)(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)(\n?\Z)?")


def kstrtoint(text: bytes) -> int:
    """A number as the kernel reads it: decimal, 0x or octal, a sign, a newline; up to a NUL.

    Raises:
        OSError: EINVAL, no number; ERANGE, it does not fit into an int.

    Linux: lib/kstrtox.c:kstrtoint()
    """
    match = _NUMBER.match(text.partition(b"\0")[0])
    if match is None:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    sign, digits, end = match.groups()
    base = 16 if digits[1:2] in (b"x", b"X") else 8 if digits[:1] == b"0" else 10
    digits = digits.removeprefix(digits[:2] if base == 16 else b"").lstrip(b"0")
    # More digits than a 64-bit number has need not be converted, which takes long for a million.
    value = int(digits or b"0", base) if len(digits) <= 32 else _U64_MAX + 1
    if end is None and value <= _U64_MAX:  # an overflow is found before what follows the digits
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    value = -value if sign == b"-" else value
    if not INT_MIN <= value <= INT_MAX:
        raise OSError(errno.ERANGE, os.strerror(errno.ERANGE))
    return value


class AttributeFile(WritableFile):
    """A file of one value.

    Args:
        show: gives the value.
        store: sets it, with an OSError for one that cannot be; None for a read-only file.
    """

    def __init__(
        self,
        show: Callable[[], object],
        store: Callable[[int], None] | None,
        uid: int,
        gid: int,
    ) -> None:
        super().__init__(0o644 if store else 0o444, uid, gid, writable=store is not None)
        self._show = show
        self._store = store

    def text(self) -> str:
        """The value as it is now, and a newline."""
        return f"{self._show()}\n"

    def store(self, data: Buffer) -> int:
        """Set the value; of a longer write a page is taken (Linux: fs/kernfs/file.c).

        Raises:
            OSError: it is no number, or none that the value can be.
        """
        assert self._store is not None
        text = bytes(data[:PAGE_SIZE])
        self._store(kstrtoint(text))
        self.refresh()
        return len(text)
