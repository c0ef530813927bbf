"""/proc/slabinfo: the caches of small objects, the last one made first.

Linux: mm/slab_common.c:slab_show()
"""

from __future__ import annotations

from typing import Final

from scullvfs.mm import Machine

__all__ = ["slabinfo"]

HEADING: Final = (
    "slabinfo - version: 2.1\n"
    "# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab>"
    " : tunables <limit> <batchcount> <sharedfactor>"
    " : slabdata <active_slabs> <num_slabs> <sharedavail>\n"
)


def slabinfo(machine: Machine) -> str:
    """The text; SLUB has no tunables, so they are 0."""
    lines = [HEADING]
    for cache in machine.slab.caches():
        row = cache.statistics()
        lines.append(
            f"{row.name:17} {row.active_objs:6} {row.num_objs:6} {row.objsize:6}"
            f" {row.objperslab:4} {row.pagesperslab:4}"
            f" : tunables {0:4} {0:4} {0:4}"
            f" : slabdata {row.active_slabs:6} {row.num_slabs:6} {0:6}\n"
        )
    return "".join(lines)
