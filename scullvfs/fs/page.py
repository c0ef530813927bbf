"""/proc/kpageflags and /proc/kpagecount: eight bytes for each page frame, from frame 0 on.

    offset 8 * pfn   | u64 | u64 | u64 | ...        as this host's CPU has them in memory

What a frame is, is asked of those who have it, for the frames that are read and no others:

    free in the buddy system       BUDDY               slabs                SLAB
    blocks of more than a frame    COMPOUND_HEAD, COMPOUND_TAIL (slabs, large objects of kmalloc)
    page tables above the lowest   PGTABLE             frame 0              RESERVED

All others are 0, as in Linux: pages of vmalloc, free ones on a per-cpu list, and the kernel's page
tables of the lowest level.  No process has a frame mapped, so all counts are 0, too.

Confessed: in Linux a read whose position or length is no multiple of eight is EINVAL.  There the
files say size 0, so programs read them from the start; these say how large they are, so `tail` and
`wc` seek, to any byte.

Linux: fs/proc/page.c
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from itertools import chain, islice
from typing import Final

from scullvfs.mm import Machine
from scullvfs.mm.access import View

from .file import File, Handle, only_read

__all__ = ["FrameFile", "kpagecount", "kpageflags"]

# Linux: include/uapi/linux/kernel-page-flags.h, include/linux/kernel-page-flags.h
KPF_SLAB: Final = 7
KPF_BUDDY: Final = 10
KPF_COMPOUND_HEAD: Final = 15
KPF_COMPOUND_TAIL: Final = 16
KPF_PGTABLE: Final = 26
KPF_RESERVED: Final = 32

KPMSIZE: Final = 8
MOST: Final = 1 << 16
"""Bytes that one read(2) gets, so that others need not wait for long."""

Frames = Callable[[Machine, int, int], "array[int]"]
"""Gives a number for each of the frames from the second argument to before the third."""


def kpageflags(machine: Machine, first: int, end: int) -> array[int]:
    """What some frames are (Linux: fs/proc/page.c:stable_page_flags())."""
    flags = array("Q", bytes(KPMSIZE * (end - first)))

    def mark(pfn: int, count: int, bits: int) -> None:
        begin, behind = max(pfn, first) - first, min(pfn + count, end) - first
        if begin < behind:
            flags[begin:behind] = array("Q", (bits,)) * (behind - begin)

    for zone in machine.page_alloc.zones:
        for pfn, order in zone.buddy.free_in(first, end):
            mark(pfn, 1 << order, 1 << KPF_BUDDY)
    for pfn, order, is_slab in machine.slab.compound_in(first, end):
        bits = is_slab << KPF_SLAB
        mark(pfn, 1, bits | (order > 0) << KPF_COMPOUND_HEAD)
        mark(pfn + 1, (1 << order) - 1, bits | 1 << KPF_COMPOUND_TAIL)
    between = islice(machine.pgtable.tables_by_level(), 1, len(machine.layout.levels) - 1)
    with machine.pgtable.whole():
        upper_tables = {*chain.from_iterable(between)}
    for pfn in upper_tables - machine.pgtable.boot_tables():
        mark(pfn, 1, 1 << KPF_PGTABLE)
    mark(0, 1, 1 << KPF_RESERVED)
    return flags


def kpagecount(machine: Machine, first: int, end: int) -> array[int]:
    """How often processes have some frames mapped (Linux: fs/proc/page.c:kpagecount_read())."""
    return array("Q", bytes(KPMSIZE * (end - first)))


class FrameFile(File):
    """A file with a number for each page frame."""

    def __init__(
        self, frames: Frames, machine: Machine, permissions: int, uid: int, gid: int
    ) -> None:
        super().__init__(permissions, uid, gid)
        self.frames: Final = frames
        self.machine: Final = machine

    @property
    def size(self) -> int:
        """Eight bytes for each frame."""
        return KPMSIZE * self.machine.ram.nr_pages

    def open(self, flags: int, pid: int = 0) -> Handle:
        """Open for reading.

        Raises:
            OSError: EACCES, opened for writing (only root comes this far).
        """
        only_read(flags)
        return _FrameHandle(self)


class _FrameHandle(Handle):
    """An open one; what is read is of the moment of the read."""

    def __init__(self, file: FrameFile) -> None:
        self._file = file

    def read(self, pos: int, count: int) -> View:
        """`count` bytes at `pos`, MOST of them at the most."""
        return self._bytes(pos, min(count, MOST))

    def read_pages(self, pos: int, count: int) -> View:
        """All of them, for the page cache."""
        parts = range(pos, pos + count, MOST)
        return b"".join(self._bytes(at, min(pos + count - at, MOST)) for at in parts)

    def _bytes(self, pos: int, count: int) -> bytes:
        machine = self._file.machine
        first, offset = divmod(pos, KPMSIZE)
        end = min(-(-(pos + count) // KPMSIZE), machine.ram.nr_pages)
        if first >= end:
            return b""
        return self._file.frames(machine, first, end).tobytes()[offset : offset + count]
