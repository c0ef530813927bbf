"""Lab 8: a 32-bit kernel runs out of addresses (LDD3, chapter 8: vmalloc and its space)."""

from __future__ import annotations

from scullvfs.mm.layout import PAGE_SIZE

from .answers import number
from .lab import Lab, Task, command
from .numbers import Numbers
from .sight import Sight

__all__ = ["LAB"]

BAR = (8 << 20) - PAGE_SIZE
"""Bytes of a device's memory that are mapped at once: 8 MiB of the window, with the guard page."""
BARS = 14
FIRST = 0xD000_0000
"""The physical address of the first one."""
SMALL = 0xE800_0000
"""That of some smaller ones."""


def _order(numbers: Numbers) -> int:
    return numbers.pick("order", 1, 3)


def _options(numbers: Numbers) -> str:
    return f"drivers=scullv:scull,mem=64M,arch=i386,scullv_order={_order(numbers)}"


def _prepare(mnt: str, numbers: Numbers) -> None:
    """The memory of a graphics card, mapped piece by piece: most of the window."""
    for place in range(BARS):
        command(mnt, f"ioremap bar{place} {FIRST + (place << 23):#x} {BAR}")
    for place in range(numbers.pick("small", 2, 6)):
        pages = numbers.pick(f"small {place}", 3, 90)
        command(mnt, f"ioremap small{place} {SMALL + (place << 23):#x} {pages * PAGE_SIZE}")


def _tasks(numbers: Numbers) -> tuple[Task, ...]:
    quantum = PAGE_SIZE << _order(numbers)
    wanted = PAGE_SIZE * numbers.pick("wanted", 1200, 2000)

    def full(sight: Sight) -> str:
        said = f"vmalloc_node_range for size {quantum + PAGE_SIZE} failed: Address range"
        if not sight.device("scullv0").quanta:
            return "scullv0 is empty"
        if said in sight.text("proc/kmsg"):
            return ""
        return "the log has no write that failed for want of addresses"

    def room(sight: Sight) -> str:
        handle = sight.handles().get("mine")
        if handle is None:
            return "there is no handle 'mine'"
        if (handle.kind, handle.size) != ("vmalloc", wanted):
            return f"'mine' is {handle.kind} of {handle.size} bytes"
        return ""

    def largest(sight: Sight) -> int:
        """What is freed lazily is purged before vmalloc() fails, so it counts as free."""
        most = start = end = 0
        for area in sight.areas():
            if area.kind in ("free", "lazy"):
                if area.start != end:
                    start = area.start
                end = area.end
                most = max(most, end - start)
        return max(0, most - PAGE_SIZE)

    return (
        Task("Write to scullv0 until there are no addresses any more.", full),
        number(
            "scull1",
            "how many bytes of the window are guard pages of scullv0",
            lambda sight: sight.device("scullv0").quanta * PAGE_SIZE,
        ),
        Task(
            f"Make room without emptying scullv0, and vmalloc {wanted} bytes as the handle mine.",
            room,
        ),
        number(
            "scull2",
            "how many bytes vmalloc() could give now, in one piece, at the most",
            largest,
        ),
    )


LAB = Lab(_options, _prepare, _tasks)
