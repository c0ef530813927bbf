"""Reading the text files of proc/, and whether the machine's books in them add up."""

from __future__ import annotations

import re
from collections.abc import Callable

__all__ = ["assert_books_add_up", "free_frames", "read_meminfo", "vmalloc_pages"]


def read_meminfo(text: str) -> dict[str, int]:
    """Field -> kB."""
    lines = [re.fullmatch(r"(\w+): +(\d+) kB", line) for line in text.splitlines()]
    return {match[1]: int(match[2]) for match in lines if match is not None}


def free_frames(buddyinfo: str) -> int:
    """The frames in all free blocks."""
    frames = 0
    for line in buddyinfo.splitlines():
        _, counts = re.fullmatch(r"Node 0, zone +(\w+) ((?: *\d+ )+)", line).groups()
        frames += sum(int(count) << order for order, count in enumerate(counts.split()))
    return frames


def vmalloc_pages(vmallocinfo: str) -> int:
    """The pages of all vmalloc areas (vmap's belong to somebody else)."""
    lines = [line for line in vmallocinfo.splitlines() if " vmalloc" in line]
    return sum(int(re.search(r" pages=(\d+) ", line)[1]) for line in lines)


def assert_books_add_up(read: Callable[[str], str]) -> dict[str, int]:
    """All of RAM is somewhere, and the files agree on where; returns what is in meminfo.

    Linux does not count page tables of the lowest level or of the boot: that has no line.

    Args:
        read: gives the text of one of the files in proc/.
    """
    meminfo = read_meminfo(read("meminfo"))
    used = meminfo["Cached"] + meminfo["Slab"] + meminfo["PageTables"] + meminfo["VmallocUsed"]
    uncounted = meminfo["MemTotal"] - meminfo["MemFree"] - used
    assert uncounted > 0
    assert uncounted % 4 == 0
    assert meminfo["Unevictable"] == meminfo["Cached"]
    assert meminfo["SUnreclaim"] == meminfo["Slab"]
    assert free_frames(read("buddyinfo")) * 4 == meminfo["MemFree"]
    assert vmalloc_pages(read("vmallocinfo")) * 4 == meminfo["VmallocUsed"]
    return meminfo
