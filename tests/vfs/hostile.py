"""A FUSE daemon that calls itself scullvfs, and says what it is told to.

    python hostile.py MOUNTPOINT '{"files": {"pid": "1"}, "hang": ["lookup"]}'

Of its lies `files` has, by name, what is in a file, as text or as an errno of its open; `links`
where symbolic links lead; `hang` the requests that it takes and never answers. Every other name is
that of a directory.
"""

from __future__ import annotations

import json
import os
import stat
import sys
from typing import Any, Final

import pyfuse3
import trio


class Hostile(pyfuse3.Operations):
    """Keeps no rule but that of the protocol."""

    def __init__(self, files: dict[str, str | int], links: dict[str, str], hang: list[str]) -> None:
        super().__init__()
        self._files: Final = {os.fsencode(name): value for name, value in files.items()}
        self._links: Final = {os.fsencode(name): os.fsencode(to) for name, to in links.items()}
        self._hang: Final = hang
        self._names: Final = {pyfuse3.ROOT_INODE: b"/"}

    async def lookup(self, parent_inode: Any, name: bytes, ctx: Any) -> Any:
        """Any name is there."""
        await self._take("lookup")
        inode = pyfuse3.ROOT_INODE + 1 + len(self._names)
        self._names[inode] = name
        return self._attributes(inode)

    async def getattr(self, inode: Any, ctx: Any) -> Any:
        """stat(2)."""
        await self._take("getattr")
        return self._attributes(inode)

    async def readlink(self, inode: Any, ctx: Any) -> bytes:
        """readlink(2)."""
        return self._links[self._names[inode]]

    async def open(self, inode: Any, flags: int, ctx: Any) -> pyfuse3.FileInfo:
        """open(2)."""
        await self._take("open")
        value = self._files[self._names[inode]]
        if isinstance(value, int):
            raise pyfuse3.FUSEError(value)
        return pyfuse3.FileInfo(fh=inode, direct_io=True)

    async def read(self, fh: Any, off: int, size: int) -> bytes:
        """The lies themselves."""
        value = self._files[self._names[fh]]
        assert isinstance(value, str)
        return os.fsencode(value)[off : off + size]

    async def _take(self, request: str) -> None:
        if request in self._hang:
            await trio.sleep_forever()

    def _attributes(self, inode: Any) -> pyfuse3.EntryAttributes:
        name = self._names[inode]
        kind = stat.S_IFDIR | 0o755
        if name in self._links:
            kind = stat.S_IFLNK | 0o777
        elif name in self._files:
            kind = stat.S_IFREG | 0o644
        entry = pyfuse3.EntryAttributes()
        entry.st_ino = inode
        entry.st_mode = kind
        entry.st_uid, entry.st_gid = os.getuid(), os.getgid()
        return entry


def main(mountpoint: str, lies: dict[str, Any]) -> None:
    """Mount, say so on stdout, and serve."""
    operations = Hostile(lies.get("files", {}), lies.get("links", {}), lies.get("hang", []))
    pyfuse3.init(operations, mountpoint, {"fsname=scullvfs", "subtype=scullvfs"})
    print("ready", flush=True)
    trio.run(pyfuse3.main)


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
