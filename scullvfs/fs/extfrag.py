"""`sys/kernel/debug/extfrag/`: how fragmented free memory is, for a request of each order.

    unusable_index    the part of it that is in smaller blocks, 0.000 to 1.000
    extfrag_index     whether a request would fail for that reason, -1.000 where it would not fail

Frames on the per-cpu lists count as free, as in buddyinfo.

Linux: mm/vmstat.c
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from scullvfs.mm import Machine
from scullvfs.mm.vmstat import fragmentation_index, unusable_free_index

from .node import Directory
from .shown import TextFile

__all__ = ["extfrag", "extfrag_index", "unusable_index"]

PERMISSIONS: Final = 0o444
"""Linux: mm/vmstat.c:extfrag_debug_init()"""


def extfrag(machine: Machine, uid: int, gid: int) -> Directory:
    """The directory."""
    files = {"unusable_index": unusable_index, "extfrag_index": extfrag_index}
    return Directory.of(
        {
            name: TextFile(partial(show, machine), PERMISSIONS, uid, gid)
            for name, show in files.items()
        },
        uid,
        gid,
    )


def unusable_index(machine: Machine) -> str:
    """Linux: mm/vmstat.c:unusable_show_print()"""
    return _lines(machine, unusable_free_index, width=1)


def extfrag_index(machine: Machine) -> str:
    """Linux: mm/vmstat.c:extfrag_show_print()"""
    return _lines(machine, fragmentation_index, width=2)


def _lines(machine: Machine, index: Callable[[Sequence[int], int], int], width: int) -> str:
    return "".join(
        f"Node 0, zone {name:>8} {_row([index(counts, n) for n in range(len(counts))], width)}\n"
        for name, counts in machine.page_alloc.free_by_order().items()
    )


def _row(indices: Sequence[int], width: int) -> str:
    """Thousandths as C prints their quotient and remainder, which both are cut towards 0."""
    words = []
    for index in indices:
        whole, rest = divmod(abs(index), 1000)
        if index < 0:
            whole, rest = -whole, -rest
        words.append(f"{whole:{width}d}.{rest:03d} ")
    return "".join(words)
