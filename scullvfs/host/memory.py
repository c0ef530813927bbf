"""Can the host give as much memory as `mem=` asks for?

The emulated RAM costs the host nothing until it is written. A mount that promises more
than there is would be killed half-way through a write, so it is refused at once. Beside the RAM
the daemon takes memory for itself and for its books: of each frame, and of areas, slabs and list
items, of which there are the more the smaller the quanta are.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from scullvfs.errors import HostMemoryError
from scullvfs.mm.layout import LAYOUTS, PAGE_SIZE
from scullvfs.mounts.mountinfo import Mount, read_mounts
from scullvfs.options.parsers import format_size
from scullvfs.options.table import MountOptions
from scullvfs.scull.driver import Driver

__all__ = ["MIB", "available_memory", "check_memory", "needed_memory"]

MIB: Final = 1 << 20

DAEMON: Final = 48 * MIB
"""Bytes that a daemon takes whatever `mem=` is, with all the files open that can be."""
FRAME: Final = 16
"""Bytes of the books of a page frame, at the most."""
AREA: Final = 300
"""Bytes of the books of an area, at the most: with one quantum in a list item."""
ITEM: Final = 160
"""Bytes of the books of a list item of other drivers, at the most."""
SLAB: Final = 400
"""Bytes of the books of a slab, at the most, which has a page at least."""
OBJECT: Final = 2
"""Bytes of the books of an object of a slab that is not full: not all need be given back."""
GIVEN: Final = 128
"""Bytes that are kept of a quantum with `quirks=ldd3`, at the most."""
LEAST: Final = 8
"""Bytes of the smallest object of a slab."""
OWNED: Final = 8
"""Bytes of the books of a page frame with `page_owner=on`."""
OWNER: Final = 320
"""Bytes of what is kept then of an allocation, which has a page at least."""


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


def needed_memory(options: MountOptions) -> int:
    """Bytes of the host's memory that a mount takes when all of its RAM is full of quanta."""
    return DAEMON + -(-options.mem * _of_page(options) // PAGE_SIZE)


def _of_page(options: MountOptions) -> int:
    """Bytes that a page of RAM takes with its books, full of quanta of the driver with the most."""
    return (
        PAGE_SIZE
        + FRAME
        + max(_books(options, driver) for driver in options.loaded())
        + (_owners(options) if options.page_owner else 0)
    )


def _owners(options: MountOptions) -> int:
    """Bytes of what is kept of a page's owner; a driver's quanta are one allocation each."""
    least = min(options.quantum(driver) for driver in options.loaded())
    return OWNED + _in_page(OWNER, max(least, PAGE_SIZE))


def _books(options: MountOptions, driver: Driver) -> int:
    """Bytes of the books of a page that is full of a driver's quanta."""
    quantum = max(options.quantum(driver), LEAST)
    pointer = LAYOUTS[options.arch].pointer_size
    item = driver.sizeof_item[pointer] + (pointer + quantum) * _qset(options, driver)
    books = _in_page(GIVEN, pointer + quantum) if options.quirks == "ldd3" else 0
    if driver.areas:
        return books + _in_page(AREA, quantum)
    if not driver.by_order:
        books += SLAB + OBJECT * (PAGE_SIZE // min(quantum, PAGE_SIZE))
    return books + _in_page(ITEM, item)


def _in_page(books: int, size: int) -> int:
    """Bytes of the books in a page, or its part of them, if each `size` bytes of RAM have some."""
    return -(-books * PAGE_SIZE // size)


def _qset(options: MountOptions, driver: Driver) -> int:
    qset: int = getattr(options, driver.qset.name)
    return qset


def check_memory(options: MountOptions, begun: Iterable[int] = ()) -> None:
    """Raise HostMemoryError unless the host can give now what a mount takes.

    Args:
        begun: ids of processes that are a part of the mount, or gone when it stands. What they hold
            counts as used, and is in `needed_memory()` already.
    """
    available = available_memory() + sum(map(_held_by, begun))
    needed = needed_memory(options)
    if needed > available:
        most = max(available - DAEMON, 0) * PAGE_SIZE // _of_page(options)
        raise HostMemoryError(
            f"mem={format_size(options.mem)} is more than this host can give now; choose "
            f"mem={most // MIB}M or less: {_with(options)} it takes {-(-needed // MIB)}M in all, "
            f"and {available // MIB}M can be had"
        )


def _with(options: MountOptions) -> str:
    """What it depends on beside the RAM."""
    worst = max(options.loaded(), key=lambda driver: _books(options, driver))
    name = worst.measure.name.removeprefix("scullv_")
    qset = "" if worst.areas else f" and {worst.qset.name}={_qset(options, worst)}"
    return f"with {name}={getattr(options, worst.measure.name)}{qset}"


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
