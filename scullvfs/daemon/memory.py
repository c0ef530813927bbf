"""Can the host give as much memory as `mem=` asks for?

The emulated RAM costs the host nothing until it is written. A mount that promises more
than there is would be killed half-way through a write, so it is refused at once.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import psutil

from scullvfs.daemon.errors import HostMemoryError
from scullvfs.daemon.mountinfo import read_mounts
from scullvfs.daemon.values import format_size

__all__ = ["available_memory", "check_memory"]

MIB = 1 << 20


def check_memory(mem: int) -> None:
    """Raise HostMemoryError unless the host can give *mem* bytes now."""
    available = available_memory()
    if mem > available:
        raise HostMemoryError(
            f"mem={format_size(mem)} is more than this host can give now; "
            f"choose mem={available // MIB}M or less"
        )


def available_memory() -> int:
    """Bytes that this process could fill: MemAvailable and SwapFree, within its cgroup."""
    host = psutil.virtual_memory().available + psutil.swap_memory().free
    return max(0, min([host, *_left_in_cgroups()]))


def _left_in_cgroups() -> Iterator[int]:
    """Bytes left below each cgroup v2 limit above this process; nothing under version 1.

    Linux: Documentation/admin-guide/cgroup-v2.rst. The page cache of files not in use
    counts as free, as in MemAvailable.
    """
    root = next((Path(m.path) for m in read_mounts() if m.fstype == "cgroup2"), None)
    if root is None:
        return
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        if line.startswith("0::"):
            group = root / os.path.normpath(line.removeprefix("0::")).lstrip("/.")
            for directory in (group, *group.parents):
                yield from _left_in_cgroup(directory)


def _left_in_cgroup(directory: Path) -> Iterator[int]:
    try:
        limit = (directory / "memory.max").read_text().strip()
        if limit != "max":
            used = int((directory / "memory.current").read_text())
            counters = (directory / "memory.stat").read_text().split()
            cache = int(counters[counters.index("inactive_file") + 1])
            yield int(limit) - used + cache
    except OSError:  # above the root of the hierarchy, or without the memory controller
        return
