"""Attribute files: one value each, as sysfs, debugfs and module parameters have them.

Reading gives the value and a newline, as it was when the file was opened.  Writing sets it,
with or without a newline, wherever in the file one writes.
"""

from __future__ import annotations

from collections.abc import Callable

from scullvfs.mm import PAGE_SIZE
from scullvfs.mm.access import Buffer

from .kstrtox import kstrtoint
from .shown import WritableFile

__all__ = ["AttributeFile"]


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
