"""Can the host give as much memory as `mem=` asks for?

The emulated RAM costs the host nothing until it is written. A mount that promises more
than there is would be killed half-way through a write, so it is refused at once. Beside the RAM
the daemon takes memory for itself and for its books: of each frame, and of each area, of which
there are the more the smaller the quanta are.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from scullvfs.errors import HostMemoryError
from scullvfs.mm.layout import PAGE_SHIFT
from scullvfs.mounts.mountinfo import Mount, read_mounts
from scullvfs.options.parsers import format_size

__all__ = ["MIB", "available_memory", "check_memory", "needed_memory"]

MIB: Final = 1 << 20

DAEMON: Final = 48 * MIB
"""Bytes that a daemon takes whatever `mem=` is, with all the files open that can be."""
FRAME: Final = 16
"""Bytes of the books of a page frame, at the most."""
AREA: Final = 300
"""Bytes of the books of an area, at the most: with one quantum in a list item."""


class Version(NamedTuple):
    """Where a version of control groups keeps its books."""

    fstype: str
    limit: str
    used: str
    cache: str
    """A counter of memory.stat, with the groups below."""

    def serves(self, mount: Mount) -> bool:
        """Whether `mount` is a hierarchy of this version with the memory controller."""
        return mount.fstype == self.fstype and (self is V2 or "memory" in mount.super_options)


V2: Final = Version("cgroup2", "memory.max", "memory.current", "inactive_file")
V1: Final = Version(
    "cgroup", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
)


def needed_memory(mem: int, order: int) -> int:
    """Bytes of the host's memory that a mount takes when all of `mem` is full of quanta."""
    frames = mem >> PAGE_SHIFT
    return mem + DAEMON + frames * FRAME + (frames >> order) * AREA


def check_memory(mem: int, order: int, begun: Iterable[int] = ()) -> None:
    """Raise HostMemoryError unless the host can give now what `mem` bytes of RAM take.

    Args:
        begun: ids of processes that are a part of the mount, or gone when it stands. What they hold
            counts as used, and is in `needed_memory()` already.
    """
    available = available_memory() + sum(map(_held_by, begun))
    needed = needed_memory(mem, order)
    if needed > available:
        quantum = 1 << PAGE_SHIFT + order
        books = (FRAME << order) + AREA
        most = max(available - DAEMON, 0) * quantum // (quantum + books)
        raise HostMemoryError(
            f"mem={format_size(mem)} is more than this host can give now; choose "
            f"mem={most // MIB}M or less: with order={order} it takes {-(-needed // MIB)}M in all, "
            f"and {available // MIB}M can be had"
        )


def available_memory() -> int:
    """Bytes that this process could fill: MemAvailable and SwapFree, within its cgroup."""
    return max(0, min([_left_in_host(), *_left_in_cgroups()]))


def _held_by(pid: int) -> int:
    """Bytes of its own that a process holds; what it has in common with others counts in parts."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:  # it has ended
        return 0
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss_Anon:"))


def _left_in_host() -> int:
    """Linux: fs/proc/meminfo.c:meminfo_proc_show(), whose kB are KiB."""
    lines = map(str.split, Path("/proc/meminfo").read_text().splitlines())
    left = {name: int(number) for name, number, *_ in lines}
    return (left["MemAvailable:"] + left["SwapFree:"]) << 10


def _left_in_cgroups() -> Iterator[int]:
    """Bytes left below each limit above this process, of both versions of control groups.

    Linux: Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/memory.rst. The page cache of files
    not in use counts as free, as in MemAvailable; a group's own swap is left out.
    """
    for line in os.fsdecode(Path("/proc/self/cgroup").read_bytes()).rstrip("\n").split("\n"):
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            version = V2
        elif "memory" in controllers.split(","):
            version = V1
        else:
            continue
        for root in filter(version.serves, read_mounts()):
            group = Path(root.path, os.path.normpath(path).lstrip("/."))
            for directory in (group, *group.parents):
                yield from _left_in_cgroup(directory, version)


def _left_in_cgroup(directory: Path, version: Version) -> Iterator[int]:
    try:
        limit = (directory / version.limit).read_text().strip()
        if limit != "max":
            used = int((directory / version.used).read_text())
            counters = (directory / "memory.stat").read_text().split()
            cache = int(counters[counters.index(version.cache) + 1])
            yield int(limit) - used + cache
    except OSError:  # above the root of the hierarchy, or without the memory controller
        return
