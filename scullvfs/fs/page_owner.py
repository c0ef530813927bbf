"""`sys/kernel/debug/page_owner`: a paragraph for each block of page frames that somebody holds.

    Page allocated via order 0, mask 0x2cc2(GFP_KERNEL|...), pid 34, tgid 34 (dd), ts 880819789 ns
    PFN 0x708 type Unmovable Block 1 type Unmovable Flags 0x0(zone=0)
     get_page_from_freelist
     ...

The kernel's gives one paragraph a read(2), and its position counts frames; this one is a text like
all others.

Linux: mm/page_owner.c:read_page_owner()
"""

from __future__ import annotations

from collections.abc import Iterator

from scullvfs.mm.buddy import PAGEBLOCK_ORDER
from scullvfs.mm.page_owner import PageOwner

from .seq_file import Place

__all__ = ["PageOwnerListing"]


class PageOwnerListing:
    """The paragraphs of one machine.

    A place is (first frame that may have one, 0).
    """

    def __init__(self, owner: PageOwner) -> None:
        self._owner = owner

    def size(self) -> int:
        """Counted as frames come and go."""
        return self._owner.nbytes

    def seek(self, pos: int) -> tuple[Place, int]:
        """By pageblocks, whose bytes are counted, too, and then by frames."""
        at = 0
        block = 0
        for nbytes in self._owner.block_bytes:
            if at + nbytes > pos:
                break
            at += nbytes
            block += 1
        for pfn in self._owner.owned_from(block << PAGEBLOCK_ORDER):
            length = self._owner.length(pfn)
            if at + length > pos:
                return (pfn, 0), at
            at += length
        return (self._owner.nr_pages, 0), at

    def lines(self, place: Place) -> Iterator[tuple[bytes, Place]]:
        """Each with the place behind it."""
        for pfn in self._owner.owned_from(place[0]):
            yield self._owner.text(pfn), (pfn + 1, 0)
