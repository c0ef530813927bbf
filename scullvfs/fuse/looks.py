"""Node ids: which node a request is about, and where the kernel must not take one for the same.

With its writeback cache on, the kernel believes no size and no times of a regular file but those
that it had at the first look (Linux: fs/fuse/inode.c:fuse_change_attributes(),
fuse_get_cache_mask()).  That is right for devices, which change through it alone.  A file of
`proc/` or `sys/` has another size whenever somebody looks, so there each look gives a node of its
own, with the size of that look:

    look        the number of the look        | the node's own number
    node id     22 bits ...................... | 41 bits (`fs.tasks` has the largest)

The kernel drops what it had under the name, and who has the file open keeps that, and its size.  In
st_ino there is the node's own number alone (lowlevel/session.c:fuse_reply_entry()).
"""

from __future__ import annotations

from typing import Final

from scullvfs.fs.file import File
from scullvfs.fs.node import Node

__all__ = ["Looks", "ino_of"]

INO_BITS: Final = 41
"""lowlevel/session.c has the same."""
LOOKS: Final = 1 << 22
"""Behind so many a number comes again, of a look that nobody remembers."""


def ino_of(node_id: int) -> int:
    """The number of the node of an id."""
    return node_id & ((1 << INO_BITS) - 1)


class Looks:
    """Gives node ids."""

    def __init__(self) -> None:
        self._looks = 0

    def node_id(self, node: Node) -> int:
        """What a look at a node gives; of a file that shows what there is, another id each time."""
        if not isinstance(node, File) or not node.direct_io:
            return node.ino
        self._looks = self._looks % (LOOKS - 1) + 1
        return self._looks << INO_BITS | node.ino
