"""What the memory of a machine holds: three files of its mount, before and after.

Of meminfo all has to be as before but what Linux keeps, too: empty slabs of a cache, and page
tables of addresses that are free again.  Whose frames those are `sys/kernel/debug/validate` knows.
"""

from __future__ import annotations

import os
import re
from typing import Final, NamedTuple

__all__ = ["Books", "differences", "read_books"]

KEPT: Final = {"MemFree", "MemAvailable", "Slab", "SUnreclaim", "PageTables"}
"""Fields of meminfo in which empty slabs and page tables are."""
ADDRESSES: Final = "vmap_area"
"""The cache of objects that free addresses have, too, in as many pieces as they are."""


class Books(NamedTuple):
    """The books as they stand."""

    meminfo: dict[str, int]
    """Field -> kB, or a count."""
    objects: dict[str, int]
    """Cache -> its objects in use (slabinfo)."""
    areas: list[str]
    """The lines of vmallocinfo."""


def read_books(mount: str) -> Books:
    """Read those of the machine of a mount.

    Raises:
        OSError: its daemon is gone.
    """
    meminfo = re.findall(r"^(\S+): +(\d+)", _read(mount, "meminfo"), re.MULTILINE)
    slabs = [line.split() for line in _read(mount, "slabinfo").splitlines()[2:]]
    return Books(
        {name: int(value) for name, value in meminfo if name not in KEPT},
        {name: int(active) for name, active, *_ in slabs if name != ADDRESSES},
        _read(mount, "vmallocinfo").splitlines(),
    )


def differences(before: Books, after: Books) -> list[str]:
    """What is other than before, one line each; nothing if the books are the same."""
    found = [
        f"{file}: {name} is {new.get(name, 0)}, and was {old.get(name, 0)}"
        for file, old, new in (
            ("slabinfo", before.objects, after.objects),
            ("meminfo", before.meminfo, after.meminfo),
        )
        for name in {**old, **new}
        if old.get(name, 0) != new.get(name, 0)
    ]
    found += [f"vmallocinfo: left over: {area}" for area in after.areas if area not in before.areas]
    found += [f"vmallocinfo: missing: {area}" for area in before.areas if area not in after.areas]
    return found


def _read(mount: str, name: str) -> str:
    with open(os.path.join(mount, "proc", name)) as file:
        return file.read()
